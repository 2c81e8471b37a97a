"""Tables: printed, and written as JSON where asked for."""

import json
import platform
from pathlib import Path

import pandas as pd


def print_table(title, rows):
    """Print rows (dicts with the same keys) as a table under a title."""
    print(f"\n{title}\n{'-' * len(title)}")
    print(pd.DataFrame(rows).to_string(index=False), flush=True)


def write_json(path, **tables):
    """Write tables (lists of dicts) and the versions they were made with."""
    versions = {"python": platform.python_version()}
    for name in ("numpy", "sklearn", "torch", "sklearn_featalign"):
        versions[name] = __import__(name).__version__
    Path(path).write_text(json.dumps({"versions": versions, **tables}, indent=1))


def spread(values, scale=100, digits=2):
    """Return mean and standard deviation of repeated measurements, as text."""
    values = pd.Series(values, dtype=float) * scale
    if len(values) == 1:
        return f"{values.iloc[0]:.{digits}f}"
    return f"{values.mean():.{digits}f} ± {values.std():.{digits}f}"
