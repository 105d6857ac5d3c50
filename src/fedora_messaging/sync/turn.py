"""Lets other threads act in the place of an event loop's thread while that waits for something to happen."""

import asyncio
import selectors
import signal
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from ..logs import logger

_log = logger(__name__)

#: Seconds after which a borrower is given up that has not given the turn back, and once more: a process that
#: was suspended finds all its time gone.
_PATIENCE: Final = (5.0, 1.0)
#: Seconds after which we look again which handlers of signals there are.
_LOOK: Final = 0.05
#: Handlers that run none of the program's code. ``None`` was not installed by Python.
_PLAIN: Final = (signal.SIG_DFL, None, signal.SIG_IGN, signal.default_int_handler)

#: Threads that have borrowed a turn.
_acting: set[int] = set()


def is_acting() -> bool:
    """Return whether this thread has borrowed a turn: what is called then must not wait for the loop."""
    return threading.get_ident() in _acting


class Turn:
    """The right to touch what belongs to an event loop.

    The loop's thread has it, except while it waits in its selector. Then another thread may borrow it, for
    some microseconds and never to wait for anything. If the loop has something to do meanwhile, it waits.

    It saves the thread that publishes a message from waking the loop, which then would send the message.

    A signal's handler could publish, or close the client, in the middle of a call that has borrowed the turn,
    and so wait for a loop that waits for the turn. So the main thread, in which handlers run, borrows nothing
    if the program has handlers that do more than raise. One that was installed less than `_LOOK` seconds ago
    may not be known yet; it, and a finalizer that runs in such a call, gets RuntimeError if it publishes.

    Args:
        on_interrupted: Called by the loop's thread, before it does anything else, when a call has raised: it
            may have left behind something half done.
    """

    def __init__(self, on_interrupted: Callable[[], None]) -> None:
        self._on_interrupted = on_interrupted
        # It knows its owner, so that a thread that was interrupted can give back what it may have.
        self._lock = threading.RLock()
        self._may_borrow = False
        self._main_thread = threading.main_thread().ident
        self._next_look = 0.0
        self._are_handlers_plain = False
        # Whether a call has begun and not returned: it goes on now, or it was interrupted.
        self._is_half_done = False

    def act(self, call: Callable[[Any], bool], argument: Any, wake: Callable[[], None]) -> bool:
        """Make a call in the place of the loop, if that waits.

        Args:
            call: It must not wait for anything, and must not need a running loop.
            argument: Its argument.
            wake: Called if the call raises, to wake the loop.

        Returns:
            Whether that was possible, and the call returned ``True``.
        """
        thread = threading.get_ident()
        if not self._may_borrow or thread in _acting:
            return False
        if thread == self._main_thread and not self._may_main_thread():
            return False
        # A handler may raise at every call of a function, even before we know whether we got the lock.
        try:
            if not self._lock.acquire(blocking=False) or self._is_half_done:
                return False
            _acting.add(thread)
            self._is_half_done = True
            done = call(argument)
            self._is_half_done = False
            return done
        except BaseException:
            # If another signal interrupts this, nobody gets the turn until something else wakes the loop.
            wake()
            raise
        finally:
            _acting.discard(thread)
            try:
                self._lock.release()
            except RuntimeError:
                pass  # we had not got it

    def _may_main_thread(self) -> bool:
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + _LOOK
            # Compared one by one, because a handler need not be hashable.
            handlers = map(signal.getsignal, signal.valid_signals())
            self._are_handlers_plain = all(handler in _PLAIN for handler in handlers)
        return self._are_handlers_plain

    # Called by the loop's thread

    def begin(self) -> None:
        """Take the turn: the loop begins."""
        self._lock.acquire()
        self._may_borrow = True

    def leave(self) -> None:
        """Let others have the turn: the loop waits."""
        if self._may_borrow:
            self._lock.release()

    def come_back(self) -> None:
        """Take the turn again; whoever has it gives it back soon."""
        if not self._may_borrow:
            return
        if not self._lock.acquire(blocking=False) and not any(
            self._lock.acquire(timeout=seconds) for seconds in _PATIENCE
        ):
            # Two signals in a row can interrupt even the giving back.
            self._may_borrow = False
            _log.warning(
                "A thread was interrupted while it published; from now on, the loop's thread sends everything"
            )
        if self._is_half_done:
            self._is_half_done = False
            self._on_interrupted()

    def end(self) -> None:
        """Lend the turn to nobody any more: the loop has ended."""
        self._may_borrow = False


class _LendingSelector(selectors.DefaultSelector):
    """Lends the turn while it waits.

    Args:
        turn: The turn; the thread that calls :meth:`select` has it.
    """

    def __init__(self, turn: Turn) -> None:
        super().__init__()
        self._turn = turn

    def select(self, timeout: float | None = None) -> Any:
        if timeout == 0:  # the loop looks, but does not wait
            return super().select(timeout)
        self._turn.leave()
        try:
            found = super().select(timeout)
        finally:
            self._turn.come_back()
        # A borrower may have changed meanwhile what is waited for: the loop would take an old entry for the
        # new one, and remove it. If it still holds, the next call tells it again.
        current = self.get_map()
        return [event for event in found if current.get(event[0].fd) is event[0]]


def new_loop(on_interrupted: Callable[[], None]) -> tuple[asyncio.AbstractEventLoop, Turn | None]:
    """Make an event loop as the program's policy wants it, and its turn, unless it cannot be lent.

    Args:
        on_interrupted: See :class:`Turn`; it must not raise.
    """
    loop = asyncio.new_event_loop()
    # In debug mode, a loop refuses calls from other threads. Others than asyncio's own have no selector.
    if type(loop) is not asyncio.SelectorEventLoop or loop.get_debug():
        return loop, None
    loop.close()
    turn = Turn(on_interrupted)
    return asyncio.SelectorEventLoop(_LendingSelector(turn)), turn
