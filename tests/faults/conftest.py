"""Fixtures of the client's tests, used here too."""

from tests.client.conftest import admin, light_heap, name, names, nothing_left, queue, settings

__all__ = ["admin", "light_heap", "name", "names", "nothing_left", "queue", "settings"]
