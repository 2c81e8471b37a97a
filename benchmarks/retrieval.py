"""Compares methods by retrieval: how often a row finds itself in another network.

    python benchmarks/retrieval.py
    python benchmarks/retrieval.py --pairs lite0-lite1 --n-paired 1000
    python benchmarks/retrieval.py --a A.npy --b B.npy

Each seed draws paired rows for fitting, validation rows and test rows, all disjoint.
Hyperparameters are chosen by mean reciprocal rank on the validation rows, and the test
rows are scored once. Rows are compared by cosine, those with a column for hubness by
dot product. A column of its own has CSLS, which uses all test rows at once.
"""

from functools import partial

from _methods import RETRIEVAL_MEASURES, measure_retrieval
from _pairs import compare_pairs, make_pair_parser, split_rows
from _runs import chosen_values, grid, median_text, percent, table


def measure(pair, largest, seed, method, **setting):
    """Return the measures of a method on a pair.

    The paired rows of a smaller number are the first ones of a larger.
    """
    rows = split_rows(len(pair.A), largest, seed)
    paired = pair.take(rows.paired[: setting["paired rows"]])
    validation, test = pair.take(rows.validation), pair.take(rows.test)
    found = measure_retrieval(method, paired, validation, test)
    return {"test rows": len(rows.test)} | found


def summarize(runs):
    """Return a row for each method: mean and spread over the seeds."""
    measures = dict.fromkeys(RETRIEVAL_MEASURES, partial(percent, digits=1))
    measures |= {"chosen": chosen_values, "seconds": median_text}
    return table(runs, ["method"], measures)


def main():
    """Compare the methods and print a table for each pair and number of rows."""
    args = make_pair_parser(__doc__, n_paired=[100, 300, 1000, 3000]).parse_args()
    values = {"paired rows": args.n_paired, "method": args.methods}
    settings = grid(seed=range(args.seeds), **values)
    compare_pairs(
        args,
        settings,
        partial(measure, largest=max(args.n_paired)),
        summarize,
        "{test rows} test rows, {seeds} seeds, mean ± standard deviation",
    )


if __name__ == "__main__":
    main()
