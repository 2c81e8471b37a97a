"""Compares methods by retrieval: how often a row finds itself in another network.

    python benchmarks/retrieval.py
    python benchmarks/retrieval.py --pairs lite0-lite1 --n-paired 1000
    python benchmarks/retrieval.py --a A.npy --b B.npy

Each seed draws paired rows for fitting, validation rows and test rows, all disjoint.
Hyperparameters are chosen by mean reciprocal rank on the validation rows, and the test
rows are scored once. Rows are compared by cosine, or by dot product where an aligner
says so.

Each method is measured as it is and with two corrections for hubs. Its hyperparameters
are chosen for each of the three. NNN has a bias for each gallery row from the paired
queries, whose parameters are chosen together with the method's. CSLS uses all test
queries at once. The column for hubness of our aligners takes the place of NNN.
"""

from functools import partial

from _methods import CHOICES, RETRIEVAL_MEASURES, measure_retrieval
from _pairs import compare_pairs, make_pair_parser, split_rows
from _runs import chosen_values, grid, median_text, percent, table

N_TEST = {"wordnet": 1000}
# With more pairs, its eight eigenproblems of that size take more than ten minutes.
MOST_PAIRS = {"kernel CCA": 5000}
# Of fewer, split_rows cannot make 10 test rows.
LEAST_LEFT = 15


def why_not(pair, seed, method, **setting):
    """Return why a setting is left out, or None."""
    n_paired = setting["paired rows"]
    if not fits(pair, n_paired):
        return f"{n_paired} paired rows are left out: there are {len(pair.A)} rows."
    if n_paired > MOST_PAIRS.get(method, n_paired):
        return f"{method} is left out with {n_paired} paired rows: it takes too long."
    return None


def fits(pair, n_paired):
    """Return whether a pair has enough rows for a number of paired ones."""
    return n_paired + LEAST_LEFT <= len(pair.A)


def measure(pair, sizes, n_test, seed, method, **setting):
    """Return the measures of a method on a pair.

    The paired rows of a smaller size are the first ones of the largest that fits.
    """
    largest = max(n for n in sizes if fits(pair, n))
    rows = split_rows(len(pair.A), largest, seed, n_test=n_test)
    paired = pair.take(rows.paired[: setting["paired rows"]])
    validation, test = pair.take(rows.validation), pair.take(rows.test)
    found = measure_retrieval(method, paired, validation, test)
    return {"test rows": len(rows.test)} | found


def summarize(runs):
    """Return a row for each method: mean and spread over the seeds."""
    measures = dict.fromkeys(RETRIEVAL_MEASURES, partial(percent, digits=1))
    measures |= {"seconds": median_text} | dict.fromkeys(CHOICES, chosen_values)
    return table(runs, ["method"], measures)


def main():
    """Compare the methods and print a table for each pair and number of rows."""
    args = make_pair_parser(__doc__, n_paired=[300, 1000, 3000, 9000]).parse_args()
    values = {"paired rows": args.n_paired, "method": args.methods}
    settings = grid(seed=range(args.seeds), **values)
    compare_pairs(
        args,
        settings,
        partial(measure, sizes=args.n_paired, n_test=N_TEST.get(args.data, 2000)),
        summarize,
        "{test rows} test rows, {seeds} seeds, mean ± standard deviation",
        why_not,
    )


if __name__ == "__main__":
    main()
