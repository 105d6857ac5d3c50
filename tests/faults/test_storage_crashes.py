"""A broker is killed, or its machine loses power, at any point of what it does to its disk."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
from tests.faults.storage.disk import Crash, Disk, Inode, Point, write
from tests.faults.storage.promises import Item, Presence, Promises
from tests.faults.storage.run import Crashes, choose, record
from tests.faults.storage.vfs import Kind, Operation, why_not
from tests.support.servers import require

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from tests.faults.storage.report import Finding
    from tests.faults.storage.run import Story

FILE = "file"


@pytest.fixture(autouse=True)
def files_can_be_recorded() -> None:
    reason = why_not()
    require(reason is None, "A layer below SQLite", str(reason))


def crashed(story: Story, points: Sequence[Point], directory: Path) -> list[Finding]:
    """Crash at some points; returns what is wrong."""
    return [*Crashes(story, directory).at(points)]


@pytest.mark.parametrize("latency", [0.0, 0.002], ids=["fast disk", "slow disk"])
def test_everything_confirmed_survives_a_crash_at_any_point(tmp_path: Path, latency: float) -> None:
    """On a slow disk many changes come with one commit, on a fast one few."""
    place = tmp_path / "recorded"
    place.mkdir()
    story = record(place, seed=round(latency * 1000), latency=latency)
    assert not story.refusals
    assert not story.traffic.complaints
    done = story.recording.operations
    # It has written and shrunk the file itself, too, and not only the log.
    assert any(operation.kind is Kind.WRITE and operation.name == "broker.sqlite" for operation in done)
    sizes = [o.offset for o in done if o.kind is Kind.TRUNCATE and o.name == "broker.sqlite"]
    assert sizes != sorted(sizes)
    findings = crashed(story, choose(Random(1), len(done), 60), tmp_path)
    assert not findings, "\n".join(map(str, findings))


def test_a_recording_has_all_that_was_done(tmp_path: Path) -> None:
    """The files made from it are those that the broker has left."""
    place = tmp_path / "recorded"
    place.mkdir()
    story = record(place, seed=3, lives=(10, 10))
    disk = Disk(story.recording.operations, Random(0))
    disk.advance(story.recording.now)
    made = tmp_path / "made"
    made.mkdir()
    write(disk.after(Point(story.recording.now, Crash.KILL, 0)), made)
    assert {path.name: path.read_bytes() for path in made.iterdir()} == {
        path.name: path.read_bytes() for path in place.iterdir() if path.suffix != ".sqlite-shm"
    }


@pytest.mark.parametrize(
    ("kind", "name", "crash"),
    [
        (Kind.SYNC, "broker.sqlite-wal", Crash.POWER),
        (Kind.WRITE, "broker.sqlite-wal", Crash.KILL),
        (Kind.WRITE, "delivered.positions", Crash.KILL),
    ],
)
def test_what_a_broker_leaves_out_is_noticed(tmp_path: Path, kind: Kind, name: str, crash: Crash) -> None:
    """A broker that did not sync its log, or not write at all, does not pass."""
    place = tmp_path / "recorded"
    place.mkdir()
    story = record(place, seed=4, lives=(60,))
    done = story.recording.operations
    for number, operation in enumerate(done):
        if operation.kind is kind and operation.name == name and number > len(done) // 3:
            done[number] = Operation(Kind.WRITE, "elsewhere", 0, b"x")
    done.insert(0, Operation(Kind.CREATE, "elsewhere"))
    # Before the end, at which everything is in the file itself.
    points = [Point(at, crash, at) for at in range(len(done) // 2, len(done) * 3 // 4, 5)]
    findings = crashed(story, points, tmp_path)
    wanted = "not marked as redelivered" if name == "delivered.positions" else "lost"
    assert any(wanted in finding.what for finding in findings)


# The parts


def after(crash: Crash, *operations: Operation, seed: int = 0) -> dict[str, bytes]:
    """Return what a crash leaves after some operations."""
    disk = Disk(operations, Random(0))
    disk.advance(len(operations))
    return files(disk.after(Point(len(operations), crash, seed)))


def files(left: dict[str, Inode]) -> dict[str, bytes]:
    return {name: bytes(inode.seen) for name, inode in left.items()}


CREATED = Operation(Kind.CREATE, FILE)
WRITTEN = Operation(Kind.WRITE, FILE, 2, b"ab")
SYNCED = Operation(Kind.SYNC, FILE, with_directory=True)


def test_a_kill_leaves_all_that_was_done() -> None:
    cut = Operation(Kind.TRUNCATE, FILE, 3)
    assert after(Crash.KILL, CREATED, WRITTEN) == {FILE: b"\0\0ab"}
    assert after(Crash.KILL, CREATED, WRITTEN, cut) == {FILE: b"\0\0a"}
    assert after(Crash.KILL, CREATED, WRITTEN, Operation(Kind.DELETE, FILE)) == {}


def test_a_kill_in_the_middle_leaves_a_part() -> None:
    disk = Disk([CREATED, WRITTEN], Random(0))
    disk.advance(1)
    found = {files(disk.after(Point(1, Crash.TORN, seed)))[FILE] for seed in range(20)}
    assert found == {b"\0\0", b"\0\0a"}


def test_a_loss_of_power_leaves_what_was_synced_and_perhaps_more() -> None:
    rest = Operation(Kind.WRITE, FILE, 1000, b"c" * 1000)
    found = {after(Crash.POWER, CREATED, WRITTEN, SYNCED, rest, seed=seed)[FILE] for seed in range(50)}
    assert min(found, key=len) == b"\0\0ab"
    assert b"\0\0ab" + bytes(996) + b"c" * 1000 in found
    assert len(found) > 3  # parts of it
    assert all(content.startswith(b"\0\0ab") for content in found)


def test_a_loss_of_power_may_undo_what_was_done_to_names() -> None:
    one = {FILE: b"\0\0ab"}
    deleted = [CREATED, WRITTEN, SYNCED, Operation(Kind.DELETE, FILE)]
    assert [one, {}] == _different(after(Crash.POWER, *deleted, seed=seed) for seed in range(20))
    created = [CREATED, WRITTEN, Operation(Kind.SYNC, FILE)]
    assert [one, {}] == _different(after(Crash.POWER, *created, seed=seed) for seed in range(20))
    sure = [*deleted[:-1], Operation(Kind.DELETE, FILE, with_directory=True)]
    assert [{}] == _different(after(Crash.POWER, *sure, seed=seed) for seed in range(20))


def _different(found: Iterable[dict[str, bytes]]) -> list[dict[str, bytes]]:
    kinds: list[dict[str, bytes]] = []
    for left in found:
        if left not in kinds:
            kinds.append(left)
    return sorted(kinds, key=len, reverse=True)


def test_what_could_not_be_synced_is_not_safe_later() -> None:
    """Linux reports an error of a sync once, and takes what it has for written."""
    failed = Operation(Kind.SYNC, FILE, failed=True)
    lost = set()
    for seed in range(20):
        disk = Disk([CREATED, SYNCED, WRITTEN, failed, SYNCED], Random(seed))
        disk.advance(5)
        lost.add(files(disk.after(Point(5, Crash.POWER, 0)))[FILE])
    assert b"" in lost


def test_promises() -> None:
    now = 0
    promises = Promises(lambda: now)
    item = Item("message", "q", 1)
    assert [*promises.broken({item}, 0)] == ["should not be there: message q #1"]
    now = 10
    promises.change(item, Presence.PRESENT, 1, 1)
    promises.answered(1, 1, 15)
    promises.delivered(item, 17, 1, 2)
    now = 20
    promises.change(item, Presence.ABSENT, 1, 2)
    # Of another channel, and of an earlier request.
    promises.answered(2, 9, 22)
    promises.answered(1, 1, 24)
    assert [promises.expected(item, at).value for at in (9, 10, 14, 15, 19, 20, 24)] == [
        "absent",
        "maybe",
        "maybe",
        "present",
        "present",
        "maybe",
        "maybe",
    ]
    assert [*promises.broken(set(), 16)] == ["lost: message q #1"]
    assert [*promises.broken(set(), 24)] == []
    assert [promises.must_be_marked(item, at, power_lost=False) for at in (16, 17)] == [False, True]
    assert not promises.must_be_marked(item, 99, power_lost=True)
