"""Recording the work of a broker, and crashing it at many points."""

from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

from tests.faults.children import HarnessError
from tests.faults.storage.disk import Crash, Disk, Inode, Point, write
from tests.faults.storage.promises import Promises
from tests.faults.storage.report import Finding, Report
from tests.faults.storage.restart import Restart, start
from tests.faults.storage.traffic import Traffic
from tests.faults.storage.vfs import (
    CANTOPEN,
    FULL,
    IOERR_DELETE,
    IOERR_FSYNC,
    IOERR_TRUNCATE,
    IOERR_WRITE,
    Failure,
    Kind,
    Recording,
    recorded,
)

from fedora_messaging.broker.server import BrokerError
from fedora_messaging.broker.storage import empty_pages, sqlite

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

    from fedora_messaging.broker.server import Server

#: Lives of the broker in a recording, and how much it does in each.
_LIVES: Final = (50, 50, 25)
#: Points at which each recording is crashed, about.
POINTS_EACH: Final = 150
#: So small, the file is shrunk while it is used.
_EMPTY: Final = 60_000


_CODES: Final = {
    Kind.CREATE: CANTOPEN,
    Kind.TRUNCATE: IOERR_TRUNCATE,
    Kind.SYNC: IOERR_FSYNC,
    Kind.DELETE: IOERR_DELETE,
}
#: Likelihood of a second crash after the first.
_CRASHED_AGAIN: Final = 0.25
#: Starts that may fail in a row.
_STARTS: Final = 200


@dataclass
class Story:
    """A recorded run.

    Attributes:
        seed: Of what is done.
        recording: What was done to the disk.
        promises: What clients were promised meanwhile.
        traffic: What they published.
        refusals: What the broker said when it could not start or stop in good order.
    """

    seed: int
    recording: Recording
    promises: Promises
    traffic: Traffic
    refusals: list[str] = field(default_factory=list)

    def start(self, loop: asyncio.AbstractEventLoop) -> Server:
        """Start a broker, as often as it takes on a disk that fails now and then."""
        for _ in range(_STARTS):
            try:
                return start(self.recording.directory, loop)
            except BrokerError as error:
                self.refusals.append(str(error))
        raise HarnessError(f"the broker does not start: {self.refusals[-1]}")

    def stop(self, server: Server) -> None:
        """Stop a broker."""
        try:
            server.loop.run_until_complete(server.stop())
        except BrokerError as error:
            self.refusals.append(str(error))


class Troubles:
    """Lets some operations fail, one or several in a row, as a disk does that is full or breaks.

    Args:
        random: Which.
        likelihood: That an operation begins to fail.
    """

    def __init__(self, random: Random, likelihood: float = 0.02) -> None:
        self._random = random
        self._likelihood = likelihood
        self._left = 0

    def __call__(self, _number: int, kind: Kind, _name: str) -> Failure | None:
        """Return how the next operation fails, if it does."""
        if not self._left and self._random.random() < self._likelihood:
            self._left = self._random.choice([1, 1, 2, 8])
        if not self._left:
            return None
        self._left -= 1
        return failure_of(kind, self._random)


def failure_of(kind: Kind, random: Random) -> Failure:
    """Return a way in which an operation can fail."""
    if kind is Kind.WRITE:
        return random.choice([Failure(FULL, random.randrange(4096)), Failure(FULL), Failure(IOERR_WRITE)])
    return Failure(_CODES[kind])


@contextmanager
def hurried() -> Iterator[None]:
    """Have brokers shrink small files, too, and try again at once what has failed."""
    before = empty_pages._EMPTY_MIN, sqlite._RETRY
    # Final for all but this.
    vars(empty_pages)["_EMPTY_MIN"] = _EMPTY
    vars(sqlite)["_RETRY"] = 0.001
    try:
        yield
    finally:
        vars(empty_pages)["_EMPTY_MIN"], vars(sqlite)["_RETRY"] = before


def record(
    directory: Path, seed: int, *, lives: Sequence[int] = _LIVES, fails: bool = False, latency: float = 0.0
) -> Story:
    """Have a broker work in a directory, and record that.

    Args:
        directory: The directory.
        seed: Of what it does.
        lives: How much it does from each start to the next stop.
        fails: Whether some operations fail.
        latency: Seconds that a sync takes: while it runs, changes gather.
    """
    random = Random(seed)
    recording = Recording(directory, Troubles(random) if fails else lambda *_: None, latency)

    def now() -> int:
        return recording.now

    promises = Promises(now)
    traffic = Traffic(random, promises)
    story = Story(seed, recording, promises, traffic)
    with closing(asyncio.new_event_loop()) as loop, recorded(recording), hurried():
        for steps in lives:
            server = story.start(loop)
            traffic.begin(server, now)
            traffic.work(steps)
            traffic.end()
            story.stop(server)
    return story


def choose(random: Random, operations: int, count: int) -> list[Point]:
    """Choose points of a recording, in order."""
    places = [random.randrange(operations + 1) for _ in range(count)]
    return [_point(random, at) for at in sorted(places)]


def _point(random: Random, at: int) -> Point:
    return Point(at, random.choice([*Crash]), random.randrange(1_000_000))


class Crashes:
    """Crashes a recorded broker, and looks at what a restart finds.

    Args:
        story: The recording.
        directory: For what the crashes leave.
        keep: Where to leave the files with which something was wrong.
    """

    def __init__(self, story: Story, directory: Path, keep: Path | None = None) -> None:
        self._story = story
        self._directory = directory
        self._keep = keep
        self._loop = asyncio.new_event_loop()
        self._restart = Restart(self._loop, story.promises, story.traffic)

    def at(self, points: Sequence[Point]) -> Iterator[Finding]:
        """Crash at points that are in order; yields what is wrong."""
        disk = Disk(self._story.recording.operations, Random(0))
        with closing(self._loop):
            for point in points:
                disk.advance(point.at)
                left = disk.after(point)
                random = Random(point.seed)
                recovery = yield from self._recover(left, [point])
                if random.random() < _CRASHED_AGAIN:
                    # Another crash while the broker recovers, or while it stops again.
                    again = Disk(recovery.operations, random, left)
                    further = _point(random, random.randrange(recovery.now + 1))
                    again.advance(further.at)
                    yield from self._recover(again.after(further), [point, further])

    def _recover(self, left: Mapping[str, Inode], points: list[Point]) -> Generator[Finding, None, Recording]:
        """Start on what crashes have left; yields what is wrong, and returns what was done to the disk."""
        with tempfile.TemporaryDirectory(dir=self._directory) as name:
            place = Path(name)
            write(left, place)
            recovery = Recording(place)
            power_lost = any(point.crash is Crash.POWER for point in points)
            with recorded(recovery):
                for complaint in self._restart.complaints(place, points[0].at, power_lost=power_lost):
                    yield Finding(points, complaint)
                    self._leave(left, points)
        return recovery

    def _leave(self, left: Mapping[str, Inode], points: list[Point]) -> None:
        if self._keep is None:
            return
        place = self._keep / "-".join(
            (str(self._story.seed), *(f"{point.crash.name}-{point.at}" for point in points))
        )
        place.mkdir(parents=True, exist_ok=True)
        write(left, place)


def run(
    points: int, seed: int, directory: Path, tell: Callable[[str], object], keep: Path | None = None
) -> Report:
    """Record runs and crash them, until so many crashes have been tried.

    Args:
        points: How many.
        seed: Of all that is random. Threads take turns as they like, so no two recordings are quite the same.
        directory: For what is recorded, and what the crashes leave.
        tell: Is told what is wrong as soon as it is found.
        keep: Where to leave the files with which something was wrong.
    """
    begin = time.monotonic()
    random = Random(seed)
    report = Report(seed)
    while report.points < points:
        number = random.randrange(1_000_000)
        place = directory / f"recorded-{number}"
        place.mkdir()
        story = record(place, number, fails=report.recordings % 2 == 1, latency=random.choice([0, 0.002]))
        chosen = choose(random, story.recording.now, min(POINTS_EACH, points - report.points))
        findings = []
        for finding in Crashes(story, directory, keep).at(chosen):
            tell(f"WRONG: recording {number}: {finding}")
            findings.append(finding)
        report.add(story, chosen, findings)
    report.seconds = time.monotonic() - begin
    return report
