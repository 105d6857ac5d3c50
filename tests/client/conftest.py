"""Fixtures of the client tests."""

from __future__ import annotations

import pytest
from tests.support.fixtures import fresh_settings, light_heap, main_thread_publishes_itself, nothing_left

from fedora_messaging.frontends import event_loop_guard

__all__ = ["fresh_settings", "light_heap", "main_thread_publishes_itself", "nothing_left"]


@pytest.fixture
def nothing_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """No calling line has been warned yet that it blocks its event loop."""
    monkeypatch.setattr(event_loop_guard, "_told", {})
