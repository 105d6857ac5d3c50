"""A message inside the broker."""

from contextlib import suppress
from typing import Any, Final, Protocol

from msgspec import Struct

from ...logs import logger
from ...protocol.errors import PRECONDITION_FAILED, ChannelError
from ...wire.errors import WireError
from ...wire.fields import encode_shortstr
from ...wire.int64 import Int64
from ...wire.properties import decode_properties
from ...wire.property_codec import PERSISTENT, PropertyScan, edit_headers, with_canonical_headers

_log = logger(__name__)

#: Property flags that tell of no property.
_NO_PROPERTIES: Final = b"\0\0"
#: Steps of routing that a message may take: each is a node of a topic exchange, or a binding of a headers
#: exchange, that is looked at.
MOST_EFFORT: Final = 300_000
#: Exchanges and routing keys, scans and sizes that are remembered: waiting messages share them.
_MOST_NAMES: Final = 2000
#: Both, and their encoding, by exchange and routing key.
_names: dict[tuple[str, str], tuple[str, str, bytes]] = {}
#: Scans by what they tell.
_scans: dict[tuple[Any, ...], PropertyScan] = {}
#: Sizes by themselves: Python has an object for each number above 256.
_sizes: dict[int, int] = {}


class Page(Protocol):
    """A file with bodies; it is gone when no message refers to it."""

    def read(self, place: int, size: int) -> bytes:
        """Return what begins at a place."""
        ...


class Pages(Protocol):
    """Where bodies and properties go for which there is no room in memory."""

    def put(self, *parts: bytes) -> tuple[Page, int] | None:
        """Write bytes; returns their page and their place there, or ``None`` if that is not possible now."""
        ...


class Past(Struct, frozen=True, gc=False):
    """What happened to a message in other queues before; nearly all have none, and share :data:`NEW`.

    Attributes:
        was_delivered: Whether it is a dead letter that was delivered, for releases that mark such.
        failures: How many of its deliveries failed in the queues that dead-lettered it.
        died: Whether it is a dead letter, whose headers tell what the broker knows of its deaths.
        keys: Its routing keys, if its headers do not tell them: these lose ``BCC``, and a dead letter with a
            new key keeps ``CC``. They are not stored.
        passed: Queues that dead-lettered it since it was last rejected. Its headers cannot be relied on for
            this: they may be unreadable, or have no room for it.
    """

    was_delivered: bool = False
    failures: int = 0
    died: bool = False
    keys: tuple[str, ...] | None = None
    passed: frozenset[str] = frozenset()


NEW: Final = Past()


# Queues may hold very many messages. They are part of no cycle, so the garbage collector need not know them,
# which would take hundreds of milliseconds to walk over all.
class BrokerMessage(Struct, gc=False, eq=False):
    """One published message, shared by all queues that hold it; :func:`new_message` makes one.

    Properties stay the bytes that were published, so that consumers get them exactly.

    Attributes:
        exchange: Name of the exchange it was published to.
        routing_key: Routing key it was published with.
        size: Bytes of the body.
        address: Exchange and routing key, encoded as in ``basic.deliver``.
        holders: How many queues hold it.
        placements: In how many durable queues it is stored; 0 for a transient message.
        stored_id: Identity in the storage; ``None`` until it is stored.
        effort: Steps that its routing has taken so far.
        past: What happened to it in other queues.
    """

    exchange: str
    routing_key: str
    _properties: bytes | None
    _body: bytes | None
    size: int
    _scan: PropertyScan | None
    address: bytes
    holders: int = 0
    placements: int = 0
    stored_id: int | None = None
    effort: int = 0
    past: Past = NEW
    _headers: dict[str, Any] | None = None
    _page: Page | None = None
    _place: int = 0
    _paged: int = 0

    @property
    def scan(self) -> PropertyScan:
        """The properties that the broker uses."""
        if self._scan is None:
            try:
                self._scan = PropertyScan(self.properties)
            except WireError as error:
                # They were read when they were published; only a damaged file leads here.
                _log.error("The properties of a stored message cannot be read, and count as none: %s", error)
                self._scan = PropertyScan(_NO_PROPERTIES)
        return self._scan

    @property
    def body(self) -> bytes:
        """The body; one that is on a page is read from there each time."""
        # The thread that stores messages reads it, too, while it may be paged out.
        body = self._body
        return self._read(0, self.size) if body is None else body

    @property
    def properties(self) -> bytes:
        """Property flags and values; what is on a page is read from there each time."""
        properties = self._properties
        return self._read(self.size, self._paged) if properties is None else properties

    def _read(self, begin: int, size: int) -> bytes:
        assert self._page is not None
        return self._page.read(self._place + begin, size)

    @property
    def in_memory(self) -> int:
        """Bytes of properties and body that are in memory: 0 when they are on a page."""
        return 0 if self._properties is None else self.size + len(self._properties)

    def page_out(self, pages: Pages) -> int:
        """Put body and properties on a page; returns how many bytes have left the memory."""
        if self._body is None or self._properties is None:
            return 0
        put = pages.put(self._body, self._properties)
        if put is None:
            return 0
        self._page, self._place = put
        self._paged = len(self._properties)
        freed = self.in_memory
        self.size = _shared_size(self.size)
        if self._scan is not None:
            self._scan = _shared(self._scan)
        self._body = self._properties = None  # last, for a thread that reads them now
        return freed

    def rewrite(self, properties: bytes) -> None:
        """Replace the properties by others of the same length, before a queue holds the message."""
        self._properties = properties

    @property
    def persistent(self) -> bool:
        """Whether the publisher asked for the message to be stored."""
        return self.scan.delivery_mode == PERSISTENT

    @property
    def headers(self) -> dict[str, Any]:
        """The decoded header table; do not change it. A table that does not decode counts as empty."""
        if self._headers is None:
            self._headers = {}
            if self.scan.headers is not None:
                with suppress(WireError):
                    self._headers = decode_properties(self.properties).headers or {}
        return self._headers

    def count_effort(self, steps: int) -> None:
        """Count steps of routing, so that no message keeps the broker busy.

        Raises:
            ChannelError: 406 if it has taken too many.
        """
        self.effort += steps
        if self.effort > MOST_EFFORT:
            raise ChannelError(
                PRECONDITION_FAILED,
                "routing this message takes too many steps: it has too many routing keys, words in them or "
                "headers for the bindings",
            )

    def forget_headers(self) -> None:
        """Free the memory of the decoded headers, which is many times that of the bytes."""
        self._headers = None

    def mentions(self, needle: bytes) -> bool:
        """Whether the encoded headers contain the given bytes: a cheap test before decoding them."""
        if self.scan.headers is None:
            return False
        start, end = self.scan.headers
        return self.properties.find(needle, start, end) >= 0


def new_message(exchange: str, routing_key: str, properties: bytes, body: bytes) -> BrokerMessage:
    """Make a message of what was published.

    Raises:
        WireError: The properties are wrong.
    """
    return _make(exchange, routing_key, properties, body, PropertyScan(properties))


def restored_message(exchange: str, routing_key: str, properties: bytes, body: bytes) -> BrokerMessage:
    """Make a message of what was stored; its properties are read when somebody needs them."""
    return _make(exchange, routing_key, properties, body, None)


def _make(
    exchange: str, routing_key: str, properties: bytes, body: bytes, scan: PropertyScan | None
) -> BrokerMessage:
    names = _names.get((exchange, routing_key)) or _learn_names(exchange, routing_key)
    return BrokerMessage(names[0], names[1], properties, body, len(body), scan, names[2])


def _shared(scan: PropertyScan) -> PropertyScan:
    """Return an equal scan that other waiting messages have, too: most differ in nothing that it tells."""
    values = scan.headers, scan.delivery_mode, scan.priority, scan.reply_to, scan.expiration, scan.user_id
    if len(_scans) >= _MOST_NAMES:
        _scans.clear()
    return _scans.setdefault(values, scan)


def _shared_size(size: int) -> int:
    if len(_sizes) >= _MOST_NAMES:
        _sizes.clear()
    return _sizes.setdefault(size, size)


def _learn_names(exchange: str, routing_key: str) -> tuple[str, str, bytes]:
    address = encode_shortstr(exchange) + encode_shortstr(routing_key)
    if len(_names) >= _MOST_NAMES:
        _names.clear()
    names = _names[exchange, routing_key] = (exchange, routing_key, address)
    return names


def with_properties(message: BrokerMessage, properties: bytes) -> BrokerMessage:
    """Return a message with other properties; it keeps its past, and no queue holds it."""
    new = new_message(message.exchange, message.routing_key, properties, message.body)
    new.effort = message.effort
    new.past = message.past
    return new


def in_canonical_order(message: BrokerMessage) -> BrokerMessage:
    """Return a message whose headers are written as RabbitMQ 4 writes them."""
    place = message.scan.headers
    if place is None:
        return message
    properties = with_canonical_headers(message.properties, place)
    if len(properties) == len(message.properties):
        # The same fields in another order, so that all else is where it was.
        message.rewrite(properties)
        return message
    return with_properties(message, properties)


class Entry(Struct, gc=False, eq=False):
    """A message's place in one queue; :func:`new_entry` makes one.

    Attributes:
        message: The message.
        position: Order of arrival in the queue; kept when the message is returned.
        priority: Effective priority in the queue.
        expires_at: When it expires, in seconds of the broker's clock; ``None`` means never.
        redelivered: Whether it was delivered before.
        returns: How often it was returned to the queue by a delivery that failed.
        acquisitions: How often it was delivered before.
        stored: Whether it is in the storage.
    """

    message: BrokerMessage
    position: int
    priority: int = 0
    expires_at: float | None = None
    redelivered: bool = False
    returns: int = 0
    acquisitions: int = 0
    stored: bool = False


def new_entry(
    message: BrokerMessage, position: int, priority: int = 0, expires_at: float | None = None
) -> Entry:
    """Make the entry of a message that enters a queue."""
    return Entry(message, position, priority, expires_at, message.past.was_delivered, message.past.failures)


def counted_properties(entry: Entry, with_acquisitions: bool, room: int) -> bytes:
    """Return the properties of a message with the count of its deliveries, if that can be added.

    Args:
        entry: The message.
        with_acquisitions: Whether to count those, too, that did not fail.
        room: Most bytes of properties that can be sent.
    """
    properties = entry.message.properties
    counts = {}
    if with_acquisitions:
        # A dead letter counts what failed elsewhere until this queue has delivered it.
        counts["x-acquired-count"] = Int64(entry.acquisitions or entry.returns)
    if entry.returns or not with_acquisitions:
        counts["x-delivery-count"] = Int64(entry.returns)
    try:
        counted = edit_headers(properties, counts)
    except WireError:
        return properties  # nothing can be added to headers that do not decode
    return counted if len(counted) <= room else properties
