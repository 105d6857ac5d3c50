"""The library for Twisted applications: Deferreds over the asyncio client, which runs in a thread.

Importing this package installs no reactor; its functions use the application's reactor when they are called.
With the asyncio reactor, coroutine callbacks run in its event loop, otherwise in the library's own.
"""

from importlib import import_module
from typing import TYPE_CHECKING

try:
    import twisted  # noqa: F401 - only to explain here, in one place, that it is missing
except ImportError as error:
    raise ImportError(
        "This name needs Twisted, which is not installed: pip install 'fedora-messaging[twisted]'"
    ) from error

# Version 3.9 imported these modules with fedora_messaging.api, and programs rely on it.
_MODULES = frozenset(("consumer", "factory", "monitor", "protocol", "service", "stats"))

if not TYPE_CHECKING:  # with __getattr__, a type checker would accept every name

    def __getattr__(name):
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return import_module(f"{__name__}.{name}")
