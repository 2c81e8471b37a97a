"""The user stories of the design, word for word."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_featalign import RBFAutoScaleAligner, stack_views
from sklearn_featalign.metrics import make_view_scorer, retrieval_accuracy

# The stories take the default of 1000 landmarks; their folds here have fewer rows.
few_rows = pytest.mark.filterwarnings("ignore:n_landmarks=1000 is greater")


def two_models(n_samples, seed=0):
    """Return features of digits from two random networks of 768 and 1024 units."""
    X, y = load_digits(return_X_y=True)
    rows = np.random.default_rng(seed).permutation(len(X))[:n_samples]
    X = X[rows] / 16
    weights = np.random.default_rng(99)
    clip, dino = (
        np.maximum(X @ weights.normal(size=(64, width)) - 0.5, 0).astype(np.float32)
        for width in (768, 1024)
    )
    return clip, dino, y[rows]


@few_rows
def test_1_drop_in_preprocessing():
    X, y = load_digits(return_X_y=True)
    make_pipeline(StandardScaler(), RBFAutoScaleAligner(c=0.3, normalize="ridge"), LogisticRegression()).fit(X, y)  # fmt: skip  # noqa: E501
    pipeline = make_pipeline(
        StandardScaler(),
        RBFAutoScaleAligner(c=0.3, normalize="ridge"),
        LogisticRegression(),
    )
    raw = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    scores, scores_raw = (
        cross_val_score(p, X[:900], y[:900], cv=3) for p in (pipeline, raw)
    )
    assert scores.mean() > scores_raw.mean()


@few_rows
# Plain affinities are correlated; LogisticRegression wants more than 100 iterations.
@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")
def test_2_grid_search_over_c_and_gamma():
    X, y = load_digits(return_X_y=True)
    X, y = X[:300], y[:300]
    search = GridSearchCV(Pipeline([("align", RBFAutoScaleAligner()), ("clf", LogisticRegression())]),  # fmt: skip  # noqa: E501
             [{"align__c": [.05, .1, .3]}, {"align__gamma": [.01, .1, 1.]}]).fit(X, y)  # fmt: skip  # noqa: E501
    scores = search.cv_results_["mean_test_score"]
    assert len(scores) == 6 and np.isfinite(scores).all()
    # A float gamma overrides c: the last three candidates differ.
    assert len(set(scores[3:])) == 3
    assert search.best_score_ > 0.85


@few_rows
def test_3_two_models_no_labels():
    clip, dino, _ = two_models(400)
    clip, clip_new, dino, dino_new = clip[:300], clip[300:], dino[:300], dino[300:]
    search = GridSearchCV(RBFAutoScaleAligner(views=[768, 1024], normalize="ridge"), {"c": [.1, .3, .5]}).fit(np.hstack([clip, dino]))  # fmt: skip  # noqa: E501
    accuracy = retrieval_accuracy(search.best_estimator_.transform_view(clip_new, 0), search.best_estimator_.transform_view(dino_new, 1), k=5)  # fmt: skip  # noqa: E501
    assert accuracy > 0.95
    scores = search.cv_results_["mean_test_score"]
    assert search.best_score_ == scores.max() > 0.8


@few_rows
def test_4_zero_shot_stitching():
    clip, dino, labels = two_models(1200)
    pairs = np.hstack([clip, dino])[:400]
    A, y = clip[400:800], labels[400:800]
    B_test, y_test = dino[800:], labels[800:]
    aligner = RBFAutoScaleAligner(views=[768, 1024], output="coalesce", normalize="ridge").fit(pairs)  # fmt: skip  # noqa: E501
    clf = make_pipeline(FrozenEstimator(aligner), LogisticRegression()).fit(stack_views([A, None], aligner), y)  # fmt: skip  # noqa: E501
    accuracy = clf.score(stack_views([None, B_test], aligner), y_test)
    # A classifier that was trained on model B itself, where this one was not.
    own = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    own.fit(dino[400:800], y)
    assert accuracy > own.score(B_test, y_test) - 0.03


@few_rows
def test_4_within_a_search():
    """The classifier trains on A, and each scorer shows it one model alone."""
    clip, dino, y = two_models(400)
    pairs = np.hstack([clip, dino])
    pipeline = make_pipeline(
        RBFAutoScaleAligner(views=[768, 1024], output="coalesce", normalize="ridge"),
        LogisticRegression(),
    )
    search = GridSearchCV(
        pipeline,
        {"rbfautoscalealigner__c": [0.1, 0.3]},
        scoring={"A": make_view_scorer(0), "B": make_view_scorer(1)},
        refit="B",
        cv=3,
    ).fit(pairs, y)
    for name in ("A", "B"):
        assert (search.cv_results_[f"mean_test_{name}"] > 0.85).all()
    scores = cross_val_score(pipeline, pairs, y, scoring=make_view_scorer(1), cv=3)
    # All rows being landmarks, nothing is random.
    assert scores.mean() == search.cv_results_["mean_test_B"][1]
