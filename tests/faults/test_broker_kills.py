"""The broker is killed while other people's clients publish to it, and starts again on the same directory."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from tests.faults.kills.clients import LIBRARIES
from tests.faults.kills.run import kill

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KILLS = 10


@pytest.fixture(autouse=True)
def quiet_libraries() -> Iterator[None]:
    """They tell of each connection that they lose."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.timeout(300)
def test_nothing_confirmed_is_lost_by_a_kill(tmp_path: Path) -> None:
    report = kill(KILLS, 1, tmp_path / "broker")
    print(report)
    assert report.good, str(report)
    assert [row.library for row in report.rows] == [*LIBRARIES]
    for row in report.rows:
        assert row.connects > KILLS
        assert row.confirmed >= 5 * KILLS


@pytest.mark.timeout(300)
def test_a_loss_is_noticed(tmp_path: Path) -> None:
    """A broker that forgets its queues when it is killed does not pass."""
    report = kill(3, 1, tmp_path / "broker", remembers=False)
    assert not report.good
    assert any(row.lost for row in report.rows)
