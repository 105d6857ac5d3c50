"""Coroutine callbacks in the event loop: one after the other, and none can end another."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.client.consuming.support import Owner, delivery, invalid

from fedora_messaging.client.consuming.coroutine_runner import CoroutineRunner, in_other_loop
from fedora_messaging.client.consuming.stats import ConsumerStats
from fedora_messaging.client.consuming.verdict import ACKED, REFUSED, Action
from fedora_messaging.exceptions import Drop, HaltConsumer, Nack
from fedora_messaging.message import Message

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

UNEXPECTED = "what runs the callbacks has ended, perhaps because a callback cancelled its task later"


class Callback:
    """A coroutine function that notes what it gets, and does what it is told for each number.

    Attributes:
        begun: Numbers for which it was called.
        ended: Those for which it returned.
        acts: What to do for a number: raise an exception, or await a function's result.
    """

    def __init__(self, acts: dict[int, BaseException | Callable[[], Awaitable[Any]]] | None = None) -> None:
        self.begun: list[int] = []
        self.ended: list[int] = []
        self.acts = acts or {}

    async def __call__(self, message: Message) -> None:
        number = message.body["n"]
        self.begun.append(number)
        act = self.acts.get(number)
        if isinstance(act, BaseException):
            raise act
        if act is not None:
            await act()
        self.ended.append(number)


def runner_of(callback: Callable[[Message], Awaitable[Any]], owner: Owner) -> CoroutineRunner:
    runner = CoroutineRunner(callback, owner.stats, owner.report, owner.is_stale, owner.fail)
    runner.start()
    return runner


def test_deliveries_are_processed_in_order() -> None:
    async def main() -> None:
        owner, callback = Owner(), Callback()
        runner = runner_of(callback, owner)
        assert runner.in_order
        for number in range(3):
            runner.put(delivery(number))
        await owner.told(3)
        # It waits for more, and gets it.
        runner.put(delivery(3))
        await owner.told(4)
        await runner.finish()
        assert callback.begun == [0, 1, 2, 3]
        assert owner.reported == [(number, ACKED) for number in range(4)]
        assert owner.stats == ConsumerStats(received=4, processed=4)
        assert owner.failures == []

    asyncio.run(main())


def test_each_is_reported_before_the_next_one_begins() -> None:
    async def main() -> None:
        owner = Owner()
        reports: list[int] = []

        async def callback(_message: Message) -> None:
            reports.append(len(owner.reported))
            await asyncio.sleep(0)

        runner = runner_of(callback, owner)
        for number in range(3):
            runner.put(delivery(number))
        await owner.told(3)
        await runner.finish()
        assert reports == [0, 1, 2]

    asyncio.run(main())


def test_what_is_stale_or_invalid_does_not_reach_the_callback() -> None:
    async def main() -> None:
        owner, callback = Owner(), Callback()
        runner = runner_of(callback, owner)
        for raw in (delivery(1, epoch=1), invalid(2), delivery(3)):
            runner.put(raw)
        await owner.told(2)
        await runner.finish()
        assert callback.begun == [3]
        # The broker of a stale one has forgotten it.
        assert owner.reported == [(2, REFUSED), (3, ACKED)]
        assert (owner.stats.received, owner.stats.invalid, owner.stats.processed) == (1, 1, 1)

    asyncio.run(main())


def test_consuming_goes_on_after_nack_and_drop() -> None:
    async def main() -> None:
        owner, callback = Owner(), Callback({0: Nack(), 1: Drop()})
        runner = runner_of(callback, owner)
        for number in range(3):
            runner.put(delivery(number))
        await owner.told(3)
        await runner.finish()
        assert owner.reported == [(0, (Action.REQUEUE, None)), (1, (Action.REFUSE, None)), (2, ACKED)]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("error", "action"),
    [
        (HaltConsumer(), Action.ACK),
        (HaltConsumer(requeue=True), Action.REQUEUE),
        (ZeroDivisionError("no"), Action.REQUEUE_ALL),
        (SystemExit(3), Action.REQUEUE_ALL),
        (KeyboardInterrupt(), Action.REQUEUE_ALL),
        (asyncio.CancelledError(), Action.REQUEUE_ALL),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else value.name,
)
def test_no_callback_begins_after_one_that_ends_consuming(error: BaseException, action: Action) -> None:
    async def main() -> None:
        owner, callback = Owner(), Callback({0: error})
        runner = runner_of(callback, owner)
        for number in range(3):
            runner.put(delivery(number))
        await owner.told(1)
        await runner.finish()
        assert callback.begun == [0]
        assert owner.reported == [(0, (action, error))]
        # The verdict says so; the end of the worker is expected.
        assert owner.failures == []

    asyncio.run(main())


def test_running_callback_may_end() -> None:
    async def main() -> None:
        may_end = asyncio.Event()
        owner, callback = Owner(), Callback({0: may_end.wait})
        runner = runner_of(callback, owner)
        runner.put(delivery(0))
        runner.put(delivery(1))
        await asyncio.sleep(0)
        finishing = asyncio.create_task(runner.finish())
        await asyncio.sleep(0)
        assert (callback.begun, callback.ended, finishing.done()) == ([0], [], False)
        may_end.set()
        await finishing
        assert (callback.begun, callback.ended) == ([0], [0])
        assert (owner.reported, owner.failures) == ([(0, ACKED)], [])

    asyncio.run(main())


def test_runner_that_has_nothing_to_do_ends_at_once() -> None:
    async def main() -> None:
        owner, callback = Owner(), Callback()
        runner = runner_of(callback, owner)
        await asyncio.sleep(0)
        runner.halt()
        runner.put(delivery(0))
        await runner.finish()
        never_started = CoroutineRunner(callback, owner.stats, owner.report, owner.is_stale, owner.fail)
        await never_started.finish()
        never_started.abandon()
        assert (callback.begun, owner.reported, owner.failures) == ([], [], [])

    asyncio.run(main())


def test_callback_may_finish_its_own_runner() -> None:
    async def main() -> None:
        owner = Owner()

        async def callback(_message: Message) -> None:
            await runner.finish()

        runner = runner_of(callback, owner)
        runner.put(delivery(0))
        runner.put(delivery(1))
        await owner.told(1)
        await runner.finish()
        assert owner.reported == [(0, ACKED)]

    asyncio.run(main())


def test_message_of_an_abandoned_callback_goes_back() -> None:
    async def main() -> None:
        owner, callback = Owner(), Callback({0: asyncio.Event().wait})
        runner = runner_of(callback, owner)
        runner.put(delivery(0))
        await asyncio.sleep(0)
        runner.halt()
        runner.abandon()
        await runner.finish()
        assert (callback.begun, callback.ended) == ([0], [])
        assert owner.reported == [(0, (Action.REQUEUE, None))]
        assert (owner.stats.failed, owner.failures) == (0, [])

    asyncio.run(main())


async def cancel_oneself() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


def test_cancellation_that_a_callback_leaves_behind_ends_no_other() -> None:
    async def main() -> None:
        owner, callback = Owner(), Callback({0: cancel_oneself, 1: lambda: asyncio.sleep(0)})
        runner = runner_of(callback, owner)
        runner.put(delivery(0))
        runner.put(delivery(1))
        await owner.told(2)
        await runner.finish()
        assert owner.reported == [(0, ACKED), (1, ACKED)]
        assert owner.failures == []

    asyncio.run(main())


def test_worker_that_a_callback_cancels_later_ends_the_consumer() -> None:
    async def main() -> None:
        workers: list[asyncio.Task[Any] | None] = []

        async def callback(_message: Message) -> None:
            workers.append(asyncio.current_task())

        owner = Owner()
        runner = runner_of(callback, owner)
        runner.put(delivery(0))
        await owner.told(1)
        [worker] = workers
        assert worker is not None
        worker.cancel()
        await owner.told(1, 1)
        assert [(type(error), str(error)) for error in owner.failures] == [(RuntimeError, UNEXPECTED)]
        await runner.finish()

    asyncio.run(main())


def test_following_messages_go_to_another_callback() -> None:
    """A plain one runs in a thread, because it may block."""

    async def main() -> None:
        threads: list[int] = []

        def plain(message: Message) -> None:
            threads.append(threading.get_ident())
            if message.body["n"] == 2:
                raise Nack

        owner, first, third = Owner(), Callback(), Callback()
        runner = runner_of(first, owner)
        callbacks: list[Callable[[Message], Any]] = [first, plain, plain, third]
        for number, callback in enumerate(callbacks):
            runner.replace_callback(callback)
            runner.put(delivery(number))
            await owner.told(number + 1)
        await runner.finish()
        assert (first.begun, third.begun) == ([0], [3])
        assert len(threads) == 2
        assert threading.get_ident() not in threads
        assert [verdict[0] for _tag, verdict in owner.reported] == [
            Action.ACK,
            Action.ACK,
            Action.REQUEUE,
            Action.ACK,
        ]

    asyncio.run(main())


# Callbacks of another loop


@contextmanager
def other_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop that runs in another thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_callback_runs_in_the_loop_that_is_found() -> None:
    async def main(other: asyncio.AbstractEventLoop) -> None:
        found: list[asyncio.AbstractEventLoop | None] = [other, None]
        ran_in: list[asyncio.AbstractEventLoop] = []

        async def callback(message: Message) -> None:
            ran_in.append(asyncio.get_running_loop())
            assert message.body == {"n": 1}

        call = in_other_loop(callback, lambda: found.pop(0))
        for _ in range(2):
            await call(Message({"n": 1}, topic="t"))
        assert ran_in == [other, asyncio.get_running_loop()]

    with other_loop() as other:
        asyncio.run(main(other))


@pytest.mark.parametrize(
    "error",
    [Nack(), ZeroDivisionError("no"), SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("here", [False, True])
def test_exception_of_the_callback_ends_no_loop(error: BaseException, here: bool) -> None:
    async def main(other: asyncio.AbstractEventLoop) -> None:
        owner, callback = Owner(), Callback({0: error})
        runner = runner_of(in_other_loop(callback, lambda: None if here else other), owner)
        runner.put(delivery(0))
        await owner.told(1)
        await runner.finish()
        [(_tag, verdict)] = owner.reported
        assert verdict == ((Action.REQUEUE, None) if isinstance(error, Nack) else (Action.REQUEUE_ALL, error))
        # The loop of the callback still runs.
        assert asyncio.run_coroutine_threadsafe(asyncio.sleep(0, "runs"), other).result(30) == "runs"

    with other_loop() as other:
        asyncio.run(main(other))


def test_cancellation_that_a_callback_of_another_loop_leaves_behind_is_forgotten() -> None:
    async def main(other: asyncio.AbstractEventLoop) -> None:
        owner, callback = Owner(), Callback({0: cancel_oneself})
        runner = runner_of(in_other_loop(callback, lambda: other), owner)
        runner.put(delivery(0))
        runner.put(delivery(1))
        await owner.told(2)
        await runner.finish()
        assert owner.reported == [(0, ACKED), (1, ACKED)]

    with other_loop() as other:
        asyncio.run(main(other))


def test_callback_of_another_loop_is_cancelled_when_it_is_abandoned() -> None:
    async def main(other: asyncio.AbstractEventLoop) -> None:
        begun, cancelled = threading.Event(), threading.Event()

        async def callback(_message: Message) -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        owner = Owner()
        runner = runner_of(in_other_loop(callback, lambda: other), owner)
        runner.put(delivery(0))
        await asyncio.to_thread(begun.wait, 30)
        runner.halt()
        runner.abandon()
        await runner.finish()
        assert await asyncio.to_thread(cancelled.wait, 30)
        assert owner.reported == [(0, (Action.REQUEUE, None))]

    with other_loop() as other:
        asyncio.run(main(other))
