"""Arguments of queues: how they are read, and what they mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fedora_messaging.broker.core.declarations import QueueDeclaration
from fedora_messaging.broker.core.profile import RABBITMQ_3, RABBITMQ_4, Profile
from fedora_messaging.broker.core.queue_arguments import QueueArguments, check_time, read_arguments
from fedora_messaging.protocol.errors import ChannelError, ConnectionError, PeerError
from fedora_messaging.wire.properties import BasicProperties, PropertyScan, encode_properties

if TYPE_CHECKING:
    from fedora_messaging.broker.core.vhost import VirtualHost

TEN_YEARS = 315_360_000_000


def read(profile: Profile = RABBITMQ_4, /, **arguments: Any) -> QueueArguments:
    """Read arguments that are spelled with underscores."""
    spelled = {f"x-{name.replace('_', '-')}": value for name, value in arguments.items()}
    durable = arguments.get("queue_type") == "quorum"
    return read_arguments(QueueDeclaration("q", durable=durable, arguments=spelled), "/", profile)


def scan(**properties: Any) -> PropertyScan:
    return PropertyScan(encode_properties(BasicProperties(**properties)))


def test_every_argument_has_its_meaning() -> None:
    assert read(
        message_ttl=0,
        expires=1,
        max_length=2,
        max_length_bytes=3,
        overflow="reject-publish",
        dead_letter_exchange="d",
        dead_letter_routing_key="k",
        max_priority=4,
        single_active_consumer=True,
        queue_mode="lazy",
        queue_version=2,
        queue_type="classic",
    ) == QueueArguments(0, 1, 2, 3, "reject-publish", "d", "k", 4, True, "classic", None)


def test_counts_may_be_zero() -> None:
    assert read(max_length=0, max_length_bytes=0, max_priority=0) == QueueArguments(
        max_length=0, max_length_bytes=0, max_priority=0
    )


def test_highest_priority_of_a_queue() -> None:
    assert read(max_priority=255).max_priority == 255


def test_queue_without_arguments() -> None:
    plain = read()
    assert (plain.overflow, plain.queue_type, plain.single_active) == ("drop-head", "classic", False)
    assert not plain.refuses


def test_quorum_queue_has_its_own() -> None:
    own: dict[str, Any] = {"queue_type": "quorum", "delivery_limit": 5, "quorum_initial_group_size": 3}
    assert read(**own) == QueueArguments(
        queue_type="quorum", delivery_limit=5, max_priority=31, default_priority=4
    )
    old = read(RABBITMQ_3, **own)
    assert (old.delivery_limit, old.max_priority) == (5, None)
    assert old.priority_of(scan(priority=7)) == old.priority_of(scan()) == 0


@pytest.mark.parametrize(("priority", "effective"), [(None, 4), (0, 0), (3, 3), (31, 31), (255, 31)])
def test_priority_in_a_quorum_queue(priority: int | None, effective: int) -> None:
    assert read(queue_type="quorum").priority_of(scan(priority=priority)) == effective


@pytest.mark.parametrize(
    ("profile", "given", "limit"),
    [
        (RABBITMQ_3, {}, None),
        (RABBITMQ_4, {}, 20),
        (RABBITMQ_3, {"delivery_limit": 0}, 0),
        (RABBITMQ_4, {"delivery_limit": 0}, 0),
        (RABBITMQ_4, {"delivery_limit": -1}, None),
        (RABBITMQ_4, {"delivery_limit": -7}, None),
    ],
)
def test_delivery_limit_of_a_quorum_queue(profile: Profile, given: dict[str, int], limit: int | None) -> None:
    """RabbitMQ 4 has one without an argument, and a negative number for none."""
    assert read(profile, queue_type="quorum", **given).delivery_limit == limit


def refusal(profile: Profile, **arguments: Any) -> str:
    with pytest.raises(PeerError) as caught:
        read(profile, **arguments)
    return caught.value.explanation


def test_versions_of_queues() -> None:
    assert read(RABBITMQ_3, queue_version=1) == read(RABBITMQ_4, queue_version=2) == QueueArguments()
    about = "invalid arg 'x-queue-version' for queue 'q' in vhost '/': "
    assert refusal(RABBITMQ_4, queue_version=1) == f"{about}\"unsupported queue version '1'\""
    assert refusal(RABBITMQ_3, queue_version=3) == f"{about}\"unsupported queue version '3'\""


def test_mode_of_a_queue() -> None:
    """RabbitMQ 4 takes anything, because it means nothing."""
    assert read(RABBITMQ_4, queue_mode="quick") == read(RABBITMQ_3, queue_mode="lazy") == QueueArguments()
    assert refusal(RABBITMQ_3, queue_mode="quick") == (
        "invalid arg 'x-queue-mode' for queue 'q' in vhost '/': unsupported queue mode 'quick'"
    )


def test_master_locator() -> None:
    assert read(RABBITMQ_3, queue_master_locator="min-masters") == QueueArguments()
    with pytest.raises(ConnectionError) as caught:
        read(RABBITMQ_4, queue_master_locator="min-masters")
    assert caught.value.reply_text == (
        "INTERNAL_ERROR - Feature `queue_master_locator` is deprecated. "
        "By default, this feature is not permitted anymore."
    )


def test_leader_locator_of_a_classic_queue() -> None:
    assert read(RABBITMQ_4, queue_leader_locator="balanced") == QueueArguments()
    assert refusal(RABBITMQ_4, queue_leader_locator="any") == (
        "invalid arg 'x-queue-leader-locator' for queue 'q' in vhost '/': invalid_queue_locator_arg"
    )
    assert refusal(RABBITMQ_3, queue_leader_locator="balanced") == (
        "invalid arg 'x-queue-leader-locator' for queue 'q' in vhost '/' of queue type rabbit_classic_queue"
    )


def test_consumer_timeout_of_a_classic_queue() -> None:
    assert read(RABBITMQ_3, consumer_timeout=1000) == QueueArguments(consumer_timeout=1000)
    assert refusal(RABBITMQ_4, consumer_timeout=1000) == (
        "invalid arg 'x-consumer-timeout' for queue 'q' in vhost '/' of queue type rabbit_classic_queue"
    )
    for profile in (RABBITMQ_3, RABBITMQ_4):
        assert read(profile, queue_type="quorum", consumer_timeout=1000).queue_type == "quorum"


def test_arguments_that_nobody_knows_mean_nothing() -> None:
    assert read_arguments(QueueDeclaration("q", arguments={"x-mine": object(), "x": None}), "/") == (
        QueueArguments()
    )


def test_first_wrong_argument_is_told() -> None:
    with pytest.raises(ChannelError) as caught:
        read(max_length=1, max_priority=256, expires=0)
    assert caught.value.reply_text == (
        "PRECONDITION_FAILED - invalid arg 'x-max-priority' for queue 'q' in vhost '/': "
        "{max_value_exceeded,256}"
    )


@pytest.mark.parametrize("value", [True, False])
def test_boolean_is_no_number(value: bool) -> None:
    for name in ("message_ttl", "expires", "max_length", "max_length_bytes", "max_priority", "queue_version"):
        with pytest.raises(ChannelError, match="expected integer, got bool"):
            read(**{name: value})


def test_longest_time() -> None:
    assert [check_time(value) for value in (0, TEN_YEARS)] == [0, TEN_YEARS]
    with pytest.raises(ValueError, match=r"^\{value_negative,-1\}$"):
        check_time(-1)
    with pytest.raises(ValueError, match=r"^\{value_too_large,315360000001\}$"):
        check_time(TEN_YEARS + 1)


def test_dead_letter_key_that_a_message_can_just_bear() -> None:
    key = "ä" * 127 + "k"
    assert read(dead_letter_exchange="", dead_letter_routing_key=key).dead_letter_routing_key == key


def test_dead_letter_key_that_no_message_can_bear_is_refused(vhost: VirtualHost) -> None:
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "ä" * 128}
    with pytest.raises(ChannelError, match="longer than 255 bytes"):
        vhost.declare_queue(QueueDeclaration("q", arguments=arguments), owner=None)
    assert vhost.queues == {}


# What they mean


@pytest.mark.parametrize(
    ("overflow", "refuses"), [("drop-head", False), ("reject-publish", True), ("reject-publish-dlx", True)]
)
def test_full_queue_that_refuses(overflow: str, refuses: bool) -> None:
    assert QueueArguments(overflow=overflow).refuses is refuses


@pytest.mark.parametrize(
    ("arguments", "length", "size", "more", "full", "exceeded"),
    [
        (QueueArguments(), 10**9, 10**12, 10**9, False, False),
        (QueueArguments(max_length=0), 0, 0, 0, True, False),
        (QueueArguments(max_length=2), 1, 10**9, 1, False, False),
        (QueueArguments(max_length=2), 2, 0, 0, True, False),
        (QueueArguments(max_length=2), 3, 0, 0, True, True),
        (QueueArguments(max_length_bytes=10), 10**9, 6, 4, False, False),
        (QueueArguments(max_length_bytes=10), 0, 6, 5, True, False),
        (QueueArguments(max_length_bytes=10), 0, 10, 0, False, False),
        (QueueArguments(max_length_bytes=10), 0, 11, 0, True, True),
        (QueueArguments(max_length_bytes=0), 5, 0, 0, False, False),
        (QueueArguments(max_length=5, max_length_bytes=10), 4, 11, 0, True, True),
        (QueueArguments(max_length=5, max_length_bytes=10), 6, 1, 1, True, True),
    ],
)
def test_limits(
    arguments: QueueArguments, length: int, size: int, more: int, full: bool, exceeded: bool
) -> None:
    assert arguments.is_full(length, size, more) is full
    assert arguments.is_exceeded(length, size) is exceeded


def test_message_may_come_back_as_often_as_the_limit_says() -> None:
    limited = QueueArguments(delivery_limit=2)
    assert [limited.is_exhausted(returns) for returns in (0, 2, 3)] == [False, False, True]
    assert QueueArguments(delivery_limit=0).is_exhausted(1)
    assert not QueueArguments().is_exhausted(10**9)


@pytest.mark.parametrize(
    ("top", "priority", "effective"),
    [(None, 5, 0), (0, 5, 0), (3, None, 0), (3, 0, 0), (3, 3, 3), (3, 255, 3), (255, 255, 255)],
)
def test_priority_as_far_as_the_queue_knows_it(top: int | None, priority: int | None, effective: int) -> None:
    assert QueueArguments(max_priority=top).priority_of(scan(priority=priority)) == effective


@pytest.mark.parametrize(
    ("ttl", "expiration", "expiry"),
    [
        (None, None, None),
        (None, "2500", 1002.5),
        (2500, None, 1002.5),
        (2500, "1000", 1001.0),
        (1000, "2500", 1001.0),
        (0, "5", 1000.0),
        (5, "0", 1000.0),
    ],
)
def test_message_expires_by_the_shorter_time(
    ttl: int | None, expiration: str | None, expiry: float | None
) -> None:
    assert QueueArguments(message_ttl=ttl).expiry_of(scan(expiration=expiration), 1000.0) == expiry
