"""Measures how fast we are, beside others, on one machine in one run; see README.md."""
