"""Counters in the form that version 3.9 has."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self


@dataclass
class Statistics:
    """Numbers that can be added field by field."""

    def __add__(self, other: object) -> Self:
        if not isinstance(other, type(self)):
            name = type(self).__name__
            raise TypeError(f"{name} instances can only be added to other {name} instances.")
        return type(self)(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers by name, in order."""
        return asdict(self)


@dataclass
class ConsumerStatistics(Statistics):
    """Outcomes of valid deliveries."""

    received: int = 0
    processed: int = 0
    dropped: int = 0
    rejected: int = 0
    failed: int = 0


@dataclass
class FactoryStatistics(Statistics):
    """Counters of a connection's publisher and consumers."""

    published: int = 0
    consumed: ConsumerStatistics = field(default_factory=ConsumerStatistics)
