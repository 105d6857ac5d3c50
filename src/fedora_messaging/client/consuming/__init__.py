"""Consuming: the way of a message from a queue to a callback, and of the verdict back to the broker."""
