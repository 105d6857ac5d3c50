"""Warns programs that block their event loop."""

import sys
from typing import TYPE_CHECKING, Final

from ..logs import API, logger
from ..printable import printable

if TYPE_CHECKING:
    from types import FrameType

_log = logger(API)

_PACKAGE: Final = __name__.partition(".")[0]
#: Calling lines (file and line) for which the warning has been logged.
_told: dict[tuple[str, int], object] = {}


def guard_event_loop(what: str, instead: str) -> None:
    """Warn, once for each calling line, if this thread runs an event loop that a blocking call would stop.

    A warning is enough, because programs written for version 3.9 do this, and it works: our loops have their
    own threads.

    Raises:
        RuntimeError: The loop is one of our own, or the running reactor, where waiting might never end.
    """
    # We import none of these modules: if one is missing, its loop cannot run.
    asyncio = sys.modules.get("asyncio")
    reactor = sys.modules.get("twisted.internet.reactor")
    threads = sys.modules.get("twisted.python.threadable")
    loop_thread = sys.modules.get("fedora_messaging.sync.loop_thread")
    # Another thread may be importing them now, so a name may be missing.
    get_loop = getattr(asyncio, "_get_running_loop", None)
    in_own_thread = getattr(loop_thread, "in_own_thread", None)
    in_loop = get_loop is not None and get_loop() is not None
    in_reactor = getattr(reactor, "running", False) and threads is not None and threads.isInIOThread()
    advice = (
        f"call {instead} there, or `await asyncio.to_thread(...)`; a callback may also be a plain function"
    )
    if in_reactor or (in_own_thread is not None and in_own_thread()):
        raise RuntimeError(f"{what} would block the event loop that runs in this thread: {advice}")
    if in_loop:
        _warn_once(what, advice)


def _warn_once(what: str, advice: str) -> None:
    file, line = _calling_line()
    first = object()
    if _told.setdefault((file, line), first) is first:
        _log.warning(
            "%s, called in %s line %d, blocks the event loop that runs in this thread until it returns: %s",
            what,
            printable(file),
            line,
            advice,
        )


def _calling_line() -> tuple[str, int]:
    """Return file and line of the program's code that called the library."""
    frame: FrameType | None = sys._getframe()
    file, line = "?", 0
    while frame is not None:
        file, line = frame.f_code.co_filename, frame.f_lineno
        if frame.f_globals.get("__name__", "").partition(".")[0] != _PACKAGE:
            break
        frame = frame.f_back
    return file, line
