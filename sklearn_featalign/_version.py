"""The version of the package, for those who import nothing else of it."""

__version__ = "0.1.0.dev0"
