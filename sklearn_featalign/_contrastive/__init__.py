"""Encoders that are trained without labels, by pairs of views of the same row."""
