"""A program that consumes until SIGTERM, and writes down what its callback was called with.

``python -m tests.faults.soak.consumer --face function --journal FILE``; the library finds its configuration,
queues and policy included, as ever.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.journal import Journal
from tests.faults.soak import journal as j
from tests.faults.soak import load
from tests.faults.soak.journal import Key

from fedora_messaging import aio, api, config
from fedora_messaging.exceptions import ConnectionException, Nack

if TYPE_CHECKING:
    from fedora_messaging.message import Message

_CONSUMER_LOGGER = "fedora_messaging.twisted.consumer"


class FlakyError(Exception):
    """Something is wrong that may be right the next time."""


class Work:
    """What the callback does, without its pauses."""

    def __init__(self, journal: Journal, has_policy: bool) -> None:
        self._journal = journal
        self._has_policy = has_policy
        self._failed: set[Key] = set()

    def begin(self, message: Message, redelivered: str = "-") -> Key:
        """A message has come; whether it came before the synchronous face does not tell."""
        key = Key.parse(message.body["key"])
        self._journal.write(j.DELIVERED, key, redelivered)
        if message.topic != key.topic or message.body["text"] != load.text_of(key):
            self._journal.write(j.CORRUPT, key)
        return key

    def end(self, key: Key) -> None:
        """It is processed.

        Raises:
            Nack: It is to come again.
            FlakyError: Likewise, and only if there is a policy: it would end the consumer without one.
        """
        if self._is_to_fail(key):
            self._failed.add(key)
            error = FlakyError if self._has_policy and key.number % 2 else Nack
            self._journal.write(j.RAISED, key, error.__name__)
            raise error(str(key))
        self._journal.write(j.ACKED, key)

    def _is_to_fail(self, key: Key) -> bool:
        if self._has_policy and load.is_poison(key):
            return True
        return load.is_flaky(key) and key not in self._failed


def function(work: Work) -> None:
    """Consume with a plain function."""

    def callback(message: Message) -> None:
        key = work.begin(message)
        time.sleep(load.slowness(key))
        work.end(key)

    api.consume(callback)


def coroutine(work: Work) -> None:
    """Consume with a coroutine function."""

    async def callback(message: Message) -> None:
        key = work.begin(message)
        await asyncio.sleep(load.slowness(key))
        work.end(key)

    api.consume(callback)


def subscription(work: Work) -> None:
    """Consume by iterating in an event loop of our own."""
    asyncio.run(_subscribe(work))


async def _subscribe(work: Work) -> None:
    ((queue, settings),) = config.conf["queues"].items()
    async with aio.connect() as bus:
        subscription = bus.subscribe(
            f"{queue}.#", queue=queue, auto_ack=False, arguments=settings["arguments"]
        )
        stopping: set[asyncio.Task[None]] = set()
        asyncio.get_running_loop().add_signal_handler(
            signal.SIGTERM, lambda: stopping.add(asyncio.create_task(subscription.close()))
        )
        async for delivery in subscription:
            await _process(work, delivery)
        await asyncio.gather(*stopping)


async def _process(work: Work, delivery: aio.Delivery) -> None:
    key = work.begin(delivery.message, str(int(delivery.redelivered)))
    await asyncio.sleep(load.slowness(key))
    try:
        work.end(key)
    except Nack:
        await delivery.nack()
    else:
        await delivery.ack()


FACES = {face.__name__: face for face in (function, coroutine, subscription)}


class _Registrations(logging.Handler):
    """Writes down each subscription, which the library tells to its log only."""

    def __init__(self, journal: Journal) -> None:
        super().__init__(logging.INFO)
        self._journal = journal
        self.seen = False

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg.startswith("Successfully registered"):
            self.seen = True
            self._journal.write(j.READY)


def _set_up_logging(registrations: _Registrations) -> None:
    logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.getLogger().handlers[0].setLevel(logging.WARNING)
    logger = logging.getLogger(_CONSUMER_LOGGER)
    logger.setLevel(logging.INFO)
    logger.addHandler(registrations)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--face", choices=FACES, required=True)
    parser.add_argument("--journal", type=Path, required=True)
    return parser.parse_args()


def main() -> int:
    arguments = _arguments()
    journal = Journal(arguments.journal)
    journal.write(j.STARTED, os.getpid())
    registrations = _Registrations(journal)
    _set_up_logging(registrations)
    try:
        FACES[arguments.face](Work(journal, "consumer" in config.conf))
    except ConnectionException:
        if registrations.seen:
            raise
        # What cuts the first handshake may be no broker at all, so the library tells. A service manager would
        # start us again.
        return os.EX_TEMPFAIL
    return 0


if __name__ == "__main__":
    sys.exit(main())
