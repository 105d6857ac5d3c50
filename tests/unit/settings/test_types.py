"""The ranges of settings, to their very ends, and which tables refuse a key that they do not know."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from fedora_messaging.options import ConsumerOptions, OutboxOptions, RetryOptions
from fedora_messaging.settings.types import (
    Binding,
    Configuration,
    Consumer,
    DeadLetter,
    Dedupe,
    Monitoring,
    Outbox,
    Publisher,
    Qos,
    Queue,
    Retry,
    Tls,
)

TEN_YEARS = 315_360_000
#: What a table cannot do without.
NEEDED: dict[type[Struct], dict[str, Any]] = {
    Binding: {"exchange": "e", "routing_keys": []},
    DeadLetter: {"queue": "q"},
    Dedupe: {"path": "seen.db"},
    Monitoring: {"port": 1},
    Queue: {"durable": True, "auto_delete": False, "exclusive": False, "arguments": {}},
}

#: Type, key, smallest and greatest value, and what the next smaller and greater ones are.
RANGES: list[tuple[type[Struct], str, float, float, float, float]] = [
    (Qos, "prefetch_count", 0, 65_535, -1, 65_536),
    (Qos, "prefetch_size", 0, 4_294_967_295, -1, 4_294_967_296),
    (Monitoring, "port", 0, 65_535, -1, 65_536),
    (Monitoring, "stuck_after", 1, 1e9, 0.999, 1e9 + 1),
    (Retry, "attempts", 1, 1_000_000, 0, 1_000_001),
    (Retry, "delay", 0.001, 4e6, 0.0009, 4e6 + 0.5),
    (Retry, "max_delay", 0.001, 4e6, 0, 4e6 + 0.5),
    (Dedupe, "window", 1, TEN_YEARS, 0.5, TEN_YEARS + 1),
    (Consumer, "concurrency", 1, 1000, 0, 1001),
    (Consumer, "timeout", 0.001, 4e6, 0, 4e6 + 0.5),
    (Consumer, "stop_timeout", 0, 4e6, -0.001, 4e6 + 0.5),
    (Consumer, "watchdog", 0, 4e6, -0.001, 4e6 + 0.5),
    (Outbox, "max_messages", 1, 1_000_000_000, 0, 1_000_000_001),
    (Outbox, "max_bytes", 1, 2**50, 0, 2**50 + 1),
    (Outbox, "max_age", 1, TEN_YEARS, 0, TEN_YEARS + 1),
    (Configuration, "publish_priority", 0, 255, -1, 256),
]
IDS = [f"{kind.__name__}.{name}" for kind, name, *_ in RANGES]


def table(kind: type[Struct], **changes: Any) -> dict[str, Any]:
    return {**NEEDED.get(kind, {}), **changes}


@pytest.mark.parametrize(("kind", "name", "least", "most", "_below", "_above"), RANGES, ids=IDS)
def test_ends_of_a_range_are_taken(
    kind: type[Struct], name: str, least: float, most: float, _below: float, _above: float
) -> None:
    for value in (least, most):
        assert getattr(msgspec.convert(table(kind, **{name: value}), kind), name) == value


@pytest.mark.parametrize(("kind", "name", "_least", "_most", "below", "above"), RANGES, ids=IDS)
def test_what_is_beyond_a_range_is_refused(
    kind: type[Struct], name: str, _least: float, _most: float, below: float, above: float
) -> None:
    # A number that is not one compares as neither smaller nor greater.
    for value in (below, above, math.inf, -math.inf, math.nan, True, "1"):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(table(kind, **{name: value}), kind)


@pytest.mark.parametrize("kind", [Binding, Monitoring, Qos, Queue, Tls])
def test_tables_of_version_3_9_take_any_key(kind: type[Struct]) -> None:
    known = msgspec.convert(table(kind), kind)
    assert msgspec.convert(table(kind, another=1), kind) == known


@pytest.mark.parametrize("kind", [Configuration, Consumer, DeadLetter, Dedupe, Outbox, Publisher, Retry])
def test_newer_tables_refuse_a_key_that_they_do_not_know(kind: type[Struct]) -> None:
    msgspec.convert(table(kind), kind)
    with pytest.raises(msgspec.ValidationError, match="another"):
        msgspec.convert(table(kind, another=1), kind)


@pytest.mark.parametrize(
    ("kind", "missing"),
    [(kind, name) for kind, needed in NEEDED.items() for name in needed],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_what_a_table_cannot_do_without(kind: type[Struct], missing: str) -> None:
    given = {name: value for name, value in NEEDED[kind].items() if name != missing}
    with pytest.raises(msgspec.ValidationError, match=f"missing required field `{missing}`"):
        msgspec.convert(given, kind)


def test_tables_that_are_needed_for_nothing() -> None:
    empty = msgspec.convert({}, Configuration)
    assert (empty.monitoring, empty.consumer, empty.publisher, empty.outbox) == (None, None, None, None)
    assert (empty.consumer_config, empty.log_config, empty.log_timestamps) == ({}, {}, False)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (DeadLetter, "queue"),
        (Dedupe, "path"),
        (Outbox, "path"),
        (Outbox, "url"),
        (Consumer, "ordering_key"),
        (Configuration, "amqp_url_file"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_text_that_must_not_be_empty(kind: type[Struct], name: str) -> None:
    msgspec.convert(table(kind, **{name: "x"}), kind)
    with pytest.raises(msgspec.ValidationError, match=">= 1"):
        msgspec.convert(table(kind, **{name: ""}), kind)


@pytest.mark.parametrize(
    ("url", "valid"),
    [("", True), ("amqp://", True), (["amqp://"], True), (["amqp://a", "amqp://b"], True), ([], False)],
)
def test_one_url_or_several(url: object, valid: bool) -> None:
    if valid:
        assert msgspec.convert({"amqp_url": url}, Configuration).amqp_url == url
    else:
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"amqp_url": url}, Configuration)


def test_defaults_are_those_of_the_options() -> None:
    """The reference page shows these, and the library uses those."""
    consumer, retry, outbox = Consumer(), Retry(), Outbox()
    options, retries, store = ConsumerOptions(), RetryOptions(), OutboxOptions()
    for name in ("concurrency", "resubscribe", "stop_timeout", "watchdog", "timeout", "arguments"):
        assert getattr(consumer, name) == getattr(options, name), name
    for name in ("attempts", "delay", "max_delay"):
        assert getattr(retry, name) == getattr(retries, name), name
    assert retry.on == [kind.__name__ for kind in retries.on] == ["Exception"]
    for name in ("path", "url", "max_messages", "max_bytes", "max_age"):
        assert getattr(outbox, name) == getattr(store, name), name


def test_defaults_are_not_shared() -> None:
    one = Configuration()
    one.consumer_config["mine"] = 1
    one.queues["q"] = Queue(durable=True, auto_delete=False, exclusive=False, arguments={})
    assert (Configuration().consumer_config, Configuration().queues) == ({}, {})
    retry = Retry()
    retry.on.append("OSError")
    assert Retry().on == ["Exception"]
