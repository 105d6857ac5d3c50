"""Settings and a check behind every test of the protocol machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.protocol import machines, profile

if TYPE_CHECKING:
    from collections.abc import Iterator

profile.load()


@pytest.fixture(autouse=True)
def every_conversation_again_byte_by_byte() -> Iterator[None]:
    """Replay what the test's pairs of machines received, one byte at a time, and expect the same of them."""
    machines.recordings.clear()
    yield
    for recording in machines.recordings:
        assert recording.replay(1) == recording.heard()
