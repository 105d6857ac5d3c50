"""Arguments of queues: how they are read, and what they mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fedora_messaging.broker.core.declarations import QueueDeclaration
from fedora_messaging.broker.core.profile import RABBITMQ_3, RABBITMQ_4, Profile
from fedora_messaging.broker.core.queue_arguments import (
    QueueArguments,
    check_time,
    equivalent,
    interpret,
    is_routing_key,
    read_age,
    read_arguments,
)
from fedora_messaging.protocol.errors import ChannelError, ConnectionError, PeerError
from fedora_messaging.wire.properties import BasicProperties
from fedora_messaging.wire.property_codec import PropertyScan, encode_properties

if TYPE_CHECKING:
    from fedora_messaging.broker.core.vhost import VirtualHost

TEN_YEARS = 315_360_000_000


def read(profile: Profile = RABBITMQ_4, /, **arguments: Any) -> QueueArguments:
    """Read arguments that are spelled with underscores."""
    spelled = {f"x-{name.replace('_', '-')}": value for name, value in arguments.items()}
    durable = arguments.get("queue_type") in ("quorum", "stream")
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
        (RABBITMQ_4, {"delivery_limit": "1"}, None),
        (RABBITMQ_3, {"delivery_limit": True}, None),
        (RABBITMQ_4, {"delivery_limit": -7}, None),
    ],
)
def test_delivery_limit_of_a_quorum_queue(profile: Profile, given: dict[str, Any], limit: int | None) -> None:
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
        "invalid arg 'x-queue-mode' for queue 'q' in vhost '/': \"unsupported queue mode 'quick'\""
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
        "PRECONDITION_FAILED - invalid arg 'x-expires' for queue 'q' in vhost '/': {value_zero,0}"
    )


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("dead_letter_strategy", "bogus", "invalid_dlx_strategy"),
        ("dead_letter_strategy", 5, "{unacceptable_type,signedint}"),
        ("consumer_timeout", -1, "{value_negative,-1}"),
        ("consumer_timeout", "x", '"expected integer, got longstr"'),
    ],
)
def test_argument_of_a_quorum_queue_that_is_wrong(name: str, value: Any, problem: str) -> None:
    assert refusal(RABBITMQ_4, queue_type="quorum", **{name: value}) == (
        f"invalid arg 'x-{name.replace('_', '-')}' for queue 'q' in vhost '/': {problem}"
    )


@pytest.mark.parametrize("name", ["max_priority", "queue_mode", "queue_version"])
def test_argument_that_quorum_queues_do_not_have(name: str) -> None:
    assert refusal(RABBITMQ_4, queue_type="quorum", **{name: 1}) == (
        f"invalid arg 'x-{name.replace('_', '-')}' for queue 'q' in vhost '/' "
        "of queue type rabbit_quorum_queue"
    )


def test_dead_letter_key_without_an_exchange() -> None:
    assert refusal(RABBITMQ_4, dead_letter_routing_key="k") == (
        "invalid arg 'x-dead-letter-routing-key' for queue 'q' in vhost '/': routing_key_but_no_dlx_defined"
    )


def test_dead_letter_exchange_that_is_no_text() -> None:
    assert refusal(RABBITMQ_4, dead_letter_exchange=5) == (
        "invalid type 'signedint' for arg 'x-dead-letter-exchange' in queue 'q' in vhost '/'"
    )


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("message_ttl", -1, "{value_negative,-1}"),
        ("message_ttl", TEN_YEARS + 1, f"{{value_too_large,{TEN_YEARS + 1}}}"),
        ("message_ttl", None, '"expected integer, got void"'),
        ("expires", 0, "{value_zero,0}"),
        ("expires", "5", '"expected integer, got longstr"'),
        ("max_length", -1, "{value_negative,-1}"),
        ("overflow", "bogus", "invalid_overflow"),
        ("overflow", 5, "{unacceptable_type,signedint}"),
        ("single_active_consumer", 1, "{unacceptable_type,signedint}"),
        ("queue_type", "foo", "\"unsupported queue type 'foo'\""),
    ],
)
def test_argument_of_a_classic_queue_that_is_wrong(name: str, value: Any, problem: str) -> None:
    assert refusal(RABBITMQ_4, **{name: value}) == (
        f"invalid arg 'x-{name.replace('_', '-')}' for queue 'q' in vhost '/': {problem}"
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


# Streams


def test_stream_has_its_own() -> None:
    own: dict[str, Any] = {
        "max_age": "7D",
        "max_length_bytes": 0,
        "stream_max_segment_size_bytes": 3_000_000_000,
        "initial_cluster_size": 10**12,
        "stream_filter_size_bytes": 16,
        "queue_leader_locator": "least-leaders",
        "quorum_target_group_size": "anything",
    }
    for profile in (RABBITMQ_3, RABBITMQ_4):
        assert read(profile, queue_type="stream", **own) == QueueArguments(
            queue_type="stream", max_age=604_800, max_length_bytes=0, segment_size=3_000_000_000
        )
    plain = read(queue_type="stream")
    assert (plain.max_age, plain.max_length_bytes, plain.segment_size) == (None, None, 500_000_000)


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({}, "non-durable"),
        ({"exclusive": True}, "exclusive-owner"),
        ({"durable": True, "exclusive": True, "auto_delete": True}, "auto-delete"),
        ({"auto_delete": True}, "auto-delete"),
        ({"durable": True, "auto_delete": True}, "auto-delete"),
    ],
)
@pytest.mark.parametrize("kind", ["quorum", "stream"])
def test_property_that_only_classic_queues_have(kind: str, options: dict[str, bool], wrong: str) -> None:
    declaration = QueueDeclaration("q", arguments={"x-queue-type": kind}, **options)
    with pytest.raises(ChannelError) as caught:
        read_arguments(declaration, "/")
    assert caught.value.explanation == f"invalid property '{wrong}' for queue 'q' in vhost '/'"


@pytest.mark.parametrize(
    "name",
    [
        "max_length",
        "message_ttl",
        "expires",
        "max_priority",
        "delivery_limit",
        "max_in_memory_length",
        "quorum_initial_group_size",
        "dead_letter_exchange",
        "dead_letter_routing_key",
        "dead_letter_strategy",
        "overflow",
        "single_active_consumer",
        "queue_mode",
        "queue_version",
    ],
)
@pytest.mark.parametrize("profile", [RABBITMQ_3, RABBITMQ_4])
def test_argument_that_streams_do_not_have(profile: Profile, name: str) -> None:
    """That is told before its value is looked at."""
    assert refusal(profile, queue_type="stream", **{name: "bogus"}) == (
        f"invalid arg 'x-{name.replace('_', '-')}' for queue 'q' in vhost '/' "
        "of queue type rabbit_stream_queue"
    )


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("max_age", "1h30m", "invalid_max_age"),
        ("max_age", "1", "invalid_max_age"),
        ("max_age", "0s", "invalid_max_age"),
        ("max_age", "1.5h", "invalid_max_age"),
        ("max_age", "1H", "invalid_max_age"),
        ("max_age", "1ms", "invalid_max_age"),
        ("max_age", "h", "invalid_max_age"),
        ("max_age", "", "invalid_max_age"),
        ("max_age", "-1h", "invalid_max_age"),
        ("max_age", " 1h", "invalid_max_age"),
        ("max_age", "1h\n", "invalid_max_age"),
        ("max_age", 5, "{unacceptable_type,signedint}"),
        ("max_age", True, "{unacceptable_type,bool}"),
        ("max_length_bytes", -1, "{value_negative,-1}"),
        ("max_length_bytes", "20", '"expected integer, got longstr"'),
        ("stream_max_segment_size_bytes", -1, "{value_negative,-1}"),
        ("stream_max_segment_size_bytes", "20", '"expected integer, got longstr"'),
        ("initial_cluster_size", 0, "{value_zero,0}"),
        ("initial_cluster_size", -1, "{value_negative,-1}"),
        ("initial_cluster_size", "20", '"expected integer, got longstr"'),
        ("initial_cluster_size", False, '"expected integer, got bool"'),
        ("stream_filter_size_bytes", -1, "{value_negative,-1}"),
        ("stream_filter_size_bytes", "20", '"expected integer, got longstr"'),
        ("queue_leader_locator", "bogus", "invalid_queue_locator_arg"),
        ("queue_leader_locator", 5, "{unacceptable_type,signedint}"),
    ],
)
def test_argument_of_a_stream_that_is_wrong(name: str, value: Any, problem: str) -> None:
    assert refusal(RABBITMQ_4, queue_type="stream", **{name: value}) == (
        f"invalid arg 'x-{name.replace('_', '-')}' for queue 'q' in vhost '/': {problem}"
    )


@pytest.mark.parametrize("profile", [RABBITMQ_3, RABBITMQ_4])
def test_largest_segment(profile: Profile) -> None:
    assert refusal(profile, queue_type="stream", stream_max_segment_size_bytes=3_000_000_001) == (
        "Exceeded max value for x-stream-max-segment-size-bytes"
    )


@pytest.mark.parametrize("size", [0, 15, 256, 10**12])
def test_size_of_a_filter(size: int) -> None:
    """RabbitMQ 3 does not know it."""
    assert read(RABBITMQ_4, queue_type="stream", stream_filter_size_bytes=255).queue_type == "stream"
    assert refusal(RABBITMQ_4, queue_type="stream", stream_filter_size_bytes=size) == (
        "Invalid value for x-stream-filter-size-bytes"
    )
    for value in (size, -1, "20"):
        assert read(RABBITMQ_3, queue_type="stream", stream_filter_size_bytes=value).queue_type == "stream"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1),
        ("2m", 120),
        ("01h", 3600),
        ("1D", 86_400),
        ("1M", 2_592_000),
        ("1Y", 31_536_000),
        ("9999999999Y", 9999999999 * 31_536_000),
        ("0s", None),
        ("1", None),
        ("s", None),
        ("", None),
        ("١s", None),
    ],
)
def test_ages(text: str, seconds: int | None) -> None:
    assert read_age(text) == seconds


@pytest.mark.parametrize("digits", ["9" * 16, "1" * 100_000, "0" * 100_000 + "9" * 5000])
def test_very_long_number_of_an_age_is_read_at_once(digits: str) -> None:
    """It is still a number that a clock can be compared with."""
    age = read_age(f"{digits}Y")
    assert age is not None
    assert 1000.0 - age < -1e15
    assert read_age(f"{digits}x") is None


# What counts when a declaration is repeated


def test_arguments_that_count() -> None:
    assert equivalent("classic", RABBITMQ_4) == (*equivalent("classic", RABBITMQ_3), "x-queue-leader-locator")
    assert equivalent("quorum", RABBITMQ_4) == (*equivalent("quorum", RABBITMQ_3), "x-consumer-timeout")
    assert equivalent("classic")[:3] == ("x-expires", "x-message-ttl", "x-dead-letter-exchange")
    assert equivalent("quorum")[:2] == ("x-dead-letter-exchange", "x-dead-letter-routing-key")
    assert set(equivalent("stream")) == {
        "x-queue-type",
        "x-max-age",
        "x-max-length-bytes",
        "x-stream-max-segment-size-bytes",
        "x-stream-filter-size-bytes",
        "x-queue-leader-locator",
        "x-initial-cluster-size",
    }


# What they mean together with policies


def test_time_of_a_policy_may_be_longer_than_that_of_an_argument() -> None:
    meaning = interpret({"x-message-ttl": 10**400, "x-expires": 2**64}, "classic", RABBITMQ_4)
    assert meaning == QueueArguments(message_ttl=TEN_YEARS, expires=TEN_YEARS)
    assert meaning.expiry_of(scan(), 1000.0) == 1000.0 + TEN_YEARS / 1000


def test_arguments_of_policies_for_nothing_that_the_broker_does() -> None:
    arguments = {"x-queue-version": 1, "x-target-group-size": 3, "x-queue-mode": "lazy"}
    assert interpret(arguments, "classic", RABBITMQ_4) == QueueArguments()


def test_stream_by_policy() -> None:
    arguments = {"x-max-age": "2m", "x-stream-max-segment-size-bytes": 0, "x-initial-cluster-size": 1}
    assert interpret(arguments, "stream", RABBITMQ_4) == QueueArguments(
        queue_type="stream", max_age=120, segment_size=0
    )


@pytest.mark.parametrize(
    ("value", "fits"), [("", True), ("ä" * 127 + "k", True), ("ä" * 128, False), ("\udcff", True), (5, False)]
)
def test_routing_key_that_a_message_can_bear(value: Any, fits: bool) -> None:
    assert is_routing_key(value) is fits


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
