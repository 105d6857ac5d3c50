"""A publish whose outcome a task waits for."""

import asyncio
from typing import Self

from .outgoing import Encoded, outgoing


class AwaitedPublish:
    """A publish and a future of its outcome; leaving the ``with`` block gives an unconfirmed publish up.

    Attributes:
        out: The publish to hand to the publisher.
        confirmed: Done when the broker has confirmed, or with the error why it has not.
    """

    __slots__ = ("confirmed", "out")

    def __init__(self, encoded: Encoded) -> None:
        self.out = outgoing(encoded, self.set_outcome)
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
