"""Zero-shot stitching: a classifier trained on one network, used on another.

    python benchmarks/stitching.py
    python benchmarks/stitching.py --pairs lite0-lite1 --n-paired 1000
    python benchmarks/stitching.py --a A.npy --b B.npy --labels y.npy

The aligner sees paired rows without labels. A LogisticRegression is trained on aligned
rows of the first network and scored on aligned test rows of the second, which it has
never seen, and of the first. All rows are disjoint. A method's hyperparameters are
chosen by retrieval on validation rows, which needs no labels; C by the accuracy on
validation rows of the first network.
"""

import numpy as np
import pandas as pd
from _methods import METRICS, chain, choose
from _pairs import load_pairs, make_parser, split_rows
from _report import print_table, spread, write_json
from rich.progress import Progress
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, normalize

C_GRID = (0.001, 0.01, 0.1)
RAW = "raw first network"


def train(F, y, F_validation, y_validation):
    """Return the classifier whose C is the best on validation rows."""
    models = [
        make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=1000)).fit(
            F, y
        )
        for C in C_GRID
    ]
    scores = [model.score(F_validation, y_validation) for model in models]
    return models[int(np.argmax(scores))]


def run_method(pair, rows, maps):
    """Train on aligned rows of the first network, score both on the test rows."""
    map_a, map_b = maps
    A_test, B_test = pair.take(rows.test)
    classifier = train(
        map_a(pair.A[rows.labelled]),
        pair.y[rows.labelled],
        map_a(pair.A[rows.validation]),
        pair.y[rows.validation],
    )
    y = pair.y[rows.test]
    return {
        "first %": classifier.score(map_a(A_test), y),
        "second, zero-shot %": classifier.score(map_b(B_test), y) if map_b else np.nan,
        "C": classifier[-1].C,
    }


def compare(pair, n_paired, n_labelled, seeds, methods, progress):
    """Run the methods on a pair of views.

    Returns
    -------
    runs : list of dict
        One for each seed and method, the raw features of both networks among them.
    """
    runs = []
    task = progress.add_task(pair.name, total=len(seeds) * (len(methods) + 2))
    swapped = pair._replace(A=pair.B, B=pair.A)
    for seed in seeds:
        rows = split_rows(len(pair.A), n_paired, seed, n_labelled, n_test=5000)
        setting = {
            "pair": pair.name,
            "paired rows": n_paired,
            "labelled rows": n_labelled,
            "test rows": len(rows.test),
            "seed": seed,
        }
        for name, views in ((RAW, pair), ("raw second network", swapped)):
            progress.update(task, description=f"{pair.name}, seed {seed}: {name}")
            result = run_method(views, rows, (np.asarray, None))
            runs.append({**setting, "method": name, **result, "chosen": {}})
            progress.advance(task)
        for name in methods:
            progress.update(task, description=f"{pair.name}, seed {seed}: {name}")
            params, *maps = choose(
                name, pair.take(rows.paired), pair.take(rows.validation)
            )
            if METRICS[name] == "cosine":
                # Rows of unit length, as they are compared in retrieval.
                maps = [chain(function, normalize) for function in maps]
            result = run_method(pair, rows, maps)
            runs.append({**setting, "method": name, **result, "chosen": params})
            progress.advance(task)
    return runs


def summarize(runs):
    """Return a row for each method: mean and spread over the seeds."""
    frame = pd.DataFrame(runs)
    raw = frame[frame["method"] == RAW].set_index("seed")["first %"]
    table = []
    for name, group in frame.groupby("method", sort=False):
        loss = raw - group.set_index("seed")["first %"]
        table.append(
            {
                "method": name,
                "trained and used on the first %": spread(group["first %"]),
                "in-model loss": spread(loss),
                "used on the second %": spread(group["second, zero-shot %"])
                if group["second, zero-shot %"].notna().all()
                else "",
            }
        )
    # What the second network reaches with a classifier of its own has no loss.
    for row in table[:2]:
        row["in-model loss"] = ""
    return table


def main():
    """Compare the methods and print a table for each pair and number of rows."""
    parser = make_parser(__doc__, n_paired=[1000])
    parser.add_argument("--n-labelled", type=int, default=4000)
    args = parser.parse_args()
    runs, tables = [], {}
    with Progress() as progress:
        for pair in load_pairs(args):
            if pair.y is None:
                raise SystemExit("Stitching needs --labels.")
            for n_paired in args.n_paired:
                seeds = range(args.seeds)
                found = compare(
                    pair, n_paired, args.n_labelled, seeds, args.methods, progress
                )
                title = (
                    f"{pair.name}: {n_paired} paired, {args.n_labelled} labelled, "
                    f"{found[0]['test rows']} test rows, {args.seeds} seeds"
                )
                runs += found
                tables[title] = summarize(found)
                print_table(title, tables[title])
                if args.json:
                    write_json(args.json, runs=runs, tables=tables)


if __name__ == "__main__":
    main()
