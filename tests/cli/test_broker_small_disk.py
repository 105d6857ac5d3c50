"""``fedora-messaging broker --data`` on a file system of a few megabytes that is really full."""

from __future__ import annotations

import shutil
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest
from tests.cli.test_broker_storage import Publisher, connect, connections_are_closed, drain
from tests.support.processes import start_broker
from tests.support.servers import require
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.processes import Processes

__all__ = ["connections_are_closed"]

MEGABYTE = 1_000_000


class SmallDisk:
    """A file system of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data = directory / "data"
        self._filler = directory / "filler"

    @property
    def free(self) -> int:
        return shutil.disk_usage(self.directory).free

    def fill(self, left: int = 0) -> None:
        """Leave no more than some bytes."""
        with self._filler.open("ab") as file:
            file.write(bytes(max(0, self.free - left)))

    def make_room(self) -> None:
        self._filler.unlink()

    def remount(self, option: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{option}", self.directory], check=True)


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[SmallDisk]:
    directory = tmp_path / "disk"
    directory.mkdir()
    size = getattr(request, "param", 40 * MEGABYTE)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    require(not mounted.returncode, "A small disk", f"run as root, who may mount ({mounted.stderr.strip()})")
    yield SmallDisk(directory)
    # Processes that have files open there may end after this.
    subprocess.run(["umount", "--lazy", directory], check=True)


@pytest.mark.parametrize("size", [10, 1_000, 30_000, 1 * MEGABYTE])
def test_what_a_full_disk_confirmed_is_there(processes: Processes, disk: SmallDisk, size: int) -> None:
    broker, port = start_broker(processes, "--data", disk.data, "--disk-limit", "0")
    publisher = Publisher(port)
    disk.fill(left=3 * MEGABYTE)
    count = 0
    while not publisher.told:
        publisher.publish(b"%08d" % count + bytes(size))
        count += 1
    assert publisher.told == ["low on disk"]
    broker.wait_for("database or disk is full")
    # What was confirmed is there also if the broker never sees room again.
    confirmed = publisher.confirmed
    assert confirmed < count
    broker.kill()
    disk.make_room()
    broker, port = start_broker(processes, "--data", disk.data, "--disk-limit", "0")
    found = [int(body[:8]) for body in drain(connect(port).channel())]
    assert found == list(range(len(found)))
    assert len(found) >= confirmed
    assert broker.terminate().status == 0


def publish_in_thread(port: int, queue: str, bodies: list[bytes]) -> tuple[threading.Thread, list[str]]:
    """Publish and wait for all confirms; pika's connections wait for nothing else while they are blocked."""
    told: list[str] = []

    def publish() -> None:
        publisher = Publisher(port, queue)
        publisher.told = told
        for number, body in enumerate(bodies):
            publisher.write(body)
            if number % 100 == 0:
                publisher.spin()
        publisher.until(publisher.all_confirmed)
        told.append("confirmed")

    thread = threading.Thread(target=publish, daemon=True)
    thread.start()
    return thread, told


def test_full_disk_has_room_again(processes: Processes, disk: SmallDisk) -> None:
    broker, port = start_broker(processes, "--data", disk.data, "--disk-limit", "0")
    disk.fill(left=2 * MEGABYTE)
    bodies = [b"%08d" % number + bytes(300_000) for number in range(20)]
    publishers = [publish_in_thread(port, queue, bodies) for queue in ("q", "other")]
    broker.wait_for("database or disk is full")
    broker.wait_for("publishers are blocked")
    disk.make_room()
    for thread, told in publishers:
        thread.join(30)
        assert told[-1] == "confirmed"
    broker.wait_for("can be written again")
    broker.kill()
    _, port = start_broker(processes, "--data", disk.data, "--disk-limit", "0")
    channel = connect(port).channel()
    for queue in ("q", "other"):
        assert drain(channel, queue) == bodies


@pytest.mark.parametrize("disk", [120 * MEGABYTE], indirect=True)
@pytest.mark.parametrize("body", [5_000, 400_000])
def test_burst_does_not_overrun_the_disk_limit(processes: Processes, disk: SmallDisk, body: int) -> None:
    broker, port = start_broker(processes, "--data", disk.data)  # 50 MB are to stay free
    bodies = [bytes(body)] * (30 * MEGABYTE // body)
    publishers = [publish_in_thread(port, f"q{number}", bodies) for number in range(4)]
    channel = connect(port).channel()
    lowest = disk.free

    def are_done() -> bool:
        nonlocal lowest
        lowest = min(lowest, disk.free)
        return not any(thread.is_alive() for thread, _told in publishers)

    def is_alarm() -> bool:
        are_done()
        return broker.has_said("Alarm: low on disk")

    def are_done_when_drained() -> bool:
        for number in range(len(publishers)):
            channel.queue_purge(f"q{number}")
        return are_done()

    eventually(is_alarm)
    eventually(are_done_when_drained)
    # What the buffers of four connections held when the alarm came is still written.
    assert lowest > 40 * MEGABYTE
    assert all(told[-1] == "confirmed" for _thread, told in publishers)
    assert broker.terminate().status == 0


def test_start_on_a_full_disk(processes: Processes, disk: SmallDisk) -> None:
    disk.fill()
    ended = processes.run("broker", "--port", "0", "--data", disk.data)
    assert ended.status == 1
    assert "database or disk is full" in ended.one_error()
    assert "make room" in ended.one_error()
    disk.make_room()
    broker, port = start_broker(processes, "--data", disk.data)
    connect(port)
    assert broker.terminate().status == 0
    # With data, too.
    disk.fill()
    ended = processes.run("broker", "--port", "0", "--data", disk.data)
    assert ended.status == 1
    assert "make room" in ended.one_error()
    disk.make_room()
    broker, port = start_broker(processes, "--data", disk.data)
    connect(port)
    assert broker.terminate().status == 0


@pytest.mark.parametrize("has_data", [False, True])
def test_read_only_directory(processes: Processes, disk: SmallDisk, has_data: bool) -> None:
    disk.data.mkdir()
    if has_data:
        broker, _ = start_broker(processes, "--data", disk.data)
        assert broker.terminate().status == 0
    disk.remount("ro")
    ended = processes.run("broker", "--port", "0", "--data", disk.data)
    assert ended.status == 1
    assert str(disk.data) in ended.one_error()
    assert "let the user who runs the broker write" in ended.one_error()
    disk.remount("rw")
    broker, _ = start_broker(processes, "--data", disk.data)
    assert broker.terminate().status == 0


def test_stopped_without_room_for_what_is_in_the_log(processes: Processes, disk: SmallDisk) -> None:
    """The log keeps what has no room in the file, over a stop in good order."""
    broker, port = start_broker(processes, "--data", disk.data, "--disk-limit", "0")
    publisher = Publisher(port)
    for number in range(3):
        publisher.publish(b"%d" % number + bytes(MEGABYTE))
    publisher.until(publisher.all_confirmed)
    disk.fill()
    publisher.connection.close()
    broker.terminate()
    disk.make_room()
    _, port = start_broker(processes, "--data", disk.data, "--disk-limit", "0")
    assert [body[:1] for body in drain(connect(port).channel())] == [b"0", b"1", b"2"]
