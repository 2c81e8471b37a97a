"""Times single rows, and the move of an index, beside their bare products."""

from functools import partial

import numpy as np
import torch
from _generated import make_noisy_features
from _runs import compare_times

from sklearn_featalign import KernelGCCAAligner

# Calls that are timed together: one alone is too short.
CALLS = 50


def time_serving(n_rows, n_pairs, width, n_landmarks, n_rounds):
    """Return the tables of single rows, and of many that are translated."""
    X = make_noisy_features(n_pairs, 2 * width)
    params = {"views": [width] * 2, "n_landmarks": n_landmarks, "random_state": 0}
    aligner = KernelGCCAAligner(linear=0.7, power=8, **params).fit(X)
    rows = np.ascontiguousarray(X[np.arange(n_rows) % n_pairs, :width])
    single = time_single_rows(aligner, rows[:1], n_rounds)
    return single | time_moving(aligner, rows, n_rounds)


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


def time_single_rows(aligner, row, n_rounds):
    """Return a table for single rows by the aligner and by its compiled maps."""
    maps = {
        "transform_view": (aligner.compile_view(0), {"view": 0}),
        "translate": (aligner.compile_translation(0, 1), {"source": 0, "target": 1}),
    }
    size = f"{row.shape[1]} columns, {aligner.n_landmarks_} landmarks"
    tables = {}
    for name, (compiled, views) in maps.items():
        products = bare_projection(compiled)
        method = partial(getattr(aligner, name), **views)
        functions = {
            "its products": partial(repeated, products, torch.from_numpy(row)),
            "compiled": partial(repeated, compiled, row),
            name: partial(repeated, method, row),
        }
        tables[f"One row of {size}: {CALLS} calls of {name}"] = compare_times(
            functions, n_rounds, "its products", {"compiled": "<= 3"}
        )
    return tables


def time_moving(aligner, rows, n_rounds):
    """Return a table for many rows that are translated."""
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
    n_rows, width = rows.shape
    title = f"{n_rows} rows of {width} columns to as many, {len(landmarks)} landmarks"
    return {
        title: compare_times(
            functions, n_rounds, "torch.addmm with the landmarks", {"translate": "<= 2"}
        )
    }
