"""The configuration of a test, and fixtures of those that look at queues from outside their programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.behaviour.support import Names
from tests.client.conftest import settings
from tests.client.support import Admin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.brokers import Broker

__all__ = ["admin", "names", "queue", "settings"]


@pytest.fixture
def names(broker: Broker) -> Iterator[Names]:
    """Makes as many unique names as a test needs."""
    made = Names(broker.url)
    yield made
    made.delete_all()


@pytest.fixture
def admin(broker: Broker, names: Names) -> Iterator[Admin]:
    """An independent client."""
    made = Admin(broker.url)
    yield made
    made.close()


@pytest.fixture
def queue(admin: Admin, names: Names) -> str:
    """A queue that is bound for its messages."""
    return admin.declare(names())
