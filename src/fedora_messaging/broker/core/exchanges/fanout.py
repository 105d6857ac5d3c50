"""Fanout exchange (AMQP 0-9-1 section 3.1.3.2): everything goes everywhere."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .base import Binding, Destination, Exchange

if TYPE_CHECKING:
    from ..message import BrokerMessage


class FanoutExchange(Exchange):
    """Routes each message to all bound destinations."""

    type = "fanout"

    def _added(self, binding: Binding) -> None:
        """Do nothing: the base class keeps the bindings."""

    def _removed(self, binding: Binding) -> None:
        """Do nothing: the base class keeps the bindings."""

    def _find(self, routing_key: str, message: "BrokerMessage") -> Iterable[Destination]:
        return [binding.destination for binding in self.bindings.values()]
