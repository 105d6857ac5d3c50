"""Running the reactor for programs that use it in callbacks, and leave running it to the library."""

import asyncio
import sys
import threading
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from typing import Any


def run_in_background() -> None:
    """Run the reactor in a thread to the end of the process, if the program has one and nothing runs it.

    A stopped reactor cannot be run again, so it is not stopped with the consumers.
    """
    reactor: Any = sys.modules.get("twisted.internet.reactor")
    if reactor is not None and not getattr(reactor, "running", True):
        threading.Thread(
            target=reactor.run, kwargs={"installSignalHandlers": False}, name="reactor", daemon=True
        ).start()


class RunningAsyncioReactor(Loader):
    """Loads the module ``twisted.internet.reactor``: the asyncio reactor, already running in a thread."""

    def create_module(self, spec: ModuleSpec) -> Any:
        """Install the reactor."""
        from twisted.internet import asyncioreactor

        asyncioreactor.install(asyncio.new_event_loop())
        return sys.modules[spec.name]

    def exec_module(self, module: Any) -> None:
        """Run it; what is asked of it before it runs waits."""
        run_in_background()
