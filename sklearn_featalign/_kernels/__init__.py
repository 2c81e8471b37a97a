"""Aligners that describe rows by kernels with landmark rows."""
