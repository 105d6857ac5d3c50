"""Every state of a supervisor times whatever may happen in it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.client.scripted import ScriptedBroker, ScriptedLink
from tests.client.support import message, run
from tests.support.waiting import soon

from fedora_messaging.client.publishing.outgoing import encode, outgoing
from fedora_messaging.client.supervisor import Supervisor
from fedora_messaging.client.supervisor_state import TRANSITIONS, Input, SupervisorState
from fedora_messaging.exceptions import ConnectionException
from fedora_messaging.options import ConnectionOptions

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

IDLE, CONNECTING, CONNECTED, GIVEN_UP, CLOSING, CLOSED = SupervisorState


def refuse(link: ScriptedLink) -> bool:
    """Hang up on whoever connects."""
    link.abort()
    return True


class Stage:
    """A supervisor and a broker that confirms only if it is told to.

    Attributes:
        accepts: Whether the broker answers to those who connect.
        tasks: What was asked of the supervisor and may take time.
        outcomes: What became of the publishes.
    """

    def __init__(self, broker: ScriptedBroker) -> None:
        self.broker = broker
        self.accepts = True
        self.tasks: list[asyncio.Future[object]] = []
        self.outcomes: list[Exception | None] = []
        port = int(broker.url.rpartition(":")[2])
        self.supervisor = Supervisor(ConnectionOptions("127.0.0.1", port, connect_timeout=600.0))
        self.supervisor.backoff._jitter = lambda: 0.0
        broker.on_accept = lambda _link: not self.accepts
        broker.on_publish = lambda _link, _content: None

    async def enter(self, state: SupervisorState) -> None:
        """Bring the supervisor into a state."""
        supervisor = self.supervisor
        if state is IDLE:
            return
        self.accepts = state not in (CONNECTING, GIVEN_UP)
        if state is GIVEN_UP:
            self.broker.on_accept = refuse
            supervisor.stop_trying()
        supervisor.start()
        if state in (CONNECTED, CLOSING, CLOSED):
            await soon(lambda: supervisor.connected)
        if state is CLOSING:
            # It waits for a confirm that does not come.
            supervisor.submit(outgoing(encode(message("q"), "amq.topic", False), self.outcomes.append))
            await soon(lambda: bool(self.broker.published))
            await self.closed()
        elif state is CLOSED:
            await supervisor.close()
        await soon(lambda: supervisor.state is state and bool(self.broker.links))

    async def started(self) -> None:
        self.supervisor.start()

    async def wanted(self) -> None:
        """Somebody asks for the connection."""
        self.tasks.append(asyncio.ensure_future(self.supervisor.connection()))
        await asyncio.sleep(0)

    async def lost(self) -> None:
        self.accepts = False
        for link in self.broker.links:
            link.abort()

    async def last_try(self) -> None:
        self.supervisor.stop_trying()

    async def last_try_lost(self) -> None:
        self.supervisor.stop_trying()
        await self.lost()

    async def closed(self) -> None:
        self.tasks.append(asyncio.ensure_future(self.supervisor.close()))
        await asyncio.sleep(0)


#: Where each happening leads from IDLE, CONNECTING, CONNECTED, GIVEN_UP, CLOSING and CLOSED.
HAPPENINGS: dict[Callable[[Stage], Awaitable[None]], list[SupervisorState]] = {
    Stage.started: [CONNECTED, CONNECTING, CONNECTED, GIVEN_UP, CLOSING, CLOSED],
    Stage.wanted: [CONNECTED, CONNECTING, CONNECTED, GIVEN_UP, CLOSING, CLOSED],
    Stage.lost: [IDLE, CONNECTING, CONNECTING, GIVEN_UP, CLOSED, CLOSED],
    Stage.last_try: [IDLE, CONNECTING, CONNECTED, GIVEN_UP, CLOSING, CLOSED],
    Stage.last_try_lost: [IDLE, GIVEN_UP, GIVEN_UP, GIVEN_UP, CLOSED, CLOSED],
    Stage.closed: [CLOSED, CLOSED, CLOSED, CLOSED, CLOSING, CLOSED],
}
PRODUCT = [
    pytest.param(state, happens, after, id=f"{state.name}-{happens.__name__}")
    for happens, row in HAPPENINGS.items()
    for state, after in zip(SupervisorState, row, strict=True)
]


@pytest.mark.parametrize(("state", "happens", "after"), PRODUCT)
def test_state_and_what_happens(
    state: SupervisorState, happens: Callable[[Stage], Awaitable[None]], after: SupervisorState
) -> None:
    async def main() -> None:
        async with ScriptedBroker() as broker:
            stage = Stage(broker)
            await stage.enter(state)
            await happens(stage)
            await soon(lambda: stage.supervisor.state is after)
            # Wherever it is, it can be closed, and whoever wants something of it is told.
            await stage.lost()
            await soon(lambda: not stage.supervisor.connected)
            await stage.supervisor.close()
            assert stage.supervisor.state is CLOSED
            with pytest.raises(ConnectionException, match="the client is closed"):
                await stage.supervisor.connection()
            await asyncio.gather(*stage.tasks, return_exceptions=True)
            assert len(stage.outcomes) == (state is CLOSING)

    run(main())


def test_a_closed_supervisor_that_never_connected_stays_closed() -> None:
    """To ask it for a connection begins none."""

    async def main() -> None:
        async with ScriptedBroker() as broker:
            stage = Stage(broker)
            await stage.supervisor.close()
            with pytest.raises(ConnectionException, match="the client is closed"):
                await stage.supervisor.connection()
            stage.supervisor.start()
            assert stage.supervisor._task is None

    run(main())


def test_table_has_a_row_for_each_state_and_a_way_to_the_end() -> None:
    assert list(TRANSITIONS) == list(SupervisorState)
    for state in TRANSITIONS:
        assert TRANSITIONS[TRANSITIONS[state][Input.CLOSE]][Input.END] is CLOSED
