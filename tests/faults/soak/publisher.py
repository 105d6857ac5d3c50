"""A program that publishes from several threads until SIGTERM, and writes down what it was told.

``python -m tests.faults.soak.publisher --name N --run R --journal FILE``; the library finds its configuration
as ever.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.journal import Journal, read
from tests.faults.soak import journal as j
from tests.faults.soak import load
from tests.faults.soak.journal import Key

from fedora_messaging import api

if TYPE_CHECKING:
    from collections.abc import Sequence


class Publisher:
    """Publishes numbered messages; after a restart it goes on where its journal ends."""

    def __init__(self, name: str, run: str, path: Path, timeout: float) -> None:
        self._name = name
        self._run = run
        self._timeout = timeout
        self._numbers = last_numbers(path)
        self._stop = threading.Event()
        self.journal = Journal(path)
        self.journal.write(j.STARTED, os.getpid())

    def publish_all(self, topics: Sequence[str], interval: float) -> None:
        """Publish with each topic in turn, one message in an interval, until :meth:`stop`."""
        for topic in cycle(topics):
            self._publish(self._next_key(topic))
            # What the broker's absence has cost is not made up for: the load stays moderate.
            if self._stop.wait(interval):
                return

    def _next_key(self, topic: str) -> Key:
        # Each topic belongs to one thread.
        self._numbers[topic] = number = self._numbers.get(topic, 0) + 1
        return Key(self._run, self._name, topic, number)

    def _publish(self, key: Key) -> None:
        message = api.Message(topic=key.topic, body=load.body_of(key))
        self.journal.write(j.INTENT, key)
        try:
            api.publish(message, timeout=self._timeout)
        except Exception as error:  # whatever it is, it is written down
            event = j.FAILED if getattr(error, "sent", True) else j.UNSENT
            self.journal.write(event, key, type(error).__name__)
        else:
            self.journal.write(j.CONFIRMED, key)

    def stop(self) -> None:
        """Have all threads end when their publish has."""
        self._stop.set()


def last_numbers(path: Path) -> dict[str, int]:
    """The highest number that was used with each topic."""
    numbers: dict[str, int] = {}
    for event in read(path, j.EVENTS):
        if event.name == j.INTENT:
            key = Key.parse(event.arguments[0])
            numbers[key.topic] = max(key.number, numbers.get(key.topic, 0))
    return numbers


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--run", required=True)
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--rate", type=float, default=50.0, help="messages per second")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--timeout", type=float, default=10.0, help="seconds for a publish")
    return parser.parse_args()


def main() -> int:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    # Waited for below. Blocked first, so that no thread is ended by it.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    arguments = _arguments()
    publisher = Publisher(arguments.name, arguments.run, arguments.journal, arguments.timeout)
    threads = [
        threading.Thread(
            target=publisher.publish_all,
            args=([f"{load.PLAIN}.{n}", f"{load.POLICY}.{n}"], arguments.threads / arguments.rate),
        )
        for n in range(arguments.threads)
    ]
    for thread in threads:
        thread.start()
    publisher.journal.write(j.READY)
    signal.sigwait([signal.SIGTERM])
    publisher.stop()
    for thread in threads:
        thread.join()
    return 0


if __name__ == "__main__":
    sys.exit(main())
