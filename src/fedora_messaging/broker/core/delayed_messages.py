"""The messages that a delayed exchange keeps until their time has come."""

from collections.abc import Iterator
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, Final

from ...logs import REPEATABLE, logger
from ...printable import printable
from ...protocol.errors import ChannelError
from ...wire.property_codec import edit_headers
from .exchanges.delayed import DELAY_HEADER, delay_of
from .message import BrokerMessage, Entry, new_entry, with_properties
from .queue import Queue

if TYPE_CHECKING:
    from .vhost import VirtualHost

_log = logger(__name__)

#: Argument by which the storage tells these from queues that clients declare.
EXCHANGE_ARGUMENT: Final = "x-delayed-exchange"
_PREFIX: Final = "amq.delayed."
#: How many messages are routed before others have their turn.
_PORTION: Final = 200


class DelayedMessages(Queue):
    """A queue that no client sees: it gives its messages to an exchange, each at its own time."""

    def __init__(self, host: "VirtualHost", exchange: str, durable: bool) -> None:
        super().__init__(host, _PREFIX + exchange, durable=durable, declared={EXCHANGE_ARGUMENT: exchange})
        self.exchange = exchange
        self._vhost = host
        self._waiting: list[tuple[float, int, Entry]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def hold(self, message: BrokerMessage, delay: int) -> None:
        """Keep a message for so many milliseconds."""
        self._position += 1
        due = self._host.clock() + delay / 1000
        entry = new_entry(message, self._position, expires_at=due)
        if self.keeps and message.persistent:
            entry.stored = True
            self._host.journal.message_added(self, entry)
        self._keep(entry)

    def restore(self, entry: Entry) -> bool:
        """Put back a stored message when the broker starts."""
        self._position = max(self._position, entry.position)
        self._keep(entry)
        return True

    def _keep(self, entry: Entry) -> None:
        self._host.memory.hold(entry.message)
        self._host.memory.make_room(entry.message)
        due = entry.expires_at or 0.0
        heappush(self._waiting, (due, entry.position, entry))
        if self._waiting[0][2] is entry:
            self._host.schedule(self, due)

    def on_time(self, when: float) -> None:
        """Give the messages that are due to the exchange."""
        for _ in range(_PORTION):
            if not self._waiting or self._waiting[0][0] > when:
                break
            self._give(heappop(self._waiting)[2])
        if self._waiting:
            self._host.schedule(self, self._waiting[0][0])

    def _give(self, entry: Entry) -> None:
        try:
            self._vhost.route_delayed(self.exchange, _released(entry.message))
        except ChannelError as error:
            # There is nobody to tell, and the messages behind it must not wait for ever.
            _log.warning(
                "A message that waited for the exchange %s is lost: %s",
                printable(self.exchange),
                error.explanation,
                extra=REPEATABLE,
            )
        finally:
            self.forget(entry)

    def drop_ready(self) -> Iterator[None]:
        """Drop all messages, step by step."""
        dropped, self._waiting = self._waiting, []
        for _, _, entry in dropped:
            self.forget(entry)
            yield


def _released(message: BrokerMessage) -> BrokerMessage:
    """Return the message as consumers get it: the sign of its delay says that it is over."""
    headers: dict[str, Any] = {DELAY_HEADER: -delay_of(message)}
    properties = edit_headers(message.properties, headers)
    return with_properties(message, properties)
