"""The library for Twisted applications: Deferreds over the asyncio client, which runs in a thread.

Importing this installs no reactor; what needs one takes the application's when it is used. With the
asyncio reactor coroutine callbacks run in its event loop, with any other one in the library's own.
"""

from importlib import import_module
from typing import TYPE_CHECKING

try:
    import twisted  # noqa: F401 - asked for, so that its absence is explained once
except ImportError as error:
    raise ImportError(
        "This name needs Twisted, which is not installed: pip install 'fedora-messaging[twisted]'"
    ) from error

# Version 3.9 imported them with fedora_messaging.api, and programs came to rely on it.
_MODULES = frozenset(("consumer", "factory", "monitor", "protocol", "service", "stats"))

if not TYPE_CHECKING:  # a type checker would take every name for one of ours

    def __getattr__(name):
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return import_module(f"{__name__}.{name}")
