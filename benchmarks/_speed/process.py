"""Measures processes of their own: memory and time by number of rows, and imports."""

import json
import os
import subprocess
import sys
from functools import partial
from statistics import median

import numpy as np
import pandas as pd
from _runs import grid, median_text, run, table, timed

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
    steps = (python("-m", "_speed.rows", step, *sizes) for step in ("fit", "transform"))
    fit, transform = map(json.loads, steps)
    return fit | transform


def time_rows(numbers, n_features, n_landmarks, n_rounds):
    """Return the table of memory and time by number of rows, and its slopes."""
    settings = grid(rows=numbers, repetition=range(n_rounds))
    runs = run(settings, partial(run_rows, n_features, n_landmarks), "rows")
    columns = {}
    for step in ("fit", "transform"):
        columns[f"{step} s"] = partial(median_text, digits=1)
        columns[f"{step} MiB"] = median_text
    slopes = {"rows": "slope of logs"}
    medians = pd.DataFrame(runs).groupby("rows").median()
    for step in ("fit s", "transform s"):
        slope = np.polyfit(np.log(medians.index), np.log(medians[step]), 1)[0]
        slopes[step] = f"{slope:.2f} (asked <= 1.1)"
    asked = {"rows": "asked", "fit MiB": "<= 256", "transform MiB": "<= 256"}
    return [*table(runs, ["rows"], columns), slopes, asked]
