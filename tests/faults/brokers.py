"""The brokers that are broken, each behind the same small interface."""

from __future__ import annotations

import math
import signal
from typing import TYPE_CHECKING, Final, Protocol, Self

from tests.faults.children import Child, HarnessError, wait_until
from tests.support.processes import FEDORA_MESSAGING, environment
from tests.support.rabbitmq import PAUSE_MINORITY, RabbitCluster, RabbitNode, free_ports

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_PATIENCE: Final = 60.0
#: What is on its way from one quorum queue to another is in no column.
_DISCARDED: Final = """
[{Name, maps:with([num_discarded, num_discard_checked_out], Machine)}
 || Q <- rabbit_amqqueue:list(), {resource, _, queue, Name} <- [amqqueue:get_name(Q)],
    amqqueue:get_type(Q) =:= rabbit_quorum_queue,
    {ok, {_, Machine}, _} <- [ra:local_query(amqqueue:get_pid(Q), fun rabbit_fifo:overview/1)]].
"""
_COLUMNS: Final = ("name", "messages_ready", "messages_unacknowledged", "consumers")


class Node(Protocol):
    """A process of a broker, whose port and data stay the same however it ends."""

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def kill(self) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Partition(Protocol):
    """What the network between the nodes of a broker may do."""

    def isolate(self, number: int, *, silently: bool) -> None:
        """Separate a node from all others; the nodes are told by their network, or are not."""

    def heal(self) -> None:
        """Connect all nodes again, and do what an operator has to do then."""


class Broker(Protocol):
    """A broker; a context manager that starts it, and ends all of it on leaving.

    Attributes:
        kind: Its name in reports.
        queue_arguments: What queues are declared with.
        longest_pause: Seconds for which a node may stall and go on as if nothing had been.
        close_connections: Has it close all connections, if it can be asked to.
        partition: Separates nodes from each other, if there is more than one.
        wants_queues_first: Whether a quorum queue has to be declared while all nodes are there.
    """

    @property
    def kind(self) -> str: ...

    @property
    def queue_arguments(self) -> Mapping[str, str]: ...

    @property
    def longest_pause(self) -> float: ...

    @property
    def close_connections(self) -> Callable[[], None] | None: ...

    @property
    def partition(self) -> Partition | None: ...

    @property
    def wants_queues_first(self) -> bool: ...

    @property
    def urls(self) -> Sequence[str]: ...

    @property
    def nodes(self) -> Sequence[Node]: ...

    def write_definitions(self) -> None:
        """Have what was declared survive the death of all nodes."""

    def await_whole(self) -> None:
        """Wait until all nodes, which run, work together."""

    def describe_queues(self) -> str:
        """What the broker knows about its queues, for people."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...


class EmbeddedBroker:
    """The command ``fedora-messaging broker`` with a data directory.

    Args:
        directory: For everything it writes.
        remembers: Whether it has a data directory. One without forgets everything when it ends: it shows that
            a test can fail.
    """

    kind = "embedded"
    queue_arguments: Mapping[str, str] = {}
    longest_pause = math.inf
    close_connections = None
    partition = None
    wants_queues_first = False

    def __init__(self, directory: Path, *, remembers: bool = True) -> None:
        self._directory = directory
        (self._port,) = free_ports(1)
        data = ["--data", str(directory / "data")] if remembers else []
        self._command = [str(FEDORA_MESSAGING), "broker", "--port", str(self._port), *data]
        self._child: Child | None = None

    @property
    def urls(self) -> Sequence[str]:
        return [f"amqp://guest:guest@127.0.0.1:{self._port}/%2F"]

    @property
    def nodes(self) -> Sequence[Node]:
        return [self]

    def start(self) -> None:
        """Start it and wait until it is ready.

        Raises:
            HarnessError: It does not start.
        """
        self._directory.mkdir(exist_ok=True)
        self._child = child = Child(
            self._command,
            directory=self._directory,
            environment=environment(),
            output=self._directory / "broker.out",
        )
        wait_until(lambda: child.has_said("AMQP ready") or child.status is not None, _PATIENCE)
        if child.status is not None or not child.has_said("AMQP ready"):
            raise HarnessError(f"the broker does not start\n{child.last_words()}")

    def stop(self) -> None:
        """End it in good order.

        Raises:
            HarnessError: It does not end so.
        """
        child = self._running()
        status = child.end(_PATIENCE)
        child.kill()
        if status != 0:
            raise HarnessError(f"the broker ended with status {status} after SIGTERM\n{child.last_words()}")

    def kill(self) -> None:
        """End it by SIGKILL.

        Raises:
            HarnessError: It has ended by itself.
        """
        self._running().kill()

    def pause(self) -> None:
        self._running().signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._running().signal(signal.SIGCONT)

    def _running(self) -> Child:
        assert self._child is not None
        if self._child.status is not None:
            raise HarnessError(
                f"the broker ended by itself with status {self._child.status}\n{self._child.last_words()}"
            )
        return self._child

    def write_definitions(self) -> None:
        """It has written them before it answered."""

    def await_whole(self) -> None:
        """Raises HarnessError if it has ended by itself; else there is nothing to wait for."""
        self._running()

    def describe_queues(self) -> str:
        return ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._child is not None:
            self._child.kill()


class SingleRabbit:
    """One RabbitMQ node."""

    kind = "rabbitmq"
    queue_arguments: Mapping[str, str] = {}
    longest_pause = math.inf
    partition = None
    wants_queues_first = False

    def __init__(self, directory: Path) -> None:
        self._node = RabbitNode(directory, name="fm-faults")

    @property
    def urls(self) -> Sequence[str]:
        return [self._node.url]

    @property
    def nodes(self) -> Sequence[Node]:
        return [self._node]

    def close_connections(self) -> None:
        """Close all, as an administrator may."""
        self._node.ctl("close_all_connections", "a test")

    def write_definitions(self) -> None:
        self._node.write_definitions()

    def await_whole(self) -> None:
        pass

    def describe_queues(self) -> str:
        return self._node.ctl("list_queues", *_COLUMNS)

    def __enter__(self) -> Self:
        self._node.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._node.__exit__(*exception)


class Cluster:
    """Three RabbitMQ nodes with quorum queues; a node that is alone stops, if the release knows how to."""

    kind = "cluster"
    queue_arguments: Mapping[str, str] = {"x-queue-type": "quorum"}
    # After six seconds the others begin to give it up; it does not always join them again by itself.
    longest_pause = 5.0
    _partition_handling = PAUSE_MINORITY

    def __init__(self, directory: Path) -> None:
        self._cluster = RabbitCluster(directory, partition_handling=self._partition_handling)

    @property
    def wants_queues_first(self) -> bool:
        """Whether the release is older than RabbitMQ 4.0.

        In RabbitMQ 3.10 a node that was away when a quorum queue was declared starts its copy later in
        another way. When that copy leads, the dead letters of the queue, and so the messages in a delay
        queue, stay where they are until another copy leads.
        """
        return self._cluster.version < (4, 0)

    @property
    def partition(self) -> Partition:
        return self

    def isolate(self, number: int, *, silently: bool) -> None:
        """Separate a node from all others."""
        self._cluster.isolate(self._cluster.nodes[number], silently=silently)

    def heal(self) -> None:
        """Connect all nodes again; one that has gone on alone is restarted if it has to be."""
        self._cluster.heal()

    @property
    def urls(self) -> Sequence[str]:
        return self._cluster.urls

    @property
    def nodes(self) -> Sequence[Node]:
        return self._cluster.nodes

    def close_connections(self) -> None:
        """Close all, as an administrator may."""
        self._cluster.ctl("close_all_connections", "a test")

    def write_definitions(self) -> None:
        for node in self._cluster.nodes:
            node.write_definitions()

    def await_whole(self) -> None:
        self._cluster.await_whole()

    def describe_queues(self) -> str:
        return self._cluster.ctl("list_queues", *_COLUMNS) + self._cluster.ctl("eval", _DISCARDED)

    def __enter__(self) -> Self:
        self._cluster.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._cluster.__exit__(*exception)


class IgnoringCluster(Cluster):
    """The same, with nodes that always go on."""

    kind = "cluster-ignore"
    _partition_handling = "ignore"


#: By the names that the command line knows.
BROKERS: Final[dict[str, Callable[[Path], Broker]]] = {
    kind.kind: kind for kind in (EmbeddedBroker, SingleRabbit, Cluster, IgnoringCluster)
}
