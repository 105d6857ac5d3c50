"""The journal: the interface through which a virtual host reports durable changes to its storage."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .exchanges import Binding, Exchange
    from .message import Entry
    from .queue import Queue


class Journal(Protocol):
    """Gets every change to durable exchanges, queues, bindings and messages, in order, and no other.

    A change is sure to be on disk only once a callback has run that :meth:`when_durable` got after it.
    """

    def exchange_added(self, exchange: "Exchange") -> None:
        """Note that a durable exchange was declared."""
        ...

    def exchange_removed(self, exchange: "Exchange") -> None:
        """Note that a durable exchange was deleted, with its bindings."""
        ...

    def queue_added(self, queue: "Queue") -> None:
        """Note that a durable queue was declared."""
        ...

    def queue_removed(self, queue: "Queue") -> None:
        """Note that a durable queue was deleted, with its bindings and messages."""
        ...

    def binding_added(self, binding: "Binding") -> None:
        """Note a binding between a durable exchange and another one or a durable queue."""
        ...

    def binding_removed(self, binding: "Binding") -> None:
        """Note that such a binding was undone."""
        ...

    def message_added(self, queue: "Queue", entry: "Entry") -> None:
        """Note that a persistent message entered a durable queue."""
        ...

    def message_removed(self, queue: "Queue", entry: "Entry") -> None:
        """Note that a stored message left its queue for good."""
        ...

    def delivered(self, queue: "Queue", entry: "Entry") -> None:
        """Note that a stored message was sent to a consumer; after a crash it will be marked as redelivered.

        A queue that counts deliveries reports each; any other queue those beyond its highest position.
        """
        ...

    def returned(self, queue: "Queue", entry: "Entry") -> None:
        """Note that a stored message came back, without failing, to a queue that counts deliveries."""
        ...

    def when_durable(self, callback: Callable[[], None]) -> None:
        """Call back once all changes so far are safe on disk."""
        ...


class NoJournal:
    """A journal that stores nothing, for a broker in memory."""

    def exchange_added(self, exchange: "Exchange") -> None:
        """Do nothing."""

    def exchange_removed(self, exchange: "Exchange") -> None:
        """Do nothing."""

    def queue_added(self, queue: "Queue") -> None:
        """Do nothing."""

    def queue_removed(self, queue: "Queue") -> None:
        """Do nothing."""

    def binding_added(self, binding: "Binding") -> None:
        """Do nothing."""

    def binding_removed(self, binding: "Binding") -> None:
        """Do nothing."""

    def message_added(self, queue: "Queue", entry: "Entry") -> None:
        """Do nothing."""

    def message_removed(self, queue: "Queue", entry: "Entry") -> None:
        """Do nothing."""

    def delivered(self, queue: "Queue", entry: "Entry") -> None:
        """Do nothing."""

    def returned(self, queue: "Queue", entry: "Entry") -> None:
        """Do nothing."""

    def when_durable(self, callback: Callable[[], None]) -> None:
        """Call back at once: there is nothing to wait for."""
        callback()
