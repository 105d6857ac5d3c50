"""A program that publishes by way of an outbox until SIGTERM, and writes down what it was told.

``python -m tests.faults.outbox.publisher --name N --journal FILE``; the library finds its configuration as
ever. After a restart it goes on where its journal ends.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sqlite3
import sys
import threading
from collections import Counter
from contextlib import closing
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

from tests.faults.journal import Journal, read
from tests.faults.outbox import journal as j
from tests.faults.outbox.load import TOPICS, TRANSACTIONS, WORK, Key, body_of, id_of

from fedora_messaging import api, config, outbox
from fedora_messaging.message import Message

if TYPE_CHECKING:
    from collections.abc import Callable

#: More than the library waits for somebody else's transaction, so that its own error is seen.
_TIMEOUT: Final = 40.0
#: Seconds after which a forked child ends itself, should it hang when nobody is left to see to it.
CHILD_LIFE: Final = 60.0
_LONGEST_PAUSE: Final = 0.03
_LONGEST_TRANSACTION: Final = 0.02
_MOST_RECORDED: Final = 3
_ROLLED_BACK: Final = 0.3
_FORKS: Final = 0.05
_CHILDREN: Final = 2
_MOST_OF_A_CHILD: Final = 20


class Publisher:
    """Publishes numbered messages from several threads.

    Args:
        name: Its name in keys.
        path: Its journal.
        seed: Of pauses, forks, and what is rolled back.
    """

    def __init__(self, name: str, path: Path, seed: str) -> None:
        self._name = name
        self._numbers: Counter[tuple[str, str]] = Counter()
        self._forks = 0
        starts = self._recall(path)
        self._seed = f"{seed} {name} {starts}"
        self._stop = threading.Event()
        self._children: list[int] = []
        self._journal = Journal(path)
        self._journal.write(j.STARTED, os.getpid())

    def _recall(self, path: Path) -> int:
        """Read the journal; returns how often there was a start."""
        starts = 0
        for event in read(path, j.EVENTS):
            starts += event.name == j.STARTED
            self._forks += event.name == j.FORKING
            if event.name in (j.INTENT, j.DOOMED):
                key = Key.parse(event.arguments[0])
                self._numbers[key.lane, key.topic] = max(key.number, self._numbers[key.lane, key.topic])
        return starts

    def stop(self) -> None:
        """Have all threads end when their message is published."""
        self._stop.set()

    # One message after the other

    def publish(self, lane: str) -> None:
        """Publish until :meth:`stop`."""
        random = Random(f"{self._seed} {lane}")
        while self._publish(lane, random) and not self._pause(random):
            pass

    def publish_and_fork(self, lane: str) -> None:
        """Publish until :meth:`stop`, and now and then fork a child that does so too."""
        random = Random(f"{self._seed} {lane}")
        while self._publish(lane, random) and not self._pause(random):
            self._children = [pid for pid in self._children if os.waitpid(pid, os.WNOHANG) == (0, 0)]
            if random.random() < _FORKS and len(self._children) < _CHILDREN:
                self._fork(random.randrange(2**32))
        for pid in self._children:
            os.waitpid(pid, 0)

    def _publish(self, lane: str, random: Random) -> bool:
        """Publish a message; returns whether it was accepted."""
        key = self._next_key(lane, random)
        self._journal.write(j.INTENT, key)
        try:
            api.publish(_message(key), timeout=_TIMEOUT)
        except Exception as error:  # whatever it is, it is written down
            logging.exception("Publishing %s has failed", key)
            self._journal.write(j.FAILED, key, type(error).__name__)
            return False
        self._journal.write(j.ACCEPTED, key)
        return True

    def _next_key(self, lane: str, random: Random) -> Key:
        # Each lane belongs to one thread.
        topic = random.choice(TOPICS)
        self._numbers[lane, topic] += 1
        return Key(self._name, lane, topic, self._numbers[lane, topic])

    def _pause(self, random: Random) -> bool:
        """Keep the load moderate; returns whether it is time to end."""
        return self._stop.wait(random.uniform(0.0, _LONGEST_PAUSE))

    # Forks

    def _fork(self, seed: int) -> None:
        self._forks += 1
        lane = f"fork-{self._forks}"
        self._journal.write(j.FORKING, lane)
        pid = os.fork()
        if pid:
            self._children.append(pid)
            return
        try:
            self._be_child(lane, Random(seed))
        except BaseException:
            logging.exception("A child has failed")
        finally:
            os._exit(0)

    def _be_child(self, lane: str, random: Random) -> None:
        # It outlives a parent that is killed, and then has nobody else to end it.
        signal.alarm(int(CHILD_LIFE))
        self._journal.write(j.BORN, lane, os.getpid())
        for _ in range(random.randrange(1, _MOST_OF_A_CHILD)):
            if not self._publish(lane, random):
                break
            self._pause(random)
        if random.random() < 0.5:
            api.close()
        self._journal.write(j.DONE, lane)

    # Transactions

    def transact(self, lane: str) -> None:
        """Record messages in transactions of the application, of which some are rolled back."""
        random = Random(f"{self._seed} {lane}")
        # If there is no file yet, it is the library that makes it.
        self._publish("first", random)
        database = sqlite3.connect(config.conf["outbox"]["path"], timeout=_TIMEOUT, isolation_level=None)
        with closing(database):
            database.execute(f"CREATE TABLE IF NOT EXISTS {WORK} (key TEXT PRIMARY KEY)")
            outbox.create_table(database)
            while not self._pause(random):
                self._transact(database, lane, random)

    def _transact(self, database: sqlite3.Connection, lane: str, random: Random) -> None:
        keys = [self._next_key(lane, random) for _ in range(random.randrange(_MOST_RECORDED) + 1)]
        is_doomed = random.random() < _ROLLED_BACK
        for key in keys:
            self._journal.write(j.DOOMED if is_doomed else j.INTENT, key)
        database.execute("BEGIN")
        for key in keys:
            database.execute(f"INSERT INTO {WORK} VALUES (?)", (str(key),))
            outbox.record(database, _message(key))
        self._stop.wait(random.uniform(0.0, _LONGEST_TRANSACTION))
        database.execute("ROLLBACK" if is_doomed else "COMMIT")
        if not is_doomed:
            for key in keys:
                self._journal.write(j.ACCEPTED, key)


def _message(key: Key) -> Message:
    message = Message(topic=key.topic, body=body_of(key))
    message.id = id_of(key)
    return message


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--seed", default="")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--forks", action="store_true", help="a thread more, which forks")
    parser.add_argument("--transactions", action="store_true", help="a thread more, which records")
    return parser.parse_args()


def main() -> int:
    # Waited for below. Blocked first, so that no thread is ended by it.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    arguments = _arguments()
    publisher = Publisher(arguments.name, arguments.journal, arguments.seed)
    work: list[tuple[Callable[[str], None], str]] = [
        (publisher.publish, f"thread-{n}") for n in range(arguments.threads)
    ]
    if arguments.forks:
        work.append((publisher.publish_and_fork, "forking"))
    if arguments.transactions:
        work.append((publisher.transact, TRANSACTIONS))
    threads = [threading.Thread(target=target, args=(lane,), name=lane) for target, lane in work]
    for thread in threads:
        thread.start()
    signal.sigwait([signal.SIGTERM])
    publisher.stop()
    for thread in threads:
        thread.join()
    return 0


if __name__ == "__main__":
    sys.exit(main())
