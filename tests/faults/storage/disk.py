"""What a disk holds after a crash, computed from a recording of what was done to its files."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from random import Random
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.faults.storage.vfs import Kind, Operation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

#: Bytes that a disk writes as a whole.
_SECTOR: Final = 512


class Crash(Enum):
    """How everything ends.

    Attributes:
        KILL: The process is killed between two operations; the kernel keeps what it was given.
        TORN: It is killed in the middle of an operation.
        POWER: The machine loses power. What was not synced is there, or not, or in parts.
    """

    KILL = "killed"
    TORN = "killed in the middle"
    POWER = "power lost"


class Point(NamedTuple):
    """A crash.

    Attributes:
        at: How many operations were carried out before.
        crash: How it ends.
        seed: Of what is left to chance.
    """

    at: int
    crash: Crash
    seed: int

    def __str__(self) -> str:
        return f"{self.crash.value} after {self.at} operations (seed {self.seed})"


def _write(content: bytearray, offset: int, data: bytes) -> None:
    content.extend(bytes(max(0, offset - len(content))))
    content[offset : offset + len(data)] = data


def _cut(content: bytearray, size: int) -> None:
    del content[size:]
    content.extend(bytes(size - len(content)))


def _apply(content: bytearray, operation: Operation) -> None:
    if operation.kind is Kind.WRITE:
        _write(content, operation.offset, operation.data)
    else:
        _cut(content, operation.offset)


@dataclass
class Inode:
    """A file, whatever its name.

    Attributes:
        seen: What processes read.
        safe: What is on the disk for certain.
        pending: What was done since.
    """

    seen: bytearray = field(default_factory=bytearray)
    safe: bytearray = field(default_factory=bytearray)
    pending: list[Operation] = field(default_factory=list)

    @classmethod
    def settled(cls, content: bytearray) -> Inode:
        return cls(content, content[:])

    def copy(self) -> Inode:
        return replace(self, seen=self.seen[:], safe=self.safe[:], pending=self.pending[:])

    def change(self, operation: Operation) -> None:
        _apply(self.seen, operation)
        self.pending.append(operation)

    def sync(self) -> None:
        for operation in self.pending:
            _apply(self.safe, operation)
        self.pending.clear()

    def fail_to_sync(self, random: Random) -> None:
        """After an error Linux takes the rest for written, and does not try again."""
        self.safe = self.after_power_loss(random)
        self.pending.clear()

    def after_power_loss(self, random: Random) -> bytearray:
        content = bytearray(self.safe)
        likelihood = random.choice([0.0, 0.2, 0.5, 0.9, 1.0])
        in_sectors = random.random() < 0.5
        for operation in self.pending:
            if operation.kind is Kind.WRITE and in_sectors:
                for start, data in _sectors(operation):
                    if random.random() < likelihood:
                        _write(content, start, data)
            elif random.random() < likelihood:
                _apply(content, operation)
        return content


def _sectors(operation: Operation) -> Iterator[tuple[int, bytes]]:
    start, end = operation.offset, operation.offset + len(operation.data)
    while start < end:
        following = min(end, (start // _SECTOR + 1) * _SECTOR)
        yield start, operation.data[start - operation.offset : following - operation.offset]
        start = following


class Disk:
    """The files of a directory after the first operations of a recording.

    Args:
        operations: The recording.
        random: Decides what is left of writes whose sync failed.
        files: What was in the directory before, by name.
    """

    def __init__(
        self, operations: Sequence[Operation], random: Random, files: Mapping[str, Inode] | None = None
    ) -> None:
        self._operations = operations
        self._random = random
        self._done = 0
        self._names: dict[str, Inode] = dict(files or {})
        self._safe_names: dict[str, Inode] = dict(files or {})
        self._pending_names: list[tuple[str, Inode | None]] = []

    def advance(self, to: int) -> None:
        """Carry out operations until so many are done."""
        for operation in self._operations[self._done : to]:
            self._carry_out(operation)
        self._done = max(self._done, to)

    def _carry_out(self, operation: Operation) -> None:
        name = operation.name
        if operation.kind is Kind.CREATE:
            self._name(name, Inode())
        elif operation.kind is Kind.DELETE:
            self._name(name, None)
            if operation.with_directory:
                self._sync_directory()
        elif operation.kind is Kind.SYNC:
            self._sync(operation)
        else:
            self._names[name].change(operation)

    def _name(self, name: str, inode: Inode | None) -> None:
        _rename(self._names, name, inode)
        self._pending_names.append((name, inode))

    def _sync(self, operation: Operation) -> None:
        inode = self._names[operation.name]
        if operation.failed:
            inode.fail_to_sync(self._random)
            return
        inode.sync()
        if operation.with_directory:
            self._sync_directory()

    def _sync_directory(self) -> None:
        self._safe_names = dict(self._names)
        self._pending_names.clear()

    def after(self, point: Point) -> dict[str, Inode]:
        """Return what a crash leaves that comes now."""
        random = Random(point.seed)
        if point.crash is Crash.POWER:
            names = dict(self._safe_names)
            for name, inode in self._pending_names:
                if random.random() < 0.5:
                    _rename(names, name, inode)
            return {name: Inode.settled(inode.after_power_loss(random)) for name, inode in names.items()}
        left = {name: inode.copy() for name, inode in self._names.items()}
        if point.crash is Crash.TORN and self._done < len(self._operations):
            torn = self._operations[self._done]
            if torn.kind is Kind.WRITE and torn.name in left:
                left[torn.name].change(torn._replace(data=torn.data[: random.randrange(len(torn.data))]))
        return left


def write(files: Mapping[str, Inode], directory: Path) -> None:
    """Make the files of a directory."""
    for name, inode in files.items():
        (directory / name).write_bytes(inode.seen)


def _rename(names: dict[str, Inode], name: str, inode: Inode | None) -> None:
    if inode is None:
        names.pop(name, None)
    else:
        names[name] = inode
