"""For callers without an event loop: a thread that runs one, and blocking calls into it."""
