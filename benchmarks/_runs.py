"""Loops over settings and seeds, tables of their runs, JSON files, and times."""

import argparse
import json
import platform
import time
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median

import pandas as pd
from rich.progress import Progress


def make_parser(doc, seeds):
    """Return a parser, described by the first line of doc, with --seeds and --json."""
    parser = argparse.ArgumentParser(description=doc.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=seeds)
    parser.add_argument("--json", metavar="FILE")
    return parser


def grid(**values):
    """Return a setting (dict) for each combination of values, the last key fastest."""
    combinations = product(*values.values())
    return [dict(zip(values, chosen, strict=True)) for chosen in combinations]


def run(settings, measure, title):
    """Return runs, which join settings and their measures, with a progress bar.

    Parameters
    ----------
    settings : list of dict
        For instance from `grid`. The seed is a key like any other.
    measure : callable
        Takes a setting as keyword arguments and returns its measures (dict), or a list
        of dicts if the setting has several runs.
    title : str
    """
    runs = []
    with Progress() as progress:
        task = progress.add_task(title, total=len(settings))
        for setting in settings:
            text = ", ".join(f"{key} {value}" for key, value in setting.items())
            progress.update(task, description=f"{title}: {text}")
            found = measure(**setting)
            found = [found] if isinstance(found, dict) else found
            runs += [setting | measures for measures in found]
            progress.advance(task)
        progress.update(task, description=title)
    return runs


def table(runs, by, measures):
    """Return a table with one row (dict) for each group of runs.

    Parameters
    ----------
    runs : list of dict or DataFrame
    by : list of str
        Keys whose values a group shares. They are the first columns.
    measures : dict of str to callable
        The other columns: keys of the runs, each with a function, such as `spread`,
        that makes text of the values in a group. It sees no missing values, and a key
        that no run has is left out.
    """
    frame = pd.DataFrame(runs)
    if frame.empty:
        return []
    # As objects, integers stay those of Python, which JSON knows.
    frame[by] = frame[by].astype(object)
    known = {key: text for key, text in measures.items() if key in frame}
    rows = []
    for names, group in frame.groupby(by, sort=False):
        texts = {key: text(group[key].dropna()) for key, text in known.items()}
        rows.append(dict(zip(by, names, strict=True)) | texts)
    return rows


def spread(values, scale=1, digits=2):
    """Return the mean ± standard deviation of values, or "" if there are none."""
    values = pd.Series(values, dtype=float) * scale
    if values.empty:
        return ""
    text = f"{values.mean():.{digits}f}"
    return text if len(values) == 1 else f"{text} ± {values.std():.{digits}f}"


percent = partial(spread, scale=100)


def median_text(values, digits=0):
    """Return the median of values as text."""
    return f"{values.median():.{digits}f}"


def chosen_values(chosen):
    """Return the values that each hyperparameter has in dicts, as text."""
    if chosen.empty:
        return ""
    values = {
        name: sorted({params[name] for params in chosen}) for name in chosen.iloc[0]
    }
    return ", ".join(f"{k} {'/'.join(map(str, v))}" for k, v in values.items())


def of_method(frame, key, method):
    """Return for each run (row) the value of a method with the run's seed."""
    reference = frame[frame["method"] == method].set_index("seed")[key]
    return frame["seed"].map(reference)


def print_table(title, rows):
    """Print rows (dicts with the same keys, or a frame) as a table under a title."""
    print(f"\n{title}\n{'-' * len(title)}")
    print(pd.DataFrame(rows).to_string(index=False), flush=True)


def write_json(path, **tables):
    """Write tables (lists of dicts) and versions of packages, unless path is None."""
    if path is None:
        return
    versions = {"python": platform.python_version()}
    for name in ("numpy", "sklearn", "torch", "sklearn_featalign"):
        versions[name] = __import__(name).__version__
    Path(path).write_text(json.dumps({"versions": versions, **tables}, indent=1))


def seconds(function):
    """Return the time that a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def timed(functions, n_rounds):
    """Return lists of times of functions (dict), which are called in turn (A B A B)."""
    rounds = [
        {name: seconds(function) for name, function in functions.items()}
        for _ in range(n_rounds)
    ]
    return {name: [times[name] for times in rounds] for name in functions}


def compare_times(functions, n_rounds, base, asked=None, errors=None):
    """Return a table of times and of their medians relative to one function's.

    Parameters
    ----------
    functions : dict of str to callable
        Each is called once before times are taken.
    n_rounds : int
    base : str
        The function whose median is the unit of the ratios.
    asked : dict of str to str, optional
        The ratios that are required.
    errors : dict of str to float, optional
        The largest error of each function's result.
    """
    timed(functions, 1)
    times = timed(functions, n_rounds)
    rows = []
    for name, values in times.items():
        row = {
            "": name,
            "s": f"{median(values):.3f}",
            "least": f"{min(values):.3f}",
            "most": f"{max(values):.3f}",
            "ratio": f"{median(values) / median(times[base]):.2f}",
        }
        if asked:
            row["asked"] = asked.get(name, "")
        if errors:
            row["largest error"] = f"{errors[name]:.0e}" if name in errors else ""
        rows.append(row)
    return rows
