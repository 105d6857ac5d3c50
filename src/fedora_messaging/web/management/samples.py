"""Samples: what totals were in the last ten minutes, for plots.

Every five seconds the sampler looks at the objects of the broker, and records those that have changed.
"""

import asyncio
import math
from array import array
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from weakref import WeakKeyDictionary

from ...broker.core.counters import Counters
from .errors import bad_request
from .statistics import messages, totals_of

if TYPE_CHECKING:
    from ...broker.channel import BrokerChannel
    from ...broker.core.exchanges import Exchange
    from ...broker.core.queue import Queue
    from ...broker.server import Server

#: Seconds between two samples.
STEP: Final = 5
#: Seconds for which records are kept.
KEPT: Final = 600
#: Objects with a history: if all of them change all the time, histories take 17 MB.
MOST_HISTORIES: Final = 500
#: Samples that a client may ask for, less one, as in RabbitMQ.
_MOST_SAMPLES: Final = 500
#: Objects that are looked at in one go; then the broker's clients have their turn.
_PORTION: Final = 500

_COUNTERS: Final = (
    *("publish", "confirm", "return_unroutable", "drop_unroutable", "ack", "deliver"),
    *("deliver_no_ack", "get", "get_empty", "get_no_ack", "redeliver"),
)
_QUEUE_NAMES: Final = ("messages", "messages_ready", "messages_unacknowledged", "deliver_get", *_COUNTERS)
_EXCHANGE_NAMES: Final = ("publish_in", "publish_out", "unroutable")


class Range(NamedTuple):
    """Which samples a client asks for.

    Attributes:
        age: Seconds from the newest to the oldest one.
        step: Seconds between two.
    """

    age: int
    step: int


def range_of(query: Mapping[str, str], group: str) -> Range | None:
    """Return which samples of a group of totals a client asks for.

    Args:
        query: Parameters of the request.
        group: ``lengths`` or ``msg_rates``.

    Returns:
        ``None`` without both parameters of the group, or if they are no integers.

    Raises:
        RequestError: 400 for a range that makes no sense, or has too many samples.
    """
    try:
        age, step = int(query[f"{group}_age"]), int(query[f"{group}_incr"])
    except (KeyError, ValueError):
        return None
    if age <= 0 or step <= 0 or age // step > _MOST_SAMPLES:
        raise bad_request(f"Invalid range parameters: age {age}, incr {step}")
    return Range(age, step)


class _History:
    """The totals of one object: a record for each time at which they had changed.

    Attributes:
        names: Names of the totals.
        begin: Time from which the totals are known; ``None`` if they were all 0 before the first record.
        looked_at: When a client has last asked for this object.
    """

    __slots__ = ("_records", "begin", "looked_at", "names")

    def __init__(self, names: tuple[str, ...], begin: int | None) -> None:
        self.names = names
        self.begin = begin
        self.looked_at = 0.0
        self._records: deque[tuple[int, array[int]]] = deque()

    def add(self, at: int, values: Sequence[int]) -> None:
        """Record the totals, unless they have not changed."""
        records = self._records
        found = array("q", values)
        if records and records[-1][1] == found:
            return
        records.append((at, found))
        # The last record before the time that is kept tells what the totals were when that began.
        while len(records) > 1 and records[1][0] <= at - KEPT:
            records.popleft()
            self.begin = records[0][0]

    def at_times(self, times: Sequence[int]) -> list[dict[str, int] | None]:
        """Return what the totals were at these times, newest first; ``None`` where that is not known."""
        found: list[dict[str, int] | None] = []
        records = iter(reversed(self._records))
        record = next(records, None)
        for time in times:
            while record is not None and record[0] > time:
                record = next(records, None)
            if record is not None:
                found.append(dict(zip(self.names, record[1], strict=True)))
            else:
                found.append({} if self.begin is None else None)
        return found


class Samples:
    """Keeps samples of the virtual hosts, exchanges and queues of a broker, and since when channels are idle.

    An object whose totals are 0 costs nothing. If more objects change than there may be histories, those have
    one that came first or that clients ask for.

    Args:
        server: The broker.
    """

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._clock = server.clock
        self._histories: WeakKeyDictionary[Any, _History] = WeakKeyDictionary()
        #: The counters of channels, and when they were first seen to be so.
        self._uses: WeakKeyDictionary[BrokerChannel, tuple[tuple[int, ...], int]] = WeakKeyDictionary()
        #: Whether the totals of objects without a history were 0 when the sampler last looked.
        self._rest_is_zero = False

    async def run(self) -> None:
        """Take samples until cancelled."""
        while True:
            for _ in self._look(self._newest()):
                await asyncio.sleep(0)
            # At whole multiples of the interval, as the timestamps of the samples are.
            await asyncio.sleep(STEP - self._clock() % STEP)

    def take(self) -> None:
        """Take a sample of all objects now."""
        for _ in self._look(self._newest()):
            pass

    def looked_at(self, source: "Queue | Exchange") -> None:
        """Keep samples of an object that a client has asked for."""
        history = self._histories.get(source)
        if history is None:
            if len(self._histories) >= MOST_HISTORIES:
                oldest = min(self._histories.items(), key=lambda item: item[1].looked_at)
                del self._histories[oldest[0]]
                self._rest_is_zero = False
            names, values = _read(source)
            if not any(values) and self._rest_is_zero:
                return
            now = self._newest()
            history = self._histories[source] = _History(names, None if self._rest_is_zero else now)
            history.add(now, values)
        history.looked_at = self._clock()

    def at_times(self, sources: Sequence[Any], times: Sequence[int]) -> list[dict[str, int] | None]:
        """Return what the sums of the totals of objects were at these times.

        Args:
            sources: The objects.
            times: Seconds since 1970, newest first.

        Returns:
            For each time the totals by name; those that are missing were 0. ``None`` if they are not known.
        """
        if len(sources) == 1:
            return self._of_one(sources[0], times)
        each = [self._of_one(source, times) for source in sources]
        return [_sum(totals) for totals in zip(*each, strict=True)] if each else [{} for _ in times]

    def idle_since(self, channel: "BrokerChannel") -> int | None:
        """Return since when a channel has not moved messages, within the interval of samples.

        Returns:
            Seconds since 1970; ``None`` if it was busy when the sampler last looked, or is too new.
        """
        values, at = self._uses.get(channel, ((), 0))
        is_idle = values == _of_counters(channel.counters) and self._clock() - at >= 2 * STEP
        return at if is_idle else None

    def _of_one(self, source: Any, times: Sequence[int]) -> list[dict[str, int] | None]:
        history = self._histories.get(source)
        if history is not None:
            return history.at_times(times)
        return [{} if self._rest_is_zero else None for _ in times]

    def _newest(self) -> int:
        # A timer may end a little too early.
        return math.floor((self._clock() + 0.1) / STEP) * STEP

    def _look(self, now: int) -> Iterator[None]:
        """Look at all objects; pauses after each portion of them."""
        left_out = 0
        for vhost in list(self._server.vhosts.values()):
            left_out += not self._note(vhost, now, _QUEUE_NAMES, _of_vhost(self._server, vhost))
            objects: list[Queue | Exchange] = [*vhost.exchanges.values(), *vhost.queues.values()]
            for begin in range(0, len(objects), _PORTION):
                for source in objects[begin : begin + _PORTION]:
                    left_out += not self._note(source, now, *_read(source))
                yield
        self._rest_is_zero = not left_out
        for session in list(self._server.sessions):
            for channel in session.channels.values():
                used = _of_counters(channel.counters)
                if self._uses.get(channel, ((), 0))[0] != used:
                    self._uses[channel] = used, now

    def _note(self, source: Any, now: int, names: tuple[str, ...], values: Sequence[int]) -> bool:
        """Record the totals of an object; returns whether they are known from now on."""
        history = self._histories.get(source)
        if history is None:
            if not any(values):
                return True
            if len(self._histories) >= MOST_HISTORIES:
                return False
            history = self._histories[source] = _History(names, None if self._rest_is_zero else now)
        history.add(now, values)
        return True


def _sum(all_totals: Sequence[dict[str, int] | None]) -> dict[str, int] | None:
    found: dict[str, int] = {}
    for totals in all_totals:
        if totals is None:
            return None
        for name, total in totals.items():
            found[name] = found.get(name, 0) + total
    return found


def _of_counters(counters: Counters) -> tuple[int, ...]:
    sent = counters.deliver + counters.deliver_no_ack + counters.get + counters.get_no_ack
    return (
        *(sent, counters.publish, counters.confirm, counters.return_unroutable, counters.drop_unroutable),
        *(counters.ack, counters.deliver, counters.deliver_no_ack, counters.get, counters.get_empty),
        *(counters.get_no_ack, counters.redeliver),
    )


def _of_vhost(server: "Server", vhost: Any) -> tuple[int, ...]:
    return (*messages(vhost.queues.values()).values(), *_of_counters(totals_of(server, vhost)))


def _read(source: Any) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return the names of the totals of a queue or exchange, and the totals."""
    if hasattr(source, "publish_in"):
        return _EXCHANGE_NAMES, (source.publish_in, source.publish_out, source.unroutable)
    ready, unacked = len(source), source.unacked
    return _QUEUE_NAMES, (ready + unacked, ready, unacked, *_of_counters(source.counters))
