"""An archive in a file: whose file it is, what can be wrong with it, and others who use it meanwhile."""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.archive.support import DAY, NOON, SqlitePlaces, entries, entry, ids
from tests.cli.test_broker_small_disk import MEGABYTE, SmallDisk, disk
from tests.support.waiting import WAIT

from fedora_messaging.archive import sqlite
from fedora_messaging.archive.database import VERSION, ArchiveError
from fedora_messaging.archive.location import open_archive
from fedora_messaging.archive.query import Query

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fedora_messaging.archive.archive import Archive

__all__ = ["disk"]

ALL = Query(limit=100_000, newest_first=False)

#: Programs that use an archive in another process.
OPENING = """
import sys
from fedora_messaging.archive.location import open_archive
for line in sys.stdin:
    open_archive(line.strip()).close()
    print("opened", flush=True)
"""
LOCKING = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
connection.execute("COMMIT")
"""
STORING = """
import sys
from fedora_messaging.archive.location import open_archive
from tests.archive.support import entries
archive = open_archive(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for number in range(40):
    archive.store(entries(f"{sys.argv[2]}{number}", f"both{number}", text=f"number{number}"))
"""


@pytest.fixture
def files(tmp_path: Path) -> Iterator[SqlitePlaces]:
    made = SqlitePlaces(tmp_path)
    yield made
    made.close()


def execute(location: str, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements behind the archive's back; return the rows of the last one."""
    rows: list[tuple[Any, ...]] = []
    with closing(sqlite3.connect(location, isolation_level=None)) as connection:
        for statement in statements:
            rows = connection.execute(statement).fetchall()
    return rows


def other_process(program: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str], line: str = "") -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def is_whole(location: str) -> bool:
    """Whether file and index of words are in order."""
    (checked,) = execute(location, "PRAGMA integrity_check")
    execute(location, "INSERT INTO search (search) VALUES ('integrity-check')")
    return checked == ("ok",)


def opened_files(location: str) -> list[str]:
    """What this process has open of a file and its log."""
    found = [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [str(path) for path in found if str(path).startswith(location)]


# Whose file it is


def test_a_new_file(tmp_path: Path) -> None:
    """Its directories are made, too; only the owner of a directory decides who reads it."""
    location = str(tmp_path / "some" / "where" / "archive.db")
    with pytest.raises(ArchiveError, match="archive run"):
        open_archive(location, create=False)
    assert not (tmp_path / "some").exists()
    open_archive(location).close()
    open_archive(location, create=False).close()
    assert execute(location, "PRAGMA journal_mode") == [("wal",)]
    assert execute(location, "PRAGMA user_version") == [(VERSION,)]


def test_an_empty_file_is_used(tmp_path: Path) -> None:
    path = tmp_path / "archive.db"
    path.touch()
    with closing(open_archive(str(path))) as archive:
        assert archive.store(entries("a")) == 1


def refuse(location: str, why: str) -> None:
    """The file is refused, and stays as it is; nothing of it stays open."""
    before = Path(location).read_bytes()
    with pytest.raises(ArchiveError, match=why) as refused:
        open_archive(location)
    # The error, with all that it refers to, is still there.
    assert opened_files(location) == []
    assert location in str(refused.value)
    assert Path(location).read_bytes() == before


def test_a_file_of_another_program_is_refused(tmp_path: Path) -> None:
    location = str(tmp_path / "cookies.db")
    execute(location, "CREATE TABLE cookies (name)", "INSERT INTO cookies VALUES ('mine')")
    refuse(location, "is not an archive of messages")
    execute(location, "PRAGMA application_id = 5", f"PRAGMA user_version = {VERSION}")
    refuse(location, "is not an archive of messages")
    assert execute(location, "SELECT * FROM cookies") == [("mine",)]


def test_a_newer_version_is_refused(files: SqlitePlaces) -> None:
    location = files.new()
    files.open(location).store(entries("a"))
    files.close()
    execute(location, f"PRAGMA user_version = {VERSION + 1}")
    refuse(location, "written by a newer fedora-messaging")
    execute(location, f"PRAGMA user_version = {VERSION}")
    assert ids(files.open(location).find(ALL)) == ["a"]


def test_tables_of_an_earlier_version_are_migrated(
    files: SqlitePlaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = files.new()
    files.open(location).store(entries("a", text="kernel"))
    files.close()
    monkeypatch.setattr(sqlite, "VERSION", VERSION + 1)
    more = ("CREATE TABLE more (n)", "INSERT INTO more VALUES (5)")
    monkeypatch.setattr(sqlite, "_MIGRATIONS", (*sqlite._MIGRATIONS, more))
    for _ in range(2):  # the second time there is nothing to do
        assert ids(files.open(location).find(Query(text="kernel"))) == ["a"]
        assert execute(location, "SELECT n FROM more") == [(5,)]
        assert execute(location, "PRAGMA user_version") == [(VERSION + 1,)]


def test_a_migration_that_fails_changes_nothing(files: SqlitePlaces, monkeypatch: pytest.MonkeyPatch) -> None:
    location = files.new()
    files.open(location).store(entries("a"))
    files.close()
    with monkeypatch.context() as patch:
        patch.setattr(sqlite, "VERSION", VERSION + 1)
        patch.setattr(sqlite, "_MIGRATIONS", (*sqlite._MIGRATIONS, ("CREATE TABLE more (n)", "NONSENSE")))
        with pytest.raises(ArchiveError, match="syntax error"):
            files.open(location)
    assert execute(location, "SELECT count(*) FROM sqlite_master WHERE name = 'more'") == [(0,)]
    assert ids(files.open(location).find(ALL)) == ["a"]


def test_processes_that_make_a_file_at_once(tmp_path: Path) -> None:
    """None of them takes the half made file of another for that of a stranger."""
    processes = [other_process(OPENING) for _ in range(4)]
    try:
        for number in range(25):
            for process in processes:
                tell(process, str(tmp_path / f"{number}.db"))
            assert [said(process) for process in processes] == ["opened"] * len(processes)
    finally:
        for process in processes:
            process.communicate(timeout=WAIT)


# What can be wrong with a file


@pytest.mark.parametrize("content", [b"no database" * 100, b"SQLite format 3\x00" + bytes(5000)])
def test_a_file_that_is_no_database(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "archive.db"
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match="cannot be used"):
        open_archive(str(path))
    assert path.read_bytes() == content


def test_a_damaged_file(files: SqlitePlaces) -> None:
    """Whatever is found broken is told as the archive's error, whichever method comes upon it."""
    location = files.new()
    archive = files.open(location)
    archive.store([entry(str(number), text="kernel " * 50) for number in range(500)])
    files.close()
    content = bytearray(Path(location).read_bytes())
    chosen = random.Random(5)
    for start in range(8192, len(content), 8192):
        content[start : start + 4096] = chosen.randbytes(4096)
    Path(location).write_bytes(content)
    broken = 0
    uses: tuple[Callable[[Archive], object], ...] = (
        lambda archive: archive.find(ALL),
        lambda archive: archive.find(Query(text="kernel")),
        lambda archive: archive.store(entries("new")),
        lambda archive: archive.prune(before=NOON * 2),
    )
    for use in uses:
        try:
            with closing(open_archive(location)) as archive:
                use(archive)
        except ArchiveError as error:
            assert "cannot be used" in str(error)
            broken += 1
    assert broken == 4


@pytest.mark.parametrize("place", ["directory", "below a file"])
def test_a_path_where_no_file_can_be(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    path = tmp_path if place == "directory" else tmp_path / "file" / "archive.db"
    with pytest.raises(ArchiveError, match="cannot be used"):
        open_archive(str(path))


def test_a_read_only_disk(disk: SmallDisk) -> None:
    location = str(disk.directory / "archive.db")
    with closing(open_archive(location)) as archive:
        archive.store(entries("a"))
    disk.remount("ro")
    try:
        with pytest.raises(ArchiveError, match="cannot be used"), closing(open_archive(location)) as archive:
            archive.store(entries("b"))
    finally:
        disk.remount("rw")
    with closing(open_archive(location)) as archive:
        assert archive.store(entries("a", "b")) == 1


def test_a_full_disk(disk: SmallDisk) -> None:
    """What was stored stays, what was not is told, and with room again everything goes on."""
    location = str(disk.directory / "archive.db")
    text = "".join(random.Random(6).choices("abcdefghij ", k=20_000))
    with closing(open_archive(location)) as archive:
        disk.fill(left=3 * MEGABYTE)
        stored: list[str] = []
        with pytest.raises(ArchiveError, match="disk is full|disk I/O error"):
            for number in range(10_000):
                archive.store([entry(str(number), text=text)])
                stored.append(str(number))
        assert stored
        with pytest.raises(ArchiveError):
            archive.store([entry(f"more{number}", text=text * 5) for number in range(20)])
        assert ids(archive.find(ALL)) == stored
        # The file can be read by whoever opens it now, and what is in it can be forgotten.
        disk.make_room()
        assert archive.store(entries("again")) == 1
        assert ids(archive.find(ALL)) == [*stored, "again"]
        assert [one.seq for one in archive.stored_after(0, most=10_000)] == [*range(1, len(stored) + 2)]
    assert is_whole(location)


def test_a_copy_of_a_crashed_file_has_all_that_was_stored(files: SqlitePlaces, tmp_path: Path) -> None:
    """The file and its log as a crash leaves them."""
    location = files.new()
    archive = files.open(location)
    for number in range(50):
        archive.store([entry(str(number), text="kernel")])
    copy = str(tmp_path / "copy.db")
    for suffix in ("", "-wal"):
        shutil.copy(location + suffix, copy + suffix)
    assert len(files.open(copy).find(Query(text="kernel", limit=100))) == 50


# Others who use it meanwhile


def test_another_process_that_writes_is_waited_for(files: SqlitePlaces) -> None:
    location = files.new()
    archive = files.open(location)
    archive.store(entries("a"))
    process = other_process(LOCKING, location)
    assert said(process) == "locked"
    storing = threading.Thread(target=archive.store, args=(entries("b"),), daemon=True)
    storing.start()
    # Readers do not wait.
    assert ids(archive.find(ALL)) == ["a"]
    process.communicate("\n", timeout=WAIT)
    storing.join(WAIT)
    assert ids(archive.find(ALL)) == ["a", "b"]


def test_another_process_that_writes_for_too_long(
    files: SqlitePlaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_PATIENCE", 0.05)
    location = files.new()
    archive = files.open(location)
    process = other_process(LOCKING, location)
    assert said(process) == "locked"
    with pytest.raises(ArchiveError, match="locked"):
        archive.store(entries("a"))
    process.communicate("\n", timeout=WAIT)
    assert archive.store(entries("a")) == 1


def test_two_processes_that_store(files: SqlitePlaces) -> None:
    location = files.new()
    archive = files.open(location)
    processes = [other_process(STORING, location, name) for name in "xy"]
    assert [said(process) for process in processes] == ["ready"] * 2
    for process in processes:
        tell(process)
    for process in processes:
        process.communicate(timeout=2 * WAIT)
        assert process.returncode == 0
    assert [one.seq for one in archive.stored_after(0, most=1000)] == [*range(1, 121)]
    for number in range(40):
        assert archive.count(Query(text=f"number{number}")) == 3
    assert is_whole(location)


def test_readers_in_many_threads(files: SqlitePlaces) -> None:
    archive = files.archive()
    archive.store([entry(str(number), text="kernel") for number in range(300)])
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(archive.count(Query(text="kernel"))), daemon=True)
        for _ in range(30)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert found == [300] * 30


# Space


def stored_days(archive: Archive, days: int) -> None:
    chosen = random.Random(7)
    for day in range(days):
        words = " ".join("".join(chosen.choices("abcdefghij", k=7)) for _ in range(300))
        archive.store([entry(f"{day}.{at}", sent=NOON + day * DAY + at, text=words) for at in range(10)])


def test_space_goes_back_to_the_file_system(files: SqlitePlaces) -> None:
    location = files.new()
    archive = files.open(location)
    stored_days(archive, 100)
    archive.prune(before=NOON + 1)
    before = Path(location).stat().st_size
    archive.prune(before=NOON + 90 * DAY)
    assert Path(location).stat().st_size < before / 2
    assert archive.outline().size <= Path(location).stat().st_size
    assert is_whole(location)


def test_index_has_nothing_of_what_was_forgotten(files: SqlitePlaces) -> None:
    """A word that was left there would find whichever message gets the place later."""
    location = files.new()
    archive = files.open(location)
    long = {"summary": "summary " * 400, "z": "last " * 9000, "a": "first " * 9000}
    archive.store([*entries("a", "b", **long), *entries("c", users=["jdoe"], packages=["kernel"])])
    archive.prune(before=NOON + 1)
    execute(location, "INSERT INTO search (search) VALUES ('optimize')")
    terms = execute(
        location, "CREATE VIRTUAL TABLE terms USING fts5vocab (search, row)", "SELECT term, doc FROM terms"
    )
    assert terms == []
    execute(location, "DROP TABLE terms")


def test_a_file_that_cannot_give_back_its_space(tmp_path: Path) -> None:
    """It had other tables before, so it keeps its pages, and pruning ends all the same."""
    location = str(tmp_path / "archive.db")
    execute(location, "CREATE TABLE old (n)", "DROP TABLE old")
    with closing(open_archive(location)) as archive:
        stored_days(archive, 20)
        pruning = threading.Thread(target=archive.prune, args=(NOON + 100 * DAY,), daemon=True)
        pruning.start()
        pruning.join(WAIT)
        assert not pruning.is_alive()
        assert archive.find(ALL) == []
