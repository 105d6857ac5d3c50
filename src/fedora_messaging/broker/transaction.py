"""The publishes and acknowledgements that a channel holds back until ``tx.commit`` (AMQP 0-9-1 class tx)."""

from collections.abc import Callable, Iterator

from .core.consumer import BrokerConsumer
from .core.exchanges import Exchange
from .core.memory import MemoryUse
from .core.message import BrokerMessage, Entry
from .core.queue import Queue
from .unacked import Unacked

Outcome = Callable[[Queue, Entry, BrokerConsumer | None], None]


class Transaction:
    """Publishes and acknowledgements in order of arrival."""

    def __init__(self, memory: MemoryUse) -> None:
        self._memory = memory
        self._publishes: list[tuple[Exchange, BrokerMessage, bool]] = []
        self._acks: list[tuple[dict[int, Unacked], Outcome]] = []

    def hold(self, exchange: Exchange, message: BrokerMessage, mandatory: bool) -> None:
        """Hold back a publish."""
        self._memory.hold(message)
        self._publishes.append((exchange, message, mandatory))

    def hold_acks(self, taken: dict[int, Unacked], outcome: Outcome) -> None:
        """Hold back an acknowledgement."""
        self._acks.append((taken, outcome))

    def take_publishes(self) -> Iterator[tuple[Exchange, BrokerMessage, bool]]:
        """Forget the publishes, and return one after the other."""
        taken, self._publishes = self._publishes, []
        return map(self._release, taken)

    def _release(self, held: tuple[Exchange, BrokerMessage, bool]) -> tuple[Exchange, BrokerMessage, bool]:
        self._memory.release(held[1])
        return held

    def take_acks(self) -> list[tuple[dict[int, Unacked], Outcome]]:
        """Return the acknowledgements, and forget them."""
        taken, self._acks = self._acks, []
        return taken
