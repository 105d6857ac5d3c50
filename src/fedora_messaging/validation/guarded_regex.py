r"""Searches untrusted text with a schema's regular expressions, in bounded time (promise P21).

Python's engine backtracks: ``^(a+)+$`` needs 2^n steps for n letters, and holds the interpreter's lock
meanwhile, so that not even a heartbeat leaves. So this module first estimates the steps of a search. If they
are few, which is nearly always, Python's engine decides: its verdict is the compatible one. Otherwise
jsonschema-rs decides in linear time, if it is installed and supports the expression. If not, the search
fails with :class:`TooCostlyError`.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, Final

from . import rust

#: Steps that all searches of one validation together may take: about a tenth of a second.
_BUDGET: Final = 10_000_000
#: A repetition of at most this many times counts as constant.
_FEW: Final = 8
#: Stands for the degree (see :func:`_degree`) of an expression that needs exponential time.
_EXPONENTIAL: Final = 64
#: Steps after which jsonschema-rs's engine for lookarounds and backreferences gives up.
_BACKTRACK_LIMIT: Final = 100_000

_left: ContextVar[int] = ContextVar("steps that are left", default=_BUDGET)


class TooCostlyError(Exception):
    """No engine at hand can decide in bounded time whether the expression matches."""


@contextmanager
def budget() -> Iterator[None]:
    """Give the searches in this block a budget of their own."""
    token = _left.set(_BUDGET)
    try:
        yield
    finally:
        _left.reset(token)


def search(pattern: str, text: str) -> bool:
    """Return what :func:`re.search` finds, in bounded time.

    Raises:
        re.error: The expression is wrong.
        TooCostlyError: The search could take too long.
    """
    steps = _steps(pattern, len(text))
    left = _left.get()
    if steps <= left:
        _left.set(left - steps)
        return re.search(pattern, text) is not None
    matches = _linear(pattern)
    if matches is None:
        raise TooCostlyError(pattern)
    # It takes no text that UTF-8 cannot write, such as a name of AMQP that has any bytes.
    return matches(text.encode("utf-8", "replace").decode())


def check(pattern: str) -> None:
    """Check that an expression can be searched for.

    Raises:
        re.error: The expression is wrong, or too large for Python.
    """
    try:
        re.compile(pattern)
    except (OverflowError, RecursionError) as error:
        raise re.error(str(error)) from error


def is_affordable(pattern: str, text: str) -> bool:
    """Return whether the budget allows a call of :func:`re.search`, and deduct the steps if it does."""
    steps = _steps(pattern, len(text))
    left = _left.get()
    if steps > left:
        return False
    _left.set(left - steps)
    return True


def _steps(pattern: str, length: int) -> int:
    degree = _degree(pattern)
    if degree >= _EXPONENTIAL:
        return 1 << min(length, _EXPONENTIAL)
    return int(min((length + 1) ** degree, 1 << _EXPONENTIAL))


@lru_cache(maxsize=1024)
def _degree(pattern: str) -> int:
    """Estimate the degree d of a pattern: a search in a text of n letters takes about n^d steps."""
    try:
        from re import _parser  # type: ignore[attr-defined]

        parsed = _parser.parse(pattern)
    except re.error:
        return 0  # the search will raise this error again
    except Exception:  # the parser is private to Python and may change
        return _EXPONENTIAL
    # A search starts again at each letter, unless the pattern is anchored to the start.
    begins = [str(op) for op, _value in parsed.data[:1]] == ["AT"] and pattern[:1] in ("^", "\\")
    return min(_EXPONENTIAL, _degree_of(parsed.data, inside=False) + (0 if begins else 1))


def _degree_of(items: list[tuple[Any, Any]], inside: bool) -> int:
    degree = 0
    for op, value in items:
        name = str(op)
        if name.endswith("REPEAT"):
            degree += _degree_of_repeat(*value, inside=inside)
        elif name == "BRANCH":
            # Inside a repetition there may be two alternatives in each round.
            degree += _EXPONENTIAL if inside else max(_degree_of(way.data, inside) for way in value[1])
        elif name == "SUBPATTERN":
            degree += _degree_of(value[-1].data, inside)
        elif name in ("ASSERT", "ASSERT_NOT"):
            degree += _degree_of(value[1].data, inside)
        elif name == "ATOMIC_GROUP":
            degree += _degree_of(value.data, inside)
        elif name.startswith("GROUPREF"):
            degree += _EXPONENTIAL
    return degree


def _degree_of_repeat(low: int, high: Any, repeated: Any, *, inside: bool) -> int:
    if int(high) <= _FEW and not inside:
        return _degree_of(repeated.data, inside)
    if inside and low != high:
        return _EXPONENTIAL  # a repetition of a repetition
    return 1 + _degree_of(repeated.data, inside=True)


@lru_cache(maxsize=1024)
def _linear(pattern: str) -> Callable[[str], bool] | None:
    library = rust.library()
    if library is None:
        return None
    for options in (library.RegexOptions(), library.FancyRegexOptions(backtrack_limit=_BACKTRACK_LIMIT)):
        try:
            matches: Callable[[str], bool] = library.validator_for(
                {"pattern": pattern}, pattern_options=options
            ).is_valid
            return matches
        except (ValueError, TypeError):
            continue  # this engine does not support the expression
    return None
