"""One or many publishes whose outcomes a task waits for."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

from .batch import WINDOW, Batch, unsent
from .outgoing import Encoded, Outgoing, outgoing, timed_out

if TYPE_CHECKING:
    from ..supervisor import Supervisor


class AwaitedPublish:
    """A publish and a future of its outcome; leaving the ``with`` block gives an unconfirmed publish up.

    Attributes:
        out: The publish to hand to the publisher.
        confirmed: Done when the broker has confirmed, or with the error why it has not.
    """

    __slots__ = ("confirmed", "out")

    def __init__(self, encoded: Encoded) -> None:
        self.out: Outgoing = outgoing(encoded, self.set_outcome)
        self.confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def set_outcome(self, error: Exception | None) -> None:
        """Set the outcome; do nothing if it is set already."""
        if self.confirmed.done():
            return
        if error is None:
            self.confirmed.set_result(None)
        else:
            self.confirmed.set_exception(error)
            # The waiter may have been cancelled. Mark the error as retrieved, so that asyncio is silent.
            self.confirmed.exception()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.out.abandon()
        self.out.release()
        # The two objects refer to each other; breaking the circle frees them without the garbage collector.
        del self.out


class AwaitedBatch:
    """Publishes on their way, at most `WINDOW` at once; leaving the ``with`` block gives the others up.

    Args:
        timeout: Seconds for all of them; ``None`` waits for ever.
        begin: Begins a publish, or stores it if there is an outbox.
        supervisor: Knows why a publish is late.

    Attributes:
        batch: The outcomes.
    """

    def __init__(
        self, timeout: float | None, begin: Callable[[Batch, Encoded], None], supervisor: "Supervisor"
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout = timeout
        self._deadline = None if timeout is None else self._loop.time() + timeout
        self._begin = begin
        self._supervisor = supervisor
        self._woken = asyncio.Event()
        self.batch: Batch = Batch(self._woken.set)

    def is_over(self) -> bool:
        """Whether there is no time left."""
        return self._deadline is not None and self._loop.time() >= self._deadline

    async def publish(self, encoded: Encoded) -> None:
        """Publish a message, as soon as the window has room."""
        if self.batch.is_full:
            await self._wait_for(WINDOW // 2)
            if self.is_over():
                self.batch.note(unsent())
                return
        self._begin(self.batch, encoded)

    async def finish(self) -> None:
        """Return when all publishes have their outcomes: a `PublishTimeout` for those that are late."""
        await self._wait_for(0)

    async def _wait_for(self, number: int) -> None:
        try:
            async with asyncio.timeout_at(self._deadline):
                while not self.batch.is_down_to(number):
                    self._woken.clear()
                    await self._woken.wait()
        except TimeoutError:
            timeout, supervisor = self._timeout or 0.0, self._supervisor
            self.batch.expire(
                lambda out: out.expire(timeout, supervisor.blocked, supervisor.trouble), timed_out(timeout)
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.batch.abandon()
