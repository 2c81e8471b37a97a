"""Compares ways to search an old index with a new embedding model.

    python benchmarks/migration.py
    python benchmarks/migration.py --pairs e5-minilm --n-paired 1000
    python benchmarks/migration.py --a old.npy --b new.npy --labels y.npy

The index holds rows of the old model (the first of a pair), and the truth is what the
new model's own queries find among its own rows. A bridge is fitted to paired rows,
which are neither in the index nor queries, and nothing is tuned by the measured rows.
All rows have unit length, as an index for cosines stores them. Searches are exact, by
faiss.

The first table has, for each way, the share of the ten true nearest rows that are among
the first ten (recall@10) and the first hundred, which is what a cascade reaches that
has the new model order them; their mean rank; the share of rows of the query's class
among the first ten; the time of moving a row; and the size of what is stored.

In the second table half of the index is already embedded anew, and the two halves are
searched as one list: by similarities as they are; with those of the moved half
calibrated on a tenth of the paired rows, which the bridge has then not seen, by
isotonic regression or by quantiles; or by taking rows of the halves in turn.
"""

from functools import cache, partial

import numpy as np
from _bridges import FORWARD, WAYS, fit_aligner, fit_bridges, fit_map
from _pairs import compare_pairs, make_pair_parser
from _runs import grid, percent, seconds, spread, table
from sklearn.isotonic import IsotonicRegression
from sklearn.preprocessing import normalize

K, CASCADE = 10, 100
N_QUERIES, N_INDEX = 480, 2500
HALVES = ("translate", "centred Procrustes", "ridge")
N_QUANTILES = 1001
TIMED_ROWS, N_TIMES = 500, 5


def flat_index(rows):
    """Return faiss's exact index of rows by dot product."""
    import faiss

    index = faiss.IndexFlatIP(rows.shape[1])
    index.add(np.ascontiguousarray(rows, np.float32))
    return index


def search(index, queries, n):
    """Return the similarities of the n nearest rows, and their positions."""
    return index.search(np.ascontiguousarray(queries, np.float32), n)


def split(pair, n_paired, largest, seed):
    """Return pairs, and rows of the index and of queries: (old, new) each.

    The paired rows of a smaller number are the first ones of the largest.
    """
    order = np.random.default_rng(1000 + seed).permutation(len(pair.A))
    sizes = np.cumsum([largest, N_QUERIES, N_INDEX])
    paired, queries, index = np.split(order, sizes)[:3]
    if len(index) < CASCADE:
        raise SystemExit(f"{len(order)} rows are too few: see --n-paired.")
    rows = paired[:n_paired], index, queries
    y = None if pair.y is None else (pair.y[index], pair.y[queries])
    return [tuple(map(normalize, pair.take(part))) for part in rows], y


def measure(pair, largest, ways, n_landmarks, seed, **setting):
    """Return the measures of each way."""
    parts, y = split(pair, setting["paired rows"], largest, seed)
    paired, index, queries = parts
    _, true = search(flat_index(index[1]), queries[1], K)
    bridges = fit_bridges(*paired, ways, n_landmarks)
    return [
        {"way": way} | use(bridge, index, queries, true, y) for way, bridge in bridges
    ]


def use(bridge, index, queries, true, y):
    """Return the measures of a `Bridge`.

    Index and queries are (old, new) each, and `true` are the nearest rows to be found.
    """
    rows = index[0] if bridge.from_old else index[1]
    asked = queries[1] if bridge.asks_new else queries[0]
    moved = (bridge.index, rows) if bridge.index else (bridge.queries, asked)
    rows = bridge.index(rows) if bridge.index else rows
    asked = bridge.queries(asked) if bridge.queries else asked
    if bridge.metric == "cosine":
        rows, asked = normalize(rows), normalize(asked)
    _, found = search(flat_index(rows), asked, len(rows))
    measures = ranks_of(true, found)
    if y is not None:
        measures[f"same class @{K} %"] = same_class(found, *y)
    return measures | {
        "µs a row": microseconds(*moved) if moved[0] else np.nan,
        "MB": bridge.megabytes if moved[0] else np.nan,
    }


def ranks_of(true, found):
    """Return recalls, and the mean rank, of true nearest rows in complete searches."""
    places = np.argsort(found, axis=1)
    ranks = 1 + np.take_along_axis(places, true, axis=1)
    return {
        f"recall@{K} %": float((ranks <= K).mean()),
        f"among {CASCADE} %": float((ranks <= CASCADE).mean()),
        "mean rank": float(ranks.mean()),
    }


def same_class(found, y, y_queries):
    """Return the share of the first rows that have the class of their query."""
    return float((y[found[:, :K]] == y_queries[:, None]).mean())


def microseconds(function, X):
    """Return the median time of a row, of some hundred rows at a time."""
    X = X[:TIMED_ROWS]
    times = [seconds(partial(function, X)) for _ in range(N_TIMES + 1)]
    return 1e6 * float(np.median(times[1:])) / len(X)


def measure_half(pair, largest, n_landmarks, seed, **setting):
    """Return the measures of an index of which half of the rows are embedded anew."""
    parts, _ = split(pair, setting["paired rows"], largest, seed)
    paired, (old, new), (_, queries) = parts
    n_fit = len(paired[0]) * 9 // 10
    fitted = [X[:n_fit] for X in paired]
    calibrating = [X[n_fit:] for X in paired]
    aligner = cache(partial(fit_aligner, *fitted, n_landmarks))
    half = len(new) // 2
    _, true = search(flat_index(new), queries, K)
    own, own_rows = search(flat_index(new[:half]), queries, K)
    runs = []
    for name in HALVES:
        move = fit_map(name, *fitted, aligner)
        moved_index = flat_index(normalize(move(old[half:])))
        moved, moved_rows = search(moved_index, queries, K)
        rows = np.hstack([own_rows, moved_rows + half])
        measures = {}
        for label, merge in merges(*calibrating, move).items():
            order = np.argsort(-merge(own, moved), axis=1, kind="stable")[:, :K]
            found = np.take_along_axis(rows, order, axis=1)
            hits = (found[:, :, None] == true[:, None]).any(1)
            measures[f"{label} %"] = float(hits.mean())
            measures[f"{label}, moved %"] = float((found >= half).mean())
        runs.append({"way": FORWARD[name]} | measures)
    return runs


def merges(old, new, move):
    """Return the functions that give two lists of similarities one order.

    They are made from paired rows that the map has not seen. The first list is of true
    similarities, and the second of those of moved rows.
    """
    moved, true = normalize(move(old)) @ new.T, new @ new.T
    others = ~np.eye(len(old), dtype=bool)
    moved, true = moved[others], true[others]
    model = IsotonicRegression(out_of_bounds="clip").fit(moved, true)
    levels = np.linspace(0, 1, N_QUANTILES)
    quantiles = np.quantile(moved, levels), np.quantile(true, levels)
    calibrations = {
        "as they are": np.asarray,
        # It is flat in places, where the similarities themselves tell rows apart.
        "isotonic": lambda S: model.predict(S.ravel()).reshape(S.shape) + 1e-6 * S,
        "quantiles": lambda S: np.interp(S, *quantiles) + 1e-6 * S,
    }
    found = {name: partial(joined, calibrate=f) for name, f in calibrations.items()}
    return found | {"in turn": in_turn}


def joined(own, moved, calibrate):
    """Return similarities of both lists, of which the second is calibrated."""
    return np.hstack([own, calibrate(moved)])


def in_turn(own, moved):
    """Return scores that order the rows of two sorted lists in turn."""
    places = np.hstack([np.arange(own.shape[1]), np.arange(moved.shape[1]) + 0.5])
    return np.broadcast_to(-places, (len(own), len(places)))


def summarize(runs, measures):
    """Return a row for each way: mean and spread over the seeds."""
    texts = {
        key: partial(percent if key.endswith("%") else spread, digits=1)
        for key in measures
    }
    return table(runs, ["way"], texts)


FIRST = (
    f"recall@{K} %",
    f"among {CASCADE} %",
    "mean rank",
    f"same class @{K} %",
    "µs a row",
    "MB",
)
MERGED = ("as they are", "isotonic", "quantiles", "in turn")
HALF = [f"{name}{part} %" for part in ("", ", moved") for name in MERGED]


def main():
    """Compare the ways and print two tables for each pair and number of rows."""
    parser = make_pair_parser(__doc__, n_paired=[500, 1000, 3000], methods=WAYS)
    parser.add_argument("--n-landmarks", type=int, default=1000)
    parser.set_defaults(data="wordnet")
    args = parser.parse_args()
    settings = grid(seed=range(args.seeds), **{"paired rows": args.n_paired})
    shared = {"largest": max(args.n_paired), "n_landmarks": args.n_landmarks}
    first = partial(measure, ways=args.methods, **shared)
    half = partial(measure_half, **shared)
    title = "{seeds} seeds, mean ± standard deviation"
    compare_pairs(args, settings, first, partial(summarize, measures=FIRST), title)
    title = f"half of the index moved, recall@{K}, {title}"
    compare_pairs(args, settings, half, partial(summarize, measures=HALF), title)


if __name__ == "__main__":
    main()
