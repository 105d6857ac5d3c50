"""The journal of one virtual host, in the file of all of them."""

from typing import TYPE_CHECKING, Any

from ...wire.fields import encode_table
from ..core.exchanges import Binding, Exchange
from ..core.queue import Queue
from .names import stored_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..core.message import Entry
    from .sqlite import SqliteStore


class VhostJournal:
    """A :class:`~fedora_messaging.broker.core.journal.Journal`.

    Args:
        store: The file.
        vhost: Name of the virtual host.
    """

    def __init__(self, store: "SqliteStore", vhost: str) -> None:
        self._do = store.do
        self._store = store
        self._vhost = stored_name(vhost)
        # Messages belong to queues, whose identities are unique in the file.
        self.message_added: Callable[[Queue, Entry], None] = store.message_added
        self.message_removed: Callable[[Queue, Entry], None] = store.message_removed
        self.delivered: Callable[[Queue, Entry], None] = store.delivered
        self.returned: Callable[[Queue, Entry], None] = store.returned
        self.when_durable: Callable[[Callable[[], None]], None] = store.when_durable

    def exchange_added(self, exchange: Exchange) -> None:
        """Store a durable exchange."""
        self._do(
            "INSERT OR REPLACE INTO exchange VALUES (?, ?, ?, ?, ?, ?)",
            self._vhost,
            stored_name(exchange.name),
            exchange.type,
            exchange.auto_delete,
            exchange.internal,
            encode_table(exchange.arguments),
        )

    def exchange_removed(self, exchange: Exchange) -> None:
        """Delete a durable exchange and the bindings from it."""
        name = stored_name(exchange.name)
        self._do("DELETE FROM exchange WHERE vhost = ? AND name = ?", self._vhost, name)
        self._do("DELETE FROM binding WHERE vhost = ? AND source = ?", self._vhost, name)

    def queue_added(self, queue: Queue) -> None:
        """Store a durable queue."""
        arguments = encode_table(queue.declared)  # first, because it may fail and must not leave changes
        queue.stored_id = self._store.new_queue_id()
        self._do(
            "INSERT INTO queue (id, vhost, name, auto_delete, arguments) VALUES (?, ?, ?, ?, ?)",
            queue.stored_id,
            self._vhost,
            stored_name(queue.name),
            queue.auto_delete,
            arguments,
        )

    def queue_removed(self, queue: Queue) -> None:
        """Delete a durable queue and its messages."""
        queue_id = queue.stored_id
        assert queue_id is not None  # queue_added() was called before
        self._store.drop_messages(queue_id)
        self._do("DELETE FROM queue_message WHERE queue_id = ?", queue_id)
        self._do("DELETE FROM queue WHERE id = ?", queue_id)

    def binding_added(self, binding: Binding) -> None:
        """Store a binding."""
        self._do("INSERT OR REPLACE INTO binding VALUES (?, ?, ?, ?, ?, ?)", *self._binding_row(binding))

    def binding_removed(self, binding: Binding) -> None:
        """Delete a binding."""
        self._do(
            "DELETE FROM binding WHERE vhost = ? AND source = ? AND kind = ? AND destination = ? "
            "AND routing_key = ? AND arguments = ?",
            *self._binding_row(binding),
        )

    def _binding_row(self, binding: Binding) -> tuple[Any, ...]:
        return (
            self._vhost,
            stored_name(binding.source.name),
            binding.destination.kind,
            stored_name(binding.destination.name),
            stored_name(binding.routing_key),
            encode_table(binding.arguments),
        )
