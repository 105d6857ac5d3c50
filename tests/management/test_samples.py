"""Samples of the past, from which clients draw plots: totals at multiples of an interval, newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from tests.management.client import ROOT, Api, bad_request
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel
    from tests.support.brokers import Broker

#: Ten minutes in steps of five seconds, of both groups.
ASKED: Final = "lengths_age=600&lengths_incr=5&msg_rates_age=600&msg_rates_incr=5"
STEP: Final = 5000


def check_shape(details: dict[str, Any], step: int = STEP) -> list[int]:
    """Check that samples are in order; returns their values, oldest first."""
    times = [sample["timestamp"] for sample in details["samples"]]
    assert times
    assert times == list(range(times[0], times[0] - step * len(times), -step))
    assert times[0] % step == 0
    values = [sample["sample"] for sample in details["samples"]]
    if len(values) > 1:
        assert details["avg"] == pytest.approx(sum(values) / len(values))
        assert details["avg_rate"] == pytest.approx((values[0] - values[-1]) * 1000 / (times[0] - times[-1]))
    return values[::-1]


def grown(api: Api, path: str, group: tuple[str, ...], name: str, newest: int) -> dict[str, Any]:
    """Wait until the newest sample has this value; returns the details."""

    def found() -> Any:
        item = api.get(f"{path}?{ASKED}")
        for key in group:
            item = item.get(key, {})
        details = item.get(f"{name}_details", {})
        samples = details.get("samples")
        return details if samples and samples[0]["sample"] == newest else None

    return eventually(found)


def test_a_queue(api: Api, queue: str, channel: BlockingChannel) -> None:
    for _ in range(3):
        channel.basic_publish("", queue, b"a")
    path = f"queues/{ROOT}/{queue}"
    lengths = check_shape(grown(api, path, (), "messages", 3))
    # The queue did not exist ten minutes ago.
    assert (lengths[0], len(lengths)) == (0, 121)
    published = check_shape(grown(api, path, ("message_stats",), "publish", 3))
    assert published == sorted(published)
    assert (published[0], len(published)) == (0, 121)

    channel.queue_purge(queue)
    lengths = check_shape(grown(api, path, (), "messages", 0))
    assert 3 in lengths  # what is gone is still in the plot
    shown = api.get(f"{path}?{ASKED}")
    for name in ("messages_ready", "messages_unacknowledged"):
        check_shape(shown[f"{name}_details"])


def test_an_exchange(api: Api, name: str, queue: str, channel: BlockingChannel) -> None:
    exchange = f"{name}.exchange"
    api.put(f"exchanges/{ROOT}/{exchange}", {"type": "topic", "auto_delete": True})
    api.post(f"bindings/{ROOT}/e/{exchange}/q/{queue}", {"routing_key": "routed"})
    for key in ("routed", "lost", "lost"):
        channel.basic_publish(exchange, key, b"a")
    path = f"exchanges/{ROOT}/{exchange}"
    came = check_shape(grown(api, path, ("message_stats",), "publish_in", 3))
    assert (came[0], len(came)) == (0, 121)
    passed_on = check_shape(grown(api, path, ("message_stats",), "publish_out", 1))
    assert (passed_on[0], len(passed_on)) == (0, 121)


def test_the_overview_and_a_virtual_host(api: Api, queue: str, channel: BlockingChannel) -> None:
    before = api.get("overview").get("message_stats", {}).get("publish", 0)
    for _ in range(3):
        channel.basic_publish("", queue, b"a")
    for path, lengths in (("overview", ("queue_totals",)), (f"vhosts/{ROOT}", ())):

        def counted(path: str = path) -> Any:
            stats = api.get(f"{path}?{ASKED}").get("message_stats", {})
            samples = stats.get("publish_details", {}).get("samples")
            return stats["publish_details"] if samples and samples[0]["sample"] >= before + 3 else None

        published = check_shape(eventually(counted))
        assert published == sorted(published)
        shown: dict[str, Any] = api.get(f"{path}?{ASKED}")
        for key in lengths:
            shown = shown[key]
        check_shape(shown["messages_ready_details"])


def test_a_group_needs_its_own_parameters(api: Api, queue: str, channel: BlockingChannel) -> None:
    channel.basic_publish("", queue, b"a")
    path = f"queues/{ROOT}/{queue}"
    grown(api, path, ("message_stats",), "publish", 1)
    for group, has_lengths in (("lengths", True), ("msg_rates", False)):
        shown = api.get(f"{path}?{group}_age=60&{group}_incr=5")
        assert ("samples" in shown["messages_details"]) is has_lengths
        assert ("samples" in shown["message_stats"]["publish_details"]) is not has_lengths


@pytest.mark.parametrize(
    "asked",
    ["lengths_age=60", "lengths_incr=5", "lengths_age=a&lengths_incr=5", "lengths_age=60&lengths_incr="],
)
def test_half_a_range_is_ignored(api: Api, queue: str, channel: BlockingChannel, asked: str) -> None:
    channel.basic_publish("", queue, b"a")
    path = f"queues/{ROOT}/{queue}"
    grown(api, path, (), "messages", 1)
    assert set(api.get(f"{path}?{asked}")["messages_details"]) == {"rate"}


@pytest.mark.parametrize(
    ("age", "step"), [(0, 5), (60, 0), (-5, 5), (60, -5), (501, 1), (2505, 5), (10**18, 1)]
)
@pytest.mark.parametrize("group", ["lengths", "msg_rates"])
def test_ranges_that_make_no_sense(api: Api, queue: str, group: str, age: int, step: int) -> None:
    reason = f"Invalid range parameters: age {age}, incr {step}"
    for path in ("overview", f"queues/{ROOT}/{queue}"):
        answer = api.error(400, "GET", f"{path}?{group}_age={age}&{group}_incr={step}")
        assert answer == bad_request(reason)


def test_the_largest_range(api: Api, queue: str, channel: BlockingChannel) -> None:
    channel.basic_publish("", queue, b"a")
    path = f"queues/{ROOT}/{queue}"
    grown(api, path, (), "messages", 1)
    details = api.get(f"{path}?lengths_age=500&lengths_incr=1")["messages_details"]
    assert len(check_shape(details, 1000)) == 501


def test_messages_without_a_queue_are_counted_for_their_exchange(
    api: Api, broker: Broker, name: str, channel: BlockingChannel
) -> None:
    """The first thing a newcomer looks for: what was published, and that nobody got it."""
    exchange = f"{name}.exchange"
    api.put(f"exchanges/{ROOT}/{exchange}", {"type": "topic", "auto_delete": True})
    channel.basic_publish(exchange, "nobody.listens", b"a")

    def counted() -> Any:
        return api.get(f"exchanges/{ROOT}/{exchange}").get("message_stats")

    stats = eventually(counted)
    assert stats["publish_in"] == 1
    assert stats.get("publish_out", 0) == 0
    # RabbitMQ counts such messages by virtual host only.
    assert stats.get("unroutable") == (None if broker.embedded is None else 1)
