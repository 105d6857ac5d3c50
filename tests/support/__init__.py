"""Servers that the tests need, and what to do without them."""
