"""Checks of the arguments of metrics, and their transfer to the device."""

from numbers import Integral

import torch
from sklearn.utils import check_consistent_length, column_or_1d

from sklearn_featalign._torch import (
    check_rows,
    resolve_device,
    to_device,
    to_labels,
)


def load(X, name, min_samples=1):
    """Return checked rows in float64 on the device that computes."""
    X = check_rows(None, X, min_samples=min_samples, input_name=name)
    return to_device(X, resolve_device("auto", X)).to(torch.float64)


def load_pairs(X, Y, same_width=False):
    """Return checked paired rows in float64 on the device that computes."""
    X, Y = load(X, "X"), load(Y, "Y")
    check_consistent_length(X, Y)
    if same_width:
        check_width(X, Y)
    return X, Y.to(X.device)


def check_labels(labels, X):
    """Return labels or groups of the rows of X as an array of one dimension."""
    labels = column_or_1d(to_labels(labels))
    check_consistent_length(X, labels)
    return labels


def check_width(X, Y, name_x="X", name_y="Y"):
    """Raise an error if rows that are to be compared differ in width."""
    if X.shape[1] != Y.shape[1]:
        raise ValueError(
            f"{name_x} has {X.shape[1]} features and {name_y} has {Y.shape[1]}: they "
            "need to be aligned in one space first."
        )


def check_option(name, value, options):
    """Raise an error if a value is not one of the options."""
    if value not in options:
        raise ValueError(
            f"{name} must be one of {', '.join(map(repr, options))}, got {value!r}."
        )


def check_count(name, value, largest=None):
    """Raise an error if a value is not an integer from 1 to the largest, if any."""
    is_count = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_count or value < 1 or (largest is not None and value > largest):
        bounds = "of at least 1" if largest is None else f"from 1 to {largest}"
        raise ValueError(f"{name} must be an integer {bounds}, got {value!r}.")
