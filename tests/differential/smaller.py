"""Smaller sequences with the same difference."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.differential.comparing import Difference
    from tests.differential.operations import Operation

    _Run = Callable[[tuple[Operation, ...]], Difference | None]


def smallest(found: Difference, run: _Run, most: int = 150) -> Difference:
    """Leave out steps and fields while the difference stays of the same kind, in at most so many runs."""
    search = _Search(found, run, most)
    size = len(found.given) // 2
    while size:
        start = 0
        while start < len(search.best.given):
            given = search.best.given
            if not search.try_out(given[:start] + given[start + size :]):
                start += size
        size //= 2
    while any(search.try_out(shorter) for shorter in _simpler(search.best.given)):
        pass
    return search.best


class _Search:
    """Keeps the smallest sequence so far."""

    def __init__(self, found: Difference, run: _Run, most: int) -> None:
        self.best = found
        self._run = run
        self._left = most

    def try_out(self, operations: tuple[Operation, ...]) -> bool:
        """Whether a smaller sequence shows the same."""
        if self._left <= 0:
            return False
        self._left -= 1
        seen = self._run(operations)
        if seen is None or seen.kind != self.best.kind:
            return False
        self.best = seen
        return True


def _simpler(operations: tuple[Operation, ...]) -> Iterator[tuple[Operation, ...]]:
    """Yield the sequence with one field less, each in turn."""
    for number, step in enumerate(operations):
        for name, value in step.fields.items():
            if isinstance(value, bool) or name in ("arguments", "headers", "priority", "expiration"):
                fields = {key: one for key, one in step.fields.items() if key != name}
                yield (*operations[:number], replace(step, fields=fields), *operations[number + 1 :])
            if isinstance(value, dict) and len(value) > 1:
                for key in value:
                    less = {one: told for one, told in value.items() if one != key}
                    changed = replace(step, fields={**step.fields, name: less})
                    yield (*operations[:number], changed, *operations[number + 1 :])
