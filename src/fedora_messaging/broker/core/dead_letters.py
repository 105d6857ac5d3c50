"""Dead letters: messages that a queue refuses are published again with their history (``x-death``)."""

from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from ...logs import REPEATABLE, logger
from ...printable import printable
from ...wire.errors import WireError
from ...wire.fields import INT64_MAX
from ...wire.int64 import Int64
from ...wire.properties import decode_properties, with_text_property
from ...wire.property_codec import edit_headers
from .exchanges import Exchange
from .message import BrokerMessage, Entry, Past, new_message
from .profile import RABBITMQ_4, Profile
from .queue import REJECTED, Queue
from .routing import find_queues, routing_keys

_log = logger(__name__)

#: Beginnings of the names of headers that tell of deaths.
_DEATHS: Final = ("x-death", "x-first-death-", "x-last-death-")


class DeadLetters:
    """Publishes the messages that queues of a virtual host refuse.

    Args:
        exchanges: The exchanges of the virtual host, by name.
        wall: Returns the time to stamp messages with.
        room: Most bytes of properties that a dead letter may have.
        profile: The release of RabbitMQ to imitate.
    """

    def __init__(
        self, exchanges: Mapping[str, Exchange], wall: Callable[[], float], room: int, profile: Profile
    ) -> None:
        self._exchanges = exchanges
        self._wall = wall
        self._room = room
        self._profile = profile
        self._dead: deque[tuple[Queue, Entry, str]] = deque()
        self._burying = False

    def add(self, queue: Queue, entry: Entry, reason: str) -> None:
        """Publish a message that a queue refuses to its dead-letter exchange, if it has one that exists.

        A dead letter may push other messages out of full queues, and these may push out more. All of them
        wait their turn in a list, so that a long chain cannot overflow the stack.
        """
        self._dead.append((queue, entry, reason))
        if self._burying:
            return
        self._burying = True
        try:
            while self._dead:
                self._bury(*self._dead.popleft())
        finally:
            self._burying = False

    def _bury(self, queue: Queue, entry: Entry, reason: str) -> None:
        try:
            self._publish_dead_letter(queue, entry, reason)
        except Exception:
            # The running operation belongs to a client that has nothing to do with this message.
            _log.exception(
                "A message that left the queue %s (%s) is lost",
                printable(queue.name),
                reason,
                extra=REPEATABLE,
            )
        # The journal gets the dead letter first, so that a crash in between leaves two messages, never none.
        queue.forget(entry)

    def _publish_dead_letter(self, queue: Queue, entry: Entry, reason: str) -> None:
        name = queue.arguments.dead_letter_exchange
        exchange = self._exchanges.get(name) if name is not None else None
        if exchange is None:
            return
        message = make_dead_letter(queue, entry, reason, self._wall(), self._room, self._profile)
        keys = routing_keys(message) if message.past.keys is None else list(message.past.keys)
        for target in find_queues(self._exchanges, exchange, message, keys):
            if not is_cycle(message, target):
                target.enqueue(message)
        message.forget_headers()


def make_dead_letter(
    queue: Queue, entry: Entry, reason: str, now: float, room: int, profile: Profile = RABBITMQ_4
) -> BrokerMessage:
    """Build the message to publish to the queue's dead-letter exchange.

    If the properties do not fit into a frame, the older half of the history of deaths is left out, repeatedly
    if necessary, until none of it is left.

    Args:
        queue: The queue that refuses it; it has a dead-letter exchange.
        entry: The message.
        reason: ``rejected``, ``expired``, ``maxlen`` or ``delivery_limit``.
        now: Seconds since 1970.
        room: Most bytes of properties.
        profile: The release of RabbitMQ to imitate.
    """
    old = entry.message
    key = queue.arguments.dead_letter_routing_key
    properties = _with_new_death(queue, old, reason, now, room, profile)
    message = new_message(
        queue.arguments.dead_letter_exchange or "",
        old.routing_key if key is None else key,
        properties,
        old.body,
    )
    failures = entry.returns + (reason == REJECTED) if profile.marks_dead_letters else 0
    message.past = Past(
        was_delivered=failures > 0,
        failures=failures,
        died=True,
        keys=old.past.keys if key is None else (key,),
        # Because headers that cannot be read, or lack a part of their history, show no circle.
        passed=frozenset() if reason == REJECTED else old.past.passed | {queue.name},
    )
    return message


def _with_new_death(
    queue: Queue, old: BrokerMessage, reason: str, now: float, room: int, profile: Profile
) -> bytes:
    """Return the properties with one more death in the headers, if these can be read and it fits."""
    properties = old.properties
    if old.scan.expiration is not None:
        properties = with_text_property(properties, "expiration", None)
    try:
        headers = decode_properties(properties).headers or {}
    except WireError:
        # Nothing can be added to headers that cannot be read; the message must leave its queue nevertheless.
        return properties
    if not (profile.trusts_deaths or old.past.died):
        headers = {name: value for name, value in headers.items() if not name.startswith(_DEATHS)}
    cc = headers.get("CC")
    # Take only texts, which are keys; another value would be nested deeper here than it was.
    routing_keys = [old.routing_key, *(key for key in _items(cc) if isinstance(key, str))]
    death: dict[str, Any] = {
        "count": Int64(1),
        "reason": reason,
        "queue": queue.name,
        "time": datetime.fromtimestamp(int(now), UTC),
        "exchange": old.exchange,
        "routing-keys": routing_keys,
    }
    if old.scan.expiration is not None:
        death["original-expiration"] = old.scan.expiration
    added: dict[str, Any] = {}
    if "x-death" not in headers:
        added["x-first-death-reason"] = reason
        added["x-first-death-queue"] = queue.name
        added["x-first-death-exchange"] = old.exchange
    if profile.marks_dead_letters:
        added["x-last-death-reason"] = reason
        added["x-last-death-queue"] = queue.name
        added["x-last-death-exchange"] = old.exchange
    keeps_cc = profile.keeps_cc or queue.arguments.dead_letter_routing_key is None
    removed = ("BCC",) if keeps_cc else ("CC", "BCC")
    history = _with_death(headers.get("x-death"), death)
    while history:
        edited = edit_headers(properties, {"x-death": history, **added}, removed)
        if len(edited) <= room:
            return edited
        history = history[: len(history) // 2]
    return edit_headers(properties, {}, removed)


def _with_death(history: Any, death: dict[str, Any]) -> list[dict[str, Any]]:
    """Put a death in front of the history, which counts the deaths of each queue and reason in one entry."""
    # Clients may have written several entries for one queue and reason.
    rest: dict[tuple[Any, Any], dict[str, Any]] = {}
    for entry in _deaths(history):
        if _is_of(entry, death["queue"]) and entry.get("reason") == death["reason"]:
            death = {**entry, "count": _sum(_count(entry), death["count"]), "time": death["time"]}
            continue
        key = (repr(entry.get("queue")), repr(entry.get("reason")))
        before = rest.get(key)
        count = _count(entry) if before is None else _sum(_count(entry), before["count"])
        rest[key] = {**(before or entry), "count": Int64(count)}
    return [death, *rest.values()]


def _sum(first: int, second: int) -> Int64:
    return Int64(max(-INT64_MAX - 1, min(first + second, INT64_MAX)))


def _count(entry: dict[str, Any]) -> int:
    count = entry.get("count", 1)
    return count if isinstance(count, int) else 0


def is_cycle(message: BrokerMessage, queue: Queue) -> bool:
    """Whether a dead letter comes back to a queue without having been rejected by a consumer on the way."""
    if queue.name in message.past.passed:
        return True
    for entry in _deaths(message.headers.get("x-death")):
        if entry.get("reason") == REJECTED:
            return False
        if _is_of(entry, queue.name):
            return True
    return False


def _is_of(death: dict[str, Any], queue: str) -> bool:
    name = death.get("queue")
    # A text that is not UTF-8 is decoded to bytes.
    return (name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name) == queue


def _deaths(history: Any) -> list[dict[str, Any]]:
    return [entry for entry in _items(history) if isinstance(entry, dict)]


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
