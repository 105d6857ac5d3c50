"""Making forks wait for what a child could not finish.

CPython does not free the locks of modules that another thread is importing at the moment of a fork, so that
a child which needs such a module waits for ever. What we import late is imported under this lock, and a fork
takes it. Such a module may have hooks of its own; were they registered with the interpreter, a fork that
waits for the import would have passed the moment at which it calls them.
"""

import concurrent.futures.thread  # noqa: F401 - has fork hooks of its own, which must be there before ours
import os
import threading
from collections.abc import Callable
from typing import Final, NamedTuple

#: Held while something is set up that must be whole in a child.
setting_up = threading.RLock()


class _Hooks(NamedTuple):
    before: Callable[[], None]
    after_in_parent: Callable[[], None]
    after_in_child: Callable[[], None]


_hooks: Final[list[_Hooks]] = []


def register(
    *, before: Callable[[], None], after_in_parent: Callable[[], None], after_in_child: Callable[[], None]
) -> None:
    """Have functions called at each fork, as by `os.register_at_fork`; for modules that are imported late."""
    with setting_up:
        _hooks.append(_Hooks(before, after_in_parent, after_in_child))


def _before() -> None:
    setting_up.acquire()
    for hooks in _hooks:
        hooks.before()


def _after_in_parent() -> None:
    for hooks in _hooks:
        hooks.after_in_parent()
    setting_up.release()


def _after_in_child() -> None:
    for hooks in _hooks:
        hooks.after_in_child()
    setting_up.release()


os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
