"""From a queue to a callback, and back with its verdict."""
