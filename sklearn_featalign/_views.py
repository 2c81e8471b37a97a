"""Views: blocks of columns of one X, absent from the rows where they are all NaN."""

from numbers import Integral

import numpy as np
import torch
from sklearn.utils import check_consistent_length
from sklearn.utils._indexing import _get_column_indices
from sklearn.utils.validation import _get_feature_names

from sklearn_featalign import _memory
from sklearn_featalign._torch import check_kind, is_single

# Values of the parameter `output`, which cannot be names of views.
OUTPUTS = ("concat", "coalesce", "mean")


def resolve_views(views, X):
    """Return the columns of each view in X; see `RBFAutoScaleAligner` for `views`."""
    n_features = X.shape[1]
    if views is None:
        return {"view0": np.arange(n_features)}
    named = _named(views)
    if all(is_width(width) for width in named.values()):
        if sum(named.values()) != n_features:
            raise ValueError(
                f"views={views} take {sum(named.values())} columns, but X has "
                f"{n_features}. X holds all views side by side; "
                "sklearn_featalign.stack_views([A, None], widths) puts NaN where a "
                "view is absent."
            )
        return columns_of_widths(named)
    columns = {}
    for name, selector in named.items():
        if is_width(selector):
            raise ValueError(
                f"views={views} mixes a width with selections of columns; one column "
                "alone is a list: [3]."
            )
        columns[name] = _select(X, name, selector)
    _check_disjoint(columns)
    return columns


def _select(X, name, selector):
    """Return the columns of X that a selector of scikit-learn's takes for a view."""
    if callable(selector):
        selector = selector(X)
    if isinstance(selector, torch.Tensor):
        selector = selector.numpy(force=True)
    if isinstance(selector, range):
        selector = list(selector)
    if getattr(selector, "ndim", 1) == 0:
        raise ValueError(
            f"View {name!r}: {selector!r} is neither a width, which is an integer, nor "
            "a selection of columns, which is a list."
        )
    try:
        return np.asarray(_get_column_indices(X, selector), dtype=np.int64)
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"View {name!r}: {error}") from error


def columns_of_widths(widths):
    """Return the columns of adjacent views from a dict of their widths."""
    columns, start = {}, 0
    for name, width in widths.items():
        if width < 1:
            raise ValueError(f"View {name!r} needs at least one column, got {width}.")
        columns[name] = np.arange(start, start + int(width))
        start += int(width)
    return columns


def is_adjacent(columns):
    """Return whether the columns of views are what widths alone would give."""
    widths = {name: len(indices) for name, indices in columns.items()}
    return all(
        np.array_equal(indices, columns[name])
        for name, indices in columns_of_widths(widths).items()
    )


def is_width(selector):
    """Return whether a value is an integer other than True and False."""
    return isinstance(selector, Integral) and not isinstance(selector, bool)


def _named(views):
    """Return the selectors of views by name."""
    if not len(views):
        raise ValueError("views needs at least one view; views=None is one of all X.")
    if not isinstance(views, dict):
        return {f"view{index}": selector for index, selector in enumerate(views)}
    for name in views:
        if not isinstance(name, str) or name in OUTPUTS:
            raise ValueError(
                f"views has the name {name!r}; names are strings other than "
                f"{', '.join(map(repr, OUTPUTS))}."
            )
    return views


def _check_disjoint(columns):
    owner = {}
    for name, indices in columns.items():
        if not len(indices):
            raise ValueError(f"View {name!r} has no columns.")
        for index in indices.tolist():
            if index in owner:
                raise ValueError(
                    f"Column {index} is taken twice: by view {owner[index]!r} and by "
                    f"view {name!r}."
                )
            owner[index] = name


def block(X, columns):
    """Return columns of an array or tensor, without a copy if they are adjacent."""
    first, last = int(columns[0]), int(columns[-1])
    if np.array_equal(columns, np.arange(first, last + 1)):
        return X[:, first : last + 1]
    return X[:, columns]


def has_columns(X):
    """Return whether rows are an array, a tensor or a DataFrame of two dimensions."""
    return hasattr(X, "shape") and len(X.shape) == 2


def hide_unselected(X, columns):
    """Return rows with NaN in columns that no view selects, which may hold anything."""
    selected = np.sort(np.concatenate(list(columns.values())))
    n_features = X.shape[1]
    if len(selected) == n_features:
        return X
    part = _check_block(_columns(X, selected))
    return _fill({"selected": part}, {"selected": selected}, n_features)


def view_masks(X, columns):
    """Return for each view a mask of the rows that have it, as a dict.

    A ValueError is raised if a view is NaN in some, but not all, of its columns.
    """
    masks = {}
    for name, indices in columns.items():
        n_missing = _count_nan(block(X, indices))
        in_part = np.flatnonzero((n_missing > 0) & (n_missing < len(indices)))
        if len(in_part):
            row = in_part[0]
            raise ValueError(
                f"Row {row} of X is NaN in {n_missing[row]} of the {len(indices)} "
                f"columns of view {name!r}. A view is absent from a row where all of "
                "its columns are NaN; values that are missing within a view have to "
                "be imputed. What changes single columns, as permutation_importance "
                "and partial_dependence do, takes only rows that have every view."
            )
        masks[name] = n_missing == 0
    return masks


def _count_nan(X):
    """Return the number of NaN in each row."""
    step = max(1, _memory.NAN_CHUNK // X.shape[1])
    is_nan = torch.isnan if isinstance(X, torch.Tensor) else np.isnan
    counts = [is_nan(X[i : i + step]).sum(1) for i in range(0, len(X), step)]
    if not isinstance(X, torch.Tensor):
        return np.concatenate(counts)
    counts = torch.cat(counts)
    # Skip the copy from the device if nothing is missing.
    return counts.cpu().numpy() if counts.any() else np.zeros(len(X), dtype=np.int64)


def view_name(view, names):
    """Return the name of a view given by name or index."""
    names = list(names)
    if isinstance(view, str) and view in names:
        return view
    if is_width(view) and 0 <= view < len(names):
        return names[view]
    raise ValueError(
        f"{view!r} is no view: there are {', '.join(map(repr, names))}, or their "
        f"indices from 0 to {len(names) - 1}."
    )


def output_plan(output, masks):
    """Return how views make up the output, as a list of (name, slot, mask).

    The features of a view belong to the block of columns with number `slot`, in the
    rows of a mask, which is one of `masks` or a part of it.
    """
    if output == "concat":
        return [(name, slot, mask) for slot, (name, mask) in enumerate(masks.items())]
    if output == "mean":
        return [(name, 0, mask) for name, mask in masks.items()]
    if output == "coalesce":
        plan, taken = [], False
        for name, mask in masks.items():
            plan.append((name, 0, mask & ~taken))
            taken = taken | mask
        return plan
    name = view_name(output, masks)
    return [(name, 0, masks[name])]


def stack_views(blocks, views):
    """Put views side by side, with NaN for those that are absent.

    Parameters
    ----------
    blocks : list or dict of {array-like, tensor} of shape (n_samples, n_view_features)
        Rows of each view, in order or by name. A view is absent if its block is None or
        its name is left out.
    views : aligner, list of int or dict of str to int
        An aligner with views (fitted, if its views are not widths), or the widths.

    Returns
    -------
    X : {ndarray, tensor, DataFrame} of shape (n_samples, n_features)
        Its dtype is float32 if all blocks have single or half precision, else float64.
        DataFrames of pandas or polars give a DataFrame if the aligner saw one in fit.

    Raises
    ------
    ValueError
        If a block has another width than its view, if blocks differ in length, or if
        all are absent.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_featalign import stack_views
    >>> stack_views([np.ones((2, 3)), None], [3, 2])
    array([[ 1.,  1.,  1., nan, nan],
           [ 1.,  1.,  1., nan, nan]])
    """
    columns, n_features, feature_names = _layout(views)
    given = _present_blocks(blocks, list(columns))
    arrays = {name: _check_block(values) for name, values in given.items()}
    check_consistent_length(*arrays.values())
    for name, values in arrays.items():
        if values.shape[1] != len(columns[name]):
            raise ValueError(
                f"View {name!r} has {len(columns[name])} columns, but its block has "
                f"{values.shape[1]}."
            )
    if feature_names is not None:
        for name, values in given.items():
            check_view_names(values, name, columns[name], feature_names)
    _check_index(given)
    X = _fill(arrays, columns, n_features)
    libraries = {type(values) for values in given.values()}
    first = next(iter(given.values()))
    if feature_names is None or len(libraries) > 1 or not hasattr(first, "columns"):
        return X
    return frame_like(X, first, feature_names)


def _check_index(blocks):
    """Raise an error if blocks that are DataFrames of pandas differ in their index."""
    frames = {
        name: values for name, values in blocks.items() if hasattr(values, "iloc")
    }
    first = next(iter(frames.values()), None)
    for name, frame in frames.items():
        if not frame.index.equals(first.index):
            raise ValueError(
                f"The index of view {name!r} differs from that of the first: rows of "
                "all views are the same objects in the same order."
            )


def split_views(X, views):
    """Return the views that stand side by side in X.

    Parameters
    ----------
    X : {array-like, tensor, DataFrame} of shape (n_samples, n_features)
        Rows with the columns of all views.
    views : aligner, list of int or dict of str to int
        An aligner or widths, as for :func:`stack_views`.

    Returns
    -------
    blocks : list of {ndarray, tensor, DataFrame} of shape (n_samples, n_view_features)
        Rows of each view; absent ones stay NaN.

    Raises
    ------
    ValueError
        If X does not have as many columns as the views together.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_featalign import split_views
    >>> [block.shape for block in split_views(np.zeros((5, 7)), [3, 4])]
    [(5, 3), (5, 4)]
    """
    columns, n_features, feature_names = _layout(views)
    if not hasattr(X, "shape"):
        X = np.asarray(X)
    if len(X.shape) != 2 or X.shape[1] != n_features:
        raise ValueError(
            f"The views take {n_features} columns, but X has shape {tuple(X.shape)}."
        )
    if feature_names is not None:
        _check_feature_names(X, feature_names)
    return [_columns(X, indices) for indices in columns.values()]


def _columns(X, indices):
    """Return columns of an array, tensor or DataFrame of any library."""
    if hasattr(X, "iloc"):
        return X.iloc[:, indices]
    if hasattr(X, "from_arrays"):
        return X.select(indices.tolist())
    return block(X, indices)


def hide_other_views(X, name, columns):
    """Return the rows that have a view, NaN outside of it, and their indices."""
    values = _check_block(hide_unselected(X, columns))
    own = block(values, columns[name])
    rows = np.flatnonzero(view_masks(values, {name: columns[name]})[name])
    if not len(rows):
        raise ValueError(f"No row of X has view {name!r}.")
    shown = _fill({name: own[rows]}, columns, values.shape[1])
    if hasattr(X, "columns"):
        shown = frame_like(shown, X, rows=rows)
    return shown, rows


def check_view_names(frame, name, columns, feature_names):
    """Raise an error if rows have names of columns other than those of the view."""
    _check_feature_names(frame, feature_names[columns], f" of view {name!r}")


def _check_feature_names(frame, fitted, of=""):
    names = _get_feature_names(frame)
    if names is not None and not np.array_equal(names, fitted):
        raise ValueError(
            f"The feature names{of} should match those that were passed during fit, in "
            "the same order."
        )


def frame_like(values, frame, names=None, rows=slice(None)):
    """Return a DataFrame of the same library, and for pandas with the index of rows.

    Its columns have the frame's names by default. With None in place of rows the index
    is a new one.
    """
    if names is None:
        # The columns of a pyarrow table are not their names.
        names = getattr(frame, "column_names", frame.columns)
    if hasattr(frame, "iloc"):
        index = None if rows is None else frame.index[rows]
        return type(frame)(values, index=index, columns=names)
    if hasattr(frame, "from_arrays"):
        return type(frame).from_arrays(list(values.T), names=list(map(str, names)))
    return type(frame)(values, schema=list(names))


def _layout(views):
    """Return the columns of views, their number, and their names or None."""
    if hasattr(views, "view_columns_"):
        names = getattr(views, "feature_names_in_", None)
        return views.view_columns_, views.n_features_in_, names
    widths = getattr(views, "views", views)
    if isinstance(widths, list | tuple | dict):
        widths = _named(widths)
        if all(is_width(width) for width in widths.values()):
            return columns_of_widths(widths), sum(widths.values()), None
    raise ValueError(
        "views must be a fitted aligner, or widths such as [768, 1024] or "
        f"{{'clip': 768, 'dino': 1024}}, got {views!r}."
    )


def _present_blocks(blocks, names):
    """Return the blocks that are given, by the names of the views in order."""
    if isinstance(blocks, dict):
        blocks = {view_name(view, names): values for view, values in blocks.items()}
        blocks = [blocks.get(name) for name in names]
    if not isinstance(blocks, list | tuple) or len(blocks) != len(names):
        raise ValueError(
            f"blocks must be a list of {len(names)} views, with None for an absent "
            "one, or a dict of them."
        )
    named = zip(names, blocks, strict=True)
    present = {name: values for name, values in named if values is not None}
    if not present:
        raise ValueError("All views are absent: at least one block is needed.")
    return present


def _check_block(values):
    """Return a block as an array or tensor of two dimensions."""
    if isinstance(values, torch.Tensor) and values.ndim != 2:
        raise ValueError(f"Expected 2D tensor, got shape {tuple(values.shape)}.")
    return check_kind(values, "a block", ensure_all_finite=False)


def _fill(blocks, columns, n_features):
    """Return an array or tensor with blocks in their columns and NaN elsewhere."""
    are_tensors = {isinstance(values, torch.Tensor) for values in blocks.values()}
    if len(are_tensors) > 1:
        raise TypeError("Either all blocks are tensors, or none is.")
    first = next(iter(blocks.values()))
    dtype = "float32" if all(map(is_single, blocks.values())) else "float64"
    shape = (len(first), n_features)
    if isinstance(first, torch.Tensor):
        dtype = getattr(torch, dtype)
        X = torch.full(shape, torch.nan, dtype=dtype, device=first.device)
    else:
        X = np.full(shape, np.nan, dtype=dtype)
    for name, values in blocks.items():
        X[:, columns[name]] = values.to(X) if are_tensors == {True} else values
    return X
