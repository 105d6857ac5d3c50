"""Alarms: while memory or disk space is running out, the broker accepts no messages.

The model is RabbitMQ's documentation, "Memory and Disk Alarms": publishers are blocked, consumers go on.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..logs import logger
from .core.memory import MemoryUse

_log = logger(__name__)

#: Default limit of the memory for messages, as a part of the machine's memory.
_MEMORY_PART: Final = 0.4
#: A memory alarm ends below this part of the limit.
_MEMORY_LOW: Final = 0.95
#: Part of the disk's limit for which empty pages of the data file may count as free space.
_REUSABLE_PART: Final = 0.75
#: How often each byte is written.
_WRITES: Final = 2
#: Default of the bytes that must be free on the disk of the durable data.
_DISK_FREE: Final = 50_000_000
#: Bytes of bodies in memory above which they wait in files.
_BODIES: Final = 64_000_000


@dataclass(frozen=True, slots=True)
class ResourceLimits:
    """When to raise an alarm, and when to use the disk instead of memory.

    Attributes:
        memory: Bytes that messages may take; 0 means no limit, ``None`` 40 % of the machine's memory.
        disk: Bytes that must stay free on the file system of the data directory; 0 means no limit.
        bodies: Bytes that the bodies of waiting messages may take in memory; those above it wait in files,
            in the data directory, or without one where temporary files are.
    """

    memory: int | None = None
    disk: int = _DISK_FREE
    bodies: int = _BODIES


class Alarms:
    """Keeps track of whether there is an alarm.

    Args:
        memory: Counts the memory that messages take.
        limits: When to raise an alarm.
        data: Directory for durable data, if there is one.

    Attributes:
        reason: The resource that is running out, in RabbitMQ's words, or ``None``.
    """

    def __init__(self, memory: MemoryUse, limits: ResourceLimits, data: Path | None) -> None:
        self.reason: str | None = None
        self._memory = memory
        self._memory_limit = _default_memory() if limits.memory is None else limits.memory
        self._disk_limit = limits.disk if data is not None else 0
        self._data = data
        self._manual: str | None = None
        self._low: dict[str, bool] = {"memory": False, "disk": False}

    @property
    def memory_limit(self) -> int:
        """Bytes of messages at which publishers wait; 0 for none."""
        return int(self._memory_limit)

    @property
    def disk_limit(self) -> int:
        """Bytes of free space below which publishers wait."""
        return int(self._disk_limit)

    def is_low(self, what: str) -> bool:
        """Whether ``memory`` or ``disk`` is short."""
        return self._low[what]

    def look_at_memory(self, buffered: int = 0) -> bool:
        """Compare memory with its limit; returns whether :attr:`reason` has changed.

        Args:
            buffered: Bytes that are not in queues yet, or no longer.
        """
        used = self._memory.bytes + buffered
        limit = self._memory_limit * (_MEMORY_LOW if self._low["memory"] else 1.0)
        state = f"{used} bytes in messages, limit {self._memory_limit}"
        return self._set("memory", bool(limit) and used >= limit, state)

    def look_at_disk(self, pending: int = 0, reusable: int = 0, failing: bool = False) -> bool:
        """Compare the free space with its limit; returns whether :attr:`reason` has changed.

        Args:
            pending: Bytes that are still to be written.
            reusable: Empty bytes of the data file, which are used before the file grows.
            failing: Whether writing fails at present, however much space is free.
        """
        if self._data is None:
            return False
        try:
            free = shutil.disk_usage(self._data).free
        except OSError as error:
            if not failing:  # a failing disk has been logged already
                _log.error("The free space of %s cannot be told: %s", self._data, error)
                return False
            free = 0
        # A change is written twice: to the log and to the file. The log cannot use empty pages of the file.
        free += min(reusable, int(self._disk_limit * _REUSABLE_PART)) - _WRITES * pending
        is_low = bool(self._disk_limit) and free < self._disk_limit
        state = "writing fails" if failing else f"{free} bytes free, limit {self._disk_limit}"
        return self._set("disk", failing or is_low, state)

    def set_manually(self, reason: str | None) -> bool:
        """Raise an alarm of somebody else's, or end it; returns whether :attr:`reason` has changed."""
        self._manual = reason
        return self._update()

    def _update(self) -> bool:
        names = [name for name, is_low in self._low.items() if is_low]
        before, self.reason = self.reason, f"low on {' & '.join(names)}" if names else self._manual
        return self.reason != before

    def _set(self, what: str, low: bool, state: str) -> bool:
        if self._low[what] == low:
            return False
        self._low[what] = low
        self._update()
        if low:
            _log.warning("Alarm: low on %s (%s); publishers are blocked until that is over", what, state)
        else:
            _log.warning("The %s alarm is over", what)
        return True


def _default_memory() -> int:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        # A container may have less memory than its machine.
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    except (OSError, ValueError):
        pass  # no such limit exists
    return int(total * _MEMORY_PART)
