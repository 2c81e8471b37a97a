"""Things timed in turn in one process, and tables of their ratios."""

import time
from statistics import median


def seconds(function):
    """Return the time that a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def timed(functions, n_rounds):
    """Return the times of functions, called in turn (A B A B).

    Parameters
    ----------
    functions : dict of str to callable
    n_rounds : int

    Returns
    -------
    times : dict of str to list of float
    """
    rounds = [
        {name: seconds(function) for name, function in functions.items()}
        for _ in range(n_rounds)
    ]
    return {name: [times[name] for times in rounds] for name in functions}


def compare(functions, n_rounds, base, asked=None, errors=None):
    """Return a table of times, and of their medians over that of one of them.

    Each function is called once beforehand.

    Parameters
    ----------
    functions : dict of str to callable
    n_rounds : int
    base : str
        The function that ratios are to.
    asked : dict of str to str, optional
        What ratios are to be.
    errors : dict of str to float, optional
        The largest error of what functions compute.

    Returns
    -------
    table : list of dict
    """
    timed(functions, 1)
    times = timed(functions, n_rounds)
    table = []
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
        table.append(row)
    return table
