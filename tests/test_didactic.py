"""The document's cases reach the document's numbers, and hold on fresh dots."""

import numpy as np
import pytest
from _dots import make_dots
from didactic import CASES, paired_dots, run_case

from sklearn_featalign import RBFAutoScaleAligner

SEEDS = range(5)


def mean(measure, case, method, seeds=SEEDS):
    return np.mean([run_case(case, method, seed)[measure] for seed in seeds])


def test_gamma_of_the_document():
    dots, dots_2 = paired_dots("outliers", seed=0)
    aligner = RBFAutoScaleAligner(c=0.3, n_landmarks=None)
    assert round(aligner.fit(dots).gamma_, 3) == 0.186
    assert round(aligner.fit(dots_2).gamma_, 3) == 0.013


@pytest.mark.parametrize("n_landmarks", [None, 5])
@pytest.mark.parametrize("c", [0.05, 0.1, 0.3, 0.5])
@pytest.mark.parametrize("case", CASES)
def test_mean_affinity_is_c(case, c, n_landmarks):
    aligner = RBFAutoScaleAligner(c=c, n_landmarks=n_landmarks, random_state=0)
    for seed in SEEDS if "MLP" in case else [0]:
        for dots in paired_dots(case, seed):
            dots = dots.astype(np.float64)
            landmarks = dots[aligner.set_params(c=0.9).fit(dots).landmark_indices_]
            floor = (dots[:, None] == landmarks).all(2).mean()
            aligner.set_params(c=c)
            if floor < c:
                assert abs(aligner.fit_transform(dots).mean() - c) <= 1e-6 * c
            else:  # Twelve layers in float32 leave equal dots.
                with pytest.raises(ValueError, match=f"between {floor:.6g} and 1"):
                    aligner.fit(dots)


@pytest.mark.parametrize(
    ("case", "method"),
    [
        ("isotropic", "c=0.3"),
        ("isotropic", "c=0.3 ridge"),
        ("anisotropic [0.25, 4]", "c=0.3 whiten"),
        ("anisotropic [0.001, 1]", "c=0.3 whiten"),
    ],
)
def test_affine_maps_are_undone(case, method):
    assert mean("top1", case, method) >= 0.99


@pytest.mark.parametrize(("method", "least"), [("c=0.1", 0.80), ("c=0.1 ridge", 0.85)])
def test_outliers(method, least):
    assert mean("top1", "outliers", method) >= least


def test_outliers_defeat_the_untuned_bandwidth():
    assert mean("top1", "outliers", "gamma=1") < 0.1


@pytest.mark.parametrize("method", ["c=0.3 whiten", "c=0.3 ridge"])
def test_clusters_survive_twelve_layers_in_float32(method):
    assert mean("cluster", "12-layer MLP, raw", method, range(20)) >= 0.95


def test_dots_pair_their_clusters_after_twelve_layers():
    # The document's own picture: the dots are their own landmarks.
    clusters = make_dots()[1]
    aligner = RBFAutoScaleAligner(c=0.3, n_landmarks=None)
    paired = []
    for seed in range(20):
        F, G = map(aligner.fit_transform, paired_dots("12-layer MLP, raw", seed))
        nearest = ((F[:, None] - G) ** 2).sum(2).argmin(1)
        paired.append((clusters[nearest] == clusters).mean())
    assert np.mean(paired) >= 0.95
