"""A publish whose outcome a task waits for."""

import asyncio
from typing import Self

from .outgoing import Encoded, outgoing


class AwaitedPublish:
    """A publish, and a future of its outcome; whoever leaves the block has given it up.

    Attributes:
        out: What the publisher sends.
        confirmed: Done when the broker has confirmed, or with the reason why it has not.
    """

    __slots__ = ("confirmed", "out")

    def __init__(self, encoded: Encoded) -> None:
        self.out = outgoing(encoded, self.settle)
        self.confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def settle(self, error: Exception | None) -> None:
        """Tell the outcome; nothing if it is known."""
        if self.confirmed.done():
            return
        if error is None:
            self.confirmed.set_result(None)
        else:
            self.confirmed.set_exception(error)
            # Whoever waited may have been cancelled: that is no reason to complain at exit.
            self.confirmed.exception()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.out.abandon()
        self.out.release()
        # The two refer to each other, and would wait for the garbage collector.
        del self.out
