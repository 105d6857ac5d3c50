"""Subscribing again: when it is tried, when it is given up, and who waits for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.unit.client.support import now, run

from fedora_messaging.client.amqp.connection import Connection
from fedora_messaging.client.backoff import Backoff
from fedora_messaging.client.consuming.resubscriber import Resubscriber
from fedora_messaging.exceptions import (
    BadDeclaration,
    ChannelClosed,
    ConnectionException,
    NoFreeChannels,
    PermissionException,
)
from fedora_messaging.options import ConnectionOptions

if TYPE_CHECKING:
    from collections.abc import Callable

GONE = BadDeclaration("queue", "q", ChannelClosed(404, "NOT_FOUND - no"))
FORBIDDEN = PermissionException("queue", "q", ChannelClosed(403, "ACCESS_REFUSED - no"))


class Attempts:
    """A consumer whose attempts to subscribe fail for these reasons, and then succeed.

    Attributes:
        at: When each attempt was made.
        refused: What the consumer was refused for.
    """

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.is_wanted = True
        self.at: list[float] = []
        self.over: list[Connection] = []
        self.refused: list[PermissionException] = []
        self.meanwhile: Callable[[], object] = lambda: None
        self.resubscriber = Resubscriber("the consumer", self.attach, self.wanted, self.refused.append)
        self.resubscriber.backoff = Backoff(jitter=lambda: 1.0)
        self.connection = Connection(ConnectionOptions(), asyncio.get_running_loop())

    def wanted(self) -> bool:
        return self.is_wanted

    async def attach(self, connection: Connection) -> None:
        self.at.append(now())
        self.over.append(connection)
        self.meanwhile()
        await asyncio.sleep(0)
        if self.failures:
            raise self.failures.pop(0)

    def begin(self, pause: float = 0.0) -> tuple[asyncio.Task[None], asyncio.Future[None]]:
        return self.resubscriber.begin(self.connection, pause)


def test_attempt_that_succeeds_is_the_last(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        consumer = Attempts()
        assert consumer.resubscriber.next_pause == 0.0
        task, tried = consumer.begin()
        assert not tried.done()
        await tried
        await task
        assert (consumer.at, consumer.over) == ([0.0], [consumer.connection])
        assert consumer.resubscriber.next_pause == 0.0

    run(main())
    assert caplog.messages == []


def test_attempts_are_made_again_after_growing_pauses(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        consumer = Attempts(GONE, ConnectionException("it was lost"), NoFreeChannels("all are in use"))
        task, tried = consumer.begin()
        await tried
        # The others, who wait for the first attempt, go on.
        assert (consumer.at, task.done()) == ([0.0], False)
        await task
        assert consumer.at == [0.0, 0.5, 1.5, 3.5]
        # A consumer whose subscription is lost now waits for as long as it would have.
        assert consumer.resubscriber.next_pause == 4.0
        assert consumer.refused == []

    run(main())
    assert caplog.messages == [
        f"'the consumer' cannot resume yet: {why}; trying again"
        for why in (
            "Unable to declare the queue object (q) because (404) NOT_FOUND - no",
            "it was lost",
            "all are in use",
        )
    ]


def test_first_attempt_may_have_to_wait() -> None:
    """Nobody waits for it then."""

    async def main() -> None:
        consumer = Attempts()
        task, tried = consumer.begin(20.0)
        await tried
        assert (now(), consumer.at) == (0.0, [])
        await task
        assert consumer.at == [20.0]

    run(main())


def test_consumer_that_may_not_read_the_queue_is_told() -> None:
    async def main() -> None:
        consumer = Attempts(GONE, FORBIDDEN, GONE)
        task, _tried = consumer.begin()
        await task
        assert (consumer.at, consumer.refused) == ([0.0, 0.5], [FORBIDDEN])

    run(main())


def test_consumer_that_wants_no_subscription_any_more() -> None:
    async def main() -> None:
        consumer = Attempts(GONE)
        consumer.is_wanted = False
        task, tried = consumer.begin()
        await asyncio.gather(task, tried)
        assert consumer.at == []
        consumer.is_wanted = True

        def stop() -> None:
            consumer.is_wanted = False

        consumer.meanwhile = stop
        task, tried = consumer.begin()
        await asyncio.gather(task, tried)
        assert consumer.at == [0.0]

    run(main())


def test_connection_that_ends_ends_the_attempts() -> None:
    async def main() -> None:
        consumer = Attempts(ConnectionException("it was lost"), GONE)
        consumer.meanwhile = lambda: consumer.connection.closed.set_result(OSError("no"))
        task, tried = consumer.begin()
        await asyncio.gather(task, tried)
        assert consumer.at == [0.0]

    run(main())


def test_new_connection_replaces_the_attempts_over_the_old_one() -> None:
    async def main() -> None:
        consumer = Attempts(GONE, GONE)
        old, _tried = consumer.begin()
        await asyncio.sleep(0.1)
        before = consumer.connection
        consumer.connection = Connection(ConnectionOptions(), asyncio.get_running_loop())
        new, _tried = consumer.begin()
        await new
        assert old.cancelled()
        assert consumer.over == [before, consumer.connection, consumer.connection]
        assert consumer.at == [0.0, 0.1, 1.1]

    run(main())


@pytest.mark.parametrize("pause", [0.0, 20.0])
def test_whoever_waits_for_a_cancelled_attempt_goes_on(pause: float) -> None:
    async def main() -> None:
        consumer = Attempts(GONE, GONE)
        consumer.resubscriber.cancel()
        task, tried = consumer.begin(pause)
        consumer.resubscriber.cancel()
        await tried
        assert (task.cancelled(), consumer.at) == (True, [])

    run(main())


def test_fault_of_ours_is_not_tried_again() -> None:
    async def main() -> None:
        consumer = Attempts(ZeroDivisionError("no"))
        task, tried = consumer.begin()
        with pytest.raises(ZeroDivisionError):
            await task
        await tried
        assert consumer.at == [0.0]

    run(main())
