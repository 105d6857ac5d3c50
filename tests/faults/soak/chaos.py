"""What breaks, and when: faults at random times, the same ones for the same seed."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from tests.faults.children import wait_until
from tests.faults.soak.network import heal
from tests.support.proxy import DOWN, UP, Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from tests.faults.brokers import Broker, Node, Partition
    from tests.faults.soak.network import Network
    from tests.faults.soak.workers import Worker, Workforce

BROKER_KILLED: Final = "broker killed"
BROKER_RESTARTED: Final = "broker restarted"
BROKER_PAUSED: Final = "broker paused"
NODE_ISOLATED: Final = "node isolated"
NODE_ISOLATED_SILENTLY: Final = "node isolated silently"
CONNECTIONS_CLOSED: Final = "connections closed by the broker"
CONNECTIONS_CUT: Final = "connections cut"
CONNECTIONS_CUT_MIDWAY: Final = "connections cut midway"
CONNECTIONS_STALLED: Final = "connections stalled"
ALL_STALLED: Final = "old and new connections stalled"
CONNECTIONS_REFUSED: Final = "connections cut and refused"
PUBLISHER_KILLED: Final = "publisher killed"
PUBLISHER_STOPPED: Final = "publisher stopped"
CONSUMER_KILLED: Final = "consumer killed"
CONSUMER_STOPPED: Final = "consumer stopped"
WORKER_PAUSED: Final = "worker paused"


class _Kind(NamedTuple):
    """How often a kind of fault comes, compared with others, and how many seconds it lasts."""

    weight: int
    shortest: float
    longest: float


_KINDS: Final = {
    BROKER_KILLED: _Kind(4, 0.0, 6.0),
    BROKER_RESTARTED: _Kind(1, 0.0, 3.0),
    BROKER_PAUSED: _Kind(2, 1.0, 14.0),
    NODE_ISOLATED: _Kind(3, 1.0, 14.0),
    NODE_ISOLATED_SILENTLY: _Kind(2, 1.0, 14.0),
    CONNECTIONS_CLOSED: _Kind(2, 0.0, 0.0),
    CONNECTIONS_CUT: _Kind(4, 0.0, 0.0),
    CONNECTIONS_CUT_MIDWAY: _Kind(4, 0.0, 0.0),
    CONNECTIONS_STALLED: _Kind(3, 1.0, 14.0),
    ALL_STALLED: _Kind(1, 1.0, 14.0),
    CONNECTIONS_REFUSED: _Kind(2, 1.0, 8.0),
    PUBLISHER_KILLED: _Kind(2, 0.0, 3.0),
    PUBLISHER_STOPPED: _Kind(1, 0.0, 2.0),
    CONSUMER_KILLED: _Kind(4, 0.0, 5.0),
    CONSUMER_STOPPED: _Kind(3, 0.0, 3.0),
    WORKER_PAUSED: _Kind(3, 1.0, 14.0),
}
KINDS: Final = tuple(_KINDS)

_SHORTEST_GAP: Final = 0.5
_LONGEST_GAP: Final = 7.0
#: More make a place where nothing works, which tests nothing.
_AT_ONCE: Final = 3
_MIDWAY: Final = 20_000
_SET_UP: Final = 30.0


class Fault(NamedTuple):
    """Something that breaks.

    Attributes:
        at: When, in seconds from the beginning.
        kind: One of the constants above.
        choice: A number that chooses among what can break so.
        seconds: How long.
    """

    at: float
    kind: str
    choice: int
    seconds: float


def schedule(seed: int, seconds: float, kinds: Collection[str] = KINDS) -> Iterator[Fault]:
    """Give faults of these kinds at random times until the end."""
    random = Random(seed)
    possible = [kind for kind in KINDS if kind in kinds]
    weights = [_KINDS[kind].weight for kind in possible]
    at = random.uniform(_SHORTEST_GAP, _LONGEST_GAP)
    while at < seconds:
        (kind,) = random.choices(possible, weights)
        _, shortest, longest = _KINDS[kind]
        yield Fault(at, kind, random.randrange(2**16), random.uniform(shortest, longest))
        at += random.uniform(_SHORTEST_GAP, _LONGEST_GAP)


@dataclass(frozen=True)
class _Target:
    """Something that can break, one fault at a time.

    Attributes:
        it: What the fault is done to.
        lock: Held while it is broken.
    """

    name: str
    it: Any
    lock: threading.Lock


class Chaos:
    """Breaks things, and mends them after a while; a context manager that mends all on leaving.

    Args:
        broker: Of a cluster one node is broken at a time, so that a majority is left.
        network: Its proxies.
        workers: Those that are killed, stopped and paused.
        say: Takes a line for each fault.

    Attributes:
        counts: How many faults of each kind there were.
    """

    def __init__(
        self, broker: Broker, network: Network, workers: Workforce, say: Callable[[str], None]
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._broker = broker
        self._say = say
        self._begin = time.monotonic()
        self._calm = threading.Event()
        self._pool = ThreadPoolExecutor(_AT_ONCE, "chaos")
        self._going_on: set[Future[None]] = set()
        self._table = self._actions(network, workers)

    def _actions(
        self, network: Network, workers: Workforce
    ) -> dict[str, tuple[list[_Target], Callable[[Any, Fault], None]]]:
        of_broker = threading.Lock()
        nodes = [_Target(f"node {n}", node, of_broker) for n, node in enumerate(self._broker.nodes, 1)]
        lines = _lines(network, threading.Lock())
        publishers = [_Target(one.name, one, one.lock) for one in workers.publishers]
        consumers = [_Target(one.name, one, one.lock) for one in workers.consumers]
        table: dict[str, tuple[list[_Target], Callable[[Any, Fault], None]]] = {
            BROKER_KILLED: (nodes, self._kill_node),
            BROKER_RESTARTED: (nodes, self._stop_node),
            BROKER_PAUSED: (nodes, self._pause_node),
            # Cutting takes no time, so that it may also happen to a line that is stalled.
            CONNECTIONS_CUT: (_lines(network, threading.Lock()), self._cut),
            CONNECTIONS_CUT_MIDWAY: (_lines(network, threading.Lock()), self._cut_midway),
            CONNECTIONS_STALLED: (lines, self._stall),
            ALL_STALLED: (lines, self._stall_all),
            CONNECTIONS_REFUSED: (lines, self._refuse),
            PUBLISHER_KILLED: (publishers, self._kill_worker),
            PUBLISHER_STOPPED: (publishers, self._stop_worker),
            CONSUMER_KILLED: (consumers, self._kill_worker),
            CONSUMER_STOPPED: (consumers, self._stop_worker),
            WORKER_PAUSED: (publishers + consumers, self._pause_worker),
        }
        if close_connections := self._broker.close_connections:
            whole = [_Target("broker", close_connections, of_broker)]
            table[CONNECTIONS_CLOSED] = (whole, lambda close, _fault: close())
        if partition := self._broker.partition:
            sides = [_Target(node.name, number, of_broker) for number, node in enumerate(nodes)]
            table[NODE_ISOLATED] = (sides, partial(self._isolate, partition))
            table[NODE_ISOLATED_SILENTLY] = (sides, partial(self._isolate_silently, partition))
        return table

    @property
    def kinds(self) -> Collection[str]:
        """What can happen to this broker."""
        return self._table.keys()

    def inflict(self, fault: Fault) -> None:
        """Break something, unless it is broken, or too much is; raises what :meth:`check` does."""
        self.check()
        targets, act = self._table[fault.kind]
        target = targets[fault.choice % len(targets)]
        self._going_on = {future for future in self._going_on if not future.done()}
        if len(self._going_on) >= _AT_ONCE or not target.lock.acquire(blocking=False):
            return
        self.counts[fault.kind] += 1
        self._note(f"{fault.kind}: {target.name}, {fault.seconds:.1f} s")
        self._going_on.add(self._pool.submit(self._break, target, act, fault))

    def _break(self, target: _Target, act: Callable[[Any, Fault], None], fault: Fault) -> None:
        try:
            act(target.it, fault)
        finally:
            target.lock.release()
        if fault.seconds:
            self._note(f"over: {fault.kind}: {target.name}")

    def _note(self, text: str) -> None:
        self._say(f"{time.time():.3f} +{time.monotonic() - self._begin:.1f} {text}")

    def check(self) -> None:
        """Raise what a fault has failed with, if one has: something could not be mended."""
        for future in self._going_on:
            if future.done():
                future.result()

    def calm(self) -> None:
        """Mend everything, and raise what fails."""
        self._calm.set()
        for future in self._going_on:
            future.result()

    def __enter__(self) -> Self:
        self._begin = time.monotonic()
        return self

    def __exit__(self, *exception: object) -> None:
        self._calm.set()
        self._pool.shutdown()

    def _rest(self, seconds: float) -> None:
        self._calm.wait(seconds)

    # What can happen, each in a thread of its own

    def _kill_node(self, node: Node, fault: Fault) -> None:
        node.kill()
        self._rest(fault.seconds)
        node.start()
        self._broker.await_whole()

    def _stop_node(self, node: Node, fault: Fault) -> None:
        node.stop()
        self._rest(fault.seconds)
        node.start()
        self._broker.await_whole()

    def _pause_node(self, node: Node, fault: Fault) -> None:
        node.pause()
        self._rest(min(fault.seconds, self._broker.longest_pause))
        node.resume()
        self._broker.await_whole()

    def _isolate(self, partition: Partition, number: int, fault: Fault) -> None:
        partition.isolate(number, silently=False)
        self._rest(fault.seconds)
        partition.heal()
        self._broker.await_whole()

    def _isolate_silently(self, partition: Partition, number: int, fault: Fault) -> None:
        partition.isolate(number, silently=True)
        # For the others this is like a pause.
        self._rest(min(fault.seconds, self._broker.longest_pause))
        partition.heal()
        self._broker.await_whole()

    def _cut(self, proxies: Sequence[Proxy], _fault: Fault) -> None:
        for proxy in proxies:
            proxy.cut()

    def _cut_midway(self, proxies: Sequence[Proxy], fault: Fault) -> None:
        for proxy in proxies:
            proxy.cut_after(fault.choice % _MIDWAY, UP if fault.choice & 2**15 else DOWN)

    def _stall(self, proxies: Sequence[Proxy], fault: Fault) -> None:
        for proxy in proxies:
            proxy.stall()
        self._rest(fault.seconds)
        heal(proxies)

    def _stall_all(self, proxies: Sequence[Proxy], fault: Fault) -> None:
        for proxy in proxies:
            proxy.stall(new=True)
        self._rest(fault.seconds)
        heal(proxies)

    def _refuse(self, proxies: Sequence[Proxy], fault: Fault) -> None:
        for proxy in proxies:
            proxy.refuse()
            proxy.cut()
        self._rest(fault.seconds)
        heal(proxies)

    def _kill_worker(self, worker: Worker, fault: Fault) -> None:
        worker.kill()
        self._rest(fault.seconds)
        worker.start()

    def _stop_worker(self, worker: Worker, fault: Fault) -> None:
        # While it sets itself up the signal may end it at once, and that is no fault of its own.
        if wait_until(lambda: worker.is_ready or self._calm.is_set(), _SET_UP) and worker.is_ready:
            worker.stop()
            self._rest(fault.seconds)
            worker.start()

    def _pause_worker(self, worker: Worker, fault: Fault) -> None:
        worker.pause()
        self._rest(fault.seconds)
        worker.resume()


def _lines(network: Network, lock: threading.Lock) -> list[_Target]:
    """Each proxy, and all together."""
    single = [_Target(f"line {n}", [proxy], lock) for n, proxy in enumerate(network.proxies, 1)]
    if len(single) == 1:
        return single
    return [*single, _Target("all lines", network.proxies, lock)]
