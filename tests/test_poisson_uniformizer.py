"""PoissonUniformizer: uniform rows, densities, the way back, the published recipe."""

import numpy as np
import pytest
import torch
from _samples import blobs
from scipy import stats
from scipy.spatial.distance import cdist
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_digits, make_moons
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import QuantileTransformer

from sklearn_featalign import PoissonDenoiser, PoissonField, PoissonUniformizer
from sklearn_featalign._poisson import _network

OUTPUTS = ["cube", "normal", "hemisphere", "flow"]
many_dimensions = pytest.mark.filterwarnings("ignore:Rows flow in")


def energy(U, seed=0):
    """Return the energy distance to the uniform distribution on the cube."""
    V = np.random.default_rng(seed).random((3000, U.shape[1]))

    def within(A):
        return cdist(A, A).sum() / len(A) / (len(A) - 1)

    return 2 * cdist(U, V).mean() - within(U) - within(V)


@pytest.mark.parametrize("d", [2, 4])
def test_new_rows_fill_the_cube_jointly(d):
    X = PCA(d, random_state=0).fit_transform(load_digits().data)
    X = X[np.random.default_rng(0).permutation(len(X))]
    train, test = X[:900], X[900:]
    u = PoissonUniformizer().fit(train)
    peer = QuantileTransformer(n_quantiles=900).fit(train)
    held_out, trained = energy(u.transform(test)), energy(u.transform(train))
    assert held_out < energy(peer.transform(test)) / 3 + 5e-4
    assert abs(held_out - trained) < 2.5e-3


ROWS_AND_CELLS = pytest.mark.parametrize("n_charges", [None, 16])


def heights_above(u):
    """Return the heights above each charge from which rows start."""
    if u._levels is None:
        return np.full(len(u.charges_), u.start_height_)
    return u.start_height_ + u._levels[0]["charges"]["depths"]


@ROWS_AND_CELLS
@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_density_is_that_of_cauchy_kernels(d, n_charges):
    """What a map to the cube does to volumes is the density of the charges."""
    X = blobs(n_samples=60, n_features=d)
    u = PoissonUniformizer(
        scaling="whiten", n_charges=n_charges, radius=1e5, n_steps=200
    ).fit(X)
    assert len(u.charges_) == (n_charges or 60) and u.charge_counts_.sum() == 60
    whitened = np.random.default_rng(1).normal(size=(15, d))
    root = np.linalg.inv(np.real(whitening_root(X)))

    def to_cube(Z):
        return u.transform(X.mean(0) + (Z @ root) * X.std(0, ddof=1))

    step = 1e-5 * u.start_height_
    jacobian = [
        (to_cube(whitened + step * e) - to_cube(whitened - step * e)) / (2 * step)
        for e in np.eye(d)
    ]
    volumes = np.abs(np.linalg.det(np.stack(jacobian, axis=-1)))
    charges = to_columns(u)
    density = [
        np.average(
            [
                stats.multivariate_t(charge, height**2 * np.eye(d), df=1).pdf(z)
                for charge, height in zip(charges, heights_above(u), strict=True)
            ],
            weights=u.charge_counts_,
        )
        for z in whitened
    ]
    np.testing.assert_allclose(volumes, density, rtol=2e-3)


def to_columns(u):
    """Return charges rotated from the axes of the correlations to the columns."""
    return u.charges_ @ u._coordinates["basis"].T


def whitening_root(X):
    values, vectors = np.linalg.eigh(np.corrcoef(X.T).reshape(X.shape[1], -1))
    return vectors / np.sqrt(values) @ vectors.T


@ROWS_AND_CELLS
def test_samples_have_that_density_too(n_charges):
    """Each column of whitened samples is a mixture of Cauchy distributions."""
    X = blobs(n_samples=100, n_features=2)
    u = PoissonUniformizer(
        scaling="whiten", n_charges=n_charges, radius=1e5, n_steps=100, random_state=0
    ).fit(X)
    samples = (u.sample(3000) - X.mean(0)) / X.std(0, ddof=1) @ whitening_root(X)
    for column, own in zip(samples.T, to_columns(u).T, strict=True):

        def cdf(x, own=own):
            steps = (x[:, None] - own) / heights_above(u)
            return np.average(stats.cauchy.cdf(steps), axis=1, weights=u.charge_counts_)

        assert stats.kstest(column, cdf).pvalue > 1e-3
    np.testing.assert_array_equal(u.sample(5), u.sample(5))
    projected = PoissonUniformizer.from_document(field__max_epochs=1).fit(X)
    with pytest.raises(ValueError, match="sample needs a field with parametrization="):
        projected.sample()


@pytest.mark.slow
def test_samples_of_skewed_columns_are_as_skewed():
    rng = np.random.default_rng(0)
    X, X_new = np.exp(1.5 * rng.normal(size=(2, 2000, 2)))
    samples = PoissonUniformizer(random_state=0).fit(X).sample(2000)
    for column, own in zip(samples.T, X_new.T, strict=True):
        assert stats.ks_2samp(column, own).statistic < 0.06


@pytest.mark.parametrize("solver", ["rk4", "midpoint", "euler", "dopri5"])
@pytest.mark.parametrize("output", OUTPUTS)
def test_there_and_back(output, solver):
    X, _ = make_moons(150, noise=0.1, random_state=0)
    u = PoissonUniformizer(output=output, solver=solver, n_steps=100).fit(X[:100])
    for rows in (X[:100], X[100:]):
        out = u.transform(rows)
        assert out.shape[1] == len(u.get_feature_names_out())
        error = np.abs(u.inverse_transform(out) - rows).max(1)
        most = {"rk4": 1e-6, "dopri5": 1e-3, "midpoint": 1e-2, "euler": 0.4}[solver]
        assert error.max() < most
        assert np.median(error) < {"euler": 0.03}.get(solver, 1e-4)


@pytest.mark.parametrize(
    "d", [2, *(pytest.param(d, marks=pytest.mark.slow) for d in (4, 8))]
)
def test_96_evaluations_are_enough(d):
    X = PCA(d, random_state=0).fit_transform(load_digits().data)
    train, test = X[::2], X[1::2]
    u = PoissonUniformizer(output="normal").fit(train)
    back = u.inverse_transform(u.transform(test))
    error = np.linalg.norm(back - test, axis=1) / np.linalg.norm(test, axis=1)
    assert error.max() < 1e-2 and np.median(error) < 1e-4


def test_isolated_training_rows_come_home():
    X = np.random.default_rng(0).normal(size=(100, 2)) ** 3
    u = PoissonUniformizer(n_steps=200).fit(X)
    np.testing.assert_allclose(u.inverse_transform(u.transform(X)), X, atol=1e-4)


def test_a_network_is_trained_over_all_rows(monkeypatch):
    seen = []
    original = _network.perturb

    def spy(X, **kwargs):
        seen.append(X)
        return original(X, **kwargs)

    monkeypatch.setattr(_network, "perturb", spy)
    X = np.sort(unit_rows(), axis=0)
    PoissonUniformizer.from_document(field__max_epochs=30, random_state=0).fit(X)
    assert len(torch.cat(seen).unique(dim=0)) == 300


def test_equal_rows_and_training_rows_come_home():
    X = np.repeat(blobs(n_samples=60), 2, axis=0)
    u = PoissonUniformizer(n_charges=None, n_steps=100).fit(X)
    assert len(u.charges_) == 60 and (u.charge_counts_ == 2).all()
    out = u.transform(X)
    # The last digit of a matrix product may depend on the position of a row.
    np.testing.assert_allclose(out[::2], out[1::2], rtol=1e-12)
    np.testing.assert_allclose(u.inverse_transform(out), X, atol=1e-6)


def test_a_training_row_goes_where_it_goes_without_its_charge():
    X = blobs(n_samples=80)

    def flow(X):
        """Fit, and give heights in the units of X."""
        unit = np.sqrt(X.var(0, ddof=1).mean())
        return PoissonUniformizer(
            output="flow",
            scaling="view",
            n_charges=None,
            start_height=0.3 / unit,
            radius=100 / unit,
            n_steps=100,
        ).fit(X)

    out = flow(X).transform(X)
    for row in (0, 17):
        expected = flow(np.delete(X, row, axis=0)).transform(X[[row]])
        np.testing.assert_allclose(out[[row]], expected, rtol=1e-6)


def test_two_rows_contract_towards_each_other():
    """Each sees the other alone: the distance shrinks as the height does."""
    X = np.array([[0.0, 0.0], [4.0, 2.0]])
    u = PoissonDenoiser(n_steps=50).fit(X)
    moved = u.transform(X)
    np.testing.assert_allclose(moved, X[::-1] + 0.6 * (X - X[::-1]), atol=1e-6)
    np.testing.assert_allclose(u.inverse_transform(moved), X, atol=1e-6)


@pytest.mark.slow
def test_contraction_helps_classifiers_of_raw_features():
    """As asked: one point with all labels, four with one label a class."""
    X, y = load_digits(return_X_y=True)
    gains, gains_few = [], []
    for seed in range(2):
        rows = np.random.default_rng(seed).permutation(len(X))
        train, test = rows[:1200], rows[1200:]
        u = PoissonDenoiser().fit(X[train])
        contracted = u.transform(X)

        def accuracy(features, known, grid=(1.0,), test=test):
            model = LogisticRegression(max_iter=2000)
            if len(grid) > 1:
                model = GridSearchCV(model, {"C": grid}, cv=3)
            model.fit(features[known] / 16, y[known])
            return model.score(features[test] / 16, y[test])

        grid = (0.1, 1.0, 10.0)
        gains.append(accuracy(contracted, train, grid) - accuracy(X, train, grid))
        for draw in range(5):
            rng = np.random.default_rng(draw)
            few = [rng.choice(train[y[train] == label]) for label in range(10)]
            gains_few.append(accuracy(contracted, few) - accuracy(X, few))
    assert np.mean(gains) > 0.01 and np.mean(gains_few) > 0.04


def test_scores_are_the_strength_of_the_field():
    X, X_new = blobs(n_features=6), blobs(1, n_features=6)
    u = PoissonUniformizer().fit(X)
    D = cdist(X_new, X)
    weights = (D**2 + u.score_height_**2) ** (-7 / 2)
    mean = weights @ X / weights.sum(1, keepdims=True)
    expected = -np.linalg.norm(X_new - mean, axis=1)
    np.testing.assert_allclose(u.score_samples(X_new), expected, rtol=1e-6)
    # A training row leaves itself out.
    weights = (cdist(X, X) ** 2 + u.score_height_**2) ** (-7 / 2)
    np.fill_diagonal(weights, 0)
    mean = weights @ X / weights.sum(1, keepdims=True)
    expected = -np.linalg.norm(X - mean, axis=1)
    np.testing.assert_allclose(u.score_samples(X), expected, rtol=1e-6)


def test_cells_change_little():
    """Less than the rows of another sample do."""
    X, _ = make_moons(4000, noise=0.1, random_state=0)
    train, other, test = X[:1500], X[1500:3000], X[3000:]
    rows, cells, again = (
        PoissonUniformizer(n_charges=n_charges).fit(own)
        for n_charges, own in ((None, train), ("auto", train), (None, other))
    )
    assert len(rows.charges_) == 1500 and len(cells.charges_) == 256
    out = rows.transform(test)
    change, noise = (
        np.sqrt(np.mean((u.transform(test) - out) ** 2)) for u in (cells, again)
    )
    assert 0 < change < noise
    np.testing.assert_array_equal(cells.score_samples(test), rows.score_samples(test))


def test_sums_in_float32_change_little(monkeypatch):
    X = np.random.default_rng(0).normal(size=(5000, 3))
    X[:, 2] += X[:, 1] ** 2
    u = PoissonUniformizer(n_steps=20).fit(X)
    assert len(u.charges_) == 1024
    in_both = u.transform(X)
    monkeypatch.setattr("sklearn_featalign._poisson._fields._MANY_CHARGES", 2000)
    change = np.abs(u.transform(X) - in_both)
    assert 0 < change.max() < 1e-4 and np.sqrt(np.mean(change**2)) < 1e-5


@pytest.mark.parametrize("n_charges", [2, 3, 5, 17, 1000])
def test_there_are_at_most_so_many_charges(n_charges):
    X = blobs(n_samples=200, n_features=2)
    u = PoissonUniformizer(n_charges=n_charges).fit(X)
    assert len(u.charges_) == min(2 ** int(np.log2(n_charges)), 32)
    np.testing.assert_allclose(u.charge_counts_ @ u.charges_, 0, atol=1e-9)
    assert np.isfinite(u.transform(X)).all()


def hard_rows(kind, n_samples, seed):
    """Return rows with an outlier, or with skewed, heavy-tailed or discrete columns."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, 2))
    if kind == "lognormal":
        X[:, 1] += X[:, 0] ** 2
        X[:, 0] = np.exp(3 * X[:, 0])
    elif kind == "Cauchy":
        X = np.column_stack([rng.standard_cauchy(n_samples), X[:, 0] * X[:, 1]])
    elif kind == "integers":
        X[:, 0] = rng.poisson(3, size=n_samples)
        X[:, 1] += X[:, 0]
    elif kind == "scales":
        X = np.column_stack([1e6 * X[:, 0], 1e-6 * (X[:, 0] ** 2 + X[:, 1])])
    elif kind == "outlier":
        X[:, 1] += X[:, 0] ** 2
        X[0, 0] = 999999.0
    return X


@pytest.mark.parametrize(
    "kind", ["lognormal", "Cauchy", "integers", "scales", "outlier"]
)
def test_columns_are_as_uniform_as_quantiles_make_them(kind):
    """And rows jointly so, which quantiles do not."""
    distances, energies = [], []
    for seed in range(3):
        X, X_new = hard_rows(kind, 500, seed), hard_rows(kind, 1000, seed + 9)[1:]
        peer = QuantileTransformer(n_quantiles=500).fit(X).transform(X_new)
        out = PoissonUniformizer().fit(X).transform(X_new)
        distances.append(
            [[stats.kstest(u, "uniform")[0] for u in U.T] for U in (out, peer)]
        )
        energies.append([energy(U) for U in (out, peer)])
    ours, theirs = np.mean(distances, axis=0)
    assert (ours < 1.2 * theirs + 0.01).all()
    ours, theirs = np.mean(energies, axis=0)
    assert ours < theirs / 2 + 5e-4


@pytest.mark.parametrize("kind", ["lognormal", "scales", "outlier", "plain"])
def test_the_map_is_continuous_at_training_rows_too(kind):
    X = hard_rows(kind, 500, 0)
    u = PoissonUniformizer().fit(X)
    spread = np.diff(np.quantile(X, [0.16, 0.84], axis=0), axis=0) / 2
    rows = np.vstack([X, hard_rows(kind, 500, 1)])
    # A column may be dense at one place: slopes are compared with those of quantiles.
    peer = QuantileTransformer(n_quantiles=100).fit(X)
    step = 1e-6 * spread * np.random.default_rng(0).uniform(-1, 1, size=rows.shape)
    moved, of_peer = (
        np.abs(t.transform(rows + step) - t.transform(rows)).max() for t in (u, peer)
    )
    assert moved < max(1e-4, 10 * of_peer)


@pytest.mark.parametrize(
    "d", [1, 2, 3, *(pytest.param(d, marks=pytest.mark.slow) for d in (5, 8))]
)
def test_rows_come_back_with_the_steps_that_are_chosen(d):
    """One in a thousand may be off by more than a hundredth of the spread."""
    rng = np.random.default_rng(d)
    centers = 2 * rng.normal(size=(5, d))
    X, X_new = (
        centers[rng.integers(5, size=2000)] + 0.4 * rng.normal(size=(2000, d))
        for _ in range(2)
    )
    u = PoissonUniformizer().fit(X)
    for rows in (X, X_new):
        back = u.inverse_transform(u.transform(rows))
        error = np.abs((back - rows) / X.std(0)).max(1)
        assert np.mean(error > 1e-2) <= 1e-3


def test_a_regressor_may_leave_the_cube():
    X = np.random.default_rng(0).normal(size=(200, 3))
    y = X[:, 0] + 0.1 * X[:, 1]
    u = PoissonUniformizer().fit(y[:150, None])
    beyond = u.inverse_transform(np.array([[-0.2], [1.2]]))
    ends = u.inverse_transform(np.array([[0.0], [1.0]]))
    np.testing.assert_array_equal(beyond, ends)
    np.testing.assert_allclose(ends[:, 0], [y[:150].min(), y[:150].max()], rtol=1e-2)
    model = TransformedTargetRegressor(
        LinearRegression(), transformer=PoissonUniformizer()
    ).fit(X[:150], y[:150])
    assert stats.spearmanr(model.predict(1.5 * X[150:]), y[150:]).statistic > 0.95


@pytest.mark.parametrize(("output", "of_peer"), [("cube", "uniform"), ("normal",) * 2])
@pytest.mark.parametrize("n_targets", [1, 2])
def test_targets_are_predicted_as_well_as_with_quantiles(output, of_peer, n_targets):
    """Also where predictions leave the map; and one target comes back exactly."""
    scores = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(1400, 3))
        Y = X[:, :n_targets] + 0.3 * rng.normal(size=(1400, n_targets))
        for t in (
            PoissonUniformizer(output=output, n_steps=40),
            QuantileTransformer(n_quantiles=400, output_distribution=of_peer),
        ):
            model = TransformedTargetRegressor(LinearRegression(), transformer=t)
            model.fit(X[:400], Y[:400])
            scores.append(model.score(X[400:], Y[400:]))
            predicted = model.predict(3 * X[400:])
            reach = np.abs(predicted / np.abs(Y[:400]).max(0)).max()
            # Up to four standard deviations outside of the training rows.
            assert reach < (1.5 if output == "cube" else 3.0)
    ours, peer = np.reshape(scores, (3, 2)).mean(0)
    assert ours > peer - 0.03 and ours > 0.65


@pytest.mark.parametrize("scaling", ["quantile", "whiten", "view"])
def test_distant_rows_come_back_to_the_edge(scaling):
    X = blobs(n_features=2)
    far = np.array([[1e3, 0.0], [-1e9, 1e9], [0.0, 1e200]])
    u = PoissonUniformizer(scaling=scaling).fit(X)
    for output in ("cube", "normal"):
        back = u.set_params(output=output).inverse_transform(u.transform(far))
        assert (np.abs(back - X.mean(0)) < 3 * np.ptp(X, axis=0)).all()
    back = u.set_params(output="flow").inverse_transform(u.transform(far[:2]))
    np.testing.assert_allclose(back, far[:2], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("kind", ["lognormal", "outlier"])
def test_rows_of_hard_columns_come_back(kind):
    """In units of the spread of a column, or of the distance from its middle."""
    X, X_new = (hard_rows(kind, 500, seed) for seed in range(2))
    u = PoissonUniformizer().fit(X)
    low, median, high = np.quantile(X, [0.16, 0.5, 0.84], axis=0)
    for rows in (X, X_new):
        back = u.inverse_transform(u.transform(rows))
        unit = (high - low) / 2 + np.abs(rows - median)
        assert np.mean((np.abs(back - rows) / unit).max(1) > 1e-2) <= 4e-3


def test_constant_columns_come_back_constant():
    X = np.column_stack([blobs(n_features=2), np.full(120, 7.0)])
    u = PoissonUniformizer(n_steps=100).fit(X)
    out = u.transform(X)
    assert out.shape == X.shape and (out[:, 2] == 0.5).all()
    back = u.inverse_transform(out)
    assert (back[:, 2] == 7).all()
    np.testing.assert_allclose(back, X, atol=1e-6)


def test_equal_columns_stay_equal():
    X = blobs(n_features=2)[:, [0, 1, 1]]
    u = PoissonUniformizer(n_steps=100).fit(X)
    out = u.transform(X)
    np.testing.assert_allclose(out[:, 1], out[:, 2], atol=1e-9)
    assert stats.kstest(out[:, 1], "uniform").pvalue > 1e-3
    np.testing.assert_allclose(u.inverse_transform(out), X, atol=1e-6)


@many_dimensions
@pytest.mark.parametrize("field", ["exact", PoissonField(max_epochs=2)])
def test_129_dimensions_in_float32(field):
    X = np.random.default_rng(0).normal(size=(300, 129)).astype(np.float32)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    for scaling in ("whiten", "view"):
        u = PoissonUniformizer(field=field, scaling=scaling, random_state=0)
        out = u.fit(X).transform(X)
        assert out.dtype == np.float32 and np.isfinite(out).all()
        assert np.isfinite(u.score_samples(X)).all()


def test_many_dimensions_warn():
    X = np.random.default_rng(0).normal(size=(40, 9))
    u = PoissonUniformizer().fit(X)
    with pytest.warns(UserWarning, match="flow in 9 dimensions") as record:
        u.transform(X)
    assert record[0].filename == __file__
    assert u.score_samples(X).shape == (40,)
    PoissonUniformizer().fit(X[:, :8]).transform(X[:, :8])
    PoissonDenoiser().fit(X).transform(X)


RANGES = [
    ("hemisphere", [[0.5, 0.5, -0.1]], "points above the plane"),
    ("hemisphere", [[0.5, 0.5, 0.0]], "points above the plane"),
    ("cube", [[0.5, 0.5, 0.5]], r"X has 3 features, but .*inverse_transform is expec"),
    ("hemisphere", [[0.5, 0.5]], "X has 2 features"),
    ("cube", [[np.nan, 0.5]], "Input X contains NaN"),
]


@pytest.mark.parametrize(("output", "rows", "message"), RANGES)
def test_outside_of_the_map(output, rows, message):
    u = PoissonUniformizer(output=output).fit(blobs(n_features=2))
    with pytest.raises(ValueError, match=message):
        u.inverse_transform(np.array(rows))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_corners_of_the_cube_are_finite(dtype):
    u = PoissonUniformizer().fit(blobs(n_features=2))
    corners = np.array([[0, 0], [0, 1], [1, 1], [0.5, 1]], dtype=dtype)
    assert np.isfinite(u.inverse_transform(corners)).all()


PROJECTED = PoissonField(parametrization="projected")
BAD_COMBINATIONS = [
    ({"field": PROJECTED}, "output must be 'flow'"),
    ({"field": PROJECTED, "output": "normal"}, "output must be 'flow', got 'normal'"),
    ({"field": PoissonField(hidden_layer_sizes=[0])}, "integers of at least 1"),
    ({"field": PoissonField(gamma=-1)}, "'gamma' parameter of PoissonField must be"),
    ({"field": "network"}, "'field' parameter of PoissonUniformizer must be"),
    ({"radius": 1e-9}, "must be below the radius"),
    ({"start_height": 0}, "heights of 0 and .* must lie between"),
    ({"radius": 1e200}, "must lie between"),
    ({"field": PoissonField(M=1e5)}, "must lie between"),
    ({"scaling": None}, "scaling=None needs a PoissonField with parametrization="),
]


@pytest.mark.parametrize(("params", "message"), BAD_COMBINATIONS)
def test_parameters_that_do_not_go_together(params, message):
    with pytest.raises(ValueError, match=message):
        PoissonUniformizer(**params).fit(blobs())


def test_a_contraction_that_float64_cannot_follow():
    with pytest.raises(ValueError, match="must lie between"):
        PoissonDenoiser(contraction=1e-12).fit(blobs())


def unit_rows(n_samples=300, d=5):
    X = blobs(n_samples=n_samples, n_features=d)
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def test_the_published_recipe():
    X = unit_rows()
    u = PoissonUniformizer.from_document(field__max_epochs=60, random_state=0).fit(X)
    assert (u.M_, u.n_iter_, u.start_height_, u.end_height_) == (20, 60, 0, 1)
    assert u.loss_curve_[-10:].mean() < u.loss_curve_[:3].mean()
    out = u.transform(X)
    assert out.shape == (300, 6)
    assert u.get_feature_names_out()[-1] == "poissonuniformizer_z"
    # |y|^2 grows by two, but for Euler's steps and poles.
    lengths = np.square(out).sum(1)
    assert abs(np.median(lengths) - 3) < 0.3
    sound = u.set_params(solver="rk4", n_steps=400)
    lengths = np.square(sound.transform(X)).sum(1)
    assert np.mean(abs(lengths - 3) < 1e-3) > 0.5
    back = sound.inverse_transform(sound.transform(X))
    assert np.median(np.abs(back - X).max(1)) < 1e-5


def test_a_network_comes_near_to_the_field():
    """Along the lines that it was trained for, in two dimensions."""
    X, _ = make_moons(600, noise=0.1, random_state=0)
    params = {"start_height": 0.3, "radius": 3.0, "output": "flow", "n_steps": 100}
    params |= {"scaling": "whiten", "n_charges": None}
    exact = PoissonUniformizer(**params).fit(X[:500])
    network = PoissonField(
        hidden_layer_sizes=(64, 64), gamma=0.3, max_epochs=400, lr=3e-3
    )
    trained = PoissonUniformizer(field=network, random_state=0, **params).fit(X[:500])
    goal, flow, untouched = (
        exact.transform(X[500:]),
        trained.transform(X[500:]),
        X[500:],
    )
    deviation = np.sqrt(np.mean((goal - untouched) ** 2))
    assert np.sqrt(np.mean((flow - goal) ** 2)) < 0.3 * deviation
    back = trained.inverse_transform(flow)
    assert np.median(np.abs(back - X[500:]).max(1)) < 1e-3


def test_a_refit_without_a_network_forgets_it():
    X = unit_rows()
    u = PoissonUniformizer(field=PoissonField(max_epochs=2), random_state=0).fit(X)
    assert u.n_iter_ == 2 and len(u.loss_curve_) == 2 and u.M_ > 20
    u.set_params(field="exact").fit(X)
    assert not any(hasattr(u, name) for name in ("M_", "n_iter_", "loss_curve_"))
    np.testing.assert_array_equal(
        u.transform(X), PoissonUniformizer(random_state=0).fit(X).transform(X)
    )


def test_what_is_set_after_the_fit_is_checked_too():
    u = PoissonUniformizer.from_document(field__max_epochs=1).fit(blobs())
    with pytest.raises(ValueError, match="does not make rows uniform"):
        u.set_params(output="cube").transform(blobs())
    u = PoissonUniformizer().fit(blobs())
    with pytest.raises(ValueError, match="output='cone' is none of"):
        u.set_params(output="cone").transform(blobs())
    for n_samples in (0, -1):
        with pytest.raises(ValueError, match="n_samples"):
            PoissonUniformizer().fit(blobs()).sample(n_samples)


def test_rows_at_the_origin_stay_there():
    u = PoissonUniformizer.from_document(field__max_epochs=2, random_state=0)
    u.fit(unit_rows())
    origin = u.transform(np.zeros((1, 5)))
    assert (origin == 0).all() and (u.inverse_transform(origin) == 0).all()


def test_output_names_and_frames():
    X = blobs(n_features=2)
    u = PoissonUniformizer().set_output(transform="pandas").fit(X)
    assert list(u.transform(X).columns) == ["x0", "x1"]
    u.set_params(output="hemisphere")
    frame = u.transform(X)
    assert list(frame.columns) == ["x0", "x1", "poissonuniformizer_z"]
    np.testing.assert_allclose(np.linalg.norm(frame, axis=1), 1)
    back = u.inverse_transform(frame)
    np.testing.assert_allclose(back, X, rtol=1e-3, atol=1e-3)


def test_stories_5_and_6():
    X, y = load_digits(return_X_y=True)
    X, y = X[:400], y[:400]
    search = GridSearchCV(Pipeline([("pca", PCA(4)), ("u", "passthrough"), ("clf", LogisticRegression(max_iter=1000))]),  # fmt: skip  # noqa: E501
                 {"u": ["passthrough", QuantileTransformer(n_quantiles=100), PoissonUniformizer()]}, cv=3).fit(X, y)  # fmt: skip  # noqa: E501
    assert (search.cv_results_["mean_test_score"] > 0.6).all()
    Z = PCA(2).fit_transform(X)
    u = PoissonUniformizer().fit(Z)
    np.testing.assert_allclose(u.inverse_transform(u.transform(Z)), Z, atol=0.3)


def test_batches_do_not_matter():
    X = blobs(n_features=3)
    u = PoissonUniformizer(n_steps=6).fit(X)
    expected = u.transform(X)
    for batch_size in (25, 50):
        u.set_params(batch_size=batch_size)
        np.testing.assert_allclose(u.transform(X), expected, atol=1e-9)
    back = u.inverse_transform(torch.from_numpy(expected))
    assert isinstance(back, torch.Tensor)
    np.testing.assert_array_equal(back, u.inverse_transform(expected))
