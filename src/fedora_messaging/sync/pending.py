"""A publish, or a record in the outbox, whose outcome another thread waits for."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

from ..client.publishing.batch import WINDOW, Batch, unsent
from ..client.publishing.outgoing import Encoded, Outgoing, outgoing, timed_out
from ..exceptions import PublishTimeout


class PendingPublish:
    """A publish on its way; the caller's thread makes it, the loop's thread tells its outcome.

    Args:
        encoded: The message.
        expire: Gives the publish up, and returns an error that says why it was not confirmed in time.
        read_confirm: Lets the caller's thread read the confirm itself, if that is possible; gets a lock that
            is locked until then, and the seconds that are left.
    """

    __slots__ = ("_error", "_expire", "_lock", "_out", "_read_confirm")

    def __init__(
        self,
        encoded: Encoded,
        expire: Callable[[Outgoing, float], PublishTimeout],
        read_confirm: Callable[[threading.Lock, float | None], None],
    ) -> None:
        # A lock is the cheapest thing to wait for. We release it when the outcome is known.
        self._lock = threading.Lock()
        self._lock.acquire()
        self._error: Exception | None = None
        self._expire = expire
        self._read_confirm = read_confirm
        self._out = outgoing(encoded, self._on_outcome)

    @property
    def outgoing(self) -> Outgoing:
        """The message in the form that the publisher takes."""
        return self._out

    def _on_outcome(self, error: Exception | None) -> None:
        self._error = error
        self._lock.release()

    def wait(self, timeout: float | None) -> None:
        """Return when the broker has confirmed the message.

        Raises:
            PublishTimeout: No confirm arrived in time; the message may have arrived nevertheless.
            PublishException: The broker refused the message.
            ConnectionException: The broker refuses us.
        """
        # With a timeout of 0 even a confirm that has already arrived comes too late.
        if timeout is None:
            self._read_confirm(self._lock, None)
            self._lock.acquire()
        elif timeout <= 0 or not self._is_confirmed_within(timeout):
            raise self._expire(self._out, timeout)
        if self._error is not None:
            raise self._error

    def _is_confirmed_within(self, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        self._read_confirm(self._lock, timeout)
        return self._lock.acquire(timeout=max(0.0, deadline - time.monotonic()))


class PendingRecord:
    """A message on its way into the outbox."""

    __slots__ = ("_future",)

    def __init__(self, future: Future[None]) -> None:
        self._future = future

    def wait(self, timeout: float | None) -> None:
        """Return when the message is on disk.

        Raises:
            PublishTimeout: It was not on disk in time; it may be stored nevertheless.
            OutboxFull: The outbox holds as much as it may.
            OutboxError: The outbox cannot be written.
        """
        try:
            self._future.result(timeout)
        except TimeoutError:
            if self._future.done() and not self._future.cancelled():
                raise
            self._future.cancel()
            raise timed_out(timeout) from None


class PromisedPublish(Future[None]):
    """A publish on its way, as a future: whoever cancels it has the message not sent again.

    Args:
        encoded: The message.
        release: Frees what an abandoned publish holds.
    """

    def __init__(self, encoded: Encoded, release: Callable[[Outgoing], None]) -> None:
        super().__init__()
        self._release = release
        self.outgoing: Outgoing = outgoing(encoded, self._on_outcome)

    def _on_outcome(self, error: Exception | None) -> None:
        if not self.set_running_or_notify_cancel():
            return
        if error is None:
            self.set_result(None)
        else:
            self.set_exception(error)

    def cancel(self) -> bool:
        """Give the publish up, unless its outcome is known; the message may have arrived nevertheless."""
        cancelled = super().cancel()
        if cancelled:
            self.outgoing.abandon()
            self._release(self.outgoing)
        return cancelled


class PendingBatch:
    """Publishes on their way, at most `WINDOW` at once, whose outcomes the caller's thread waits for.

    Args:
        timeout: Seconds for all of them; ``None`` waits for ever.
        begin: Begins a publish, or stores it if there is an outbox.
        expire: Gives a publish up, and returns an error that says why it was not confirmed in time.
    """

    def __init__(
        self,
        timeout: float | None,
        begin: Callable[[Batch, Encoded], None],
        expire: Callable[[Outgoing, float], PublishTimeout],
    ) -> None:
        self._timeout = timeout
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._begin = begin
        self._expire = expire
        self._woken = threading.Event()
        self.batch: Batch = Batch(self._woken.set)

    def is_over(self) -> bool:
        """Whether there is no time left."""
        return self._deadline is not None and time.monotonic() >= self._deadline

    def publish(self, encoded: Encoded) -> None:
        """Publish a message, as soon as the window has room."""
        if self.batch.is_full:
            self._wait_for(WINDOW // 2)
            if self.is_over():
                self.batch.note(unsent())
                return
        self._begin(self.batch, encoded)

    def finish(self) -> None:
        """Return when all publishes have their outcomes: a `PublishTimeout` for those that are late."""
        self._wait_for(0)

    def _wait_for(self, number: int) -> None:
        while True:
            self._woken.clear()
            if self.batch.is_down_to(number):
                return
            left = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
            if not self._woken.wait(left):
                self._give_up(self._timeout or 0.0)
                return

    def _give_up(self, timeout: float) -> None:
        self.batch.expire(lambda out: self._expire(out, timeout), timed_out(timeout))
