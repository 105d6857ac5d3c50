"""The publishes and acknowledgements that a channel holds back until ``tx.commit`` (AMQP 0-9-1 class tx)."""

from collections.abc import Callable, Iterator

from .core.consumer import BrokerConsumer
from .core.exchanges import Exchange
from .core.memory import MemoryUse
from .core.message import BrokerMessage, Entry
from .core.queue import Queue
from .unacked import Unacked

#: Exchange, message, whether it is mandatory, and the names of its queues.
Publish = tuple[Exchange, BrokerMessage, bool, tuple[str, ...]]
Outcome = Callable[[Queue, Entry, BrokerConsumer | None], None]


class Transaction:
    """Publishes and acknowledgements in order of arrival."""

    def __init__(self, memory: MemoryUse) -> None:
        self._memory = memory
        self._publishes: list[Publish] = []
        self._acks: list[tuple[dict[int, Unacked], Outcome]] = []

    def hold(
        self, exchange: Exchange, message: BrokerMessage, mandatory: bool, queues: tuple[str, ...]
    ) -> None:
        """Hold back a publish, whose queues are those that it would have got now."""
        self._memory.hold(message)
        self._publishes.append((exchange, message, mandatory, queues))

    def hold_acks(self, taken: dict[int, Unacked], outcome: Outcome) -> None:
        """Hold back an acknowledgement."""
        self._acks.append((taken, outcome))

    def take_publishes(self) -> Iterator[Publish]:
        """Forget the publishes, and return one after the other."""
        taken, self._publishes = self._publishes, []
        return map(self._release, taken)

    def _release(self, held: Publish) -> Publish:
        self._memory.release(held[1])
        return held

    def take_acks(self) -> list[tuple[dict[int, Unacked], Outcome]]:
        """Return the acknowledgements, and forget them."""
        taken, self._acks = self._acks, []
        return taken
