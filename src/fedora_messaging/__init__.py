"""Publish and consume schema-checked JSON messages on an AMQP topic bus.

Start with :mod:`fedora_messaging.api` (blocking) or :mod:`fedora_messaging.aio` (asyncio).
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING

from ._version import __version__

__all__ = ["__version__"]


# In version 3.9 importing one of these modules imported the others, and programs came to rely on it.
_MODULES = frozenset(
    ("api", "config", "exceptions", "message", "schema_utils", "signals", "testing", "twisted")
)

if not TYPE_CHECKING:  # a type checker would take every name for one of ours

    def __getattr__(name):
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            return import_module(f"{__name__}.{name}")
        except ImportError as error:
            raise AttributeError(str(error), name=name) from error


def _register_for_assertion_rewriting() -> None:
    # Plain asserts in `testing` show their operands only when pytest rewrites them, which it must be
    # told before the module is imported. Without a running pytest there is nobody to tell.
    pytest = sys.modules.get("pytest")
    if pytest is not None:
        pytest.register_assert_rewrite("fedora_messaging.testing")


_register_for_assertion_rewriting()
