"""Exchanges that spread messages over their destinations, one for each message."""

import random
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from ....protocol.errors import PRECONDITION_FAILED, ChannelError
from .base import Binding, Destination, Exchange
from .erlang_hash import hash_list_of

if TYPE_CHECKING:
    from ..message import BrokerMessage


class _SpreadingExchange(Exchange):
    """Passes each message to one of its destinations; a subclass chooses in :meth:`_choose`."""

    by_key: ClassVar[bool] = False

    def _added(self, binding: Binding) -> None:
        """Do nothing: the base class keeps the bindings."""

    def _removed(self, binding: Binding) -> None:
        """Do nothing: the base class keeps the bindings."""

    def _find(self, routing_key: str, message: "BrokerMessage") -> Iterable[Destination]:
        destinations = list(dict.fromkeys(binding.destination for binding in self.bindings.values()))
        if not destinations or routing_key != message.routing_key:
            return ()  # further keys of a message make no copies
        return (self._choose(destinations, routing_key),)

    def _choose(self, destinations: list[Destination], routing_key: str) -> Destination:
        raise NotImplementedError


class RandomExchange(_SpreadingExchange):
    """Passes each message to a random destination."""

    type = "x-random"

    def _choose(self, destinations: list[Destination], routing_key: str) -> Destination:
        return random.choice(destinations)  # noqa: S311 - no secret


class LocalRandomExchange(RandomExchange):
    """The same on one node: RabbitMQ chooses among the queues of the node that the client is connected to."""

    type = "x-local-random"

    def _added(self, binding: Binding) -> None:
        if binding.routing_key:
            raise ChannelError(
                PRECONDITION_FAILED, f"Non empty binding '{binding.routing_key}' key not permitted"
            )


class ModulusHashExchange(_SpreadingExchange):
    """Chooses the destination by the hash of the routing key, among all in the order of their names."""

    type = "x-modulus-hash"

    def _choose(self, destinations: list[Destination], routing_key: str) -> Destination:
        destinations.sort(key=lambda destination: destination.name)
        number = hash_list_of(routing_key.encode("utf-8", "surrogateescape"))
        return destinations[number % len(destinations)]
