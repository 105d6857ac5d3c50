"""Provides Twisted's reactor to callbacks that use it."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType

_REACTOR = "twisted.internet.reactor"


class _ReactorFinder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _REACTOR:
            return None
        sys.meta_path.remove(self)
        from ..twisted.hosting import RunningAsyncioReactor

        return spec_from_loader(_REACTOR, RunningAsyncioReactor())


@contextmanager
def reactor_provided() -> Iterator[None]:
    """Run Twisted's reactor, on asyncio, as soon as a callback imports it, as in version 3.9.

    Until then nothing of Twisted is imported, even if it is installed.
    """
    finder = _ReactorFinder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        if finder in sys.meta_path:
            sys.meta_path.remove(finder)
