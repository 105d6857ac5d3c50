"""Runs the reactor for programs that use it in callbacks and expect the library to run it."""

import asyncio
import sys
import threading
from contextlib import suppress
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from typing import Any, Final

_OWN_THREAD: Final = "reactor"
_CROCHET_THREAD: Final = "CrochetReactor"


def run_in_background() -> None:
    """Run the reactor in a thread until the process ends, if the program has one and nothing runs it.

    A stopped reactor cannot be started again, so it does not stop with the consumers.
    """
    reactor: Any = sys.modules.get("twisted.internet.reactor")
    if reactor is not None and not _is_run(reactor):
        threading.Thread(
            target=reactor.run, kwargs={"installSignalHandlers": False}, name=_OWN_THREAD, daemon=True
        ).start()


def set_up_crochet(crochet: Any) -> None:
    """Let crochet run the reactor for an application that uses crochet, or tell it that the reactor runs.

    Version 3.9 did so at each publish and consume, and applications rely on it.
    """
    # Under the command line this import runs the reactor. It must come before crochet's setup, which holds a
    # lock.
    from twisted.internet import reactor

    if _is_run(reactor):
        with suppress(RuntimeError):  # crochet is already set up
            crochet.no_setup()
    else:
        crochet.setup()


def _is_run(reactor: Any) -> bool:
    """Whether the reactor runs, or a thread is about to run it."""
    names = (_OWN_THREAD, _CROCHET_THREAD)
    return getattr(reactor, "running", True) or any(one.name in names for one in threading.enumerate())


class RunningAsyncioReactor(Loader):
    """Loads the module ``twisted.internet.reactor``: the asyncio reactor, already running in a thread."""

    def create_module(self, spec: ModuleSpec) -> Any:
        """Install the reactor."""
        from twisted.internet import asyncioreactor

        asyncioreactor.install(asyncio.new_event_loop())
        return sys.modules[spec.name]

    def exec_module(self, module: Any) -> None:
        """Run the reactor in a thread; calls made before it runs wait."""
        run_in_background()
