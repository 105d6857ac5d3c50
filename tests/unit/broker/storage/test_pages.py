"""Files for bodies that wait."""

from __future__ import annotations

import errno
import gc
import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from fedora_messaging.broker.storage import pages
from fedora_messaging.broker.storage.pages import FilePages

if TYPE_CHECKING:
    from pathlib import Path


def always() -> bool:
    return True


def open_files(directory: Path) -> int:
    """How many files of a directory this process has open; they have no names."""
    found = 0
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the one with which the list was read
            found += os.readlink(f"/proc/self/fd/{number}").startswith(str(directory))
    return found


def test_bodies_come_back_as_they_were(tmp_path: Path) -> None:
    files = FilePages(tmp_path, always)
    bodies = [bytes([number]) * (number * 1000) for number in range(200)]
    places = [files.put(body) for body in bodies]
    for body, found in zip(bodies, places, strict=True):
        assert found is not None
        page, place = found
        assert page.read(place, len(body)) == body
    assert list(tmp_path.iterdir()) == []


def test_parts_follow_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the file, in memory, and across the border."""
    monkeypatch.setattr(pages, "_WRITTEN_AT_ONCE", 10)
    files = FilePages(tmp_path, always)
    for _ in range(5):
        found = files.put(b"body", b"properties")
        assert found is not None
        page, place = found
        assert page.read(place, 14) == b"bodyproperties"
        assert page.read(place + 4, 10) == b"properties"
        assert files.put(b"next") is not None
        assert page.read(place + 10, 8) == b"tiesnext"


def test_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "_WRITTEN_AT_ONCE", 10)
    files = FilePages(tmp_path, always)
    kept = files.put(b"kept")
    real = os.pwrite

    def full(*_arguments: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    assert files.put(b"too much") is None
    monkeypatch.setattr(os, "pwrite", real)
    later = files.put(b"some more")
    assert kept is not None
    assert later is not None
    assert kept[0].read(kept[1], 4) == b"kept"
    assert later[0].read(later[1], 9) == b"some more"


def test_another_thread_reads_while_more_is_put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that stores messages does."""
    monkeypatch.setattr(pages, "_WRITTEN_AT_ONCE", 1000)
    files = FilePages(tmp_path, always)
    found: list[tuple[pages.FilePage, int]] = []
    wrong = []
    is_over = threading.Event()

    def read() -> None:
        while not is_over.is_set():
            for number, (page, place) in enumerate(found[-20:], max(0, len(found) - 20)):
                body = page.read(place, 100)
                if len(set(body)) != 1 or len(body) != 100:
                    wrong.append((number, body))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(20_000):
            put = files.put(bytes([number % 256]) * 60, bytes([number % 256]) * 40)
            assert put is not None
            found.append(put)
    finally:
        is_over.set()
        reader.join()
    assert wrong == []


def test_file_ends_with_the_last_that_refers_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "_PAGE_SIZE", 1000)
    files = FilePages(tmp_path, always)
    kept = [files.put(b"x" * 400) for _ in range(10)]
    assert open_files(tmp_path) == 4
    kept = kept[-1:]
    gc.collect()
    assert open_files(tmp_path) == 1
    kept.clear()
    files.close()
    assert open_files(tmp_path) == 0


def test_no_file_is_left_open_when_the_broker_stops(tmp_path: Path) -> None:
    """Messages may still be somewhere, waiting for the garbage collector."""
    files = FilePages(tmp_path, always)
    found = files.put(b"body")
    assert found is not None
    files.close()
    assert open_files(tmp_path) == 0
    with pytest.raises(OSError, match="Bad file descriptor"):
        found[0].read(found[1], 4)


def test_directory_that_is_missing_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory = tmp_path / "data"
    files = FilePages(directory, always)
    assert files.put(b"one") is None
    assert files.put(b"two") is None
    text = (
        f"Bodies stay in memory: they cannot be written to a file in {directory}: No such file or directory"
    )
    assert caplog.messages == [text]
    directory.mkdir()
    assert files.put(b"three") is not None
    files.close()
    directory.rmdir()
    assert files.put(b"four") is None
    assert caplog.messages == [text] * 2


def test_file_that_is_cut_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "_WRITTEN_AT_ONCE", 1)
    found = FilePages(tmp_path, always).put(b"body")
    assert found is not None
    page, place = found
    os.ftruncate(page._fd, 2)
    with pytest.raises(OSError, match="ended 2 bytes before"):
        page.read(place, 4)


def test_nothing_is_written_while_there_is_no_room(tmp_path: Path) -> None:
    room = [False]
    files = FilePages(tmp_path, lambda: room[0])
    assert files.put(b"body") is None
    assert open_files(tmp_path) == 0
    room[0] = True
    assert files.put(b"body") is not None
