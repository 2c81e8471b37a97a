"""Alignment from few pairs, or none, and unpaired rows."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from _pretend_cuda import pretend_cuda
from scipy.spatial.distance import cdist
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score

from sklearn_featalign import (
    HalfSharedMLPAligner,
    KernelGCCAAligner,
    RBFAutoScaleAligner,
    SelfTrainingAligner,
    _memory,
    stack_views,
)
from sklearn_featalign._matching._centres import assign
from sklearn_featalign._matching._groups import group_means, spherical_kmeans
from sklearn_featalign._matching._landmark_maps import (
    _FARTHEST,
    _LINEAR,
    _POWER,
    _RATE,
    _RIDGE,
    fit_landmark_maps,
    standardise,
)
from sklearn_featalign._matching._neighbors import (
    Matches,
    common_share,
    mutual_neighbors,
)
from sklearn_featalign._matching._rounds import (
    Pools,
    has_settled,
    matched_means,
    matches_a_group,
)
from sklearn_featalign._matching._self_training import append_rows, merge_rows
from sklearn_featalign._matching._trust import Evidence, gain_of, log_ranks, verdict

WIDTHS = [20, 24]
N_PAIRS, N_UNPAIRED, N_TEST = 10, 400, 150


def skewed(n_rows, width, seed):
    """Return rows whose directions can be told apart without pairs."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(12, width))
    spread = rng.normal(size=(n_rows, width)) * np.linspace(0.9, 0.3, width)
    return centres[rng.choice(12, n_rows, p=rng.dirichlet(np.full(12, 2)))] + spread


def seen(latent, widths=WIDTHS, noise=0.5):
    """Return what networks see of latent rows: bent, in other axes, and with noise."""
    rng = np.random.default_rng(3)
    blocks = []
    for width in widths:
        axes = np.linalg.qr(rng.normal(size=(width, width)))[0][: latent.shape[1]]
        Z = latent @ axes
        blocks.append(Z + 0.3 * np.tanh(2 * Z) + noise * rng.normal(size=Z.shape))
    return blocks


def problem(n_pairs=N_PAIRS, seed=0, unrelated=False, n_unpaired=N_UNPAIRED, noise=0.5):
    """Return training rows, test rows, and the partners of unpaired rows."""
    latent = skewed(n_pairs + n_unpaired + N_TEST, 20, seed)
    A, B = seen(latent, noise=noise)
    if unrelated:
        B = seen(skewed(len(latent), 20, seed + 100))[1]
    order = np.random.default_rng(seed).permutation(n_unpaired)
    known, pool, test = np.split(np.arange(len(A)), [n_pairs, n_pairs + n_unpaired])
    X = np.vstack(
        [
            np.hstack([A[known], B[known]]),
            stack_views([A[pool], None], WIDTHS),
            stack_views([None, B[pool][order]], WIDTHS),
        ]
    )
    # Row i of the first pool has its partner at this row of X.
    partners = n_pairs + n_unpaired + np.argsort(order)
    return X, np.hstack([A[test], B[test]]), partners


def aligner(n_landmarks=100, **params):
    inner = KernelGCCAAligner(
        views=WIDTHS, n_landmarks=n_landmarks, fit_translations=False, random_state=0
    )
    return SelfTrainingAligner(inner, **{"random_state": 0} | params)


@pytest.mark.parametrize("seed", range(3))
def test_ten_pairs_do_what_all_would(seed):
    X, test, partners = problem(seed=seed)
    fitted = aligner().fit(X)
    # Unpaired rows would measure hubness.
    alone = KernelGCCAAligner(views=WIDTHS, n_landmarks=None).fit(X[:N_PAIRS])
    assert fitted.trust_ == "worked"
    assert fitted.score(test) > 0.8 > 2 * alone.score(test)
    first, second = fitted.matches_.T
    assert len(np.unique(first)) == len(np.unique(second)) == len(first)
    right = partners[first - N_PAIRS] == second
    assert right.mean() > 0.8
    assert fitted.match_scores_[right].mean() > fitted.match_scores_[~right].mean()


def test_without_pairs():
    X, test, partners = problem(n_pairs=0, noise=0.2)
    fitted = aligner().fit(X)
    assert fitted.trust_ == "worked"
    assert fitted.score(test) > 0.8
    first, second = fitted.matches_.T
    assert (partners[first] == second).mean() > 0.8


def test_means_of_groups_choose_nothing():
    X, *_ = problem(n_pairs=0, unrelated=True)
    with pytest.warns(ConvergenceWarning, match="matches that are probably wrong"):
        fitted = aligner().set_params(estimator__power=4).fit(X)
    assert (fitted.estimator.linear, fitted.estimator.power) == ("auto", 4)
    assert (fitted.estimator_.linear, fitted.estimator_.power) == (0.7, 4)


def test_unrelated_views_come_back_as_the_pairs_alone():
    X, test, _ = problem(n_pairs=20, unrelated=True)
    with pytest.warns(ConvergenceWarning, match="no evidence .* 20 known pairs alone"):
        fitted = aligner(n_landmarks=20).fit(X)
    assert fitted.trust_ == "failed"
    alone = clone(fitted.estimator).fit(X)
    np.testing.assert_array_equal(fitted.transform(test), alone.transform(test))


def test_failure_without_pairs_is_told():
    X, _, _ = problem(n_pairs=0, unrelated=True)
    with pytest.warns(ConvergenceWarning, match="matches that are probably wrong"):
        fitted = aligner().fit(X)
    assert fitted.trust_ == "failed"
    assert fitted.evidence_["agreement"] < 0.04


@pytest.mark.parametrize(
    "inner",
    [
        RBFAutoScaleAligner(normalize="ridge", views=WIDTHS, n_landmarks=100),
        HalfSharedMLPAligner(views=WIDTHS, init="rcca", max_epochs=3),
    ],
    ids=lambda inner: type(inner).__name__,
)
def test_any_aligner(inner):
    X, test, _ = problem()
    alone = clone(inner).set_params(random_state=0)
    fitted = SelfTrainingAligner(alone, random_state=0).fit(X)
    if hasattr(alone, "n_landmarks"):
        alone.set_params(n_landmarks=N_PAIRS)
    assert fitted.score(test) > 2 * alone.fit(X).score(test)


def test_nothing_to_match_is_the_aligner_itself():
    _, test, _ = problem()
    fitted = aligner().fit(test)
    assert fitted.trust_ == "unused"
    assert fitted.n_rounds_ == len(fitted.matches_) == 0
    expected = clone(fitted.estimator).fit(test).transform(test)
    np.testing.assert_array_equal(fitted.transform(test), expected)


def test_three_views():
    latent = skewed(600, 20, 0)
    widths = [20, 24, 22]
    blocks = seen(latent, widths)
    test = np.hstack([block[500:] for block in blocks])
    X = [np.hstack([block[:10] for block in blocks])]
    for i, block in enumerate(blocks):
        parts = [None] * 3
        parts[i] = block[10:500][np.random.default_rng(i).permutation(490)]
        X.append(stack_views(parts, widths))
    inner = KernelGCCAAligner(views=widths, n_landmarks=100, random_state=0)
    fitted = SelfTrainingAligner(inner, random_state=0).fit(np.vstack(X))
    assert fitted.trust_ == "worked"
    assert fitted.score(test) > 0.6


def test_equal_fits_and_seeds():
    X, test, _ = problem()
    np.random.seed(0)
    first, second = (aligner().fit(X).transform(test) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    state = np.random.get_state()[1].copy(), torch.get_rng_state()
    aligner(max_rounds=2).fit(X[: N_PAIRS + 2 * N_UNPAIRED])
    np.testing.assert_array_equal(state[0], np.random.get_state()[1])
    assert torch.equal(state[1], torch.get_rng_state())


@pytest.mark.parametrize("offset, scale", [(1e4, 1.0), (0.0, 1e-6), (-30.0, 1e5)])
def test_offset_and_scale_of_a_view_do_not_matter(offset, scale):
    X, test, _ = problem()
    for rows in (X, test):
        rows[:, :20] = rows[:, :20] * scale + offset * scale
    assert aligner().fit(X).score(test) > 0.8


def test_one_row_far_away():
    X, test, _ = problem()
    X[50, :20] = 1e6
    fitted = aligner().fit(X)
    assert fitted.trust_ == "worked"


def test_frames_and_tensors():
    X, test, _ = problem()
    expected = aligner().fit(X)
    names = [f"c{i}" for i in range(sum(WIDTHS))]
    framed = aligner().fit(pd.DataFrame(X, columns=names))
    assert list(framed.feature_names_in_) == names
    found = framed.transform(pd.DataFrame(test, columns=names))
    np.testing.assert_array_equal(found, expected.transform(test))
    tensors = aligner().fit(torch.from_numpy(X))
    found = tensors.transform(torch.from_numpy(test))
    assert isinstance(found, torch.Tensor)
    np.testing.assert_array_equal(found.numpy(), expected.transform(test))
    single = aligner().fit(X.astype(np.float32))
    assert single.transform(test.astype(np.float32)).dtype == np.float32


def test_a_sample_is_matched_first_and_all_rows_at_last():
    X, test, _ = problem()
    fitted = aligner(max_samples=250).fit(X)
    assert fitted.trust_ == "worked"
    assert len(fitted.matches_) > 250
    assert fitted.score(test) > 0.8


def test_the_methods_are_those_of_the_aligner():
    X, test, _ = problem()
    fitted = aligner().set_params(estimator__fit_translations=True).fit(X)
    inner = fitted.estimator_
    part = test[:, :20]
    for found, expected in (
        (fitted.transform_view(part, 0), inner.transform_view(part, 0)),
        (fitted.translate(part, 0, 1), inner.translate(part, 0, 1)),
        (fitted.compile_view(0)(part), inner.compile_view(0)(part)),
        (fitted.get_feature_names_out(), inner.get_feature_names_out()),
    ):
        np.testing.assert_array_equal(found, expected)
    no_pairs = SelfTrainingAligner(RBFAutoScaleAligner())
    assert not hasattr(no_pairs, "score")
    assert not hasattr(no_pairs, "translate")
    assert hasattr(SelfTrainingAligner(inner), "score")


def test_landmark_maps_against_float64():
    blocks = [standardise(torch.from_numpy(X)) for X in seen(skewed(40, 20, 0))]
    maps = fit_landmark_maps(blocks)
    n = 40
    centre = np.eye(n) - 1 / n
    kernels, cross, new = [], [], []
    for X in blocks:
        X = X.double().numpy()
        rows = np.random.default_rng(0).normal(size=(5, X.shape[1]))
        new.append(rows)
        K = 0
        k = 0
        for share, own, other in (
            (_LINEAR, X @ X.T, rows @ X.T),
            (
                1 - _LINEAR,
                np.exp(-_RATE * cdist(X, X) ** 2),
                np.exp(-_RATE * cdist(rows, X) ** 2),
            ),
        ):
            centred = centre @ own @ centre
            unit = share / (np.trace(centred) / n)
            K = K + unit * centred
            k = k + unit * (other - own.mean(0)) @ centre
        kernels.append(K)
        cross.append(k)
    inverses = [np.linalg.inv(K + _RIDGE * np.eye(n)) for K in kernels]
    hat = sum(K @ M for K, M in zip(kernels, inverses, strict=True)) / 2
    values, G = np.linalg.eigh(hat)
    values, G = values[1:], G[:, 1:]
    weights = (values.clip(0) / values[-1]) ** _POWER
    features = [k @ M @ (G * weights) for k, M in zip(cross, inverses, strict=True)]
    features = [F / np.linalg.norm(F, axis=1, keepdims=True) for F in features]
    found = [
        fitted(torch.from_numpy(rows).float()).double().numpy()
        for fitted, rows in zip(maps, new, strict=True)
    ]
    # Eigenvectors have no sign, which dot products do not see.
    for u in (0, 1):
        for v in (0, 1):
            np.testing.assert_allclose(
                found[u] @ found[v].T, features[u] @ features[v].T, atol=2e-4
            )


def test_standardised_rows():
    X = np.random.default_rng(0).normal(size=(500, 300)) * 7 + 100
    X[3] = 1e9
    Z = standardise(torch.from_numpy(X))
    lengths = Z.norm(dim=1)
    assert abs(float(lengths.median()) - 1) < 0.3
    assert float(lengths.max()) <= _FARTHEST * 1.001
    equal = standardise(torch.ones(30, 4, dtype=torch.float64))
    assert torch.equal(equal, torch.zeros(30, 4))


@pytest.mark.parametrize("block_numbers, kept_bytes", [(2**22, 2**27), (500, 0)])
def test_mutual_neighbors_against_numpy(block_numbers, kept_bytes, monkeypatch):
    monkeypatch.setattr(_memory, "BLOCK_NUMBERS", block_numbers)
    monkeypatch.setattr(_memory, "KEPT_BYTES", kept_bytes)
    rng = np.random.default_rng(0)
    F, G = rng.normal(size=(90, 5)), rng.normal(size=(70, 5))
    F, G = (X / np.linalg.norm(X, axis=1, keepdims=True) for X in (F, G))
    S = F @ G.T
    r = np.sort(S, 1)[:, -10:].mean(1)
    s = np.sort(S, 0)[-10:].mean(0)
    C = S - r[:, None] / 2 - s / 2
    expected = {
        (i, int(C[i].argmax()))
        for i in range(len(F))
        if C[:, C[i].argmax()].argmax() == i
    }
    found = mutual_neighbors(torch.from_numpy(F), torch.from_numpy(G))
    pairs = list(zip(found.first.tolist(), found.second.tolist(), strict=True))
    assert set(pairs) == expected
    np.testing.assert_allclose(found.scores, [C[pair] for pair in pairs])


def test_common_share():
    first = Matches(torch.tensor([0, 1, 2]), torch.tensor([5, 6, 7]), None)
    second = Matches(torch.tensor([0, 1, 3, 4]), torch.tensor([5, 7, 6, 1]), None)
    # Fewer matches count as a hundred.
    assert common_share(first, second, 8) == pytest.approx(1 / 100)
    many = Matches(torch.arange(150), torch.arange(150), None)
    half = Matches(torch.arange(150), torch.arange(150) + torch.arange(150) % 2, None)
    assert common_share(many, half, 151) == pytest.approx(0.5)
    empty = Matches(*torch.zeros(2, 0, dtype=torch.int64), None)
    assert common_share(first, empty, 8) == 0


def test_groups():
    rng = np.random.default_rng(0)
    centres = np.eye(8)[:4]
    truth = rng.integers(4, size=300)
    Z = torch.from_numpy(centres[truth] + 0.05 * rng.normal(size=(300, 8)))
    generator = torch.Generator().manual_seed(1)
    scores = [
        adjusted_rand_score(truth, spherical_kmeans(Z, 4, generator)) for _ in range(8)
    ]
    # From random rows two centres may begin in one cluster.
    assert max(scores) == 1
    means, counts = group_means(Z, torch.from_numpy(truth), 5)
    for k in range(4):
        np.testing.assert_allclose(means[k], Z.numpy()[truth == k].mean(0))
    assert counts.tolist() == [*np.bincount(truth), 0]


def test_means_of_matches_have_all_views():
    blocks = [torch.arange(8.0)[:, None] + 10 * v for v in range(3)]
    index = torch.tensor
    matches = {
        (0, 1): Matches(index([0, 1, 2]), index([3, 4, 5]), None),
        (0, 2): Matches(index([0]), index([7]), None),
        (1, 2): Matches(index([6]), index([1]), None),
    }
    labels = {(0, 1): index([0, 0, 1]), (0, 2): index([0]), (1, 2): index([2])}
    means = matched_means(blocks, matches, labels, 3)
    # Only the first group has rows of all three.
    assert [mean.tolist() for mean in means] == [[[1 / 3]], [[13.5]], [[27.0]]]


@pytest.mark.parametrize("n_known", [0, 3])
def test_assignment_finds_a_permutation(n_known):
    rng = np.random.default_rng(0)
    Z = skewed(25, 4, 0)
    A = np.corrcoef(Z - Z.mean(0))
    np.fill_diagonal(A, 0)
    order = np.r_[:n_known, n_known + rng.permutation(25 - n_known)]
    found, value = assign(A, A[np.ix_(order, order)], n_known, rng)
    np.testing.assert_array_equal(order[n_known + found], np.arange(n_known, 25))
    assert value == pytest.approx(1)


def test_log_ranks_against_numpy():
    blocks = [standardise(torch.from_numpy(X)) for X in seen(skewed(80, 20, 0))]
    known, free = torch.arange(20), torch.arange(20, 80)
    pools = Pools(blocks, [known, known], {(0, 1): (free, free)})
    where = torch.arange(12, 20)
    maps = fit_landmark_maps([X[:12] for X in blocks])
    F, G = (m(X).numpy() for m, X in zip(maps, blocks, strict=True))
    expected = []
    for P, Q in ((F, G), (G, F)):
        hub = np.sort(Q[20:] @ P[20:].T, 1)[:, -10:].mean(1) / 2
        for i in range(12, 20):
            own_hub = np.sort(P[20:] @ Q[i])[-10:].mean() / 2
            S = Q[20:] @ P[i] - hub
            expected.append(1 + (P[i] @ Q[i] - own_hub < S).sum())
    found = log_ranks(pools, maps, where)
    logarithms = np.log(expected).reshape(2, 8).mean(0)
    np.testing.assert_allclose(found, logarithms, atol=1e-5)


def test_gain():
    before = torch.tensor([2.0, 3.0, 4.0])
    gain, t = gain_of(before, before - torch.tensor([1.0, 2.0, 3.0]))
    assert gain == pytest.approx(6 / 9)
    assert t == pytest.approx(2 / (1 / 3**0.5))
    assert gain_of(torch.zeros(4), torch.zeros(4)) == (0.0, 0.0)


@pytest.mark.parametrize(
    "evidence, expected",
    [
        (Evidence(0.7), "worked"),
        (Evidence(0.5, 0.2), "worked"),
        (Evidence(0.5, 0.05), "unclear"),
        (Evidence(0.5, 0.01), "failed"),
        (Evidence(0.5, 0.01, 0.5, 4.0), "worked"),
        (Evidence(0.5, 0.2, 0.01, 1.0), "failed"),
        (Evidence(0.5, 0.0, 0.1, 2.5), "unclear"),
    ],
)
def test_verdicts(evidence, expected):
    assert verdict(evidence) == expected


def test_rounds_end_when_the_share_no_longer_rises():
    def history(*shares):
        return [{"share": share} for share in shares]

    assert has_settled(history(0.4, 0.8, 0.8, 0.8, 0.8), True)
    assert not has_settled(history(0.4, 0.8, 0.8, 0.8, 0.8), False)
    assert not has_settled(history(0.4, 0.6, 0.7, 0.8, 0.9), True)
    assert not has_settled(history(*[0.4] * 10), True)
    assert has_settled(history(*[0.4] * 20), True)
    assert not has_settled(history(*np.linspace(0.3, 0.5, 20)), True)


def test_groups_shrink_as_rows_are_matched():
    sizes = [matches_a_group(share, 5) for share in (0.3, 0.5, 0.75, 0.9, 1.0)]
    assert sizes == pytest.approx([5, 5, 2.5, 1, 1])


def test_rows_that_are_joined():
    nan = np.nan
    X = np.array([[1, 2, nan], [nan, nan, 3], [4, 5, 6], [7, 8, nan]])
    joined = merge_rows(X, np.array([3]), np.array([1]), np.array([2]))
    expected = [[7, 8, 3], [1, 2, nan], [4, 5, 6]]
    np.testing.assert_array_equal(joined, expected)
    blocks = [torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0]])]
    columns = {"a": np.array([0, 2]), "b": np.array([1])}
    more = append_rows(X, blocks, columns)
    np.testing.assert_array_equal(more, np.vstack([X, [1, 3, 2]]))


def test_few_unpaired_rows_are_left_as_they_are():
    X, test, _ = problem(n_pairs=30, n_unpaired=45)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert aligner(n_landmarks=30).fit(X).trust_ == "unused"


def test_more_known_pairs_than_groups():
    X, test, _ = problem(n_pairs=60)
    fitted = aligner(n_groups=40, max_rounds=8).fit(X)
    assert fitted.history_["n_pairs"][1:].max() <= 80
    alone = clone(fitted.estimator).set_params(n_landmarks=60).fit(X)
    assert fitted.score(test) > alone.score(test) - 0.05


@pytest.mark.parametrize("n_second", [120, 300])
@pytest.mark.parametrize("n_pairs", [0, 20])
def test_unrelated_pools_of_unequal_size_are_not_trusted(n_pairs, n_second):
    X, _, _ = problem(n_pairs=n_pairs, unrelated=True)
    first, second = np.split(X[n_pairs:], 2)
    X = np.vstack([X[:n_pairs], first[:60], second[:n_second]])
    with pytest.warns(ConvergenceWarning, match="no evidence"):
        assert aligner(n_landmarks=20).fit(X).trust_ == "failed"


def test_one_match_at_most():
    X, _, _ = problem(n_pairs=5)
    X[5 : 5 + N_UNPAIRED, :20] = 1.0
    with pytest.warns(ConvergenceWarning):
        assert aligner(n_landmarks=5).fit(X).trust_ != "worked"


@pytest.mark.parametrize("scale", [1e25, 1e-25])
def test_range_of_float32(scale):
    X, test, _ = problem()
    expected = aligner().fit(X)
    X[:, :20] *= scale
    assert aligner().fit(X.astype(np.float32)).trust_ == expected.trust_ == "worked"


def test_views_that_are_always_together():
    latent = skewed(400, 20, 0)
    widths = [20, 24, 22]
    A, B, C = seen(latent, widths)
    X = [np.hstack([A, B, C])[:10], stack_views([A, B, None], widths)[10:]]
    X.append(stack_views([None, None, C], widths)[10:][::-1])
    inner = KernelGCCAAligner(views=widths, n_landmarks=50, random_state=0)
    fitted = SelfTrainingAligner(inner, random_state=0).fit(np.vstack(X))
    assert fitted.trust_ == "worked"


def test_on_pretended_cuda():
    X, test, _ = problem()
    expected = aligner().fit(X).transform(test)
    with pretend_cuda() as ledger:
        fitted = aligner().set_params(estimator__device="cuda").fit(X)
        found = fitted.transform(test)
        assert ledger.device_ops
    np.testing.assert_allclose(found, expected, atol=1e-6)
