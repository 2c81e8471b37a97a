"""What all estimators share: checks of rows, tags, and the format they are saved in."""

from sklearn.base import TransformerMixin
from sklearn.utils.validation import check_is_fitted

from sklearn_featalign._torch import check_names, check_rows
from sklearn_featalign._version import __version__

# Number of the format of fitted attributes; raised whenever they change. A fit in each
# readable format is kept with the tests.
FORMAT = 1
READABLE = (1,)


class TorchTransformerMixin(TransformerMixin):
    """Mixin of transformers that compute with torch and keep arrays only.

    It stands before :class:`~sklearn.base.BaseEstimator` among the base classes.
    """

    # What else makes one array of a list of them.
    _hint_on_lists = ""

    def _refuse_list_of_arrays(self, X):
        if isinstance(X, list | tuple) and X and getattr(X[0], "ndim", 1) == 2:
            raise ValueError(
                "X is one array, got a list of arrays: np.concatenate(X) joins batches "
                f"of rows{self._hint_on_lists}."
            )

    def _check_rows(self, X):
        """Return rows as an array or tensor of floats, checked against the fit."""
        check_is_fitted(self)
        self._refuse_list_of_arrays(X)
        check_names(self, X)
        X = check_rows(self, X)
        self._check_width(X, self.n_features_in_)
        return X

    def _check_width(self, X, n_columns, method="", hint=""):
        if X.shape[1] != n_columns:
            raise ValueError(
                f"X has {X.shape[1]} features, but {type(self).__name__}{method} is "
                f"expecting {n_columns} features as input.{hint}"
            )

    def __getstate__(self):
        """Return the attributes, and the format that they are in.

        joblib hashes dicts whatever their order, on which features depend if it is that
        of the views: the names are listed for it.
        """
        saved = {"_format": FORMAT, "_saved_by": __version__}
        if isinstance(getattr(self, "views", None), dict):
            saved["_order_of_views"] = list(self.views)
        return {**super().__getstate__(), **saved}

    def __setstate__(self, state):
        """Set saved attributes.

        Raises
        ------
        ValueError
            If they are in a format that this version does not read.
        """
        state = dict(state)
        saved = state.pop("_format", 0)
        state.pop("_order_of_views", None)
        version = state.pop("_saved_by", "0.1.0.dev0 before formats had a number")
        if saved not in READABLE:
            readable = " or ".join(map(str, READABLE))
            raise ValueError(
                f"This {type(self).__name__} was saved in format {saved}, by "
                f"sklearn-featalign {version}. Here is {__version__}, which reads "
                f"format {readable}: load it with the version that saved it, or fit "
                "it again."
            )
        super().__setstate__(state)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
