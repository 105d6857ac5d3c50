"""The releases of RabbitMQ that the broker can imitate, and what differs between them."""

from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Profile:
    """One release of RabbitMQ, by what a client can tell it from another one.

    Attributes:
        name: What users call it: the major version.
        version: The version that clients are told.
        frame_min: Smallest frame that a client may ask for, in bytes.
        max_body: Largest message body, in bytes.
        unknown_exchange_type: Reply code for an exchange type that does not exist.
        max_hash_wildcards: How many ``#`` a topic pattern may have; ``None`` for any number.
        passive_needs_permission: Whether a passive declare needs any of the three permissions.
        names_permission: Whether a refusal names the permission that is missing.
        has_channel_prefetch: Whether ``basic.qos`` with ``global`` limits a channel, rather than each new
            consumer.
        replies_count_as_routed: Whether a direct reply is routed, for ``mandatory`` and statistics.
        sorts_headers: Whether consumers get the header table in the order of its names.
        checks_delivery_mode: Whether delivery modes other than 1 and 2 are refused.
        numbers_have_kinds: Whether a headers exchange tells integers, fractions and timestamps apart.
        queue_versions: The accepted values of ``x-queue-version``.
        has_queue_mode: Whether ``x-queue-mode`` is checked.
        has_master_locator: Whether ``x-queue-master-locator`` is accepted.
        names_default_type: Whether an empty ``x-queue-type`` stands for the default type, and a queue that is
            declared without the argument bears the default type's name.
        classic_has_locator: Whether classic queues, too, accept ``x-queue-leader-locator``.
        classic_consumer_timeout: Whether classic queues, too, have a consumer timeout.
        timeout_cancels: Whether a consumer of a quorum queue that does not settle a delivery in time is
            cancelled, if the client understands that, rather than its channel closed.
        quorum_delivery_limit: ``x-delivery-limit`` of quorum queues that do not give it.
        nack_counts: Whether a delivery that ``basic.nack`` or ``basic.recover`` returns counts as failed.
        counts_acquisitions: Whether quorum queues tell in a header how often a message was delivered before.
        finds_queues_at_once: Whether a message of a transaction needs its queue when it is published to the
            default exchange, rather than when the transaction is committed.
        quorum_requeues_at_end: Whether a quorum queue puts what a consumer hands back behind all others.
        quorum_priorities: Highest priority of quorum queues; 0 for none.
        active_by_priority: Whether the single active consumer of a quorum queue is that of highest priority.
        marks_dead_letters: Whether dead letters say that they were delivered, and name their last death.
        policies_for: What a policy can be for; newer releases, which can tell types of queues apart, have no
            settings for mirrors.
        compares_ages: Whether two ways to write the same ``x-max-age`` are the same declaration.
        streams_take_nacks: Whether a stream takes ``basic.nack`` and ``reject`` for ``ack``.
        streams_filter: Whether consumers of a stream can filter messages.
        hashes_bare_values: Whether a consistent hash exchange hashes headers without their types.
        keeps_cc: Whether a dead letter with a new routing key keeps its header ``CC``.
        trusts_deaths: Whether deaths that a publisher writes into its headers count as a message's history.
    """

    name: str
    version: str
    frame_min: int
    max_body: int
    unknown_exchange_type: int
    max_hash_wildcards: int | None
    passive_needs_permission: bool
    names_permission: bool
    has_channel_prefetch: bool
    replies_count_as_routed: bool
    sorts_headers: bool
    checks_delivery_mode: bool
    numbers_have_kinds: bool
    queue_versions: tuple[int, ...]
    has_queue_mode: bool
    has_master_locator: bool
    names_default_type: bool
    classic_has_locator: bool
    classic_consumer_timeout: bool
    timeout_cancels: bool
    quorum_delivery_limit: int | None
    nack_counts: bool
    counts_acquisitions: bool
    finds_queues_at_once: bool
    quorum_requeues_at_end: bool
    quorum_priorities: int
    active_by_priority: bool
    marks_dead_letters: bool
    policies_for: tuple[str, ...]
    compares_ages: bool
    streams_take_nacks: bool
    streams_filter: bool
    hashes_bare_values: bool
    keeps_cc: bool
    trusts_deaths: bool


#: Each difference, with its value for RabbitMQ 3.10 and for 4.3.
_DIFFERENCES: Final[dict[str, tuple[Any, Any]]] = {
    "name": ("3", "4"),
    "version": ("3.10.8", "4.3.6"),
    "frame_min": (4096, 8192),
    "max_body": (128 * 1024 * 1024, 16 * 1024 * 1024),
    "unknown_exchange_type": (503, 406),
    "max_hash_wildcards": (None, 2),
    "passive_needs_permission": (False, True),
    "names_permission": (False, True),
    "has_channel_prefetch": (True, False),
    "replies_count_as_routed": (False, True),
    "sorts_headers": (False, True),
    "checks_delivery_mode": (True, False),
    "numbers_have_kinds": (False, True),
    "queue_versions": ((1, 2), (2,)),
    "has_queue_mode": (True, False),
    "has_master_locator": (True, False),
    "names_default_type": (False, True),
    "classic_has_locator": (False, True),
    "classic_consumer_timeout": (True, False),
    "timeout_cancels": (False, True),
    "quorum_delivery_limit": (None, 20),
    "nack_counts": (True, False),
    "counts_acquisitions": (False, True),
    "finds_queues_at_once": (False, True),
    "quorum_requeues_at_end": (True, False),
    "quorum_priorities": (0, 31),
    "active_by_priority": (False, True),
    "marks_dead_letters": (False, True),
    "policies_for": (
        ("queues", "exchanges", "all"),
        ("queues", "classic_queues", "quorum_queues", "streams", "exchanges", "all"),
    ),
    "compares_ages": (False, True),
    "streams_take_nacks": (False, True),
    "streams_filter": (False, True),
    "hashes_bare_values": (False, True),
    "keeps_cc": (False, True),
    "trusts_deaths": (True, False),
}

RABBITMQ_3: Final = Profile(**{rule: old for rule, (old, _new) in _DIFFERENCES.items()})
RABBITMQ_4: Final = Profile(**{rule: new for rule, (_old, new) in _DIFFERENCES.items()})
#: The profiles by name.
PROFILES: Final = {profile.name: profile for profile in (RABBITMQ_3, RABBITMQ_4)}


def find_profile(name: str) -> Profile:
    """Return the profile of a name.

    Raises:
        ValueError: There is none.
    """
    try:
        return PROFILES[name]
    except KeyError:
        raise ValueError(f"there is no profile {name!r}; choose one of {', '.join(PROFILES)}") from None
