"""What a saved estimator says of the version that wrote it."""

from sklearn_featalign._version import __version__

# Of what is saved: raised with every change of the fitted attributes. A fit in each of
# the formats that can be read is kept with the tests.
FORMAT = 2
READABLE = (1, 2)


class VersionedMixin:
    """Estimators that are saved with their format, and refuse one they cannot read.

    It stands before :class:`~sklearn.base.BaseEstimator`.
    """

    def __getstate__(self):
        """Return the attributes, with the format that they are in."""
        saved = {"_format": FORMAT, "_saved_by": __version__}
        return {**super().__getstate__(), **saved}

    def __setstate__(self, state):
        """Take attributes that were saved, or say which version can.

        Raises
        ------
        ValueError
            If they are in a format that this version does not read.
        """
        state = dict(state)
        saved = state.pop("_format", 0)
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
