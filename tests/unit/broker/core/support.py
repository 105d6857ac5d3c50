"""A virtual host without timers and storage, and what is declared and published in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fedora_messaging.broker.core.declarations import QueueDeclaration
from fedora_messaging.broker.core.journal import NoJournal
from fedora_messaging.broker.core.message import BrokerMessage
from fedora_messaging.broker.core.profile import RABBITMQ_4, Profile
from fedora_messaging.broker.core.vhost import VirtualHost

if TYPE_CHECKING:
    from fedora_messaging.broker.core.queue import Queue


def ignore(*_arguments: Any) -> None:
    """Stand for a scheduler that never calls."""


def new_vhost(profile: Profile = RABBITMQ_4) -> VirtualHost:
    """Make a virtual host whose clock stands at 1000 seconds."""
    return VirtualHost("/", lambda: 1000.0, NoJournal(), ignore, profile=profile)


def message(key: str = "k") -> BrokerMessage:
    """Make a message without properties."""
    return BrokerMessage("", key, b"\0\0", b"body")


def declare(vhost: VirtualHost, name: str) -> Queue:
    """Declare a transient queue."""
    return vhost.declare_queue(QueueDeclaration(name), owner=None)
