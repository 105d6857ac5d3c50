"""What the tests of runners share: deliveries, and somebody who gets the verdicts on them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fedora_messaging.client.consuming.delivery import Raw
from fedora_messaging.client.consuming.stats import ConsumerStats
from fedora_messaging.wire.properties import BasicProperties
from fedora_messaging.wire.property_codec import encode_properties

if TYPE_CHECKING:
    from fedora_messaging.client.consuming.verdict import Verdict

PROPERTIES = encode_properties(
    BasicProperties(headers={"fedora_messaging_schema": "base.message", "fedora_messaging_severity": 20})
)


def delivery(number: int, epoch: int = 0) -> Raw:
    """A delivery whose tag, and whose message's ``n``, is the number."""
    return Raw(epoch, number, "q", "amq.topic", "t", False, PROPERTIES, b'{"n": %d}' % number)


def invalid(number: int) -> Raw:
    """A delivery that is no valid message."""
    return Raw(0, number, "q", "amq.topic", "t", False, PROPERTIES, b"{")


class Owner:
    """Owns a runner; deliveries of epoch 1 are stale.

    Attributes:
        reported: Tags and verdicts.
        failures: Why the consumer has to end.
    """

    def __init__(self) -> None:
        self.stats = ConsumerStats()
        self.reported: list[tuple[int, Verdict]] = []
        self.failures: list[BaseException] = []
        self._news = asyncio.Event()

    def report(self, raw: Raw, verdict: Verdict) -> None:
        self.reported.append((raw.tag, verdict))
        self._news.set()

    def is_stale(self, raw: Raw) -> bool:
        return raw.epoch == 1

    def fail(self, error: BaseException) -> None:
        self.failures.append(error)
        self._news.set()

    async def told(self, reports: int, failures: int = 0) -> None:
        """Return when as many verdicts and failures have been reported."""
        while len(self.reported) < reports or len(self.failures) < failures:
            await self._news.wait()
            self._news.clear()
