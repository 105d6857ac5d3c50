"""A publish, or a record in the outbox, whose outcome another thread waits for."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..client.publishing.outgoing import Encoded, Outgoing, outgoing
from ..exceptions import PublishTimeout

if TYPE_CHECKING:
    from concurrent.futures import Future


class PendingPublish:
    """A publish on its way; the caller's thread makes it, the loop's thread tells its outcome.

    Args:
        encoded: The message.
        expire: Gives the publish up, and returns an error that says why it was not confirmed in time.
    """

    __slots__ = ("_error", "_expire", "_lock", "_out")

    def __init__(self, encoded: Encoded, expire: Callable[[Outgoing, float], PublishTimeout]) -> None:
        # A lock is the cheapest thing to wait for. We release it when the outcome is known.
        self._lock = threading.Lock()
        self._lock.acquire()
        self._error: Exception | None = None
        self._expire = expire
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
            self._lock.acquire()
        elif timeout <= 0 or not self._lock.acquire(timeout=timeout):
            raise self._expire(self._out, timeout)
        if self._error is not None:
            raise self._error


class PendingRecord:
    """A message on its way into the outbox."""

    __slots__ = ("_future",)

    def __init__(self, future: "Future[None]") -> None:
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
            raise PublishTimeout(f"Publishing timed out after waiting {timeout} seconds.") from None
