"""Compares methods by zero-shot stitching: a classifier used on another network.

    python benchmarks/stitching.py
    python benchmarks/stitching.py --pairs lite0-lite1 --n-paired 1000
    python benchmarks/stitching.py --a A.npy --b B.npy --labels y.npy

The aligner sees paired rows without labels. A LogisticRegression is trained on aligned
rows of the first network and scored on aligned test rows of the first and of the
second, which it has never seen. With "translate" it is trained on the first network's
own features, and the second's are translated into these. All rows are disjoint. The
hyperparameters of a method are chosen by retrieval on validation rows, which needs no
labels; C is chosen by the accuracy on validation rows of the first network.
"""

import numpy as np
import pandas as pd
from _methods import METHODS, METRICS, OWN_SPACE, chain, choose
from _pairs import compare_pairs, make_pair_parser, split_rows
from _runs import grid, of_method, percent, table
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, normalize

C_GRID = (0.001, 0.01, 0.1)
RAW = "raw first network", "raw second network"


def train(F, y, F_validation, y_validation):
    """Return the classifier whose C is the best on validation rows."""
    classifiers = [LogisticRegression(C=C, max_iter=1000) for C in C_GRID]
    models = [make_pipeline(StandardScaler(), c).fit(F, y) for c in classifiers]
    scores = [model.score(F_validation, y_validation) for model in models]
    return models[int(np.argmax(scores))]


def run_method(pair, rows, maps):
    """Train on aligned rows of the first network, and score both on the test rows."""
    map_a, map_b = maps
    A_test, B_test = pair.take(rows.test)
    labelled, validation = (
        (map_a(pair.A[part]), pair.y[part]) for part in (rows.labelled, rows.validation)
    )
    classifier = train(*labelled, *validation)
    y = pair.y[rows.test]
    return {
        "first %": classifier.score(map_a(A_test), y),
        "second, zero-shot %": classifier.score(map_b(B_test), y) if map_b else np.nan,
        "C": classifier[-1].C,
    }


def measure(pair, seed, method, **setting):
    """Return the accuracies of a method, or of the features without alignment."""
    n_paired, n_labelled = setting["paired rows"], setting["labelled rows"]
    rows = split_rows(len(pair.A), n_paired, seed, n_labelled, n_test=5000)
    params, maps = {}, (np.asarray, None)
    if method == RAW[1]:
        pair = pair._replace(A=pair.B, B=pair.A)
    elif method not in RAW:
        params, *maps = choose(method, *map(pair.take, rows[:2]))
        if METRICS[method] == "cosine":
            # Classifiers see rows of unit length, as cosines do in retrieval.
            maps = [chain(function, normalize) for function in maps]
    found = run_method(pair, rows, maps)
    return {"test rows": len(rows.test)} | found | {"chosen": params}


def summarize(runs):
    """Return a row for each method: mean and spread over the seeds."""
    own, other = "trained and used on the first %", "used on the second %"
    names = {"first %": own, "second, zero-shot %": other}
    frame = pd.DataFrame(runs).rename(columns=names)
    loss = of_method(frame, own, RAW[0]) - frame[own]
    # A classifier of the raw features loses nothing.
    frame["in-model loss"] = loss.mask(frame["method"].isin(RAW))
    columns = dict.fromkeys((own, "in-model loss", other), percent)
    return table(frame, ["method"], columns)


def main():
    """Compare the methods and print a table for each pair and number of rows."""
    parser = make_pair_parser(__doc__, n_paired=[1000], methods=[*METHODS, *OWN_SPACE])
    parser.add_argument("--n-labelled", type=int, default=4000)
    args = parser.parse_args()
    if args.a and args.b and not args.labels:
        raise SystemExit("Stitching needs --labels.")
    sizes = {"paired rows": args.n_paired, "labelled rows": [args.n_labelled]}
    settings = grid(**sizes, seed=range(args.seeds), method=[*RAW, *args.methods])
    title = "{labelled rows} labelled, {test rows} test rows, {seeds} seeds"
    compare_pairs(args, settings, measure, summarize, title)


if __name__ == "__main__":
    main()
