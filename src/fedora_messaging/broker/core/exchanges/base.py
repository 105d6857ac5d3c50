"""Bindings, and the base class of all exchanges."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, Union

from ....wire.fields import encode_table
from ..profile import RABBITMQ_4, Profile

if TYPE_CHECKING:
    from ..message import BrokerMessage
    from ..policies import Policy
    from ..queue import Queue

Destination = Union["Queue", "Exchange"]

#: How many routing keys and destinations of theirs are remembered. Most applications use few topics again and
#: again; the bound is for those that put ids into their topics.
_CACHE_SIZE: Final = 16384


class Binding:
    """A binding of a queue or exchange to an exchange.

    Attributes:
        source: The exchange that messages come from.
        destination: The queue or exchange that they go to.
        routing_key: Key or pattern.
        arguments: Arguments of the binding.
    """

    __slots__ = ("arguments", "destination", "routing_key", "source")

    def __init__(
        self, source: "Exchange", destination: Destination, routing_key: str, arguments: Mapping[str, Any]
    ) -> None:
        self.source: Exchange = source
        self.destination: Destination = destination
        self.routing_key: str = routing_key
        self.arguments: dict[str, Any] = dict(arguments)


def binding_key(destination: Destination, routing_key: str, arguments: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the identity of a binding: two bindings of an exchange with equal keys are the same."""
    canonical = encode_table(dict(sorted(arguments.items()))) if arguments else b""
    return (destination.kind, destination.name, routing_key, canonical)


class Exchange:
    """An exchange: it keeps its bindings and finds the destinations of a message.

    A subclass gets each binding through :meth:`_added` and :meth:`_removed`, and finds the destinations in
    :meth:`_find`.

    Args:
        name: Name.
        durable: Whether it survives a restart.
        auto_delete: Whether it is deleted with its last binding.
        internal: Whether clients cannot publish to it.
        arguments: Arguments of the declaration.
        profile: The release of RabbitMQ to imitate.
    """

    kind: ClassVar[str] = "exchange"
    type: ClassVar[str]
    #: Whether the routing key alone decides, so that results can be remembered by it.
    by_key: ClassVar[bool] = True

    def __init__(
        self,
        name: str,
        durable: bool = False,
        auto_delete: bool = False,
        internal: bool = False,
        arguments: Mapping[str, Any] | None = None,
        profile: Profile = RABBITMQ_4,
    ) -> None:
        self.name = name
        self.durable = durable
        self.auto_delete = auto_delete
        self.internal = internal
        self.arguments: dict[str, Any] = dict(arguments or {})
        self.profile = profile
        #: The policy that applies, or ``None``.
        self.policy: Policy | None = None
        #: Messages that were published to it, and the copies that it passed on.
        self.publish_in = self.publish_out = 0
        #: Messages for which no queue was found.
        self.unroutable = 0
        self.bindings: dict[tuple[Any, ...], Binding] = {}
        self._alternate: str | None = self.arguments.get("alternate-exchange")
        self._cache: dict[str, tuple[Destination, ...]] = {}
        self._remembered = 0

    @property
    def alternate(self) -> str | None:
        """Name of the exchange for messages without a destination."""
        return self._alternate

    def apply(self, policy: "Policy | None") -> None:
        """Have a policy apply; arguments of the declaration win."""
        self.policy = policy
        settings = policy.definition if policy is not None else {}
        self._alternate = self.arguments.get("alternate-exchange", settings.get("alternate-exchange"))

    def bind(
        self, destination: Destination, routing_key: str, arguments: Mapping[str, Any]
    ) -> Binding | None:
        """Add a binding; returns it, or ``None`` if it existed."""
        key = binding_key(destination, routing_key, arguments)
        if key in self.bindings:
            return None
        binding = Binding(self, destination, routing_key, arguments)
        self._added(binding)
        self.bindings[key] = binding
        self._forget_routes()
        return binding

    def is_bound(self, destination: Destination, routing_key: str, arguments: Mapping[str, Any]) -> bool:
        """Whether a binding exists."""
        return binding_key(destination, routing_key, arguments) in self.bindings

    def unbind(self, destination: Destination, routing_key: str, arguments: Mapping[str, Any]) -> Binding:
        """Remove a binding that exists; returns it."""
        binding = self.bindings.pop(binding_key(destination, routing_key, arguments))
        self._removed(binding)
        self._forget_routes()
        return binding

    def _forget_routes(self) -> None:
        self._cache.clear()
        self._remembered = 0

    def destinations(self, routing_key: str, message: "BrokerMessage") -> Iterable[Destination]:
        """Return the destinations of a message with this key; one may occur more than once."""
        if not self.by_key:
            return self._find(routing_key, message)
        found = self._cache.get(routing_key)
        if found is None:
            found = tuple(dict.fromkeys(self._find(routing_key, message)))
            self._remembered += 1 + len(found)
            if self._remembered > _CACHE_SIZE:
                self._cache.clear()
                self._remembered = 1 + len(found)
            self._cache[routing_key] = found
        return found

    def take_binding(self, binding: Binding) -> None:
        """Note a binding of an exchange that this one routes for."""
        self._added(binding)
        self._forget_routes()

    def drop_binding(self, binding: Binding) -> None:
        """Forget such a binding."""
        self._removed(binding)
        self._forget_routes()

    def _added(self, binding: Binding) -> None:
        raise NotImplementedError

    def _removed(self, binding: Binding) -> None:
        raise NotImplementedError

    def _find(self, routing_key: str, message: "BrokerMessage") -> Iterable[Destination]:
        raise NotImplementedError
