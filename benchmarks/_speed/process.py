"""Measures processes of their own: memory and time by number of rows, and imports."""

import json
import os
import subprocess
import sys
import time
from functools import partial
from statistics import median

import numpy as np
import pandas as pd
from _data import make_features
from _runs import grid, median_text, run, table, timed

from sklearn_featalign import RBFAutoScaleAligner

BASE, OURS = "import torch, sklearn, skorch", "import sklearn_featalign"
# Modules whose import would keep users waiting.
UNWANTED = ("matplotlib", "rich", "pandas")


def python(*args):
    """Return the output of Python for a command line, with our import path."""
    command = [sys.executable, *map(str, args)]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    options = {"check": True, "capture_output": True, "text": True}
    return subprocess.run(command, env=env, **options).stdout


def time_imports(n_rounds):
    """Return the table of imports, and what they load beyond those of the base."""
    imports = {code: partial(python, "-c", code) for code in (BASE, OURS)}
    times = timed(imports, n_rounds)
    print_modules = "; import sys; print(*{m.split('.')[0] for m in sys.modules})"
    base, own = (set(python("-c", f"{c}{print_modules}").split()) for c in (BASE, OURS))
    found = sorted(set(UNWANTED) & (own - base)) or "none"
    return [
        {
            "import": code.removeprefix("import "),
            "s": f"{median(values):.2f}",
            "ratio": f"{median(values) / median(times[BASE]):.2f}",
            "asked": "<= 1.1" if code == OURS else "",
            f"of {', '.join(UNWANTED)}": found if code == OURS else "",
        }
        for code, values in times.items()
    ]


def run_rows(n_features, n_landmarks, rows, repetition):
    """Return the seconds and MiB of a fit and, in another process, of a transform."""
    sizes = rows, n_features, n_landmarks
    steps = (python("-m", __name__, step, *sizes) for step in ("fit", "transform"))
    fit, transform = map(json.loads, steps)
    return fit | transform


def time_rows(numbers, n_features, n_landmarks, n_rounds):
    """Return the table of memory and time by number of rows, and its slopes."""
    settings = grid(rows=numbers, repetition=range(n_rounds))
    runs = run(settings, partial(run_rows, n_features, n_landmarks), "rows")
    seconds = partial(median_text, digits=1)
    columns = {
        "fit s": seconds,
        "fit MiB": median_text,
        "transform s": seconds,
        "transform MiB": median_text,
    }
    slopes = {"rows": "slope of logs"}
    medians = pd.DataFrame(runs).groupby("rows").median()
    for step in ("fit s", "transform s"):
        slope = np.polyfit(np.log(medians.index), np.log(medians[step]), 1)[0]
        slopes[step] = f"{slope:.2f} (asked <= 1.1)"
    asked = {"rows": "asked", "fit MiB": "<= 256", "transform MiB": "<= 256"}
    return [*table(runs, ["rows"], columns), slopes, asked]


def peak_memory():
    """Return the largest memory that this process has had, in KiB."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main():
    """Print the seconds and MiB of a fit or transform beside its output, as JSON."""
    step, *sizes = sys.argv[1:]
    n_samples, n_features, n_landmarks = map(int, sizes)
    X = np.empty((n_samples, n_features), np.float32)
    for part in np.array_split(X, 1 + n_samples // 10000):
        part[:] = make_features(len(part), n_features)
    aligner = RBFAutoScaleAligner(0.05, n_landmarks=n_landmarks, random_state=0)
    # Code and workspaces of the libraries are loaded before anything is measured.
    aligner.fit(X[: 2 * n_landmarks]).transform(X[:1000])
    before = peak_memory()
    start = time.perf_counter()
    result = getattr(aligner, step)(X)
    elapsed = time.perf_counter() - start
    taken = peak_memory() - before
    # A fit has landmarks as its output.
    output = getattr(result, "nbytes", aligner.landmarks_.nbytes)
    mib = (taken - output / 1024) / 1024
    print(json.dumps({f"{step} s": elapsed, f"{step} MiB": mib}))


if __name__ == "__main__":
    main()
