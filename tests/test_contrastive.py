"""Contrastive encoders: the losses, by other ways to compute them, and the training."""

import warnings
from functools import partial

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import normalize
from torch import nn

from sklearn_featalign import ContrastiveEncoder, stack_views
from sklearn_featalign._contrastive._losses import Loss, negative_squares
from sklearn_featalign._contrastive._network import draw_pairs
from sklearn_featalign.metrics import alignment_loss, uniformity_loss

PUBLISHED = {"lambda_": 1.0, "margin": None, "normalize": False}
LOSSES = ("l2", "alignment_uniformity", "infonce")


def make_loss(name, **params):
    defaults = {"alpha": 2.0, "beta": 1.0, "lambda_": 1.0, "margin": None}
    defaults |= {"temperature": 0.1, "t": 2.0, "n_negatives": None}
    return Loss(name=name, **(defaults | {"normalize": name != "l2"} | params))


def features(n=7, d=4, seed=0):
    F, G = np.random.default_rng(seed).normal(size=(2, n, d))
    return F, F + 0.3 * G


def value(loss, F, G, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return float(loss(torch.tensor(F), torch.tensor(G), generator))


@pytest.mark.parametrize("alpha", [1.0, 2.0, 3.0])
@pytest.mark.parametrize(("beta", "margin"), [(1.0, None), (0.5, 1.2), (2.0, 1.2)])
@pytest.mark.parametrize("unit", [False, True])
def test_the_loss_of_the_document(alpha, beta, margin, unit):
    F, G = features()
    params = {"alpha": alpha, "beta": beta, "margin": margin, "normalize": unit}
    found = value(make_loss("l2", lambda_=0.7, **params), F, G)
    if unit:
        F, G = normalize(F), normalize(G)

    def distance(x, y):
        return np.linalg.norm(x - y)

    apart = [
        min(distance(x, y), margin or np.inf) ** beta
        for i, x in enumerate(F)
        for j, y in enumerate(G)
        if i != j
    ]
    pairs = [distance(x, y) ** alpha for x, y in zip(F, G, strict=True)]
    assert found == pytest.approx(np.mean(pairs) - 0.7 * np.mean(apart))


def test_alignment_and_uniformity_are_the_metrics():
    F, G = features()
    loss = make_loss("alignment_uniformity", alpha=3.0, lambda_=0.4, t=1.5)
    uniformity = (uniformity_loss(F, t=1.5) + uniformity_loss(G, t=1.5)) / 2
    expected = alignment_loss(F, G, alpha=3) + 0.4 * uniformity
    assert value(loss, F, G) == pytest.approx(expected)


def test_info_nce_finds_the_pair_in_both_views():
    F, G = features()
    found = value(make_loss("infonce", temperature=0.3), F, G)
    F, G = normalize(F), normalize(G)
    losses = []
    for X, Y in ((F, G), (G, F)):
        for i, x in enumerate(X):
            others = np.r_[np.delete(Y, i, 0), np.delete(X, i, 0)] @ x / 0.3
            own = Y[i] @ x / 0.3
            losses.append(np.log(np.exp(own) + np.exp(others).sum()) - own)
    assert found == pytest.approx(np.mean(losses))


def test_drawn_negatives_are_other_rows():
    F, G = map(torch.tensor, features(n=5))
    generator = torch.Generator().manual_seed(0)
    drawn = negative_squares(F, G, 4000, generator)
    squares = torch.cdist(F, G).square()
    for i in range(5):
        others = squares[i][torch.arange(5) != i]
        nearest = (drawn[i][:, None] - others).abs()
        assert nearest.min(1).values.max() < 1e-12
        counts = nearest.argmin(1).bincount(minlength=4)
        # Four standard deviations of a binomial distribution.
        assert (counts - 1000).abs().max() < 4 * (4000 * 0.25 * 0.75) ** 0.5
    every = negative_squares(F, G, None, generator)
    assert every.shape == (5, 4)
    for i in range(5):
        torch.testing.assert_close(every[i], squares[i][torch.arange(5) != i])


@pytest.mark.parametrize("n_negatives", [1, 3])
@pytest.mark.parametrize("name", LOSSES)
def test_the_mean_over_draws(name, n_negatives):
    """Each of M negatives adds as much to the document's loss."""
    F, G = features(n=6)
    loss = make_loss(name, n_negatives=n_negatives, lambda_=0.5)
    values = [value(loss, F, G, seed) for seed in range(400)]
    assert np.std(values) > 0
    if name == "l2":
        A, B = (value(make_loss("l2", lambda_=x), F, G) for x in (0.0, 1.0))
        expected = A + 0.5 * n_negatives * (B - A)
        error = np.std(values) / len(values) ** 0.5
        assert abs(np.mean(values) - expected) < 4 * error


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("params", [{}, {"beta": 0.5, "alpha": 1.5, "margin": 1.0}])
def test_gradients(name, params):
    F, G = map(torch.tensor, features(n=5, d=3))
    F.requires_grad_()
    G.requires_grad_()
    loss = make_loss(name, **params)
    assert torch.autograd.gradcheck(lambda F, G: loss(F, G, None), (F, G))


@pytest.mark.parametrize("name", LOSSES)
def test_equal_rows_have_a_finite_gradient(name):
    F = torch.ones(4, 3, requires_grad=True)
    make_loss(name, alpha=1.0, beta=0.5)(F, F * 1, None).backward()
    assert F.grad.isfinite().all()


def test_the_best_scale_of_features():
    """As the Notes derive it."""
    F, G = features(n=30)
    loss = make_loss("l2", lambda_=0.7)
    A = value(make_loss("l2", lambda_=0.0), F, G)
    B = A - value(make_loss("l2", lambda_=1.0), F, G)
    best = minimize_scalar(lambda s: value(loss, s * F, s * G), (0.1, 10.0))
    assert best.x == pytest.approx(0.7 * B / (2 * A), rel=1e-5)
    assert best.fun == pytest.approx(-((0.7 * B) ** 2) / (4 * A))


def test_views_are_drawn_among_those_present():
    n = 9000
    views = [torch.full((n, 2), float(v)) for v in range(3)]
    views[2][:3000] = torch.nan
    views[1][:1000] = torch.nan
    first, second = draw_pairs(views, torch.Generator().manual_seed(0))
    pairs = torch.stack([first[:, 0], second[:, 0]], 1)
    assert (pairs[:1000] == 0).all()
    assert (pairs[1000:3000].sort(1).values == torch.tensor([0.0, 1.0])).all()
    codes = (3 * pairs[3000:, 0] + pairs[3000:, 1]).long().bincount(minlength=9)
    assert (codes[[0, 4, 8]] == 0).all()
    assert (codes[[1, 2, 3, 5, 6, 7]] - 1000).abs().max() < 4 * (6000 * 5 / 36) ** 0.5
    same = draw_pairs(views[:1], None)
    assert same[0] is same[1]


def make_views(n=400, seed=0):
    """Return two views of hidden classes, with their own noise, and the classes."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 4, n)
    centers = np.random.default_rng(99).normal(size=(4, 12))
    shared = centers[y] + 0.4 * rng.normal(size=(n, 12))
    views = [
        np.hstack([shared + 0.4 * rng.normal(size=(n, 12)), 3 * noise])
        for noise in rng.normal(size=(2, n, 12))
    ]
    return np.hstack(views), y


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("loss", LOSSES)
def test_features_keep_what_views_share(loss, seed):
    X, y = make_views(seed=seed)
    encoder = ContrastiveEncoder(
        6,
        loss=loss,
        views=[24, 24],
        hidden_layer_sizes=(64,),
        max_epochs=40,
        batch_size=64,
        random_state=seed,
    )
    encoder.fit(X[:300])
    assert np.isfinite(encoder.loss_curve_).all()
    assert encoder.loss_curve_[-1] < encoder.loss_curve_[0]
    # The inputs have as many columns of noise, of three times the size.
    pca = make_pipeline(PCA(6), LogisticRegression())
    widest = pca.fit(X[:300, :24], y[:300]).score(X[300:, :24], y[300:])
    F, G = (encoder.transform_view(rows, 0) for rows in (X[:300, :24], X[300:, :24]))
    assert F.std(0).min() > 1e-3 * F.std()
    found = LogisticRegression().fit(F, y[:300]).score(G, y[300:])
    assert found > max(0.75, widest + 0.2)


def test_one_encoder_for_all_views():
    X, _ = make_views()
    encoder = ContrastiveEncoder(3, views=[24, 24], max_epochs=2, random_state=0)
    encoder.fit(X)
    first, second = (encoder.transform_view(X[:, :24], view) for view in (0, 1))
    np.testing.assert_array_equal(first, second)
    with pytest.raises(ValueError, match="must have equal widths.*'view1': 23"):
        clone(encoder).set_params(views=[25, 23]).fit(X)


def test_one_step_is_that_of_torch():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 5))
    Z = (X - X.mean(0)) / X.var(0, ddof=1).mean() ** 0.5
    encoder = ContrastiveEncoder(
        3,
        views=[5, 5],
        **PUBLISHED,
        encoder=lambda n, d: nn.Linear(n, d),
        max_epochs=1,
        lr=0.01,
        batch_size=40,
        random_state=0,
    )
    start = clone(encoder).set_params(lr=1e-30).fit(np.hstack([X, X]))
    layer = nn.Linear(5, 3)
    layer.load_state_dict(
        {name: torch.tensor(v) for name, v in start._state["weights"].items()}
    )
    F = layer(torch.tensor(Z, dtype=torch.float32))
    # The only step of a warm-up of one, which halves the rate.
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.005, weight_decay=1e-4)
    D = torch.cdist(F, F).flatten()[1:].view(39, 41)[:, :-1]
    (-D.mean()).backward()
    optimizer.step()
    fitted = encoder.fit(np.hstack([X, X]))._state["weights"]
    # The gradient of the bias, which moves all rows, is rounding only.
    np.testing.assert_allclose(fitted["weight"], layer.weight.detach(), atol=2e-6)


def convolution(n_features, n_components):
    return nn.Sequential(
        nn.Unflatten(1, (1, 6, 4)),
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.Flatten(),
        nn.Linear(32, n_components),
    )


def test_a_module_of_ones_own():
    X, _ = make_views(100)
    make = partial(
        ContrastiveEncoder, 3, views=[24, 24], encoder=convolution, max_epochs=2
    )
    torch.manual_seed(5)
    before = torch.get_rng_state()
    encoder = make(random_state=0).fit(X)
    features = encoder.transform(X)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    np.testing.assert_array_equal(make(random_state=0).fit(X).transform(X), features)
    assert not np.array_equal(make(random_state=1).fit(X).transform(X), features)
    arrays = encoder._state["weights"].values()
    assert all(isinstance(weight, np.ndarray) for weight in arrays)
    # Batch normalisation and dropout are those of inference.
    np.testing.assert_allclose(encoder.transform(X[:1]), features[:1], atol=1e-6)
    encoder.set_params(encoder=None)
    np.testing.assert_array_equal(encoder.transform(X), features)


def test_modules_that_do_not_fit_are_refused():
    X, _ = make_views(50)
    make = partial(ContrastiveEncoder, 3, views=[24, 24], max_epochs=1)
    with pytest.raises(TypeError, match="must return a torch.nn.Module, got int"):
        make(encoder=lambda n, d: 3).fit(X)
    with pytest.raises(ValueError, match=r"shape \(2, 4\); n_components=3 needs"):
        make(encoder=lambda n, d: nn.Linear(n, d + 1)).fit(X)


def test_rows_that_lack_a_view():
    X, _ = make_views(200)
    X[:60, 24:] = np.nan
    encoder = ContrastiveEncoder(
        3, views=[24, 24], output="mean", max_epochs=3, random_state=0
    )
    features = encoder.fit(X).transform(X)
    assert np.isfinite(features).all()
    alone = encoder.transform_view(X[:60, :24], 0)
    np.testing.assert_allclose(features[:60], alone, atol=1e-6)
    missing = encoder.transform(stack_views([X[:5, :24], None], encoder))
    np.testing.assert_allclose(missing, alone[:5], atol=1e-6)


def test_a_single_view_has_noise():
    X, y = make_views()
    X = X[:, :12]
    encoder = ContrastiveEncoder(6, max_epochs=20, random_state=0).fit(X[:300])
    F, G = encoder.transform(X[:300]), encoder.transform(X[300:])
    assert LogisticRegression().fit(F, y[:300]).score(G, y[300:]) > 0.75
    with pytest.raises(ValueError, match="single view needs input_noise"):
        clone(encoder).set_params(input_noise=0.0).fit(X)
    # Scaled to unit length, a single feature would be a sign.
    encoder.set_params(n_components=1, max_epochs=2)
    assert len(np.unique(encoder.fit(X).transform(X))) == len(X)


def test_losses_without_a_bound_say_so():
    X, _ = make_views(100)
    encoder = ContrastiveEncoder(
        3, views=[24, 24], beta=2.0, max_epochs=1, random_state=0, **PUBLISHED
    )
    with pytest.warns(UserWarning, match="unbounded below.*margin or normalize"):
        encoder.fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for bound in ({"margin": 1.0}, {"normalize": True}, {"alpha": 2.5}):
            clone(encoder).set_params(**bound).fit(X)
    sizes = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for n_epochs in (5, 60):
            encoder.set_params(alpha=1.0, max_epochs=n_epochs, lr=0.01).fit(X)
            sizes.append(encoder.transform(X).std())
    assert sizes[1] > 10 * sizes[0]


def test_early_stopping_returns_to_the_best_epoch():
    X, _ = make_views(60)
    encoder = ContrastiveEncoder(
        3,
        views=[24, 24],
        early_stopping=True,
        hidden_layer_sizes=(200,),
        lr=0.01,
        max_epochs=200,
        random_state=0,
    )
    encoder.fit(X)
    scores = encoder.validation_scores_
    assert len(scores) == encoder.n_iter_ < 200
    best = int(scores.argmax())
    assert best == encoder.n_iter_ - 11
    encoder.set_params(early_stopping=False, max_epochs=1).fit(X)
    assert not hasattr(encoder, "validation_scores_")
