"""What a virtual host tells its storage, and when."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .exchanges import Binding, Exchange
    from .message import Entry
    from .queue import Queue


class Journal(Protocol):
    """Gets every change to durable things, in order; called only for durable things.

    Nothing is promised to be on disk until a callback given to :meth:`when_durable` is called.
    """

    def exchange_added(self, exchange: "Exchange") -> None:
        """A durable exchange was declared."""
        ...

    def exchange_removed(self, exchange: "Exchange") -> None:
        """A durable exchange was deleted, its bindings with it."""
        ...

    def queue_added(self, queue: "Queue") -> None:
        """A durable queue was declared."""
        ...

    def queue_removed(self, queue: "Queue") -> None:
        """A durable queue was deleted, its bindings and messages with it."""
        ...

    def binding_added(self, binding: "Binding") -> None:
        """Two durable things were bound."""
        ...

    def binding_removed(self, binding: "Binding") -> None:
        """They were unbound."""
        ...

    def message_added(self, queue: "Queue", entry: "Entry") -> None:
        """A persistent message entered a durable queue."""
        ...

    def message_removed(self, queue: "Queue", entry: "Entry") -> None:
        """A stored message left its queue for good."""
        ...

    def delivered(self, queue: "Queue", entry: "Entry") -> None:
        """A stored message was sent to a consumer; after a crash it will be marked as redelivered.

        A queue that counts deliveries tells of each, any other queue of those beyond its highest position.
        """
        ...

    def when_durable(self, callback: Callable[[], None]) -> None:
        """Call back once everything told before is safe on disk."""
        ...


class NoJournal:
    """Keeps nothing: the broker runs in memory."""

    def exchange_added(self, exchange: "Exchange") -> None:
        """Forget it."""

    def exchange_removed(self, exchange: "Exchange") -> None:
        """Forget it."""

    def queue_added(self, queue: "Queue") -> None:
        """Forget it."""

    def queue_removed(self, queue: "Queue") -> None:
        """Forget it."""

    def binding_added(self, binding: "Binding") -> None:
        """Forget it."""

    def binding_removed(self, binding: "Binding") -> None:
        """Forget it."""

    def message_added(self, queue: "Queue", entry: "Entry") -> None:
        """Forget it."""

    def message_removed(self, queue: "Queue", entry: "Entry") -> None:
        """Forget it."""

    def delivered(self, queue: "Queue", entry: "Entry") -> None:
        """Forget it."""

    def when_durable(self, callback: Callable[[], None]) -> None:
        """Nothing has to be waited for."""
        callback()
