"""Retrieval across networks: how often a row finds itself among those of another.

    python benchmarks/retrieval.py
    python benchmarks/retrieval.py --pairs lite0-lite1 --n-paired 1000
    python benchmarks/retrieval.py --a A.npy --b B.npy

Each seed draws paired rows for fitting, validation rows and test rows, all disjoint.
What a method leaves open is chosen by mean reciprocal rank on the validation rows; the
test rows are scored once. Rows are compared by cosine, those with a column for hubness
by dot product; CSLS, which looks at all test rows at once, stands beside it.
"""

import time

import pandas as pd
from _methods import METRICS, choose
from _pairs import load_pairs, make_parser, split_rows
from _report import print_table, spread, write_json
from rich.progress import Progress

from sklearn_featalign.metrics import retrieval_accuracy, retrieval_ranks

MEASURES = ("top-1 %", "top-10 %", "MRR %", "top-1 % with CSLS")


def run_method(name, paired, validation, test):
    """Fit and choose a method, score the test rows once.

    Returns
    -------
    result : dict
        Each of `MEASURES`, the ``chosen`` hyperparameters and the ``seconds`` that
        fitting and choosing took.
    """
    start = time.perf_counter()
    params, map_a, map_b = choose(name, paired, validation)
    seconds = time.perf_counter() - start
    F, G = map_a(test[0]), map_b(test[1])
    metric = METRICS[name]
    ranks = retrieval_ranks(F, G, metric=metric)
    scores = (
        float((ranks <= 1).mean()),
        float((ranks <= 10).mean()),
        float((1 / ranks).mean()),
        retrieval_accuracy(F, G, metric=metric, csls=10),
    )
    measured = dict(zip(MEASURES, scores, strict=True))
    return {**measured, "chosen": params, "seconds": seconds}


def compare(pair, sizes, seeds, methods, progress):
    """Run the methods on a pair of views.

    The paired rows of a smaller size are the first ones of a larger.

    Returns
    -------
    runs : list of dict
        One for each number of paired rows, seed and method.
    """
    runs = []
    task = progress.add_task(pair.name, total=len(sizes) * len(seeds) * len(methods))
    for seed in seeds:
        rows = split_rows(len(pair.A), max(sizes), seed)
        validation, test = pair.take(rows.validation), pair.take(rows.test)
        for n_paired in sizes:
            paired = pair.take(rows.paired[:n_paired])
            for name in methods:
                text = f"{pair.name}, {n_paired} pairs, seed {seed}: {name}"
                progress.update(task, description=text)
                result = run_method(name, paired, validation, test)
                setting = {
                    "pair": pair.name,
                    "paired rows": n_paired,
                    "test rows": len(test[0]),
                    "seed": seed,
                    "method": name,
                }
                runs.append(setting | result)
                progress.advance(task)
    return runs


def summarize(runs):
    """Return a row for each method: mean and spread over the seeds."""
    frame = pd.DataFrame(runs)
    table = []
    for name, group in frame.groupby("method", sort=False):
        row = {"method": name}
        row |= {measure: spread(group[measure], digits=1) for measure in MEASURES}
        row["chosen"] = settings(group["chosen"])
        row["seconds"] = f"{group['seconds'].median():.0f}"
        table.append(row)
    return table


def settings(chosen):
    """Return the values that each hyperparameter was given, as text."""
    names = chosen.iloc[0]
    values = {name: sorted({params[name] for params in chosen}) for name in names}
    return ", ".join(f"{k} {'/'.join(map(str, v))}" for k, v in values.items())


def main():
    """Compare the methods and print a table for each pair and number of rows."""
    args = make_parser(__doc__, n_paired=[100, 300, 1000, 3000]).parse_args()
    runs, tables = [], {}
    with Progress() as progress:
        for pair in load_pairs(args):
            found = compare(
                pair, args.n_paired, range(args.seeds), args.methods, progress
            )
            runs += found
            for n_paired in args.n_paired:
                group = [run for run in found if run["paired rows"] == n_paired]
                title = (
                    f"{pair.name}: {n_paired} paired, {group[0]['test rows']} test "
                    f"rows, {args.seeds} seeds, mean ± standard deviation"
                )
                tables[title] = summarize(group)
                print_table(title, tables[title])
            if args.json:
                write_json(args.json, runs=runs, tables=tables)


if __name__ == "__main__":
    main()
