"""Finding out that a consumer is deaf: messages wait for it at the broker, and none arrives."""

import asyncio
from typing import Final, Protocol

from ...exceptions import BadDeclaration, ChannelClosed, ConnectionException, NoFreeChannels
from ...logs import CONSUMER, logger
from ...protocol.errors import ACCESS_REFUSED

_log = logger(CONSUMER)

#: Pause before a suspected consumer is checked again, as a part of the interval.
_SOON: Final = 1 / 6
#: Longest pause between attempts to help a consumer, when earlier ones did not, in seconds.
_PATIENCE_MAX: Final = 3600.0


class Watched(Protocol):
    """The part of a consumer that its watch uses.

    Attributes:
        deliveries: How many deliveries have arrived so far.
    """

    deliveries: int

    @property
    def connected(self) -> bool:
        """Whether deliveries can arrive now."""
        ...

    @property
    def unsettled(self) -> int:
        """How many deliveries have arrived and are not settled."""
        ...

    async def count_waiting(self) -> int:
        """Ask the broker how many messages wait in the queue."""
        ...

    async def count_elsewhere(self) -> int:
        """Ask another node of the cluster how many messages wait; 0 if there is no other node."""
        ...

    def resubscribe(self, why: str) -> None:
        """Subscribe again, on another channel."""
        ...

    def reconnect(self, why: str) -> None:
        """Cut the connection, so that another one is made."""
        ...


class ProgressWatch:
    """Asks the broker whether messages wait when a consumer gets none for a while.

    If messages wait and still none arrives, the watch has the consumer subscribe again. If that does not
    help, it gives the connection up. It repeats both steps in turn, at growing intervals.

    A node that is cut off from its cluster may still answer, and not know that messages wait. So the watch
    asks another node, too, if there is one.

    Args:
        consumer: The consumer to watch.
        interval: Seconds without a delivery after which to ask.
    """

    def __init__(self, consumer: Watched, interval: float) -> None:
        self._consumer = consumer
        self._interval = interval
        self._seen = consumer.deliveries
        self._suspicion = 0
        self._is_separated = False

    @property
    def stalled(self) -> bool:
        """Whether messages wait and none arrives."""
        return self._suspicion > 1

    async def run(self) -> None:
        """Watch until cancelled, or until the broker refuses to answer."""
        while True:
            await asyncio.sleep(self._pause())
            try:
                deaf = await self._look()
            except ChannelClosed as error:
                _log.info("The broker does not tell whether messages wait, so nobody watches them: %s", error)
                return
            if deaf:
                self._suspicion += 1
                self._help()
            elif deaf is False:
                self._suspicion = 0

    def _pause(self) -> float:
        if not self._suspicion:
            return self._interval
        # The first steps follow each other quickly.
        return min(self._interval * _SOON * 2.0 ** max(0, self._suspicion - 3), _PATIENCE_MAX)

    async def _look(self) -> bool | None:
        """Return whether the consumer is deaf; ``None`` if that cannot be found out now."""
        consumer = self._consumer
        self._is_separated = False
        if self._has_progressed() or consumer.unsettled:
            return False
        if not consumer.connected:
            return None
        try:
            waiting = await consumer.count_waiting()
            self._is_separated = not waiting and await consumer.count_elsewhere() > 0
        except BadDeclaration as error:
            if isinstance(error.reason, ChannelClosed) and error.reason.reply_code == ACCESS_REFUSED:
                raise error.reason from error
            waiting = 1  # the queue is gone, and the broker has not told us
        except (ConnectionException, NoFreeChannels):
            return None
        # The answer came after any delivery that the broker had sent before it.
        return (waiting > 0 or self._is_separated) and not self._has_progressed()

    def _has_progressed(self) -> bool:
        seen, self._seen = self._seen, self._consumer.deliveries
        return seen != self._seen

    def _help(self) -> None:
        if self._suspicion == 1:
            return  # the messages may have entered the queue at this very moment
        if self._is_separated:
            # Subscribing again over this connection would take a minute and then fail.
            self._consumer.reconnect("another node says that messages wait in the queue, and none arrives")
        elif self._suspicion % 2 == 0:
            self._consumer.resubscribe("messages wait in the queue, and none arrives")
        else:
            self._consumer.reconnect("messages wait in the queue, and to subscribe again has not helped")
