"""Every estimator on small random problems: what must be so whatever the rows are.

A problem that fails is made again by its seed: ``_problems.make_problem(seed)``.
"""

import pickle
import re
import warnings

import numpy as np
import pytest
from _problems import CONTAINERS, make_problem
from sklearn.base import clone

from sklearn_featalign import (
    ContrastiveEncoder,
    HalfSharedMLPAligner,
    KernelGCCAAligner,
    PoissonDenoiser,
    PoissonUniformizer,
    RBFAutoScaleAligner,
    SelfTrainingAligner,
    split_views,
)

# What may be said of rows and settings, as they are drawn.
REFUSALS = (
    "X has no spread: all rows are equal",
    "must lie strictly between .* and 1: that share of the distances",
    "Centring needs two landmarks or more that differ",
    "early_stopping=True holds out .* of .* rows, which leaves too few",
)
WARNINGS = (
    "n_landmarks=.* is greater than the number of samples",
    "Rows flow in .* dimensions. They are known to become uniform in up to 8",
    "whiten='pca' of .* rows in .* dimensions leaves rows about equally far",
    "View .* has only .* different rows among",
    "Number of distinct clusters .* found smaller than n_clusters",
)


def fit(problem):
    """Return the fitted estimator, or None if it may refuse the rows."""
    X = CONTAINERS[problem.container](problem.X)
    try:
        return clone(problem.estimator).fit(X, problem.y)
    except ValueError as error:
        if any(re.search(pattern, str(error)) for pattern in REFUSALS):
            return None
        raise


def check_problem(seed):
    """Raise an error if something is wrong with a problem; return if it was solved."""
    problem = make_problem(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for message in WARNINGS:
            warnings.filterwarnings("ignore", message)
        fitted = fit(problem)
        if fitted is None:
            return False
        new = CONTAINERS[problem.container](problem.new)
        check_transform(fitted, problem, new)
        check_refit(fitted, problem, new)
        check_scale(fitted, problem)
        if isinstance(fitted, PoissonUniformizer | PoissonDenoiser):
            check_flow(fitted, problem, new)
        if isinstance(fitted, KernelGCCAAligner):
            check_sums(fitted, problem, new)
        if getattr(problem.estimator, "views", None) is not None:
            check_views(fitted, problem, new)
    return True


def values(features):
    """Return features of any container as an array."""
    return np.asarray(features)


def close(found, expected, single, scale=None):
    """Check that features are equal but for rounding, of columns as wide as others."""
    tolerance = 2e-4 if single else 1e-7
    scale = np.nanmax(abs(expected), initial=1e-300) if scale is None else scale
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)


def check_transform(fitted, problem, new):
    """Features have a name each, their precision, and do not depend on other rows."""
    T = values(fitted.transform(new))
    single = "float32" in problem.container
    assert T.shape == (len(problem.new), len(fitted.get_feature_names_out()))
    assert T.dtype == (np.float32 if single else np.float64)
    if not np.isnan(problem.new).any():
        assert np.isfinite(T).all()
    rows = problem.new[::-1][:2]
    apart = values(fitted.transform(CONTAINERS[problem.container](rows)))
    np.testing.assert_array_equal(np.isnan(apart), np.isnan(T[::-1][:2]))
    close(apart, T[::-1][:2], single, scale=np.nanmax(abs(T), initial=1e-300))


def check_refit(fitted, problem, new):
    """A second fit, and a saved one, give the same to the bit."""
    T = values(fitted.transform(new))
    for other in (fit(problem), pickle.loads(pickle.dumps(fitted))):
        np.testing.assert_array_equal(values(other.transform(new)), T)


def check_scale(fitted, problem):
    """Rows in another unit have the same features."""
    trained = ContrastiveEncoder | HalfSharedMLPAligner | SelfTrainingAligner
    if isinstance(fitted, trained):
        # Whose rounding errors grow from round to round.
        return
    if isinstance(fitted, PoissonDenoiser) or getattr(fitted, "output", 0) == "flow":
        # Which have the unit of the rows.
        return
    if getattr(fitted, "start_height", "auto") != "auto":
        return
    single = "float32" in problem.container
    if single and getattr(fitted, "landmarks", "random") != "random":
        # Large numbers of float32 are squared in float64: the choice may be another.
        return
    factor, make = 2.0**40, CONTAINERS[problem.container]
    scaled = fit(problem._replace(X=factor * problem.X))
    found = values(scaled.transform(make(factor * problem.new)))
    expected = values(fitted.transform(make(problem.new)))
    close(found, expected, single)


def check_sums(fitted, problem, new):
    """A fit from sums over the rows is the fit; translations have rows' widths."""
    make = CONTAINERS[problem.container]
    summed = clone(problem.estimator).partial_fit(make(problem.X))
    expected = values(fitted.transform(new))
    np.testing.assert_array_equal(values(summed.transform(new)), expected)
    columns = fitted.view_columns_
    if fitted.views is not None and len(columns) > 1 and fitted.fit_translations:
        source, target = list(columns)[:2]
        block = split_views(new, fitted)[0]
        translated = values(fitted.translate(block, source, target))
        assert translated.shape == (len(problem.new), len(columns[target]))
        present = ~np.isnan(problem.new[:, columns[source]]).any(1)
        np.testing.assert_array_equal(np.isfinite(translated).all(1), present)


def check_views(fitted, problem, new):
    """Features of a view alone are those of all views, where it is present."""
    settings = fitted.estimator_ if isinstance(fitted, SelfTrainingAligner) else fitted
    settings = settings.set_params(output="concat")
    T = values(fitted.transform(new))
    columns = fitted.view_columns_
    blocks = split_views(problem.new, fitted)
    single = "float32" in problem.container
    for i, (name, block) in enumerate(zip(columns, blocks, strict=True)):
        part = np.split(T, len(columns), axis=1)[i]
        np.testing.assert_array_equal(
            np.isnan(part), np.isnan(block[:, :1]) & np.ones_like(part, bool)
        )
        if not np.isnan(block).all():
            alone = split_views(new, fitted)[i]
            close(values(fitted.transform_view(alone, name)), part, single)
            compiled = fitted.compile_view(name, dtype=part.dtype.name)
            shown = block[~np.isnan(block).any(1)].astype(part.dtype)
            found = values(compiled(shown))
            close(found, part[~np.isnan(part).any(1)], single)
    if len(columns) > 1:
        X = CONTAINERS[problem.container](problem.X)
        assert 0 <= fitted.score(X) <= 1
    if isinstance(fitted, RBFAutoScaleAligner) and fitted.normalize is None:
        check_mean_affinity(fitted, problem, single)


def check_mean_affinity(fitted, problem, single):
    """The mean affinity of the training rows of each view is c."""
    T = values(fitted.transform(CONTAINERS[problem.container](problem.X)))
    for part in np.split(T, len(fitted.view_columns_), axis=1):
        assert (part[~np.isnan(part)] <= 1).all()
        mean = np.nanmean(part.astype(float))
        assert mean == pytest.approx(fitted.c, rel=2e-5 if single else 1e-6)


def check_flow(fitted, problem, new):
    """Rows end where they should, come back, and have a score."""
    T = values(fitted.transform(new)).astype(float)
    scores = values(fitted.score_samples(new))
    assert scores.shape == (len(T),)
    assert np.isfinite(scores).all()
    assert (scores <= 0).all()
    back = values(fitted.inverse_transform(fitted.transform(new)))
    assert back.shape == problem.new.shape
    assert np.isfinite(back).all()
    is_exact = getattr(fitted, "field", None) == "exact"
    if is_exact and fitted.n_steps == "auto" and fitted.solver == "rk4":
        X = CONTAINERS[problem.container](problem.X)
        home = values(fitted.inverse_transform(fitted.transform(X)))
        spread = problem.X.std(0) + 1e-6 * abs(problem.X).max()
        off = (abs(home - problem.X) / spread).max(1)
        assert np.quantile(off, 0.9) < 0.02, f"{np.quantile(off, 0.9)} {off.max()}"
    output = getattr(fitted, "output", None)
    if output == "cube":
        assert (T >= 0).all()
        assert (T <= 1).all()
    if output == "hemisphere":
        np.testing.assert_allclose(np.linalg.norm(T, axis=1), 1, atol=1e-5)
        assert (T[:, -1] >= 0).all()
    if output in ("cube", "normal") and T.shape[1] == 1 and is_exact:
        order = np.argsort(problem.new[:, 0], kind="stable")
        assert (np.diff(T[order, 0]) >= -1e-6 * (1 + abs(T).max())).all()


@pytest.mark.parametrize("first", range(0, 100, 25))
def test_random_problems(first):
    run_problems(range(first, first + 25))


@pytest.mark.fuzz
@pytest.mark.parametrize("first", range(100, 10_100, 100))
def test_many_random_problems(first):
    run_problems(range(first, first + 100))


def run_problems(seeds):
    """Check problems, and tell all that fail."""
    failures, n_solved = [], 0
    for seed in seeds:
        try:
            n_solved += check_problem(seed)
        except Exception as error:
            message = str(error).strip().partition("\n\n")[0]
            failures.append(f"{seed}: {type(error).__name__}: {message}")
    assert not failures, "\n".join(failures)
    assert n_solved > len(seeds) / 2
