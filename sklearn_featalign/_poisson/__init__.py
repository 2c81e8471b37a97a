"""Rows that move along the electric field of the training rows."""
