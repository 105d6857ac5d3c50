"""The arguments of ``queue.declare`` (RabbitMQ's ``x-`` arguments): their checks and their meaning."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from ...protocol.errors import INTERNAL_ERROR, PRECONDITION_FAILED, ChannelError, ConnectionError
from ...wire.fields import SHORTSTR_MAX
from ...wire.properties import PropertyScan
from .declarations import QueueDeclaration
from .equivalence import type_name
from .profile import PROFILES, RABBITMQ_4, Profile

CLASSIC: Final = "classic"
QUORUM: Final = "quorum"
DROP_HEAD: Final = "drop-head"
REJECT_PUBLISH: Final = "reject-publish"
REJECT_PUBLISH_DLX: Final = "reject-publish-dlx"


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
        queue_type: classic or quorum.
        delivery_limit: A message is dead-lettered when it has been returned more often than this.
        default_priority: Priority of messages that have none.
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
#: Arguments that only quorum queues have.
_QUORUM_ONLY: Final = frozenset(
    {
        "x-delivery-limit",
        "x-queue-leader-locator",
        "x-max-in-memory-length",
        "x-max-in-memory-bytes",
        "x-quorum-initial-group-size",
        "x-dead-letter-strategy",
    }
)


#: Arguments that only classic queues have.
_CLASSIC_ONLY: Final = ("x-max-priority", "x-queue-mode", "x-queue-version")


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


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _Refused(f"expected integer, got {type_name(value)}")
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
    if len(key.encode()) > SHORTSTR_MAX:
        raise _Refused(f"longer than {SHORTSTR_MAX} bytes, so no message could bear it")
    return key


def _choice(problem: str, *choices: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        text: str = _typed(str)(value)
        if text not in choices:
            raise _Refused(problem.format(text))
        return text

    return check


#: The known arguments; for each, an attribute of QueueArguments or None, and a check.
_KNOWN: Final[dict[str, tuple[str | None, Callable[[Any], Any]]]] = {
    "x-message-ttl": ("message_ttl", _time),
    "x-expires": ("expires", _lifetime),
    "x-max-length": ("max_length", _count),
    "x-max-length-bytes": ("max_length_bytes", _count),
    "x-overflow": (
        "overflow",
        _choice('{{invalid_overflow,<<"{}">>}}', DROP_HEAD, REJECT_PUBLISH, REJECT_PUBLISH_DLX),
    ),
    "x-dead-letter-exchange": ("dead_letter_exchange", _typed(str)),
    "x-dead-letter-routing-key": ("dead_letter_routing_key", _routing_key),
    "x-max-priority": ("max_priority", _priority),
    "x-single-active-consumer": ("single_active", _typed(bool)),
    # This broker has no streams, and refuses them like an unknown type.
    "x-queue-type": ("queue_type", _choice("unsupported queue type '{}'", CLASSIC, QUORUM)),
    "x-delivery-limit": ("delivery_limit", _integer),
}

#: Arguments that a repeated declaration must repeat with the same values.
EQUIVALENT: Final = (
    "x-expires",
    "x-message-ttl",
    "x-max-length",
    "x-max-length-bytes",
    "x-overflow",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-max-priority",
    "x-queue-mode",
    "x-single-active-consumer",
    "x-queue-type",
)


def _known(profile: Profile) -> dict[str, tuple[str | None, Callable[[Any], Any]]]:
    """Return the arguments that a release checks."""

    def check_version(value: Any) -> int:
        version = _integer(value)
        if version not in profile.queue_versions:
            raise _Refused(f"\"unsupported queue version '{version}'\"")
        return version

    known = {**_KNOWN, "x-queue-version": (None, check_version)}
    if profile.has_queue_mode:
        known["x-queue-mode"] = (None, _choice("unsupported queue mode '{}'", "default", "lazy"))
    if profile.classic_has_locator:
        known["x-queue-leader-locator"] = (
            None,
            _choice("unsupported queue leader locator '{}'", "client-local", "balanced"),
        )
    return known


_KNOWN_BY_PROFILE: Final = {profile: _known(profile) for profile in PROFILES.values()}


def read_arguments(declared: QueueDeclaration, vhost: str, profile: Profile = RABBITMQ_4) -> QueueArguments:
    """Check and read the arguments of a declaration.

    Raises:
        ChannelError: 406 with RabbitMQ's wording.
        ConnectionError: 541 for an argument that is no longer permitted.
    """
    what = f"queue '{declared.name}' in vhost '{vhost}'"
    _check_dead_letter_exchange(declared, what)
    if "x-queue-master-locator" in declared.arguments and not profile.has_master_locator:
        raise ConnectionError(
            INTERNAL_ERROR,
            "Feature `queue_master_locator` is deprecated. "
            "By default, this feature is not permitted anymore.",
        )
    known = _KNOWN_BY_PROFILE[profile]
    values: dict[str, Any] = {}
    for name, value in declared.arguments.items():
        attribute, check = known.get(name, (None, None))
        if check is None:
            continue
        try:
            checked = check(value)
        except _Refused as error:
            raise _precondition(f"invalid arg '{name}' for {what}: {error}") from None
        if attribute is not None:
            values[attribute] = checked
    arguments = QueueArguments(**values)
    if arguments.dead_letter_routing_key is not None and arguments.dead_letter_exchange is None:
        raise _precondition(
            f"invalid arg 'x-dead-letter-routing-key' for {what}: routing_key_but_no_dlx_defined"
        )
    if arguments.queue_type == QUORUM:
        _check_quorum(declared, what)
        return _as_quorum(arguments, profile)
    for name in declared.arguments.keys() & _quorum_only(profile):
        raise _precondition(f"invalid arg '{name}' for {what} of queue type rabbit_classic_queue")
    return arguments


def _quorum_only(profile: Profile) -> frozenset[str]:
    shared = {"x-queue-leader-locator"} if profile.classic_has_locator else set()
    own = set() if profile.classic_consumer_timeout else {"x-consumer-timeout"}
    return (_QUORUM_ONLY | own) - shared


def _as_quorum(arguments: QueueArguments, profile: Profile) -> QueueArguments:
    """Add what a quorum queue has without arguments."""
    limit = arguments.delivery_limit
    if limit is None:
        limit = profile.quorum_delivery_limit
    elif limit < 0:
        limit = None
    return replace(
        arguments,
        delivery_limit=limit,
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


def _check_quorum(declared: QueueDeclaration, what: str) -> None:
    wrong = None
    if not declared.durable:
        wrong = "non-durable"
    elif declared.exclusive:
        wrong = "exclusive-owner"
    elif declared.auto_delete:
        wrong = "auto-delete"
    if wrong is not None:
        raise _precondition(f"invalid property '{wrong}' for {what}")
    for name in _CLASSIC_ONLY:
        if name in declared.arguments:
            raise _precondition(f"invalid arg '{name}' for {what} of queue type rabbit_quorum_queue")
