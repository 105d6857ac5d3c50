"""A virtual host for tests of the broker's core."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.unit.broker.core.support import new_vhost

if TYPE_CHECKING:
    from fedora_messaging.broker.core.vhost import VirtualHost


@pytest.fixture
def vhost() -> VirtualHost:
    """A virtual host whose clock stands at 1000 seconds."""
    return new_vhost()
