"""PoissonUniformizer: uniform rows, densities, the way back, the published recipe."""

import numpy as np
import pytest
import torch
from _samples import blobs
from scipy import stats
from scipy.spatial.distance import cdist
from sklearn.datasets import load_digits, make_moons
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
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


@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_density_is_that_of_a_cauchy_kernel(d):
    """What a map to the cube does to volumes is the density of the rows."""
    X = blobs(n_samples=60, n_features=d)
    u = PoissonUniformizer(radius=1e5, n_steps=200).fit(X)
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
    charges = (X - X.mean(0)) / X.std(0, ddof=1) @ whitening_root(X)
    kernel = stats.multivariate_t(np.zeros(d), u.start_height_**2 * np.eye(d), df=1)
    density = [kernel.pdf(z - charges).mean() for z in whitened]
    np.testing.assert_allclose(volumes, density, rtol=2e-3)


def whitening_root(X):
    values, vectors = np.linalg.eigh(np.corrcoef(X.T).reshape(X.shape[1], -1))
    return vectors / np.sqrt(values) @ vectors.T


def test_samples_have_that_density_too():
    """Each column of whitened samples is a mixture of Cauchy distributions."""
    X = blobs(n_samples=100, n_features=2)
    u = PoissonUniformizer(radius=1e5, n_steps=100, random_state=0).fit(X)
    samples = (u.sample(3000) - X.mean(0)) / X.std(0, ddof=1) @ whitening_root(X)
    charges = (X - X.mean(0)) / X.std(0, ddof=1) @ whitening_root(X)
    for column, own in zip(samples.T, charges.T, strict=True):

        def cdf(x, own=own):
            return stats.cauchy.cdf((x[:, None] - own) / u.start_height_).mean(1)

        assert stats.kstest(column, cdf).pvalue > 1e-3
    np.testing.assert_array_equal(u.sample(5), u.sample(5))
    projected = PoissonUniformizer.from_document(field__max_epochs=1).fit(X)
    with pytest.raises(ValueError, match="sample needs a field with parametrization="):
        projected.sample()


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
    u = PoissonUniformizer(n_steps=100).fit(X)
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


def test_few_charges_change_little():
    X, _ = make_moons(1200, noise=0.1, random_state=0)
    all_rows = PoissonUniformizer().fit(X[:1000])
    few = PoissonUniformizer(n_charges=300, random_state=0).fit(X[:1000])
    assert few.start_height_ == all_rows.start_height_
    change = few.transform(X[1000:]) - all_rows.transform(X[1000:])
    assert 0 < np.sqrt(np.mean(change**2)) < 0.01
    scores = few.score_samples(X[1000:])
    np.testing.assert_array_equal(scores, all_rows.score_samples(X[1000:]))
    more = PoissonUniformizer(n_charges=5000).fit(X[:1000])
    np.testing.assert_array_equal(more.transform(X), all_rows.transform(X))


@pytest.mark.slow
def test_few_charges_lead_back_to_where_the_same_output_comes_from():
    X, _ = make_moons(1200, noise=0.1, random_state=0)
    few = PoissonUniformizer(n_charges=300, random_state=0, n_steps=48).fit(X[:1000])
    out = few.transform(X)
    back = few.inverse_transform(out)
    again = np.abs(few.transform(back) - out).max(1)
    assert np.quantile(again, 0.98) < 1e-4
    # The outputs of two regions may overlap where they meet.
    error = np.abs(back - X).max(1)
    assert (error < 1e-3).mean() > 0.9 and error.max() < 1


def test_each_row_sees_the_charges_of_its_own_region_only():
    X, _ = make_moons(1200, noise=0.1, random_state=0)
    few = PoissonUniformizer(n_charges=300, random_state=0).fit(X[:1000])
    out = few.transform(X[1000:])
    alone = [few.transform(X[[i]])[0] for i in (1000, 1050, 1199)]
    np.testing.assert_allclose(out[[0, 50, 199]], alone, rtol=1e-9)


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
    ("cube", [[0.5, 1.5]], "numbers from 0 to 1 with output='cube', got 0.5 to 1.5"),
    ("cube", [[-0.1, 0.5]], "got -0.1 to 0.5"),
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
