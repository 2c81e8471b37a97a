"""What a process of its own takes: memory, time by number of rows, imports."""

import json
import os
import subprocess
import sys
from statistics import median

import numpy as np
from _timing import timed
from rich.progress import track

BASE = "import torch, sklearn, skorch"

# What users do not want to wait for.
UNWANTED = ("matplotlib", "rich", "pandas")


def python(*args):
    """Return what Python prints for a command line; it imports what we can import."""
    command = [sys.executable, *map(str, args)]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    options = {"check": True, "capture_output": True, "text": True}
    return subprocess.run(command, env=env, **options).stdout


def time_imports(n_rounds):
    """Return the table of imports, and what they load beyond those of the base."""
    ours = "import sklearn_featalign"
    times = timed(
        {code: lambda code=code: python("-c", code) for code in (BASE, ours)}, n_rounds
    )
    print_modules = "; import sys; print(*{m.split('.')[0] for m in sys.modules})"
    base, own = (set(python("-c", f"{c}{print_modules}").split()) for c in (BASE, ours))
    found = sorted(set(UNWANTED) & (own - base)) or "none"
    return [
        {
            "import": code.removeprefix("import "),
            "s": f"{median(values):.2f}",
            "ratio": f"{median(values) / median(times[BASE]):.2f}",
            "asked": "<= 1.1" if code == ours else "",
            f"of {', '.join(UNWANTED)}": found if code == ours else "",
        }
        for code, values in times.items()
    ]


def run_rows(*sizes):
    """Fit, and in another process transform; return the seconds and MiB of each."""
    results = (
        json.loads(python("-m", __name__, what, *sizes))
        for what in ("fit", "transform")
    )
    return {name: value for result in results for name, value in result.items()}


def time_rows(numbers, n_features, n_landmarks, n_rounds):
    """Return the table of rows, and of how time grows with them."""
    runs = {
        n: [run_rows(n, n_features, n_landmarks) for _ in range(n_rounds)]
        for n in track(numbers, "rows")
    }
    table = []
    for n, results in runs.items():
        row = {"rows": n}
        for measure in results[0]:
            value = median(result[measure] for result in results)
            row[measure] = f"{value:.1f}" if measure.endswith(" s") else f"{value:.0f}"
        table.append(row)
    slopes = {"rows": "slope of logs"}
    for measure in ("fit s", "transform s"):
        times = [median(r[measure] for r in results) for results in runs.values()]
        slope = np.polyfit(np.log(numbers), np.log(times), 1)[0]
        slopes[measure] = f"{slope:.2f} (asked <= 1.1)"
    asked = {"rows": "asked", "fit MiB": "<= 256", "transform MiB": "<= 256"}
    return [*table, slopes, asked]


def main():
    """Print what fit or transform of so many rows takes beside output, as JSON."""
    import resource
    import time

    from _speed.rbf import make_rows
    from sklearn_featalign import RBFAutoScaleAligner

    what, *sizes = sys.argv[1:]
    n_samples, n_features, n_landmarks = map(int, sizes)
    X = np.empty((n_samples, n_features), np.float32)
    for part in np.array_split(X, 1 + n_samples // 10000):
        part[:] = make_rows(len(part), n_features)
    aligner = RBFAutoScaleAligner(0.05, n_landmarks=n_landmarks, random_state=0)
    # Code and workspaces of the libraries are there before anything is measured.
    aligner.fit(X[: 2 * n_landmarks]).transform(X[:1000])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    result = getattr(aligner, what)(X)
    elapsed = time.perf_counter() - start
    taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    # The landmarks are what a fit is there for.
    output = getattr(result, "nbytes", aligner.landmarks_.nbytes)
    print(
        json.dumps(
            {f"{what} s": elapsed, f"{what} MiB": (taken - output / 1024) / 1024}
        )
    )


if __name__ == "__main__":
    main()
