"""A virtual host without timers and storage, and what is declared and published in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fedora_messaging.broker.core.declarations import QueueDeclaration
from fedora_messaging.broker.core.journal import NoJournal
from fedora_messaging.broker.core.message import BrokerMessage, new_message
from fedora_messaging.broker.core.profile import RABBITMQ_4, Profile
from fedora_messaging.broker.core.vhost import VirtualHost

if TYPE_CHECKING:
    from fedora_messaging.broker.core.queue import Queue


def ignore(*_arguments: Any) -> None:
    """Stand for a scheduler that never calls."""


class Times:
    """A clock that stands until it is advanced, and the calls that queues ask for."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._calls: list[tuple[float, Queue]] = []

    def now(self) -> float:
        return self._now

    def schedule(self, queue: Queue, when: float) -> None:
        self._calls.append((when, queue))

    def advance(self, seconds: float) -> None:
        """Let time pass, and make the calls that are due then."""
        self._now += seconds
        while due := sorted((call for call in self._calls if call[0] <= self._now), key=lambda call: call[0]):
            self._calls.remove(due[0])
            due[0][1].on_time(due[0][0])


def new_vhost(profile: Profile = RABBITMQ_4) -> VirtualHost:
    """Make a virtual host whose clock stands at 1000 seconds."""
    return VirtualHost("/", lambda: 1000.0, NoJournal(), ignore, profile=profile)


def message(key: str = "k") -> BrokerMessage:
    """Make a message without properties."""
    return new_message("", key, b"\0\0", b"body")


def declare(vhost: VirtualHost, name: str) -> Queue:
    """Declare a transient queue."""
    return vhost.declare_queue(QueueDeclaration(name), owner=None)
