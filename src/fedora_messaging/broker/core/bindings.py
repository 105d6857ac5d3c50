"""Making and undoing the bindings of a virtual host; auto-delete exchanges end with their last binding."""

from collections.abc import Callable, Mapping
from typing import Any

from .exchanges import Binding, Destination, Exchange
from .journal import Journal
from .memory import MemoryUse, declared_size
from .queue import Queue

#: Every queue is bound to the exchange of this name by its own name.
DEFAULT_EXCHANGE = ""


class Bindings:
    """Makes and undoes bindings, and tells the journal of those that are stored.

    Args:
        exchanges: The exchanges of the virtual host, by name; auto-delete ones are removed from it.
        journal: Gets all durable changes.
        memory: Counts the memory that bindings take.
        removed: Called with the name of each exchange that goes.
    """

    def __init__(
        self,
        exchanges: dict[str, Exchange],
        journal: Journal,
        memory: MemoryUse,
        removed: Callable[[str], None],
    ) -> None:
        self._exchanges = exchanges
        self._memory = memory
        self._journal = journal
        self._removed = removed
        # To look through all bindings for those of one queue would take long when many queues go at once.
        self._to: dict[Destination, dict[Binding, None]] = {}

    def add(
        self, source: Exchange, destination: Destination, routing_key: str, arguments: Mapping[str, Any]
    ) -> None:
        """Bind a queue or exchange to an exchange; do nothing if the binding exists.

        Raises:
            ChannelError: 406 if the exchange does not take the binding, or too many are declared.
        """
        self._memory.check_room(declared_size(arguments))
        binding = self.restore(source, destination, routing_key, arguments)
        if binding is not None and _is_stored(binding):
            self._journal.binding_added(binding)

    def restore(
        self, source: Exchange, destination: Destination, routing_key: str, arguments: Mapping[str, Any]
    ) -> Binding | None:
        """Make a binding that the journal need not be told of; returns ``None`` if it exists."""
        binding = source.bind(destination, routing_key, arguments)
        if binding is not None:
            self._to.setdefault(destination, {})[binding] = None
            self._memory.declare(declared_size(arguments))
        return binding

    def to(self, destination: Destination) -> list[Binding]:
        """Return the bindings to a queue or exchange."""
        return list(self._to.get(destination, ()))

    def remove(
        self, source: Exchange, destination: Destination, routing_key: str, arguments: Mapping[str, Any]
    ) -> None:
        """Undo a binding that exists."""
        self._unbind(source, destination, routing_key, arguments)
        if source.auto_delete and not source.bindings:
            self.remove_exchange(source)

    def remove_exchange(self, exchange: Exchange) -> None:
        """Remove an exchange, with all bindings from and to it."""
        self._take_out(exchange)
        self.remove_all_to(exchange)

    def remove_all_to(self, destination: Destination) -> None:
        """Undo the bindings to a queue or exchange that is gone.

        An auto-delete exchange is deleted with its last binding. Exchanges that it was bound to may follow,
        in a chain of any length.
        """
        pending = [destination]
        while pending:
            gone = pending.pop()
            for binding in list(self._to.get(gone, ())):
                source = binding.source
                self._unbind(source, gone, binding.routing_key, binding.arguments)
                if source.auto_delete and not source.bindings:
                    self._take_out(source)
                    pending.append(source)

    def _unbind(
        self, source: Exchange, destination: Destination, routing_key: str, arguments: Mapping[str, Any]
    ) -> None:
        binding = source.unbind(destination, routing_key, arguments)
        self._forget(binding)
        if _is_stored(binding):
            self._journal.binding_removed(binding)

    def _forget(self, binding: Binding) -> None:
        bindings = self._to[binding.destination]
        del bindings[binding]
        self._memory.remove(declared_size(binding.arguments))
        if not bindings:
            del self._to[binding.destination]

    def _take_out(self, exchange: Exchange) -> None:
        del self._exchanges[exchange.name]
        self._memory.remove(declared_size(exchange.arguments))
        for binding in exchange.bindings.values():
            self._forget(binding)
        exchange.bindings.clear()
        if exchange.durable:
            self._journal.exchange_removed(exchange)
        self._removed(exchange.name)


def _is_stored(binding: Binding) -> bool:
    destination = binding.destination
    kept = destination.keeps if isinstance(destination, Queue) else destination.durable
    return kept and binding.source.durable and binding.source.name != DEFAULT_EXCHANGE
