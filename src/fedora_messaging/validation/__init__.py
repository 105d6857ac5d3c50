"""Turns untrusted bytes into a value that conforms to its schema."""
