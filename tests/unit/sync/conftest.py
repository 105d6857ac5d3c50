"""Fixtures of the client's tests, used here too, and services."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.fixtures import main_thread_publishes_itself, nothing_left

from fedora_messaging.config import DEFAULTS
from fedora_messaging.options import ConnectionOptions
from fedora_messaging.settings.to_options import connection_options
from fedora_messaging.sync.service import Service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fedora_messaging.broker import Broker

__all__ = ["main_thread_publishes_itself", "nothing_left"]


@pytest.fixture
def somebody(embedded_broker: Broker) -> ConnectionOptions:
    """Where a broker is."""
    return connection_options(DEFAULTS, embedded_broker.amqp_url)


@pytest.fixture
def service(somebody: ConnectionOptions) -> Iterator[Service]:
    """A service that reaches a broker."""
    made = Service(somebody)
    yield made
    made.close()


@pytest.fixture
def lonely() -> Iterator[Service]:
    """A service that reaches no broker."""
    made = Service(ConnectionOptions("127.0.0.1", 1))
    yield made
    made.close()
