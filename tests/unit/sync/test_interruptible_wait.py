"""Waiting in the main thread for what other threads do, while signal handlers run."""

from __future__ import annotations

import signal
import socket
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from tests.support.waiting import WAIT

from fedora_messaging.sync.interruptible_wait import InterruptibleWait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def waiting() -> Iterator[InterruptibleWait]:
    """What is tried."""
    made = InterruptibleWait()
    yield made
    made.close()


@contextmanager
def on_signal(handle: Callable[[], object]) -> Iterator[None]:
    previous = signal.signal(signal.SIGUSR1, lambda _number, _frame: handle())
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, previous)


class Awaited(Future[str]):
    """A future that knows when somebody begins to wait for it; a thread sends itself a signal then."""

    def __init__(self) -> None:
        super().__init__()
        self._awaited = threading.Event()
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    def add_done_callback(self, call: Callable[[Future[str]], object]) -> None:
        super().add_done_callback(call)
        self._awaited.set()

    def _send(self) -> None:
        assert self._awaited.wait(WAIT)
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

    def join(self) -> None:
        """Wait for the end of the thread."""
        self._thread.join(WAIT)


def wakeup_fd() -> int:
    """The descriptor to which Python writes signals."""
    found = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(found)
    return found


def test_outcome_that_is_there(waiting: InterruptibleWait) -> None:
    done: Future[int] = Future()
    done.set_result(42)
    failed: Future[int] = Future()
    failed.set_exception(ValueError("canary"))
    assert waiting.result(done) == 42
    with pytest.raises(ValueError, match="^canary$"):
        waiting.result(failed)
    assert wakeup_fd() == -1


def test_outcomes_that_come_one_after_the_other(waiting: InterruptibleWait) -> None:
    with ThreadPoolExecutor(1) as pool:
        for number in range(100):
            assert waiting.result(pool.submit(int, number)) == number


def test_handlers_run_though_another_thread_gets_the_signal(waiting: InterruptibleWait) -> None:
    future = Awaited()
    with on_signal(lambda: future.set_result("handled")):
        assert waiting.result(future) == "handled"
    future.join()


def test_handler_that_raises_ends_waiting(waiting: InterruptibleWait) -> None:
    class Stop(Exception):
        pass

    def stop() -> None:
        raise Stop

    future = Awaited()
    with on_signal(stop), pytest.raises(Stop):
        waiting.result(future)
    future.join()
    assert wakeup_fd() == -1
    # The outcome may come when nobody waits any more.
    waiting.close()
    future.set_result("too late")


def test_descriptor_of_the_programs_own_loop_is_left_alone(waiting: InterruptibleWait) -> None:
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    with reader, writer, ThreadPoolExecutor(1) as pool:
        signal.set_wakeup_fd(writer.fileno())
        try:
            assert waiting.result(pool.submit(lambda: 42)) == 42
            assert wakeup_fd() == writer.fileno()
        finally:
            signal.set_wakeup_fd(-1)


def test_other_threads_just_wait(waiting: InterruptibleWait) -> None:
    future: Future[int] = Future()
    with ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(waiting.result, future)
        future.set_result(42)
        assert outcome.result(WAIT) == 42
    assert wakeup_fd() == -1
