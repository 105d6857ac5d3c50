"""Fanout exchange (AMQP 0-9-1 section 3.1.3.2): everything goes everywhere."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .base import Binding, Destination, Exchange

if TYPE_CHECKING:
    from ..message import BrokerMessage


class FanoutExchange(Exchange):
    """Routes without looking."""

    type = "fanout"

    def _added(self, binding: Binding) -> None:
        """The common store of bindings is all it needs."""

    def _removed(self, binding: Binding) -> None:
        """The common store of bindings is all it needs."""

    def _find(self, routing_key: str, message: "BrokerMessage") -> Iterable[Destination]:
        return [binding.destination for binding in self.bindings.values()]
