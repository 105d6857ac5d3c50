r"""Regular expressions that come from a schema, on text that comes from a stranger (promise P21).

Python's engine backtracks: ``^(a+)+$`` needs 2^n steps for n letters, and holds the interpreter's lock
meanwhile, so that not even a heartbeat leaves. So the steps are estimated first. What is cheap, and that is
nearly everything, Python decides, whose verdict is the compatible one. The rest is decided by an engine that
needs linear time, if it is there and knows the expression, and otherwise by nobody.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, Final

try:
    import jsonschema_rs
except ImportError:  # a distribution that does not package it yet
    jsonschema_rs = None  # type: ignore[assignment]

#: Steps that all searches of one validation may take: about a tenth of a second.
_BUDGET: Final = 10_000_000
#: A repetition up to this often counts as a constant.
_FEW: Final = 8
#: Degree of an expression that needs exponential time.
_EXPONENTIAL: Final = 64
#: Steps of the engine for lookarounds and references back, after which it gives up.
_BACKTRACK_LIMIT: Final = 100_000

_left: ContextVar[int] = ContextVar("steps that are left", default=_BUDGET)


class TooCostlyError(Exception):
    """Nobody can decide in bounded time whether the expression matches."""


@contextmanager
def budget() -> Iterator[None]:
    """Give the searches inside a budget of their own."""
    token = _left.set(_BUDGET)
    try:
        yield
    finally:
        _left.reset(token)


def search(pattern: str, text: str) -> bool:
    """Return what :func:`re.search` finds, in bounded time.

    Raises:
        re.error: The expression is wrong.
        TooCostlyError: It cannot be told.
    """
    steps = _steps(pattern, len(text))
    left = _left.get()
    if steps <= left:
        _left.set(left - steps)
        return re.search(pattern, text) is not None
    matches = _linear(pattern)
    if matches is None:
        raise TooCostlyError(pattern)
    return matches(text)


def is_affordable(pattern: str, text: str) -> bool:
    """Whether :func:`re.search` may be called; if so, its steps are taken from the budget."""
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
    """Estimate the exponent of the text's length in the number of steps."""
    try:
        from re import _parser  # type: ignore[attr-defined]

        parsed = _parser.parse(pattern)
    except re.error:
        return 0  # the search will say what is wrong
    except Exception:  # the parser is Python's own, and may change
        return _EXPONENTIAL
    # The search begins anew at each letter, unless it is bound to the beginning.
    begins = [str(op) for op, _value in parsed.data[:1]] == ["AT"] and pattern[:1] in ("^", "\\")
    return min(_EXPONENTIAL, _degree_of(parsed.data, inside=False) + (0 if begins else 1))


def _degree_of(items: list[tuple[Any, Any]], inside: bool) -> int:
    degree = 0
    for op, value in items:
        name = str(op)
        if name.endswith("REPEAT"):
            degree += _degree_of_repeat(*value, inside=inside)
        elif name == "BRANCH":
            # Inside a repetition there may be two ways for each round.
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
    if jsonschema_rs is None:
        return None
    for options in (
        jsonschema_rs.RegexOptions(),
        jsonschema_rs.FancyRegexOptions(backtrack_limit=_BACKTRACK_LIMIT),
    ):
        try:
            return jsonschema_rs.validator_for({"pattern": pattern}, pattern_options=options).is_valid
        except (ValueError, TypeError):
            continue  # it does not know such expressions
    return None
