"""Fixtures of the client tests that hold here, too: no test leaves threads, sockets or lost errors."""

from __future__ import annotations

from tests.support.fixtures import light_heap, nothing_left

__all__ = ["light_heap", "nothing_left"]
