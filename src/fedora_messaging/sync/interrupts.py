"""Stops consumers when the process gets a signal."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .consumers import BlockingConsumers


@contextmanager
def stop_on_sigterm(consumers: "BlockingConsumers") -> Iterator[list[int]]:
    """Stop consumers on SIGTERM, unless the program handles that signal itself.

    This works only in the main thread; elsewhere it does nothing. A second signal ends the process, as if
    there were no handler.

    Yields:
        A list that holds the signal once it has come.
    """
    received: list[int] = []
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    ):
        yield received
        return

    def stop(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        consumers.request_stop()

    signal.signal(signal.SIGTERM, stop)
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
