"""Every state of a consumer times whatever may happen in it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.client.scripted import ScriptedBroker, ScriptedLink
from tests.support.waiting import soon
from tests.unit.client.support import connected, run

from fedora_messaging.client.consuming.consumer import Consumer
from fedora_messaging.client.consuming.consumer_state import (
    ENDING,
    RUNNING,
    TRANSITIONS,
    ConsumerState,
    Input,
)
from fedora_messaging.client.consuming.verdict import Action
from fedora_messaging.options import ConsumerOptions, QosOptions, QueueOptions
from fedora_messaging.wire import methods as m
from fedora_messaging.wire.properties import BasicProperties

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fedora_messaging.client.amqp.connection import Connection
    from fedora_messaging.client.consuming.delivery import Raw
    from fedora_messaging.wire.methods import Method

NEW, CONSUMING, ASKING, RESUMING, HALTED, STOPPING, ENDED = ConsumerState


class HeldRunner:
    """Keeps what it is given, and ends when it is told to."""

    in_order = True

    def __init__(self) -> None:
        self.got: list[Raw] = []
        self.may_end = asyncio.Event()

    def start(self) -> None:
        """Nothing to do."""

    def put(self, raw: Raw) -> None:
        self.got.append(raw)

    def halt(self) -> None:
        """Nothing to do."""

    async def finish(self) -> None:
        await self.may_end.wait()

    def abandon(self) -> None:
        """Nothing to do."""


class Stage:
    """A consumer, a broker that says nothing of itself, and the connection between them."""

    def __init__(self, broker: ScriptedBroker, connection: Connection) -> None:
        self.broker = broker
        self.connection = connection
        self.runner = HeldRunner()
        self.consumer = Consumer(
            lambda _consumer: self.runner, QueueOptions("q"), [], QosOptions(), ConsumerOptions(watchdog=0.0)
        )
        # Whether the broker answers to what a consumer asks for; it always answers to a close.
        self.answers = True
        broker.on_method = lambda _link, _channel, _method: not self.answers

    @property
    def link(self) -> ScriptedLink:
        return self.broker.link

    @property
    def subscriptions(self) -> list[int]:
        """The channels of all subscriptions, in order."""
        return [channel for channel, method in self.link.methods if isinstance(method, m.BasicConsume)]

    async def settled(self) -> None:
        """Return when both ends have dealt with all that was sent."""
        for _ in range(3):
            if not self.link.gone.is_set():
                await self.link.everything_read(self.spare.number)
            await asyncio.sleep(0)

    async def enter(self, state: ConsumerState) -> None:
        """Bring the consumer into a state."""
        self.spare = await self.connection.open_channel()
        if state is NEW:
            return
        await self.consumer.attach(self.connection)
        self.link.deliver(self.subscriptions[0], self._delivery(1), b"{}", BasicProperties())
        await soon(lambda: bool(self.runner.got))
        self.answers = state in (CONSUMING, HALTED)
        if state is ASKING:
            self.link.send(self.subscriptions[0], m.BasicCancel(self.consumer.tag))
        elif state is RESUMING:
            self.link.close_channel(self.subscriptions[0], 406, "PRECONDITION_FAILED - test")
        elif state is HALTED:
            self.consumer.halt()
        elif state is STOPPING:
            self.stopping = asyncio.create_task(self.consumer.stop())
        elif state is ENDED:
            self.runner.may_end.set()
            await self.consumer.stop()
        await soon(lambda: self.consumer.state is state)

    def _delivery(self, tag: int) -> Method:
        return m.BasicDeliver(self.consumer.tag, tag, False, "", "q")

    async def delivery(self) -> None:
        if self.subscriptions:
            self.link.deliver(self.subscriptions[-1], self._delivery(2), b"{}", BasicProperties())

    async def verdict(self) -> None:
        for raw in self.runner.got:
            self.consumer.report(raw, (Action.ACK, None))

    async def canceled(self) -> None:
        self.answers = False
        if self.subscriptions:
            self.link.send(self.subscriptions[-1], m.BasicCancel(self.consumer.tag))

    async def channel_closed(self) -> None:
        if self.subscriptions:
            self.link.close_channel(self.subscriptions[-1], 406, "PRECONDITION_FAILED - test")

    async def connection_lost(self) -> None:
        self.link.abort()
        await self.connection.closed

    async def resumed(self) -> None:
        self.answers = True
        await self.consumer.resume(self.connection)

    async def watch_resubscribes(self) -> None:
        self.answers = False
        self.consumer.resubscribe("of a test")

    async def failed(self) -> None:
        self.consumer.fail(OSError("of a test"))

    async def halted(self) -> None:
        self.consumer.halt()

    async def stopped(self) -> None:
        self.stopping = asyncio.create_task(self.consumer.stop())
        await asyncio.sleep(0)


#: Where each happening leads from NEW, CONSUMING, ASKING, RESUMING, HALTED, STOPPING and ENDED.
HAPPENINGS: dict[Callable[[Stage], Awaitable[None]], list[ConsumerState]] = {
    Stage.delivery: [NEW, CONSUMING, ASKING, RESUMING, HALTED, STOPPING, ENDED],
    Stage.verdict: [NEW, CONSUMING, ASKING, RESUMING, HALTED, STOPPING, ENDED],
    Stage.canceled: [NEW, ASKING, ASKING, RESUMING, HALTED, STOPPING, ENDED],
    Stage.channel_closed: [NEW, CONSUMING, RESUMING, RESUMING, HALTED, STOPPING, ENDED],
    Stage.connection_lost: [NEW, RESUMING, RESUMING, RESUMING, HALTED, STOPPING, ENDED],
    Stage.resumed: [NEW, CONSUMING, ASKING, CONSUMING, HALTED, STOPPING, ENDED],
    Stage.watch_resubscribes: [NEW, RESUMING, RESUMING, RESUMING, HALTED, STOPPING, ENDED],
    Stage.failed: [STOPPING, STOPPING, STOPPING, STOPPING, STOPPING, STOPPING, ENDED],
    Stage.halted: [HALTED, HALTED, HALTED, HALTED, HALTED, STOPPING, ENDED],
    Stage.stopped: [STOPPING, STOPPING, STOPPING, STOPPING, STOPPING, STOPPING, ENDED],
}
PRODUCT = [
    pytest.param(state, happens, after, id=f"{state.name}-{happens.__name__}")
    for happens, row in HAPPENINGS.items()
    for state, after in zip(ConsumerState, row, strict=True)
]


@pytest.mark.parametrize(("state", "happens", "after"), PRODUCT)
def test_state_and_what_happens(
    state: ConsumerState, happens: Callable[[Stage], Awaitable[None]], after: ConsumerState
) -> None:
    async def main() -> None:
        broker = ScriptedBroker()
        connection = await connected(broker)
        stage = Stage(broker, connection)
        await stage.enter(state)
        before = len(stage.runner.got)
        await happens(stage)
        await stage.settled()
        # A channel that the broker closed is soon replaced.
        await soon(lambda: stage.consumer.state is after)
        takes = happens is Stage.delivery and state in (CONSUMING, ASKING)
        assert len(stage.runner.got) == before + takes
        # Wherever it is, it can be stopped, and whoever waits for its end is told.
        stage.answers = True
        stage.runner.may_end.set()
        await stage.consumer.stop()
        assert stage.consumer.state is ENDED
        assert stage.consumer.result.done()
        failed = happens is Stage.failed and state is not ENDED and state is not STOPPING
        assert isinstance(stage.consumer.result.exception(), OSError if failed else type(None))
        await connection.close()

    run(main())


def test_table_has_a_row_for_each_state_and_a_way_to_the_end() -> None:
    assert list(TRANSITIONS) == list(ConsumerState)
    for state, row in TRANSITIONS.items():
        at, steps = state, [Input.STOP, Input.SHUT_DOWN]
        for step in steps:
            at = TRANSITIONS[at].get(step, at)
        assert at is ENDED
        assert Input.HALT in row


def test_consumer_that_ends_never_runs_again() -> None:
    assert set(ENDING) == {HALTED, STOPPING, ENDED}
    for state in ENDING:
        assert set(TRANSITIONS[state].values()) <= ENDING
        assert Input.SUBSCRIBED not in TRANSITIONS[state]
    # A halted one still gets deliveries, and begins no callbacks for them.
    assert set(ConsumerState) - RUNNING == {NEW, STOPPING, ENDED}
