"""Alignment from few pairs, or none, and unpaired rows."""
