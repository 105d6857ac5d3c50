"""Fixtures of the client tests that hold here, too: no test leaves threads, sockets or lost errors."""

from __future__ import annotations

from tests.client.conftest import light_heap, nothing_left

__all__ = ["light_heap", "nothing_left"]
