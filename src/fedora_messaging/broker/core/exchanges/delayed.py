"""Delayed message exchange (after the documentation of RabbitMQ's plugin): messages wait at first."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from ....protocol.errors import PRECONDITION_FAILED, ChannelError
from .base import Binding, Destination, Exchange

if TYPE_CHECKING:
    from ..message import BrokerMessage

DELAY_HEADER: Final = "x-delay"
_TYPE_ARGUMENT: Final = "x-delayed-type"
#: Longest delay in milliseconds; a message with a longer one does not wait at all, as with the plugin.
_LONGEST: Final = 2**32 - 1
#: Makes the exchanges that a delayed one can route like, by their types.
ROUTERS: Final[dict[str, Callable[..., Exchange]]] = {}


class DelayedExchange(Exchange):
    """Routes as the exchange type in its argument ``x-delayed-type`` does, but later.

    The virtual host keeps a message with the header ``x-delay`` for so many milliseconds.
    """

    type = "x-delayed-message"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        make = ROUTERS.get(str(self.arguments.get(_TYPE_ARGUMENT)))
        if make is None:
            raise ChannelError(
                PRECONDITION_FAILED,
                f"Invalid argument, '{_TYPE_ARGUMENT}' must be an existing exchange type",
            )
        self._router = make(self.name, arguments=self.arguments, profile=self.profile)
        # The router looks at the same bindings, of which it is told as well.
        self._router.bindings = self.bindings

    def destinations(self, routing_key: str, message: "BrokerMessage") -> Iterable[Destination]:
        """Return the destinations of a message with this key; one may occur more than once."""
        return self._router.destinations(routing_key, message)

    def _added(self, binding: Binding) -> None:
        self._router.take_binding(binding)

    def _removed(self, binding: Binding) -> None:
        self._router.drop_binding(binding)


def delay_of(message: "BrokerMessage") -> int:
    """Return for how many milliseconds a message is to wait; 0 for not at all."""
    if not message.mentions(DELAY_HEADER.encode()):
        return 0
    delay = message.headers.get(DELAY_HEADER)
    if isinstance(delay, bool) or not isinstance(delay, int) or not 0 < delay <= _LONGEST:
        return 0
    return delay
