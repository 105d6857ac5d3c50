"""The network ends after any byte of a publish: what was confirmed is there, the rest is told (P14)."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import pytest
from tests.client.support import message, run
from tests.faults.wire import Wire
from tests.support.proxy import DOWN, UP, Direction
from tests.support.waiting import WAIT

from fedora_messaging import aio
from fedora_messaging.exceptions import ConnectionException

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from tests.support.admin import Admin
    from tests.support.brokers import Broker

    from fedora_messaging.message import Message

#: How many cuts are tried at the same time; each waits for a part of a second before it dials again. RabbitMQ
#: ends a handshake that takes more than ten seconds, as one of many may on a busy machine.
AT_ONCE = {"embedded": 50, "rabbitmq": 10}
#: A basic.ack in its frame.
ACK_SIZE = 21
#: Numbers of messages have six digits, so that all exchanges have the same length.
FIRST_NUMBER = 100_000
#: More than two frames of the size that brokers agree to.
LARGE = 300_000


class Cut(NamedTuple):
    """A connection ends when so many bytes have passed in a direction."""

    direction: Direction
    after: int


@dataclass
class Exchange:
    """What passes in a direction until ...

    Attributes:
        opened: Bytes until the connection is open.
        confirmed: Bytes until the publish is confirmed.
    """

    opened: int
    confirmed: int


@dataclass
class Trial:
    """Messages that were published while a connection was cut.

    Attributes:
        cut: Where.
        numbers: What they are numbered.
        told: Whether the first attempt to publish them failed.
    """

    cut: Cut
    numbers: list[int]
    told: bool = False


Exchanges = dict[Direction, Exchange]


def messages(queue: str, numbers: list[int]) -> list[Message]:
    """One message, or several of which every second is large."""
    return [message(queue, n, text="x" * (LARGE * (at % 2))) for at, n in enumerate(numbers)]


async def publish(bus: aio.Bus, those: list[Message]) -> None:
    """Publish all at once."""
    await asyncio.gather(*[bus.publish(one, timeout=WAIT) for one in those])


async def measure(url: str, those: list[Message]) -> Exchanges:
    """Publish without any cut, and count."""
    async with Wire(url) as wire, aio.connect(wire.url) as bus:
        opened = wire.passed[0].copy()
        await publish(bus, those)
        return {way: Exchange(opened[way], wire.passed[0][way]) for way in Direction}


async def on_the_first_connection(wire: Wire, cut: Cut, those: list[Message]) -> bool:
    """Publish, again if need be, over a connection that is cut; returns whether there was need."""
    wire.cut_next(*cut)
    bus = aio.connect(wire.url)
    try:
        try:
            await publish(bus, those)
        except ConnectionException:
            await publish(bus, those)
            return True
        return False
    finally:
        await bus.close()


async def on_the_next_connection(wire: Wire, cut: Cut, those: list[Message]) -> bool:
    """Publish when a connection is lost, and the one after it is cut."""
    async with aio.connect(wire.url) as bus:
        wire.cut_next(*cut)
        wire.cut()
        await publish(bus, those)
    return False


async def attempt(
    broker: Broker,
    queue: str,
    trials: Iterable[Trial],
    publish_over: Callable[[Wire, Cut, list[Message]], Awaitable[bool]],
) -> None:
    """Publish while connections are cut, many at the same time."""
    waiting = iter(trials)

    async def work() -> None:
        async with Wire(broker.url) as wire:
            for trial in waiting:
                trial.told = await publish_over(wire, trial.cut, messages(queue, trial.numbers))

    await asyncio.gather(*[work() for _ in range(AT_ONCE[broker.kind])])


def prepare(exchanges: Exchanges, step: int, size: int = 1) -> list[Trial]:
    """Cuts after every step-th byte, and at the end; and after every byte of the confirms."""
    cuts = {Cut(way, n) for way, one in exchanges.items() for n in range(0, one.confirmed, step)}
    cuts |= {Cut(way, one.confirmed) for way, one in exchanges.items()}
    end = exchanges[DOWN].confirmed
    cuts |= {Cut(DOWN, n) for n in range(end - ACK_SIZE * size, end)}
    numbers = range(FIRST_NUMBER, FIRST_NUMBER + size * len(cuts), size)
    return [Trial(cut, [*range(first, first + size)]) for cut, first in zip(cuts, numbers, strict=True)]


def check(trials: list[Trial], bodies: list[bytes]) -> dict[Cut, list[int]]:
    """Everything is there, whole, and nothing more than twice; returns how often each of the messages is."""
    found: Counter[int] = Counter()
    for body in bodies:
        value = json.loads(body)
        assert value["text"] in ("", "x" * LARGE)
        found[value["number"]] += 1
    copies = {trial.cut: [found.pop(number, 0) for number in trial.numbers] for trial in trials}
    assert not found
    assert [cut for cut, counts in copies.items() if min(counts) < 1] == []
    assert [cut for cut, counts in copies.items() if max(counts) > 2] == []
    return copies


def check_single(exchanges: Exchanges, copies: dict[Cut, list[int]]) -> None:
    """A message is there twice if the broker had it, and its confirm was cut; and never else."""
    twice = {cut for cut, counts in copies.items() if counts == [2]}
    end = exchanges[DOWN].confirmed
    # The first byte of the confirm tells that the broker has the message, which may have been so before.
    certain = {Cut(DOWN, n) for n in range(end - ACK_SIZE + 1, end)}
    perhaps = {Cut(DOWN, end - ACK_SIZE), Cut(UP, exchanges[UP].confirmed)}
    assert certain <= twice <= certain | perhaps


@pytest.mark.parametrize(("broker", "step"), [("embedded", 1), ("rabbitmq", 16)], indirect=["broker"])
def test_p14_first_connection_is_cut(broker: Broker, admin: Admin, queue: str, step: int) -> None:
    """P14: a publish fails only before anything of it was sent; whatever happens later, it is confirmed."""

    async def main() -> tuple[Exchanges, list[Trial]]:
        exchanges = await measure(broker.url, messages(queue, [FIRST_NUMBER]))
        admin.take(queue)
        trials = prepare(exchanges, step)
        await attempt(broker, queue, trials, on_the_first_connection)
        return exchanges, trials

    exchanges, trials = run(main(), within=6 * WAIT)
    told = {trial.cut for trial in trials if trial.told}
    # The last byte that is sent has no answer when the connection ends behind it.
    expected = [range(exchanges[UP].opened + 1), range(exchanges[DOWN].opened)]
    in_handshake = {Cut(way, n) for way, counts in zip((UP, DOWN), expected, strict=True) for n in counts}
    assert told == {trial.cut for trial in trials} & in_handshake
    check_single(exchanges, check(trials, admin.take(queue)))


@pytest.mark.parametrize(("broker", "step"), [("embedded", 3), ("rabbitmq", 16)], indirect=["broker"])
def test_p14_next_connection_is_cut(broker: Broker, admin: Admin, queue: str, step: int) -> None:
    """P14: once there was a connection, the loss of another one is not told: every publish is confirmed."""

    async def main() -> tuple[Exchanges, list[Trial]]:
        exchanges = await measure(broker.url, messages(queue, [FIRST_NUMBER]))
        admin.take(queue)
        trials = prepare(exchanges, step)
        await attempt(broker, queue, trials, on_the_next_connection)
        return exchanges, trials

    exchanges, trials = run(main(), within=6 * WAIT)
    check_single(exchanges, check(trials, admin.take(queue)))


def test_p14_several_publishes_are_cut(broker: Broker, admin: Admin, queue: str) -> None:
    """P14: several at once, a large one among them: none is lost, none is there in part."""

    async def main() -> list[Trial]:
        numbers = [FIRST_NUMBER, FIRST_NUMBER + 1, FIRST_NUMBER + 2]
        exchanges = await measure(broker.url, messages(queue, numbers))
        admin.take(queue)
        trials = prepare(exchanges, step=LARGE // 50, size=len(numbers))
        await attempt(broker, queue, trials, on_the_next_connection)
        return trials

    trials = run(main(), within=6 * WAIT)
    check(trials, admin.take(queue))
