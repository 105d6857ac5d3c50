"""Nodes of a RabbitMQ cluster die, stall and come back, and the client goes on (P02, P03, P07, P14)."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest
from pika.exceptions import AMQPConnectionError, NackError
from tests.client.support import AioConsuming, Consuming, message, plan
from tests.support.admin import Admin, Names
from tests.support.waiting import WAIT, eventually

from fedora_messaging import aio, api
from fedora_messaging.exceptions import (
    ConnectionException,
    ConsumerCanceled,
    Nack,
    PublishReturned,
    PublishTimeout,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.rabbitmq import RabbitCluster, RabbitNode

    from fedora_messaging.config import LazyConfig
    from fedora_messaging.message import Message

# The first test starts the cluster, and all wait for nodes that start.
pytestmark = pytest.mark.timeout(300)

QUORUM: Final = {"x-queue-type": "quorum"}
#: Seconds within which a client goes on that was without a broker, because it dials ever more seldom.
RECOVERY: Final = 4 * WAIT
#: Seconds between two messages of one publisher, so that a small machine has time for its nodes.
PACE: Final = 0.02

#: From this release on, a queue that loses a consumer's node waits before it hands out again what the
#: consumer has not settled.
WAITS_FOR_CONSUMERS: Final = (4, 3)

leads = pytest.mark.parametrize("leads", [True, False], ids=["leader", "follower"])


@pytest.fixture
def names(cluster: RabbitCluster) -> Iterator[Names]:
    """Makes names of queues, which are deleted when the cluster can do that again."""
    made = Names(cluster.urls[0])
    yield made
    cluster.repair()
    made.delete_all()


@pytest.fixture
def service(cluster: RabbitCluster, settings: LazyConfig) -> Iterator[None]:
    """`api` is set up for all nodes, and closed afterwards."""
    settings["amqp_url"] = cluster.urls
    yield
    api.close()


class Worker:
    """A callback that can be made to wait, and watches that it is called one by one."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.ended: list[int] = []
        self.at_once = 0
        self.released = threading.Event()
        self.released.set()

    def __call__(self, received: Message) -> None:
        self.at_once = max(self.at_once, len(self.begun) - len(self.ended) + 1)
        self.begun.append(received.body["number"])
        self.released.wait(RECOVERY)
        self.ended.append(received.body["number"])

    def await_done(self, *which: int) -> None:
        """Wait until these are done; one whose acknowledgement was lost is done again."""
        eventually(lambda: {*which} <= {*self.ended}, RECOVERY)


def used_node(cluster: RabbitCluster) -> RabbitNode:
    """Connect the process, if need be, and tell to which node."""
    api.publish(message("nowhere"))
    port = api._twisted_service._supervisor.nodes.present.port
    return next(node for node in cluster.nodes if node.port == port)


def others(cluster: RabbitCluster, node: RabbitNode) -> list[RabbitNode]:
    """All nodes but one."""
    return [other for other in cluster.nodes if other is not node]


@contextmanager
def at(node: RabbitNode) -> Iterator[Admin]:
    """An independent client of a node."""
    made = Admin(node.url)
    try:
        yield made
    finally:
        made.close()


def leader(cluster: RabbitCluster, queue: str) -> RabbitNode:
    """The node that leads a quorum queue, or that led it, as long as nobody else does."""
    listed = cluster.ctl("list_queues", "--no-table-headers", "name", "leader").splitlines()
    nodename = dict(line.split("\t") for line in listed)[queue]
    return next(node for node in cluster.nodes if node.nodename == nodename)


def declare(cluster: RabbitCluster, name: str, node: RabbitNode) -> None:
    """Make a quorum queue that is led by a node."""
    with at(node) as admin:
        admin.declare(name, **QUORUM)
    assert leader(cluster, name) is node
    # RabbitMQ 3.10 writes late which logs are whose: a node that is killed before, forgets all of its log.
    cluster.ctl("eval", "rpc:multicall(dets, sync, [ra_directory_reverse]).")


def consumers(cluster: RabbitCluster, queue: str) -> int:
    """How many consumers a queue has; not counted are those whose node is away, and perhaps comes back."""
    listed = cluster.ctl("list_consumers", "--no-table-headers", "queue_name", "active")
    return [line.split() for line in listed.splitlines()].count([queue, "true"])


@contextmanager
def consuming(cluster: RabbitCluster, worker: Worker, arguments: dict[str, Any]) -> Iterator[None]:
    """Consume a queue; at the end it has this consumer and no other, and all its messages are settled."""
    (queue,) = arguments["queues"]
    with Consuming(worker, **arguments) as run_:
        eventually(lambda: consumers(cluster, queue) == 1)
        yield
        eventually(lambda: consumers(cluster, queue) == 1, RECOVERY)
        assert run_.is_alive
        assert worker.at_once == 1
    with at(cluster.ready_node()) as admin:
        eventually(lambda: admin.ready(queue) == 0)


def publish(name: str, number: int) -> None:
    """Publish to a quorum queue by `api`."""

    def is_confirmed() -> bool:
        try:
            api.publish(message(name, number), timeout=RECOVERY)
        except PublishReturned:
            return False  # no leader yet
        return True

    eventually(is_confirmed, RECOVERY)


def publish_by(admin: Admin, name: str, number: int) -> None:
    """Publish to a quorum queue by an independent client."""

    def is_confirmed() -> bool:
        try:
            admin.channel.basic_publish("amq.topic", f"{name}.test", f'{{"number": {number}}}'.encode())
        except NackError:
            # RabbitMQ 3.10 refuses what a channel has for a queue whose leader has died, if that is its first
            # message for it, and all others until that node is back. Another channel finds the next leader.
            admin.channel.close()
            return False
        except AMQPConnectionError:
            # A node that wakes up to a network that was away may stop for a moment; then this connects anew.
            return False
        return True

    eventually(is_confirmed, RECOVERY)


def reconnects() -> int:
    """How often the process has replaced a connection, with all consumers on it."""
    count: int = api._twisted_service.snapshot().reconnects
    return count


# A node is killed


# The first one: RabbitMQ takes longest to create the first queue of that kind.
def test_p07_consumers_on_all_nodes_begin_to_retry(
    cluster: RabbitCluster, names: Names, settings: LazyConfig
) -> None:
    """Whoever creates a delay queue is not the only one that wants to use it."""
    name = names()
    for milliseconds in (300, 270, 240, 210):
        names.keep(f"{name}.retry.{milliseconds}")
    settings["consumer"] = {"concurrency": 4, "retry": {"attempts": 3, "delay": 0.3}}
    seen: Counter[int] = Counter()

    def callback(received: Message) -> None:
        number = received.body["number"]
        seen[number] += 1
        if seen[number] == 1:
            raise Nack

    with at(cluster.nodes[0]) as admin, ExitStack() as stack:
        admin.declare(name, **QUORUM)
        for url in cluster.urls:
            stack.enter_context(AioConsuming(url, callback, **plan(name, **QUORUM)))
        eventually(lambda: admin.consumers(name) == len(cluster.urls))
        for number in range(40):
            admin.publish(name, message(name, number)._encoded_body)
        eventually(lambda: len(seen) == 40 and min(seen.values()) == 2)


@leads
def test_p02_node_is_killed_while_idle(cluster: RabbitCluster, service: None, name: str, leads: bool) -> None:
    """The one that is used, whether it leads the queue or not; the others have the next message."""
    worker = Worker()
    used = used_node(cluster)
    other, third = others(cluster, used)
    declare(cluster, name, used if leads else third)
    with at(other) as admin, consuming(cluster, worker, plan(name, **QUORUM)):
        publish_by(admin, name, 1)
        worker.await_done(1)
        used.kill()
        publish_by(admin, name, 2)
        worker.await_done(1, 2)
        eventually(lambda: consumers(cluster, name) == 1)
        used.start()
        cluster.await_whole()
        publish_by(admin, name, 3)
        worker.await_done(1, 2, 3)
        assert reconnects() == 1


def test_p02_leader_is_killed_while_another_node_is_used(
    cluster: RabbitCluster, service: None, name: str
) -> None:
    """The connection lasts, and the consumer is the next leader's."""
    worker = Worker()
    used = used_node(cluster)
    other, third = others(cluster, used)
    declare(cluster, name, third)
    with at(other) as admin, consuming(cluster, worker, plan(name, **QUORUM)):
        publish(name, 1)
        third.kill()
        api.publish(message(name, 2), timeout=RECOVERY)
        publish_by(admin, name, 3)
        worker.await_done(1, 2, 3)
        # Nodes that were told nothing judge by time who is away, on a busy machine also each other.
        assert silently or reconnects() == 0


@leads
def test_p03_node_is_killed_during_a_callback(
    cluster: RabbitCluster, service: None, name: str, leads: bool
) -> None:
    """One consumer afterwards; the message is done again, after the first time has ended."""
    worker = Worker()
    worker.released.clear()
    used = used_node(cluster)
    other, third = others(cluster, used)
    declare(cluster, name, used if leads else third)
    with at(other) as admin, consuming(cluster, worker, plan(name, **QUORUM)):
        publish_by(admin, name, 0)
        publish_by(admin, name, 1)
        eventually(lambda: worker.begun == [0])
        used.kill()
        # Subscribed again, and sent both messages again, while the first callback still runs.
        eventually(lambda: reconnects() == 1, RECOVERY)
        eventually(lambda: consumers(cluster, name) == 1 and admin.ready(name) == 0)
        assert worker.begun == [0]
        worker.released.set()
        publish_by(admin, name, 2)
        worker.await_done(0, 1, 2)
    if cluster.version < WAITS_FOR_CONSUMERS:
        assert worker.ended == [0, 0, 1, 2]
    else:
        # What the killed node had handed out comes late; the third message does not wait for it.
        assert worker.ended[0] == 0
        assert [number for number in worker.ended if number != 2] == [0, 0, 1]
        assert worker.ended.count(2) == 1


def test_p02_all_nodes_are_killed(cluster: RabbitCluster, service: None, name: str) -> None:
    """And come back: what was confirmed is there, publisher and consumer go on."""
    worker = Worker()
    declare(cluster, name, cluster.nodes[0])
    with consuming(cluster, worker, plan(name, **QUORUM)):
        worker.released.clear()
        for number in range(20):
            publish(name, number)
        for node in cluster.nodes:
            node.kill()
        worker.released.set()
        cluster.repair()
        publish(name, 20)
        worker.await_done(*range(21))


def test_p14_leader_is_killed_before_the_first_message(
    cluster: RabbitCluster, service: None, name: str
) -> None:
    """The publisher finds the next leader, though its channel does not, while that node is away."""
    used = used_node(cluster)
    other = others(cluster, used)[0]
    declare(cluster, name, other)
    other.kill()
    publish(name, 1)
    assert reconnects() == 0
    with at(used) as admin:
        eventually(lambda: admin.ready(name) == 1)


# All nodes are killed, one after the other


class Outcomes:
    """What became of messages.

    Attributes:
        confirmed: Those whose publish returned.
        refused: Those that a queue did not take.
        unknown: Those that nobody knows of.
    """

    def __init__(self, name: str) -> None:
        self.confirmed: set[int] = set()
        self.refused: set[int] = set()
        self.unknown: set[int] = set()
        self._name = name
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self.confirmed) + len(self.refused) + len(self.unknown)

    def __str__(self) -> str:
        return f"confirmed {len(self.confirmed)}, refused {len(self.refused)}, unknown {len(self.unknown)}"

    @contextmanager
    def next(self) -> Iterator[Message]:
        """A message to publish in the block."""
        number = next(self._numbers)
        try:
            yield message(self._name, number)
        except PublishReturned:
            self.refused.add(number)
        except (PublishTimeout, ConnectionException):
            self.unknown.add(number)
        else:
            self.confirmed.add(number)


def publish_by_api(outcomes: Outcomes, stop: threading.Event) -> None:
    while not stop.wait(PACE):
        with outcomes.next() as one:
            api.publish(one, timeout=WAIT)


def publish_by_aio(outcomes: Outcomes, stop: threading.Event) -> None:
    async def publish_on(bus: aio.Bus) -> None:
        while not stop.is_set():
            with outcomes.next() as one:
                await bus.publish(one, timeout=WAIT)
            await asyncio.sleep(PACE)

    async def main() -> None:
        async with aio.connect() as bus:
            await asyncio.gather(publish_on(bus), publish_on(bus))

    asyncio.run(main())


def drain(node: RabbitNode, queue: str) -> Counter[int]:
    """Empty a queue; returns how often each message was there."""
    with at(node) as admin:
        # Zero is also what a leader that is slow to answer is told to have.
        count = eventually(lambda: admin.ready(queue))
        deliveries = itertools.islice(admin.channel.consume(queue, auto_ack=True), count)
        return Counter(json.loads(body)["number"] for _, _, body in deliveries)


def test_p14_nodes_are_killed_one_after_the_other(
    cluster: RabbitCluster,
    service: None,
    name: str,
    names: Names,
) -> None:
    """While threads and tasks publish: what was confirmed is in one queue, and consumed from another."""
    worker = Worker()
    outcomes = Outcomes(name)
    kept = names("kept")
    declare(cluster, name, cluster.nodes[0])
    declare(cluster, kept, cluster.nodes[1])
    with at(cluster.nodes[0]) as admin:
        admin.channel.queue_bind(kept, "amq.topic", f"{name}.#")
    stop = threading.Event()
    with consuming(cluster, worker, plan(name, **QUORUM)), ThreadPoolExecutor(3) as pool:
        faces = (publish_by_api, publish_by_api, publish_by_aio)
        publishers = [pool.submit(face, outcomes, stop) for face in faces]
        try:
            for node in cluster.nodes:
                node.kill()
                enough = len(outcomes) + 100
                eventually(lambda: len(outcomes) > enough, RECOVERY)  # noqa: B023
                node.start()
                cluster.await_whole()
        finally:
            stop.set()
        for publisher in publishers:
            publisher.result()
        worker.await_done(*outcomes.confirmed)
    found = drain(cluster.nodes[0], kept)
    assert not outcomes.confirmed - {*found}
    assert not {*found} - outcomes.confirmed - outcomes.refused - outcomes.unknown
    print(f"{outcomes}; in the queue again {found.total() - len(found)}, ", end="")
    print(f"done again {len(worker.ended) - len({*worker.ended})}")


# Most nodes are away


@pytest.mark.parametrize("how", ["killed", "stalled"])
def test_p14_majority_is_lost(cluster: RabbitCluster, service: None, name: str, how: str) -> None:
    """A publish keeps its deadline; when the nodes are back, all goes on by itself."""
    worker = Worker()
    used = used_node(cluster)
    declare(cluster, name, used)
    with consuming(cluster, worker, plan(name, **QUORUM)):
        publish(name, 1)
        worker.await_done(1)
        for node in others(cluster, used):
            if how == "killed":
                node.kill()
            else:
                node.pause()
        began = time.monotonic()
        with pytest.raises(PublishTimeout):
            api.publish(message(name, 2), timeout=3)
        assert time.monotonic() - began < 3 + WAIT / 2
        cluster.repair()
        publish(name, 3)
        worker.await_done(1, 3)
    assert {*worker.ended} <= {1, 2, 3}


# A node stalls


def test_p02_node_stalls(cluster: RabbitCluster, service: None, settings: LazyConfig, name: str) -> None:
    """The client misses its heartbeats and moves on; no second consumer is left when the node goes on."""
    settings["amqp_url"] = [f"{url}?heartbeat=2" for url in cluster.urls]
    worker = Worker()
    used = used_node(cluster)
    other, third = others(cluster, used)
    declare(cluster, name, third)
    # It is bound; see the next test.
    arguments = {**plan(name, **QUORUM), "bindings": []}
    with at(other) as admin, consuming(cluster, worker, arguments):
        used.pause()
        eventually(reconnects, RECOVERY)
        # Until the broker notices, it sends as much as was asked for to the consumer that it thinks is there.
        prefetch = settings["qos"]["prefetch_count"]
        for number in range(3 * prefetch):
            publish_by(admin, name, number)
        eventually(lambda: len(worker.ended) >= 2 * prefetch, RECOVERY)
        used.resume()
        worker.await_done(*range(3 * prefetch))


@leads
def test_p02_node_stalls_for_which_the_others_wait(
    cluster: RabbitCluster, service: None, settings: LazyConfig, name: str, leads: bool
) -> None:
    """No queue can be bound, and none that it leads consumed, until it goes on or a minute is over."""
    settings["amqp_url"] = [f"{url}?heartbeat=2" for url in cluster.urls]
    worker = Worker()
    used = used_node(cluster)
    other, third = others(cluster, used)
    declare(cluster, name, used if leads else third)
    arguments = plan(name, **QUORUM)
    if leads:
        arguments["bindings"] = []
    with at(other) as admin, consuming(cluster, worker, arguments):
        used.pause()
        eventually(lambda: not api._twisted_service.snapshot().connected)
        used.resume()
        publish_by(admin, name, 1)
        worker.await_done(1)


# Operators


def test_p02_operator_closes_all_connections(cluster: RabbitCluster, service: None, name: str) -> None:
    worker = Worker()
    used = used_node(cluster)
    with consuming(cluster, worker, plan(name, **QUORUM)):
        publish(name, 1)
        worker.await_done(1)
        used.ctl("close_all_connections", "canary")
        eventually(lambda: reconnects() == 1, RECOVERY)
        publish(name, 2)
        worker.await_done(1, 2)


def test_p02_operator_maintains_each_node(cluster: RabbitCluster, service: None, name: str) -> None:
    """Stops the node that is used in good order, and starts it again."""
    worker = Worker()
    with consuming(cluster, worker, plan(name, **QUORUM)):
        for number in range(0, 6, 2):
            used = used_node(cluster)
            used.ctl("stop_app")
            publish(name, number)
            worker.await_done(number)
            used.ctl("start_app")
            cluster.await_whole()
            publish(name, number + 1)
            worker.await_done(number + 1)
        assert reconnects() == 3


# A classic queue lives on one node


def test_p02_home_of_a_classic_queue_is_killed(cluster: RabbitCluster, service: None, name: str) -> None:
    """The broker cancels the consumer, and consuming ends, as it did in version 3.9."""
    home, _ = others(cluster, used_node(cluster))
    with at(home) as admin:
        admin.declare(name)
    with Consuming(Worker(), **plan(name)) as run_:
        eventually(lambda: consumers(cluster, name) == 1)
        home.kill()
        assert isinstance(run_.ended(), ConsumerCanceled)


def test_p02_home_of_a_classic_queue_is_killed_and_was_used(
    cluster: RabbitCluster, service: None, name: str
) -> None:
    """Nobody is left to cancel the consumer, which goes on when the node is back."""
    worker = Worker()
    home = used_node(cluster)
    with consuming(cluster, worker, plan(name)):
        home.kill()
        home.start()
        api.publish(message(name, 1), timeout=RECOVERY)
        worker.await_done(1)


def test_p02_home_of_one_of_two_queues_is_killed(
    cluster: RabbitCluster, service: None, name: str, names: Names
) -> None:
    """While it is away, the other queue is consumed and messages are published."""
    worker = Worker()
    classic = names("classic")
    home = used_node(cluster)
    third = others(cluster, home)[0]
    declare(cluster, name, third)
    arguments = plan(classic, name)
    arguments["queues"][name]["arguments"] = QUORUM
    with Consuming(worker, **arguments) as run_:
        eventually(lambda: consumers(cluster, name) == consumers(cluster, classic) == 1)
        home.kill()
        publish(name, 1)
        worker.await_done(1)
        home.start()
        api.publish(message(classic, 2), timeout=RECOVERY)
        worker.await_done(1, 2)
        assert run_.is_alive


# A node is separated from the others

silently = pytest.mark.parametrize("silently", [False, True], ids=["noticed", "silent"])


@pytest.fixture
def parted_names(parting_cluster: RabbitCluster) -> Iterator[Names]:
    """Makes names of queues, which are deleted when the cluster can do that again."""
    made = Names(parting_cluster.urls[0])
    yield made
    parting_cluster.repair()
    made.delete_all()


@pytest.fixture
def parted_service(
    parting_cluster: RabbitCluster, settings: LazyConfig, parted_names: Names
) -> Iterator[None]:
    """`api` is set up for all nodes, and closed afterwards."""
    settings["amqp_url"] = parting_cluster.urls
    yield
    api.close()


@silently
@leads
def test_p14_publishers_on_both_sides(
    parting_cluster: RabbitCluster,
    settings: LazyConfig,
    parted_service: None,
    parted_names: Names,
    leads: bool,
    silently: bool,
) -> None:
    """A confirm is true on either side, so the smaller one gets none; the larger one goes on."""
    cluster, name = parting_cluster, parted_names()
    alone, other, third = cluster.nodes
    settings["amqp_url"] = [alone.url]
    declare(cluster, name, alone if leads else third)
    outcomes = Outcomes(name)

    def publish_some() -> None:
        for _ in range(3):
            with outcomes.next() as one:
                api.publish(one, timeout=2)

    publish_some()
    assert outcomes.confirmed == {0, 1, 2}
    cluster.isolate(alone, silently=silently)
    publish_some()
    assert outcomes.confirmed == {0, 1, 2}
    with at(other) as admin:
        publish_by(admin, name, 100)
        eventually(lambda: admin.ready(name) >= 4)
    cluster.heal()
    cluster.await_whole()

    def takes_part() -> bool:
        publish_some()
        return len(outcomes.confirmed) > 3

    eventually(takes_part, RECOVERY)
    found = drain(third, name)
    assert not (outcomes.confirmed | {100}) - {*found}
    assert not {*found} - outcomes.confirmed - outcomes.refused - outcomes.unknown - {100}


@silently
def test_p02_consumer_on_the_smaller_side(
    parting_cluster: RabbitCluster,
    settings: LazyConfig,
    parted_service: None,
    parted_names: Names,
    silently: bool,
) -> None:
    """It moves to the larger side: its node stops, or another node says that messages wait."""
    cluster, name = parting_cluster, parted_names()
    settings["consumer"] = {"watchdog": 3}
    worker = Worker()
    alone = used_node(cluster)
    other, third = others(cluster, alone)
    declare(cluster, name, third)
    with at(other) as admin, consuming(cluster, worker, plan(name, **QUORUM)):
        publish_by(admin, name, 1)
        worker.await_done(1)
        cluster.isolate(alone, silently=silently)
        publish_by(admin, name, 2)
        worker.await_done(1, 2)
        # Consumers come first on a new connection, and the counter after them.
        eventually(lambda: reconnects() >= 1)
        cluster.heal()
        cluster.await_whole()
        publish_by(admin, name, 3)
        worker.await_done(1, 2, 3)


@silently
def test_p02_consumer_on_the_larger_side(
    parting_cluster: RabbitCluster, parted_service: None, parted_names: Names, silently: bool
) -> None:
    """It goes on, even if the node that led its queue is on the other side."""
    cluster, name = parting_cluster, parted_names()
    worker = Worker()
    other, alone = others(cluster, used_node(cluster))
    declare(cluster, name, alone)
    with at(other) as admin, consuming(cluster, worker, plan(name, **QUORUM)):
        publish_by(admin, name, 1)
        worker.await_done(1)
        cluster.isolate(alone, silently=silently)
        publish_by(admin, name, 2)
        worker.await_done(1, 2)
        cluster.heal()
        cluster.await_whole()
        publish_by(admin, name, 3)
        worker.await_done(1, 2, 3)
        # Where nodes notice late, a consumer may have looked at another one meanwhile.
        assert silently or reconnects() == 0
