"""A short soak: everything breaks at random, and nothing that was confirmed is lost (P02, P10, P14)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.faults.brokers import BROKERS, EmbeddedBroker
from tests.faults.soak import chaos
from tests.faults.soak.run import Settings, soak
from tests.support.rabbitmq import find_rabbitmq
from tests.support.servers import require

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.brokers import Broker
    from tests.faults.soak.report import Report

#: With these two there is something of nearly everything, whatever the broker supports.
SEED = 207
MINUTES = 1.0


def run(settings: Settings, broker: Broker, directory: Path) -> Report:
    """Run a soak; what it says is shown if the test fails."""
    report = soak(settings, broker, directory / "workers")
    print(report)
    return report


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["embedded", "cluster"])
def test_p14_nothing_is_lost(kind: str, tmp_path: Path) -> None:
    """P02, P10, P14: whatever breaks, confirmed messages are processed, and everybody goes on afterwards."""
    require(
        kind == "embedded" or find_rabbitmq() is not None, "RabbitMQ", "install the package rabbitmq-server"
    )
    report = run(Settings(MINUTES, SEED), BROKERS[kind](tmp_path / "broker"), tmp_path)
    assert report.good, f"seed {SEED}\n{report}"
    assert report.findings.confirmed
    assert report.faults


@pytest.mark.timeout(300)
def test_a_loss_is_noticed(tmp_path: Path) -> None:
    """A broker that forgets its queues when it is killed does not pass."""
    settings = Settings(0.1, SEED, rate=200, kinds=[chaos.BROKER_KILLED], patience=5)
    report = run(settings, EmbeddedBroker(tmp_path / "broker", remembers=False), tmp_path)
    assert report.faults[chaos.BROKER_KILLED]
    assert report.findings.lost
    assert not report.good
