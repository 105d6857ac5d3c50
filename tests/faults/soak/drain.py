"""Waiting, when all is mended, until every message has found its end."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Final, Self

from pika.exceptions import AMQPError
from tests.faults.soak import journal as j
from tests.faults.soak import load
from tests.support.admin import Admin

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.brokers import Broker
    from tests.faults.journal import Journal
    from tests.faults.soak.checker import Watcher

#: Seconds without a delivery after which nothing waits in a delay queue any longer.
_QUIET: Final = load.LONGEST_DELAY + 3.0
_POLL: Final = 0.3
_UNKNOWN: Final = -1


class Drain:
    """Looks at the queues by a client of its own, and empties the dead-letter queue; a context manager.

    Args:
        broker: Asked directly, not by way of a proxy.
        watcher: Follows the journals of the workers, and the one below.
        journal: Takes the dead letters.
    """

    def __init__(self, broker: Broker, watcher: Watcher, journal: Journal) -> None:
        self._admin = Admin(broker.urls[0])
        self._arguments = dict(broker.queue_arguments)
        self._watcher = watcher
        self._journal = journal
        self._waiting = _UNKNOWN

    def wait(self, patience: float, limit: float, attend: Callable[[], None]) -> bool:
        """Wait until all is processed that was confirmed, and nothing more comes.

        Args:
            patience: Seconds without any progress after which to give up.
            limit: Seconds after which to give up in any case.
            attend: Called again and again.

        Returns:
            Whether it came to that.
        """
        end = time.monotonic() + limit
        give_up = 0.0
        before = (_UNKNOWN, _UNKNOWN)
        while not self._is_over():
            attend()
            now = time.monotonic()
            if (state := (self._watcher.ledger.settled, self._waiting)) != before:
                before, give_up = state, now + patience
            if now > min(give_up, end):
                return False
            time.sleep(_POLL)
        return True

    def _is_over(self) -> bool:
        try:
            self._collect_dead_letters()
            self._waiting = sum(self._admin.ready(queue) for queue in (load.PLAIN, load.POLICY))
        except AMQPError:
            # A cluster may still be choosing leaders. The next attempt connects anew.
            self._admin.close()
            self._waiting = _UNKNOWN
        self._watcher.read()
        ledger = self._watcher.ledger
        return self._waiting == 0 and not ledger.missing and time.time() - ledger.last_delivery > _QUIET

    def _collect_dead_letters(self) -> None:
        channel = self._admin.channel
        # As the policy declares it, which it does only when there is a dead letter.
        channel.queue_declare(load.DEAD_LETTERS, durable=True, arguments=self._arguments)
        while True:
            method, _, body = channel.basic_get(load.DEAD_LETTERS)
            if method is None:
                return
            self._journal.write(j.DEAD, json.loads(body)["key"])
            channel.basic_ack(method.delivery_tag)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._admin.close()
