"""Publish and consume schema-checked JSON messages on an AMQP topic bus.

Start with :mod:`fedora_messaging.api` (blocking) or :mod:`fedora_messaging.aio` (asyncio).
"""

import sys

from ._version import __version__

__all__ = ["__version__"]


def _register_for_assertion_rewriting() -> None:
    # Plain asserts in `testing` show their operands only when pytest rewrites them, which it must be
    # told before the module is imported. Without a running pytest there is nobody to tell.
    pytest = sys.modules.get("pytest")
    if pytest is not None:
        pytest.register_assert_rewrite("fedora_messaging.testing")


_register_for_assertion_rewriting()
