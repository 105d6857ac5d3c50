"""What the sampler keeps, and what it does not."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

import pytest
from tests.unit.broker.core.support import new_vhost
from tests.unit.broker.support import Client, MemoryServer, publish
from tests.unit.web.management.support import new_call, new_server

from fedora_messaging.broker.accounts import Permissions
from fedora_messaging.broker.core.declarations import QueueDeclaration
from fedora_messaging.web.management import connections
from fedora_messaging.web.management import samples as module
from fedora_messaging.web.management.errors import RequestError
from fedora_messaging.web.management.overview import overview
from fedora_messaging.web.management.rates import Rates
from fedora_messaging.web.management.samples import KEPT, STEP, Range, Samples, range_of

if TYPE_CHECKING:
    from fedora_messaging.broker.core.queue import Queue
    from fedora_messaging.broker.server import Server

#: A time that is a whole multiple of the interval.
START = 1_000_000


class Clock:
    """The broker's clock, set by the test."""

    def __init__(self) -> None:
        self.now = float(START)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(clock: Clock) -> Server:
    made = new_server()
    made.clock = clock  # type: ignore[assignment]
    return made


@pytest.fixture
def samples(server: Server) -> Samples:
    return Samples(server)


def new_queue(server: Server, name: str = "q") -> Queue:
    vhost = server.vhosts["/"]
    vhost.declare_queue(QueueDeclaration(name), None)
    return vhost.queues[name]


def published(samples: Samples, queue: Queue, *times: int) -> list[int | None]:
    found = samples.at_times([queue], times)
    return [None if totals is None else totals.get("publish", 0) for totals in found]


def test_totals_are_those_of_the_last_record(server: Server, clock: Clock, samples: Samples) -> None:
    queue = new_queue(server)
    samples.take()
    for published_then in (2, 2, 7):
        clock.now += STEP
        queue.counters.publish = published_then
        samples.take()
    times = (START + 17, START + 15, START + 14, START + 10, START + 5, START + 4)
    assert published(samples, queue, *times) == [7, 7, 2, 2, 2, 0]


def test_what_was_before_the_sampler_began_is_not_known(
    server: Server, clock: Clock, samples: Samples
) -> None:
    queue = new_queue(server)
    queue.counters.publish = 3
    assert published(samples, queue, START) == [None]
    samples.take()
    assert published(samples, queue, START, START - 1) == [3, None]


def test_records_older_than_ten_minutes_are_forgotten(server: Server, clock: Clock, samples: Samples) -> None:
    queue = new_queue(server)
    samples.take()
    for _ in range(2 * KEPT // STEP):
        clock.now += STEP
        queue.counters.publish += 1
        samples.take()
    now = int(clock.now)
    total = queue.counters.publish
    assert published(samples, queue, now, now - KEPT) == [total, total - KEPT // STEP]
    assert published(samples, queue, now - KEPT - STEP) == [None]
    assert len(samples._histories[queue]._records) == KEPT // STEP + 1


def test_objects_without_traffic_cost_nothing(server: Server, clock: Clock, samples: Samples) -> None:
    queues = [new_queue(server, f"q{number}") for number in range(2000)]
    samples.take()
    assert len(samples._histories) == 0
    assert published(samples, queues[0], START, START - KEPT) == [0, 0]


def test_histories_have_a_bound(
    server: Server, clock: Clock, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_HISTORIES", 3)
    queues = [new_queue(server, f"q{number}") for number in range(10)]
    samples.take()
    clock.now += STEP
    for queue in queues:
        queue.counters.publish = 1
    samples.take()
    assert len(samples._histories) == 3
    left_out = queues[-1]
    assert published(samples, left_out, START + STEP) == [None]

    # A client that asks for an object gets samples of it from then on.
    samples.looked_at(queues[0])
    clock.now += STEP
    left_out.counters.publish = 5
    samples.looked_at(left_out)
    assert queues[0] in samples._histories
    samples.take()
    assert len(samples._histories) == 3
    assert published(samples, left_out, START + 2 * STEP, START + STEP) == [5, None]
    # Those that nobody has asked for make room first, then those that somebody has asked for longest ago.
    for queue in queues[4:6]:
        clock.now += STEP
        samples.looked_at(queue)
    assert set(samples._histories) == {left_out, *queues[4:6]}
    clock.now += STEP
    samples.looked_at(queues[6])
    assert set(samples._histories) == set(queues[4:7])


def test_what_is_gone_is_forgotten(server: Server, clock: Clock, samples: Samples) -> None:
    queue = new_queue(server)
    samples.take()
    queue.counters.publish = 1
    samples.take()
    assert queue in samples._histories
    before = len(samples._histories)
    server.vhosts["/"].delete_queue("q", None, if_unused=False, if_empty=False)
    del queue
    gc.collect()
    assert len(samples._histories) == before - 1


def test_sums_are_known_where_all_parts_are(server: Server, clock: Clock, samples: Samples) -> None:
    first, second = new_queue(server, "a"), new_queue(server, "b")
    samples.take()
    clock.now += STEP
    first.counters.publish, second.counters.publish = 2, 3
    samples.take()
    (now, then) = samples.at_times([first, second], [START + STEP, START])
    assert now is not None
    assert (now["publish"], then) == (5, {})
    assert samples.at_times([], [START]) == [{}]


def test_rates_come_from_the_samples(server: Server, clock: Clock, samples: Samples) -> None:
    queue = new_queue(server)
    rates = Rates(clock, samples)
    samples.take()
    clock.now += 2 * STEP
    # Nobody has looked at this queue before.
    assert rates.with_details(queue, {"publish": 50})["publish_details"] == {"rate": 10.0}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, None),
        ({"lengths_age": "60"}, None),
        ({"lengths_age": "x", "lengths_incr": "5"}, None),
        ({"lengths_age": "60", "lengths_incr": "5"}, Range(60, 5)),
        ({"lengths_age": "500", "lengths_incr": "1"}, Range(500, 1)),
    ],
)
def test_ranges(query: dict[str, str], expected: Range | None) -> None:
    assert range_of(query, "lengths") == expected


@pytest.mark.parametrize(("age", "step"), [("0", "1"), ("1", "0"), ("-1", "1"), ("501", "1")])
def test_ranges_that_are_refused(age: str, step: str) -> None:
    with pytest.raises(RequestError) as refusal:
        range_of({"lengths_age": age, "lengths_incr": step}, "lengths")
    assert refusal.value.status == 400


def test_the_overview_has_rates_of_what_its_user_sees(server: Server, clock: Clock, samples: Samples) -> None:
    """Users who see other virtual hosts than the one before them must not change the rates of the next."""
    server.vhosts["/"].past.publish = 1000
    server.vhosts["other"] = new_vhost()
    server.vhosts["other"].name = "other"
    server.vhosts["other"].past.publish = 10
    rates = Rates(clock, samples)
    samples.take()
    for tags, expected in ((("administrator",), 1010), (("management",), 10), (("administrator",), 1010)):
        clock.now += 2 * STEP
        call = new_call(server=server, tags=tags)
        call.user.permissions["other"] = Permissions()
        call.rates = rates
        stats = overview(call)["message_stats"]
        assert (stats["publish"], stats["publish_details"]) == (expected, {"rate": 0.0})


# Idle channels


def test_a_channel_is_idle_since_it_moved_the_last_message(clock: Clock) -> None:
    with asyncio.Runner() as runner:
        server = MemoryServer(runner.get_loop())
        server.clock = clock  # type: ignore[assignment]
        samples = Samples(server)
        client = Client(server).login()
        (channel,) = client.session.channels.values()

        def shown() -> str | None:
            call = new_call(server=server)
            call.rates = Rates(clock, samples)
            found: str | None = connections.channel_item(call, channel).get("idle_since")
            return found

        def pass_time(looks: int) -> None:
            for _ in range(looks):
                samples.take()
                clock.now += STEP

        assert shown() is None
        pass_time(1)
        assert shown() is None
        pass_time(20)
        assert shown() == "1970-01-12T13:46:40.000+00:00"
        client.feed(publish("", "nowhere"))
        assert shown() is None
        pass_time(20)
        assert shown() == "1970-01-12T13:48:25.000+00:00"
