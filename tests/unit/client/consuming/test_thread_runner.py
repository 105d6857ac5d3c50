"""Plain callbacks in a thread: one after the other, and their verdicts reach the event loop."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.client.consuming.support import Owner, delivery, invalid

from fedora_messaging.client.consuming.stats import ConsumerStats
from fedora_messaging.client.consuming.thread_runner import ThreadRunner
from fedora_messaging.client.consuming.verdict import ACKED, REFUSED, Action
from fedora_messaging.exceptions import Drop, HaltConsumer, Nack

if TYPE_CHECKING:
    from collections.abc import Callable

    from fedora_messaging.client.consuming.delivery import Raw
    from fedora_messaging.client.consuming.verdict import Verdict
    from fedora_messaging.message import Message

UNEXPECTED = "what runs the callbacks has ended, perhaps because a callback cancelled its task later"


class Callback:
    """A function that notes what it gets, and raises or calls what it is told to for each number."""

    def __init__(self, acts: dict[int, BaseException | Callable[[], object]] | None = None) -> None:
        self.begun: list[int] = []
        self.threads: list[threading.Thread] = []
        self.acts = acts or {}

    def __call__(self, message: Message) -> None:
        number = message.body["n"]
        self.begun.append(number)
        self.threads.append(threading.current_thread())
        act = self.acts.get(number)
        if isinstance(act, BaseException):
            raise act
        if act is not None:
            act()


def runner_of(callback: Callable[[Message], Any], owner: Owner, *raws: Raw) -> ThreadRunner:
    """A runner that begins with these deliveries."""
    runner = ThreadRunner(callback, owner.stats, owner.report, owner.is_stale, owner.fail, "q")
    for raw in raws:
        runner.put(raw)
    runner.start()
    return runner


async def processed(callback: Callable[[Message], Any], owner: Owner, *raws: Raw, reports: int) -> None:
    """Have deliveries processed until there are as many reports."""
    runner = runner_of(callback, owner, *raws)
    await owner.told(reports)
    await runner.finish()


def test_deliveries_are_processed_in_order_in_one_thread() -> None:
    async def main() -> None:
        owner, callback = Owner(), Callback()
        runner = runner_of(callback, owner, *map(delivery, range(3)))
        assert runner.in_order
        await owner.told(3)
        # It waits for more, and gets it.
        runner.put(delivery(3))
        await owner.told(4)
        await runner.finish()
        assert callback.begun == [0, 1, 2, 3]
        assert owner.reported == [(number, ACKED) for number in range(4)]
        assert owner.stats == ConsumerStats(received=4, processed=4)
        [thread] = {*callback.threads}
        assert (thread.name, thread.daemon) == ("consumer q", True)
        assert owner.failures == []

    asyncio.run(main())


def test_verdicts_are_reported_in_the_event_loop() -> None:
    async def main() -> None:
        reported_in: list[threading.Thread] = []

        class Careful(Owner):
            def report(self, raw: Raw, verdict: Verdict) -> None:
                reported_in.append(threading.current_thread())
                super().report(raw, verdict)

        await processed(Callback(), Careful(), delivery(0), reports=1)
        assert reported_in == [threading.current_thread()]

    asyncio.run(main())


def test_what_is_stale_or_invalid_does_not_reach_the_callback() -> None:
    async def main() -> None:
        owner, callback = Owner(), Callback()
        await processed(callback, owner, delivery(1, epoch=1), invalid(2), delivery(3), reports=2)
        assert callback.begun == [3]
        assert owner.reported == [(2, REFUSED), (3, ACKED)]
        assert (owner.stats.received, owner.stats.invalid, owner.stats.processed) == (1, 1, 1)

    asyncio.run(main())


def test_consuming_goes_on_after_nack_and_drop() -> None:
    async def main() -> None:
        owner, callback = Owner(), Callback({0: Nack(), 1: Drop()})
        await processed(callback, owner, *map(delivery, range(3)), reports=3)
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
        (GeneratorExit(), Action.REQUEUE_ALL),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else value.name,
)
def test_no_callback_begins_after_one_that_ends_consuming(error: BaseException, action: Action) -> None:
    async def main() -> None:
        owner, callback = Owner(), Callback({0: error})
        await processed(callback, owner, *map(delivery, range(3)), reports=1)
        assert callback.begun == [0]
        assert owner.reported == [(0, (action, error))]
        # The verdict says so; the end of the thread is expected.
        assert owner.failures == []

    asyncio.run(main())


@pytest.mark.parametrize("failing", [False, True])
def test_hidden_coroutine_runs_in_the_event_loop(failing: bool) -> None:
    """Decorators and lambdas hide coroutine functions."""

    async def main() -> None:
        ran_in: list[threading.Thread] = []
        error = ZeroDivisionError("no")

        async def coroutine() -> None:
            await asyncio.sleep(0)
            ran_in.append(threading.current_thread())
            if failing:
                raise error

        owner = Owner()
        await processed(lambda _message: coroutine(), owner, delivery(0), reports=1)
        assert ran_in == [threading.current_thread()]
        assert owner.reported == [(0, (Action.REQUEUE_ALL, error) if failing else ACKED)]

    asyncio.run(main())


def test_running_callback_may_end() -> None:
    async def main() -> None:
        begun, may_end = threading.Event(), threading.Event()

        def wait() -> None:
            begun.set()
            assert may_end.wait(30)

        owner, callback = Owner(), Callback({0: wait})
        runner = runner_of(callback, owner, delivery(0), delivery(1))
        assert await asyncio.to_thread(begun.wait, 30)
        finishing = asyncio.create_task(runner.finish())
        await asyncio.sleep(0)
        assert (finishing.done(), owner.reported) == (False, [])
        may_end.set()
        await finishing
        # All verdicts have been reported by then.
        assert (callback.begun, owner.reported, owner.failures) == ([0], [(0, ACKED)], [])

    asyncio.run(main())


def test_abandoned_callback_is_left_alone() -> None:
    async def main() -> None:
        begun, may_end = threading.Event(), threading.Event()

        def wait() -> None:
            begun.set()
            assert may_end.wait(30)

        owner, callback = Owner(), Callback({0: wait})
        runner = runner_of(callback, owner, delivery(0))
        assert await asyncio.to_thread(begun.wait, 30)
        runner.halt()
        runner.abandon()
        await asyncio.sleep(0)
        [thread] = callback.threads
        assert thread.is_alive()
        may_end.set()
        await runner.finish()
        assert owner.reported == [(0, ACKED)]

    asyncio.run(main())


def test_runner_that_has_nothing_to_do_ends_at_once() -> None:
    async def main() -> None:
        owner, callback = Owner(), Callback()
        runner = runner_of(callback, owner)
        runner.halt()
        await runner.finish()
        # And once more.
        await runner.finish()
        assert (callback.begun, owner.reported, owner.failures) == ([], [], [])

    asyncio.run(main())


def test_runner_that_was_halted_before_it_began_calls_nothing() -> None:
    async def main() -> None:
        owner, callback = Owner(), Callback()
        runner = ThreadRunner(callback, owner.stats, owner.report, owner.is_stale, owner.fail, "q")
        runner.put(delivery(0))
        # There is no thread to wait for.
        await runner.finish()
        runner.start()
        await runner.finish()
        assert (callback.begun, owner.reported, owner.failures) == ([], [], [])

    asyncio.run(main())


def test_following_messages_go_to_another_callback() -> None:
    async def main() -> None:
        owner, first, second = Owner(), Callback(), Callback()
        runner = runner_of(first, owner, delivery(0))
        await owner.told(1)
        runner.replace_callback(second)
        runner.put(delivery(1))
        await owner.told(2)
        await runner.finish()
        assert (first.begun, second.begun) == ([0], [1])

    asyncio.run(main())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_fault_of_ours_ends_the_consumer() -> None:
    """A consumer whose thread has ended would be deaf."""

    async def main() -> None:
        class Faulty(Owner):
            def is_stale(self, raw: Raw) -> bool:
                if raw.tag == 1:
                    raise ZeroDivisionError("a fault")
                return False

        owner, callback = Faulty(), Callback()
        runner = runner_of(callback, owner, *map(delivery, range(3)))
        await owner.told(1, 1)
        # What was processed before has been reported.
        assert (callback.begun, owner.reported) == ([0], [(0, ACKED)])
        assert [(type(error), str(error)) for error in owner.failures] == [(RuntimeError, UNEXPECTED)]
        await runner.finish()

    asyncio.run(main())


def test_callback_that_outlasts_the_event_loop_disturbs_nobody() -> None:
    begun, may_end = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        assert may_end.wait(30)

    owner_of: list[Owner] = []
    callback = Callback({0: wait})

    async def main() -> None:
        owner_of.append(Owner())
        runner_of(callback, owner_of[0], delivery(0)).put(delivery(1))
        assert await asyncio.to_thread(begun.wait, 30)

    asyncio.run(main())
    # The thread works on until it is halted, and reports nothing.
    callback.acts[1] = HaltConsumer()
    may_end.set()
    [thread] = {*callback.threads}
    thread.join(30)
    assert not thread.is_alive()
    assert (callback.begun, owner_of[0].reported, owner_of[0].failures) == ([0, 1], [], [])
