"""Code that the ways into the library share: `api`, `aio`, `outbox` and Twisted."""
