"""The hooks of a callback class: methods that run before its first message and after its last one."""

from collections.abc import Callable
from inspect import Parameter, signature
from typing import Any


class Hooks:
    """The methods ``start()`` and ``stop()`` of a callback object, or those of a context manager.

    Each may be a coroutine function. If a class has both kinds, those of the context manager are used.

    Args:
        callback: The object; ``None`` has no hooks.
    """

    def __init__(self, callback: object = None) -> None:
        self._callback = callback
        kind = type(callback)
        self._is_context = False
        self._start: Callable[[], Any] | None = None
        self._stop: Callable[..., Any] | None = None
        for enter, leave in (("__aenter__", "__aexit__"), ("__enter__", "__exit__")):
            if hasattr(kind, enter) and hasattr(kind, leave):
                self._is_context = True
                self._start, self._stop = getattr(callback, enter), getattr(callback, leave)
                return
        self._start, self._stop = _plain(callback, "start"), _plain(callback, "stop")

    def __bool__(self) -> bool:
        return self._start is not None or self._stop is not None

    @property
    def start(self) -> Callable[[], Any]:
        """The hook to call before the first message; the caller awaits its result if that is awaitable."""
        return self._start or _nothing

    def stop(self, error: BaseException | None) -> Any:
        """Call the hook after the last message, with the error that ended consuming; as :attr:`start`."""
        if self._stop is None:
            return None
        if not self._is_context:
            return self._stop()
        if error is None:
            return self._stop(None, None, None)
        return self._stop(type(error), error, error.__traceback__)


def _nothing() -> None:
    return None


def _plain(callback: object, name: str) -> Callable[[], Any] | None:
    """Return a method that can be called without arguments; one that needs arguments is not a hook."""
    method = getattr(callback, name, None) if hasattr(type(callback), name) else None
    if not callable(method):
        return None
    try:
        parameters = signature(method).parameters.values()
    except (TypeError, ValueError):
        return None
    optional = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    needed = [one for one in parameters if one.default is Parameter.empty and one.kind not in optional]
    return None if needed else method
