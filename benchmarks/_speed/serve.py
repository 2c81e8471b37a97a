"""Times single rows, and the move of an index, beside their bare products."""

from functools import partial

import numpy as np
import torch
from _generated import make_features
from _runs import compare_times

from sklearn_featalign import KernelGCCAAligner

# Calls that are timed together: one alone is too short.
CALLS = 50


def fit_aligner(n_pairs, width, n_landmarks):
    """Return features of two views, and an aligner fitted to them."""
    X = make_features(n_pairs, 2 * width)
    X += np.random.default_rng(1).normal(size=X.shape).astype(X.dtype)
    params = {"views": [width] * 2, "n_landmarks": n_landmarks, "random_state": 0}
    return X, KernelGCCAAligner(linear=0.7, power=8, **params).fit(X)


def bare_projection(compiled):
    """Return the function of the products of a map to a row's landmarks and beyond."""
    parts = compiled.function.keywords
    landmarks, projection = parts["landmarks"], parts["projection"]
    hub_columns = parts.get("hub_columns")

    def products(rows):
        A = rows @ landmarks.T
        F = torch.addmm(projection.intercept, rows, projection.linear)
        F.addmm_(A, projection.rbf)
        if hub_columns is not None:
            reference = hub_columns.reference
            S = F @ reference.axes @ reference.rows.T
            S.topk(reference.n_neighbors)

    return products


def repeated(function, row):
    """Call a function of a row some times."""
    for _ in range(CALLS):
        function(row)


def time_single_rows(n_pairs, width, n_landmarks, n_rounds):
    """Return a table for single rows by the aligner and by its compiled maps."""
    X, aligner = fit_aligner(n_pairs, width, n_landmarks)
    row = X[:1, :width].copy()
    maps = {
        "transform_view": (partial(aligner.transform_view, view=0), (0,)),
        "translate": (partial(aligner.translate, source=0, target=1), (0, 1)),
    }
    title = "One row of {} columns, {} landmarks: {} calls of {}"
    tables = {}
    for name, (method, views) in maps.items():
        is_view = len(views) == 1
        compile_map = aligner.compile_view if is_view else aligner.compile_translation
        compiled = compile_map(*views)
        products = bare_projection(compiled)
        functions = {
            "its products": partial(repeated, products, torch.from_numpy(row)),
            "compiled": partial(repeated, compiled, row),
            name: partial(repeated, method, row),
        }
        asked = {"compiled": "<= 3"}
        tables[title.format(width, n_landmarks, CALLS, name)] = compare_times(
            functions, n_rounds, "its products", asked
        )
    return tables


def time_moving(n_rows, n_pairs, width, n_landmarks, n_rounds):
    """Return a table for many rows that are translated."""
    X, aligner = fit_aligner(n_pairs, width, n_landmarks)
    rows = np.ascontiguousarray(X[np.arange(n_rows) % n_pairs, :width])
    compiled = aligner.compile_translation(0, 1)
    landmarks = compiled.function.keywords["landmarks"]
    products = bare_projection(compiled)
    batches = torch.from_numpy(rows).split(compiled.batch_size)
    bias = torch.zeros(len(landmarks))

    def one_product():
        for batch in batches:
            torch.addmm(bias, batch, landmarks.T)

    def all_products():
        for batch in batches:
            products(batch)

    functions = {
        "torch.addmm with the landmarks": one_product,
        "its three products": all_products,
        "translate": partial(aligner.translate, rows, 0, 1),
    }
    title = f"{n_rows} rows of {width} columns to as many, {n_landmarks} landmarks"
    return {
        title: compare_times(
            functions, n_rounds, "torch.addmm with the landmarks", {"translate": "<= 2"}
        )
    }
