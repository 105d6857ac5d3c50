"""A layer below SQLite that records each change to a file, and fails on demand.

SQLite does all its input and output through a "VFS", a table of C functions. This module registers one in the
library that Python's ``sqlite3`` uses. It hands each call on to the one of the operating system. So what is
recorded is what a real broker does to real files. No compiler is needed.
"""

from __future__ import annotations

import _sqlite3
import ctypes
import os
import threading
import time
from contextlib import contextmanager
from ctypes import POINTER, c_char_p, c_int, c_int64, c_void_p
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OK: Final = 0
#: Codes of SQLite that a VFS answers with: no room, and a failed write, sync, truncate, delete and open.
FULL: Final = 13
IOERR_WRITE: Final = 10 | 3 << 8
IOERR_FSYNC: Final = 10 | 4 << 8
IOERR_TRUNCATE: Final = 10 | 6 << 8
IOERR_DELETE: Final = 10 | 10 << 8
CANTOPEN: Final = 14

_NAME: Final = b"fm-recording"
_OPEN_CREATE: Final = 0x4
#: Files whose directory the VFS of Unix syncs with their first sync: journals and logs.
_OPEN_JOURNAL: Final = 0x800 | 0x4000 | 0x80000
#: Index of the functions in ``sqlite3_io_methods``, after its version, which takes the room of one.
_CLOSE, _WRITE, _TRUNCATE, _SYNC = 1, 3, 4, 5
_METHODS: Final = 19

_OPEN_TYPE: Final = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, POINTER(c_int))
_DELETE_TYPE: Final = ctypes.CFUNCTYPE(c_int, c_void_p, c_char_p, c_int)
_CLOSE_TYPE: Final = ctypes.CFUNCTYPE(c_int, c_void_p)
_WRITE_TYPE: Final = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int64)
_TRUNCATE_TYPE: Final = ctypes.CFUNCTYPE(c_int, c_void_p, c_int64)
_SYNC_TYPE: Final = ctypes.CFUNCTYPE(c_int, c_void_p, c_int)


class _Vfs(ctypes.Structure):
    """The beginning of ``sqlite3_vfs``, and room for the rest, which is copied."""

    _fields_: ClassVar = [
        ("version", c_int),
        ("file_size", c_int),
        ("longest_path", c_int),
        ("following", c_void_p),
        ("name", c_char_p),
        ("data", c_void_p),
        ("open", c_void_p),
        ("delete", c_void_p),
        ("rest", c_void_p * 14),
    ]


class Kind(Enum):
    """What is done to a file."""

    CREATE = "create"
    WRITE = "write"
    TRUNCATE = "truncate"
    SYNC = "sync"
    DELETE = "delete"


class Operation(NamedTuple):
    """A change to a file.

    Attributes:
        kind: What is done.
        name: Name of the file in its directory.
        offset: Where bytes are written, or the length that is left.
        data: The bytes.
        with_directory: Whether the directory is synced, too.
        failed: Whether it was a sync that failed: what was not synced by then never is.
    """

    kind: Kind
    name: str
    offset: int = 0
    data: bytes = b""
    with_directory: bool = False
    failed: bool = False


class Failure(NamedTuple):
    """How an operation is to fail.

    Attributes:
        code: The code of SQLite.
        part: Bytes of a write that are written all the same.
    """

    code: int
    part: int = 0


class Recording:
    """The changes to the files of one directory, in order.

    Args:
        directory: The directory.
        fail: Is asked before each operation, with its number, and returns how that fails, or ``None``.
        latency: Seconds that a sync takes.

    Attributes:
        operations: The changes so far.
        attempts: How many operations were tried.
        failures: How many of them failed.
    """

    def __init__(
        self,
        directory: Path,
        fail: Callable[[int, Kind, str], Failure | None] = lambda *_: None,
        latency: float = 0.0,
    ) -> None:
        self.directory = directory
        self.operations: list[Operation] = []
        self.attempts = 0
        self.failures = 0
        self.fail = fail
        self.latency = latency
        # The broker's loop writes positions while its writer thread commits.
        self.lock = threading.Lock()

    @property
    def now(self) -> int:
        """How many changes have been made."""
        return len(self.operations)

    def attempt(self, kind: Kind, name: str) -> Failure | None:
        """Count an operation that begins; returns how it fails."""
        self.attempts += 1
        failure = self.fail(self.attempts - 1, kind, name)
        self.failures += failure is not None
        return failure

    def note(self, *operation: Any, **more: Any) -> None:
        """Note an operation that was carried out."""
        self.operations.append(Operation(*operation, **more))


class _File:
    """An open file that is recorded, and the functions that really change it."""

    def __init__(self, recording: Recording, name: str, may_be_new_journal: bool, methods: int) -> None:
        self.recording = recording
        self.name = name
        # The first sync of a new journal syncs the directory, too.
        self.syncs_directory = may_be_new_journal
        functions = (c_void_p * _METHODS).from_address(methods)
        self.close = _CLOSE_TYPE(functions[_CLOSE] or 0)
        self.write = _WRITE_TYPE(functions[_WRITE] or 0)
        self.truncate = _TRUNCATE_TYPE(functions[_TRUNCATE] or 0)


class _Layer:
    """The VFS. SQLite keeps pointers to it, so there is one for as long as the process runs."""

    def __init__(self) -> None:
        self.recordings: dict[str, Recording] = {}
        self._files: dict[int, _File] = {}
        self._tables: dict[int, Any] = {}
        library = ctypes.CDLL(_sqlite3.__file__)
        self._library = library
        library.sqlite3_vfs_find.restype = c_void_p
        self._base_address = int(library.sqlite3_vfs_find(None))
        base = _Vfs.from_address(self._base_address)
        self._open_base = _OPEN_TYPE(base.open)
        self._delete_base = _DELETE_TYPE(base.delete)
        self._functions = (
            _OPEN_TYPE(self._open),
            _DELETE_TYPE(self._delete),
            _CLOSE_TYPE(self._close),
            _WRITE_TYPE(self._write),
            _TRUNCATE_TYPE(self._truncate),
            _SYNC_TYPE(self._sync),
        )
        addresses = [ctypes.cast(function, c_void_p).value for function in self._functions]
        self._vfs = _Vfs()
        ctypes.memmove(ctypes.byref(self._vfs), self._base_address, ctypes.sizeof(_Vfs))
        self._vfs.name = _NAME
        self._vfs.following = None
        self._vfs.open, self._vfs.delete = addresses[:2]
        self._own = dict(zip((_CLOSE, _WRITE, _TRUNCATE, _SYNC), addresses[2:], strict=True))

    def become_default(self) -> None:
        """Have every connection from now on use this layer."""
        self._library.sqlite3_vfs_register(ctypes.byref(self._vfs), 1)

    def step_back(self) -> None:
        """Have new connections use the operating system again; those that are open stay as they are."""
        self._library.sqlite3_vfs_register(c_void_p(self._base_address), 1)

    def _recording_of(self, path: str) -> Recording | None:
        return self.recordings.get(os.path.dirname(path))

    # What SQLite calls: nothing here may raise

    def _open(self, _vfs: int, name: int | None, file: int, flags: int, told: Any) -> int:
        path = os.fsdecode(ctypes.string_at(name)) if name else ""
        recording = self._recording_of(path)
        if recording is None:
            return int(self._open_base(self._base_address, name, file, flags, told))
        is_new = bool(flags & _OPEN_CREATE) and not os.path.exists(path)
        short = os.path.basename(path)
        with recording.lock:
            failure = recording.attempt(Kind.CREATE, short) if is_new else None
            if failure is not None:
                c_void_p.from_address(file).value = None
                return failure.code
            code = int(self._open_base(self._base_address, name, file, flags, told))
            if code == OK and is_new:
                recording.note(Kind.CREATE, short)
        methods = c_void_p.from_address(file)
        if code == OK and methods.value:
            self._files[file] = _File(
                recording, short, bool(flags & _OPEN_CREATE and flags & _OPEN_JOURNAL), methods.value
            )
            methods.value = ctypes.addressof(self._table(methods.value))
        return code

    def _table(self, methods: int) -> Any:
        """Return a copy of a table of functions, in which some are of this layer."""
        table = self._tables.get(methods)
        if table is None:
            table = self._tables[methods] = (c_void_p * _METHODS).from_buffer_copy(
                (c_void_p * _METHODS).from_address(methods)
            )
            for index, address in self._own.items():
                table[index] = address
        return table

    def _delete(self, _vfs: int, name: bytes, with_directory: int) -> int:
        path = os.fsdecode(name)
        recording = self._recording_of(path)
        if recording is None:
            return int(self._delete_base(self._base_address, name, with_directory))
        short = os.path.basename(path)
        with recording.lock:
            failure = recording.attempt(Kind.DELETE, short)
            if failure is not None:
                return failure.code
            code = int(self._delete_base(self._base_address, name, 0))
            if code == OK:
                recording.note(Kind.DELETE, short, with_directory=bool(with_directory))
        return code

    def _close(self, file: int) -> int:
        return int(self._files.pop(file).close(file))

    def _write(self, file: int, source: int, size: int, offset: int) -> int:
        opened = self._files[file]
        recording = opened.recording
        with recording.lock:
            failure = recording.attempt(Kind.WRITE, opened.name)
            wanted = size if failure is None else min(size, failure.part)
            code = int(opened.write(file, source, wanted, offset)) if wanted else OK
            if code == OK and wanted:
                recording.note(Kind.WRITE, opened.name, offset, ctypes.string_at(source, wanted))
        return code if failure is None else failure.code

    def _truncate(self, file: int, size: int) -> int:
        opened = self._files[file]
        recording = opened.recording
        with recording.lock:
            failure = recording.attempt(Kind.TRUNCATE, opened.name)
            if failure is not None:
                return failure.code
            code = int(opened.truncate(file, size))
            if code == OK:
                recording.note(Kind.TRUNCATE, opened.name, size)
        return code

    def _sync(self, file: int, _flags: int) -> int:
        # The disk itself need not be waited for: what would be on it is computed from the recording.
        opened = self._files[file]
        recording = opened.recording
        if recording.latency:
            time.sleep(recording.latency)
        with recording.lock:
            failure = recording.attempt(Kind.SYNC, opened.name)
            if failure is not None:
                recording.note(Kind.SYNC, opened.name, failed=True)
                return failure.code
            recording.note(Kind.SYNC, opened.name, with_directory=opened.syncs_directory)
            opened.syncs_directory = False
        return OK


_layers: list[_Layer] = []


def why_not() -> str | None:
    """Return why SQLite's files cannot be recorded here; ``None`` if they can."""
    try:
        library = ctypes.CDLL(_sqlite3.__file__)
        library.sqlite3_vfs_register  # noqa: B018
    except (OSError, AttributeError) as error:
        return f"this Python's sqlite3 hides the library in it ({error}); use one that links to libsqlite3"
    return None


@contextmanager
def recorded(*recordings: Recording) -> Iterator[None]:
    """Record what SQLite does to the files of some directories, and fail it on demand.

    The positions of deliveries, which the broker writes without SQLite, are recorded as well.
    """
    if not _layers:
        _layers.append(_Layer())
    (layer,) = _layers
    of_path = {os.path.realpath(recording.directory): recording for recording in recordings}
    layer.recordings |= of_path
    layer.become_default()
    try:
        with _system_calls_recorded(of_path):
            yield
    finally:
        layer.step_back()
        for path in of_path:
            del layer.recordings[path]


@contextmanager
def _system_calls_recorded(recordings: dict[str, Recording]) -> Iterator[None]:
    """Record ``os.open`` and ``os.pwrite``, by which the broker writes other files than SQLite's."""
    real_open, real_pwrite = os.open, os.pwrite

    def open_file(path: Any, flags: int, mode: int = 0o777, **more: Any) -> int:
        place = Path(os.path.realpath(path)) if isinstance(path, str | os.PathLike) else None
        recording = None if place is None else recordings.get(str(place.parent))
        if place is None or recording is None:
            return real_open(path, flags, mode, **more)
        with recording.lock:
            is_new = bool(flags & os.O_CREAT) and not place.exists()
            descriptor = real_open(path, flags, mode, **more)
            if is_new:
                recording.note(Kind.CREATE, place.name)
        return descriptor

    def pwrite(descriptor: int, data: Any, offset: int, /) -> int:
        place = Path(f"/proc/self/fd/{descriptor}").readlink()
        recording = recordings.get(str(place.parent))
        if recording is None:
            return real_pwrite(descriptor, data, offset)
        with recording.lock:
            written = real_pwrite(descriptor, data, offset)
            recording.note(Kind.WRITE, place.name, offset, bytes(data))
        return written

    os.open, os.pwrite = open_file, pwrite
    try:
        yield
    finally:
        os.open, os.pwrite = real_open, real_pwrite
