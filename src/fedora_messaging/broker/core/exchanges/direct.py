"""Direct exchange (AMQP 0-9-1 section 3.1.3.1): the routing key equals the binding key."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .base import Binding, Destination, Exchange

if TYPE_CHECKING:
    from ..message import BrokerMessage


class DirectExchange(Exchange):
    """Routes to the bindings whose key equals the routing key."""

    type = "direct"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._by_key: dict[str, dict[Binding, None]] = {}

    def _added(self, binding: Binding) -> None:
        self._by_key.setdefault(binding.routing_key, {})[binding] = None

    def _removed(self, binding: Binding) -> None:
        bindings = self._by_key[binding.routing_key]
        del bindings[binding]
        if not bindings:
            del self._by_key[binding.routing_key]

    def _find(self, routing_key: str, message: "BrokerMessage") -> Iterable[Destination]:
        return [binding.destination for binding in self._by_key.get(routing_key, ())]
