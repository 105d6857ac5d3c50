"""The arguments of ``queue.declare`` (RabbitMQ's ``x-`` arguments): their checks and their meaning."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from ...protocol.errors import INTERNAL_ERROR, PRECONDITION_FAILED, ChannelError, ConnectionError
from ...wire.fields import SHORTSTR_MAX
from ...wire.property_codec import PropertyScan
from .declarations import QueueDeclaration
from .equivalence import type_name
from .profile import RABBITMQ_4, Profile

CLASSIC: Final = "classic"
QUORUM: Final = "quorum"
STREAM: Final = "stream"
QUEUE_TYPES: Final = (CLASSIC, QUORUM, STREAM)
DROP_HEAD: Final = "drop-head"
REJECT_PUBLISH: Final = "reject-publish"
REJECT_PUBLISH_DLX: Final = "reject-publish-dlx"
OVERFLOWS: Final = (DROP_HEAD, REJECT_PUBLISH, REJECT_PUBLISH_DLX)
#: An age of messages in a stream: a number and one of year, month, day, hour, minute, second.
_AGE: Final = re.compile(r"0*([1-9][0-9]*)([YMDhms])")
_AGE_UNITS: Final = {"Y": 31_536_000, "M": 2_592_000, "D": 86_400, "h": 3600, "m": 60, "s": 1}
#: Numbers with more digits stand for an age that nothing reaches; Python refuses to read very long ones.
_MOST_DIGITS: Final = 15
MAX_SEGMENT_SIZE: Final = 3_000_000_000
#: Least and most bytes of a stream's filter.
FILTER_SIZES: Final = range(16, 256)


@dataclass(frozen=True, slots=True)
class QueueArguments:
    """The meaning of the arguments of one queue; ``None`` means "not given".

    Attributes:
        message_ttl: Time to live of messages, in milliseconds.
        expires: Milliseconds that the queue may be unused before it is deleted.
        max_length: Most ready messages.
        max_length_bytes: Most bytes of ready bodies.
        overflow: What the queue does above a limit.
        dead_letter_exchange: Exchange for refused and expired messages.
        dead_letter_routing_key: New routing key of these messages.
        max_priority: Highest priority of the queue.
        single_active: Whether only one consumer gets messages at a time.
        queue_type: classic, quorum or stream.
        delivery_limit: A message is dead-lettered when it has been returned more often than this.
        default_priority: Priority of messages that have none.
        max_age: Seconds after which a stream may forget messages.
        segment_size: Bytes of messages that a stream forgets together.
        consumer_timeout: Milliseconds after which an unsettled delivery ends its consumer.
    """

    message_ttl: int | None = None
    expires: int | None = None
    max_length: int | None = None
    max_length_bytes: int | None = None
    overflow: str = DROP_HEAD
    dead_letter_exchange: str | None = None
    dead_letter_routing_key: str | None = None
    max_priority: int | None = None
    single_active: bool = False
    queue_type: str = CLASSIC
    delivery_limit: int | None = None
    default_priority: int = 0
    max_age: int | None = None
    segment_size: int = 500_000_000
    consumer_timeout: int | None = None

    @property
    def refuses(self) -> bool:
        """Whether a full queue refuses new messages instead of dropping the oldest ones."""
        return self.overflow in (REJECT_PUBLISH, REJECT_PUBLISH_DLX)

    def is_full(self, length: int, size: int, more: int) -> bool:
        """Whether a queue has no room for another message.

        Args:
            length: Number of ready messages.
            size: Bytes of their bodies.
            more: Bytes of the new message's body.
        """
        if self.queue_type == QUORUM:
            # It looks at its length after it has taken a message.
            return self.is_exceeded(length, size)
        if self.max_length is not None and length >= self.max_length:
            return True
        return self.max_length_bytes is not None and size + more > self.max_length_bytes

    def is_exceeded(self, length: int, size: int) -> bool:
        """Whether a queue holds more messages, or bytes of bodies, than it may."""
        if self.max_length is not None and length > self.max_length:
            return True
        return self.max_length_bytes is not None and size > self.max_length_bytes

    def is_exhausted(self, returns: int) -> bool:
        """Whether a message was returned more often than the limit."""
        return self.delivery_limit is not None and returns > self.delivery_limit

    def priority_of(self, scan: PropertyScan) -> int:
        """Return a message's priority, within the range of the queue."""
        top = self.max_priority
        own = self.default_priority if scan.priority is None else scan.priority
        return min(own, top) if top else 0

    def expiry_of(self, scan: PropertyScan, now: float) -> float | None:
        """Return when a message that arrives now expires, in seconds; ``None`` means never."""
        ttl = self.message_ttl
        if scan.expiration is not None:
            own = int(scan.expiration)
            ttl = own if ttl is None else min(ttl, own)
        return None if ttl is None else now + ttl / 1000


#: Ten years in milliseconds; RabbitMQ accepts no longer time.
_LONGEST_TIME: Final = 315_360_000_000
_TIMES: Final = frozenset({"x-message-ttl", "x-expires"})
#: Priority of a message without one in a quorum queue.
_QUORUM_PRIORITY: Final = 4


class _Refused(Exception):
    """A value is wrong; the text says why, in RabbitMQ's words."""


def check_time(milliseconds: int) -> int:
    """Check a time to live.

    Raises:
        ValueError: It is negative or longer than ten years; the text is RabbitMQ's.
    """
    if milliseconds < 0:
        raise ValueError(f"{{value_negative,{milliseconds}}}")
    if milliseconds > _LONGEST_TIME:
        raise ValueError(f"{{value_too_large,{milliseconds}}}")
    return milliseconds


def read_age(text: str) -> int | None:
    """Return the seconds that an age in a stream stands for, such as ``12h``; ``None`` if it is none."""
    age = _AGE.fullmatch(text)
    if age is None:
        return None
    number = int(age[1]) if len(age[1]) <= _MOST_DIGITS else 10**_MOST_DIGITS
    return number * _AGE_UNITS[age[2]]


def is_routing_key(value: Any) -> bool:
    """Whether a message can bear this routing key."""
    return isinstance(value, str) and len(value.encode("utf-8", "surrogateescape")) <= SHORTSTR_MAX


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _Refused(f'"expected integer, got {type_name(value)}"')
    return value


def _count(value: Any) -> int:
    count = _integer(value)
    if count < 0:
        raise _Refused(f"{{value_negative,{count}}}")
    return count


def _time(value: Any) -> int:
    try:
        return check_time(_integer(value))
    except ValueError as error:
        raise _Refused(str(error)) from None


def _lifetime(value: Any) -> int:
    if value == 0 and not isinstance(value, bool):
        raise _Refused("{value_zero,0}")
    return _time(value)


def _priority(value: Any) -> int:
    priority = _count(value)
    if priority > 255:
        raise _Refused(f"{{max_value_exceeded,{priority}}}")
    return priority


def _typed(kind: type) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if not isinstance(value, kind):
            raise _Refused(f"{{unacceptable_type,{type_name(value)}}}")
        return value

    return check


def _routing_key(value: Any) -> str:
    key: str = _typed(str)(value)
    if not is_routing_key(key):
        raise _Refused(f"longer than {SHORTSTR_MAX} bytes, so no message could bear it")
    return key


def _choice(problem: str, *choices: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        text: str = _typed(str)(value)
        if text not in choices:
            raise _Refused(problem.format(text))
        return text

    return check


def _unchecked(value: Any) -> Any:
    return value


def _age(value: Any) -> int:
    age = read_age(_typed(str)(value))
    if age is None:
        raise _Refused("invalid_max_age")
    return age


def _segment_size(value: Any) -> int:
    size = _count(value)
    if size > MAX_SEGMENT_SIZE:
        raise _precondition("Exceeded max value for x-stream-max-segment-size-bytes")
    return size


def _cluster_size(value: Any) -> int:
    size = _count(value)
    if size == 0:
        raise _Refused("{value_zero,0}")
    return size


def _filter_size(value: Any) -> int:
    size = _count(value)
    if size not in FILTER_SIZES:
        raise _precondition("Invalid value for x-stream-filter-size-bytes")
    return size


#: The known arguments, in the order of RabbitMQ's checks; for each, an attribute of QueueArguments or None,
#: and a check.
_KNOWN: Final[dict[str, tuple[str | None, Callable[[Any], Any]]]] = {
    "x-expires": ("expires", _lifetime),
    "x-message-ttl": ("message_ttl", _time),
    "x-dead-letter-exchange": ("dead_letter_exchange", _typed(str)),
    "x-dead-letter-routing-key": ("dead_letter_routing_key", _routing_key),
    "x-dead-letter-strategy": (None, _choice("invalid_dlx_strategy", "at-most-once", "at-least-once")),
    "x-max-length": ("max_length", _count),
    "x-max-length-bytes": ("max_length_bytes", _count),
    "x-max-in-memory-length": (None, _unchecked),
    "x-max-in-memory-bytes": (None, _unchecked),
    "x-max-priority": ("max_priority", _priority),
    "x-overflow": (
        "overflow",
        _choice("invalid_overflow", DROP_HEAD, REJECT_PUBLISH, REJECT_PUBLISH_DLX),
    ),
    "x-queue-mode": (None, _unchecked),
    "x-queue-version": (None, _unchecked),
    "x-single-active-consumer": ("single_active", _typed(bool)),
    "x-queue-type": ("queue_type", _choice("\"unsupported queue type '{}'\"", *QUEUE_TYPES)),
    "x-delivery-limit": ("delivery_limit", _unchecked),
    "x-consumer-timeout": ("consumer_timeout", _unchecked),
    "x-max-age": ("max_age", _age),
    "x-stream-max-segment-size-bytes": ("segment_size", _segment_size),
    "x-initial-cluster-size": (None, _cluster_size),
    "x-quorum-initial-group-size": (None, _unchecked),
    "x-stream-filter-size-bytes": (None, _unchecked),
    "x-queue-leader-locator": (
        None,
        _choice("invalid_queue_locator_arg", "client-local", "balanced", "random", "least-leaders"),
    ),
    "x-queue-master-locator": (None, _unchecked),
}
#: The known arguments that each type of queue has; another known one is refused.
_SHARED: Final = frozenset(
    {
        "x-message-ttl",
        "x-expires",
        "x-max-length",
        "x-max-length-bytes",
        "x-overflow",
        "x-dead-letter-exchange",
        "x-dead-letter-routing-key",
        "x-single-active-consumer",
        "x-queue-type",
    }
)
_OF_TYPE: Final = {
    CLASSIC: _SHARED | {"x-max-priority", "x-queue-mode", "x-queue-version", "x-queue-master-locator"},
    QUORUM: _SHARED
    | {
        "x-consumer-timeout",
        "x-dead-letter-strategy",
        "x-delivery-limit",
        "x-max-in-memory-length",
        "x-max-in-memory-bytes",
        "x-queue-leader-locator",
        "x-quorum-initial-group-size",
    },
    STREAM: frozenset(
        {
            "x-initial-cluster-size",
            "x-max-age",
            "x-max-length-bytes",
            "x-queue-leader-locator",
            "x-queue-type",
            "x-stream-filter-size-bytes",
            "x-stream-max-segment-size-bytes",
        }
    ),
}

#: By type of queue, the arguments that a repeated declaration must repeat, in the order of RabbitMQ's checks.
_EQUIVALENT: Final = {
    CLASSIC: (
        "x-expires",
        "x-message-ttl",
        "x-dead-letter-exchange",
        "x-dead-letter-routing-key",
        "x-max-length",
        "x-max-length-bytes",
        "x-max-priority",
        "x-overflow",
        "x-queue-mode",
        "x-queue-version",
        "x-single-active-consumer",
        "x-queue-type",
        "x-queue-master-locator",
    ),
    QUORUM: (
        "x-dead-letter-exchange",
        "x-dead-letter-routing-key",
        "x-dead-letter-strategy",
        "x-expires",
        "x-max-length",
        "x-max-length-bytes",
        "x-max-in-memory-length",
        "x-max-in-memory-bytes",
        "x-overflow",
        "x-single-active-consumer",
        "x-queue-type",
        "x-quorum-initial-group-size",
        "x-delivery-limit",
        "x-message-ttl",
        "x-queue-leader-locator",
    ),
    STREAM: (
        "x-max-length-bytes",
        "x-queue-type",
        "x-max-age",
        "x-stream-max-segment-size-bytes",
        "x-stream-filter-size-bytes",
        "x-initial-cluster-size",
        "x-queue-leader-locator",
    ),
}


#: The arguments of consumers, by whether streams can filter.
_FOR_CONSUMERS: Final[dict[bool, dict[str, tuple[str, ...]]]] = {
    False: {
        CLASSIC: ("x-priority", "x-cancel-on-ha-failover"),
        QUORUM: ("x-priority",),
        STREAM: ("x-stream-offset",),
    },
    True: {
        CLASSIC: ("x-priority",),
        QUORUM: ("x-priority",),
        STREAM: ("x-stream-offset", "x-stream-filter", "x-stream-match-unfiltered"),
    },
}


def equivalent(queue_type: str, profile: Profile = RABBITMQ_4) -> tuple[str, ...]:
    """Return the arguments that a repeated declaration of a queue must repeat with the same values."""
    names = _EQUIVALENT[queue_type]
    if queue_type == CLASSIC and profile.classic_has_locator:
        names += ("x-queue-leader-locator",)
    if queue_type == QUORUM and not profile.classic_consumer_timeout:
        names += ("x-consumer-timeout",)
    return names


def check_consumer(queue_type: str, what: str, arguments: Mapping[str, Any], profile: Profile) -> int:
    """Check that a queue knows the arguments of a consumer; those that no type knows are ignored.

    Returns:
        The priority of the consumer.

    Raises:
        ChannelError: 406 with RabbitMQ's wording.
    """
    known = _FOR_CONSUMERS[profile.streams_filter]
    for name in sorted({name for names in known.values() for name in names}):
        if name in arguments and name not in known[queue_type]:
            raise _precondition(f"invalid arg '{name}' for {what} of queue type rabbit_{queue_type}_queue")
    try:
        return _integer(arguments.get("x-priority", 0))
    except _Refused as error:
        raise _precondition(f"invalid arg 'x-priority' for {what}: {error}") from None


def comparable(arguments: Mapping[str, Any], profile: Profile) -> Mapping[str, Any]:
    """Return arguments as they are compared; releases that compare ages do so in milliseconds."""
    age = arguments.get("x-max-age")
    seconds = read_age(age) if isinstance(age, str) and profile.compares_ages else None
    return arguments if seconds is None else {**arguments, "x-max-age": str(1000 * seconds)}


def read_arguments(declared: QueueDeclaration, vhost: str, profile: Profile = RABBITMQ_4) -> QueueArguments:
    """Check and read the arguments of a declaration.

    Raises:
        ChannelError: 406 with RabbitMQ's wording.
        ConnectionError: 541 for an argument that is no longer permitted.
    """
    what = f"queue '{declared.name}' in vhost '{vhost}'"
    arguments = declared.arguments
    _check_dead_letter_exchange(declared, what)
    if "x-queue-master-locator" in arguments and not profile.has_master_locator:
        raise ConnectionError(
            INTERNAL_ERROR,
            "Feature `queue_master_locator` is deprecated. "
            "By default, this feature is not permitted anymore.",
        )
    queue_type = _check("x-queue-type", arguments.get("x-queue-type", CLASSIC), what, profile)
    allowed = _allowed(queue_type, profile)
    for name in _KNOWN:
        if name not in arguments or name not in allowed:
            continue
        _check(name, arguments[name], what, profile)
        if name == "x-dead-letter-routing-key" and "x-dead-letter-exchange" not in arguments:
            raise _precondition(f"invalid arg '{name}' for {what}: routing_key_but_no_dlx_defined")
    for name in sorted(_KNOWN):  # RabbitMQ names the first one by name
        if name in arguments and name not in allowed:
            raise _precondition(f"invalid arg '{name}' for {what} of queue type rabbit_{queue_type}_queue")
    if queue_type != CLASSIC:
        _check_replicated(declared, what)
    return interpret(arguments, queue_type, profile)


def _allowed(queue_type: str, profile: Profile) -> frozenset[str]:
    """Return the known arguments that a queue of a type may have."""
    allowed = _OF_TYPE[queue_type]
    if profile.classic_consumer_timeout:
        allowed |= {"x-consumer-timeout"}
    if queue_type == CLASSIC and profile.classic_has_locator:
        allowed |= {"x-queue-leader-locator"}
    return allowed


def _check(name: str, value: Any, what: str, profile: Profile) -> Any:
    """Check one argument; returns what it means."""
    try:
        if name == "x-queue-version":
            _check_version(value, profile)
        elif name == "x-queue-mode" and profile.has_queue_mode:
            _choice("\"unsupported queue mode '{}'\"", "default", "lazy")(value)
        elif name == "x-stream-filter-size-bytes" and profile.streams_filter:
            _filter_size(value)
        elif name == "x-consumer-timeout" and not profile.classic_consumer_timeout:
            _count(value)
        return _KNOWN[name][1](value) if name in _KNOWN else value
    except _Refused as error:
        raise _precondition(f"invalid arg '{name}' for {what}: {error}") from None


def _check_version(value: Any, profile: Profile) -> None:
    version = _integer(value)
    if version not in profile.queue_versions:
        raise _Refused(f"\"unsupported queue version '{version}'\"")


def interpret(arguments: Mapping[str, Any], queue_type: str, profile: Profile) -> QueueArguments:
    """Return the meaning of arguments that were checked, for a queue of a type."""
    values: dict[str, Any] = {}
    for name, value in arguments.items():
        attribute, read = _KNOWN.get(name, (None, _unchecked))
        if attribute is not None:
            if name in _TIMES:
                value = min(value, _LONGEST_TIME)  # a policy may give a longer time
            values[attribute] = read(value)
    meaning = QueueArguments(**{**values, "queue_type": queue_type})
    if queue_type != QUORUM:
        return meaning
    limit = meaning.delivery_limit
    if limit is None:
        limit = profile.quorum_delivery_limit
    elif not isinstance(limit, int) or isinstance(limit, bool):
        limit = None  # RabbitMQ accepts anything, and in Erlang no number is more than what is none
    elif limit < 0:
        # Releases without a limit by default need no value for it.
        limit = None if profile.quorum_delivery_limit is not None else 0
    return replace(
        meaning,
        delivery_limit=limit,
        # Quorum queues do not know the third way, and take the first instead.
        overflow=DROP_HEAD if meaning.overflow == REJECT_PUBLISH_DLX else meaning.overflow,
        max_priority=profile.quorum_priorities or None,
        default_priority=_QUORUM_PRIORITY,
    )


def _precondition(text: str) -> ChannelError:
    return ChannelError(PRECONDITION_FAILED, text)


def _check_dead_letter_exchange(declared: QueueDeclaration, what: str) -> None:
    name = "x-dead-letter-exchange"
    if name in declared.arguments and not isinstance(declared.arguments[name], str):
        kind = type_name(declared.arguments[name])
        raise _precondition(f"invalid type '{kind}' for arg '{name}' in {what}")


def _check_replicated(declared: QueueDeclaration, what: str) -> None:
    """Refuse what queues that RabbitMQ replicates cannot be."""
    wrong = None
    if declared.auto_delete:
        wrong = "auto-delete"
    elif declared.exclusive:
        wrong = "exclusive-owner"
    elif not declared.durable:
        wrong = "non-durable"
    if wrong is not None:
        raise _precondition(f"invalid property '{wrong}' for {what}")
