"""The brokers that are measured, each a process of its own on 127.0.0.1, and what is declared in them."""

import re
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol, Self

import pika
from tests.support.rabbitmq import RabbitNode, find_rabbitmq

from benchmarks.processes import ProgramFailed, environment, running
from benchmarks.workers.common import EXCHANGE, rss_mb

QUEUE = "bench"
EMBEDDED = "embedded"
EMBEDDED_DATA = "embedded+data"
RABBITMQ = "rabbitmq"

COMMAND = Path(sysconfig.get_path("scripts")) / "fedora-messaging"

# Seconds after which a started broker is at rest.
_SETTLING = 1.0


class Broker(Protocol):
    """A running broker.

    Attributes:
        name: One of the names above.
        url: For user guest and virtual host "/".
        port: On 127.0.0.1.
        pid: Of the process that does the work.
        conf: A configuration file of fedora-messaging with that URL.
        start_ms: Milliseconds from the start of the process until it was ready.
        idle_rss_mb: Memory after the start.
    """

    name: str
    url: str
    port: int
    pid: int
    conf: Path
    start_ms: float
    idle_rss_mb: float


class _Running:
    """What all of them have in common."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = directory
        self.directory.mkdir()
        self.conf = directory / "fedora-messaging.toml"
        self.port = self.pid = 0
        self.url = ""
        self.start_ms = self.idle_rss_mb = 0.0
        self._stack = ExitStack()

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def _started(self, begin: float, port: int, pid: int) -> None:
        self.start_ms = (time.perf_counter() - begin) * 1e3
        self.port = port
        self.pid = pid
        self.url = f"amqp://guest:guest@127.0.0.1:{port}/%2F"
        self.conf.write_text(f'amqp_url = "{self.url}"\n', encoding="utf-8")
        time.sleep(_SETTLING)
        self.idle_rss_mb = rss_mb(pid, "VmRSS")


class EmbeddedBroker(_Running):
    """The command ``fedora-messaging broker``.

    Args:
        name: Name in the results.
        directory: Made for its files.
        source: Where our package is imported from.
        durable: Give it a data directory.
        profile: Let it profile itself into this file, between two signals.
    """

    def __init__(
        self, name: str, directory: Path, source: Path, *, durable: bool, profile: Path | None = None
    ) -> None:
        super().__init__(name, directory)
        self._source = source
        self._durable = durable
        self._profile = profile

    def __enter__(self) -> Self:
        command: list[str | Path] = [COMMAND, "broker"]
        if self._profile is not None:
            command = [sys.executable, "-m", "benchmarks.workers.profiled_broker", self._profile]
        command += ["--port", "0"]
        if self._durable:
            command += ["--data", self.directory / "data"]
        log = self._stack.enter_context((self.directory / "broker.log").open("w+", encoding="utf-8"))
        begin = time.perf_counter()
        process = self._stack.enter_context(
            running(command, environment(source=self._source), stdout=subprocess.PIPE, stderr=log)
        )
        assert process.stdout is not None
        ready = re.search(r"AMQP ready on amqp://127\.0\.0\.1:(\d+)", process.stdout.readline())
        if ready is None:
            self._stack.close()
            errors = (self.directory / "broker.log").read_text(encoding="utf-8")
            raise ProgramFailed(f"the embedded broker did not start\n{errors}")
        self._started(begin, int(ready[1]), process.pid)
        return self


class RabbitBroker(_Running):
    """A private RabbitMQ node."""

    def __enter__(self) -> Self:
        node = RabbitNode(self.directory / "node", name="fm-bench")
        begin = time.perf_counter()
        self._stack.enter_context(node)
        self._started(begin, node.port, int((self.directory / "node" / "node.pid").read_text()))
        return self


def rabbitmq_version() -> str | None:
    """Version of the installed RabbitMQ, ``None`` without one."""
    sbin = find_rabbitmq()
    if sbin is None:
        return None
    found = re.search(r"rabbitmq_server-([\d.]+)", str(sbin))
    return found[1] if found else "unknown"


@contextmanager
def start_brokers(names: list[str], directory: Path, source: Path) -> Iterator[list[Broker]]:
    """Run brokers, and stop them on leaving."""
    with ExitStack() as stack:
        brokers: list[Broker] = []
        for name in names:
            if name == RABBITMQ:
                brokers.append(stack.enter_context(RabbitBroker(name, directory / name)))
            else:
                durable = name == EMBEDDED_DATA
                brokers.append(
                    stack.enter_context(EmbeddedBroker(name, directory / name, source, durable=durable))
                )
        yield brokers


@contextmanager
def _channel(broker: Broker) -> Iterator[pika.adapters.blocking_connection.BlockingChannel]:
    connection = pika.BlockingConnection(pika.URLParameters(broker.url))
    try:
        yield connection.channel()
    finally:
        if connection.is_open:
            connection.close()


def queue_length(broker: Broker) -> int:
    """Return how many messages wait in the queue."""
    with _channel(broker) as channel:
        return int(channel.queue_declare(QUEUE, passive=True).method.message_count)


@contextmanager
def empty_queue(broker: Broker, exchange: str = EXCHANGE) -> Iterator[None]:
    """Have one durable queue, bound for everything; delete it on leaving."""
    with _channel(broker) as channel:
        channel.queue_delete(QUEUE)
        channel.queue_declare(QUEUE, durable=True)
        channel.queue_bind(QUEUE, exchange, "#")
    try:
        yield
    finally:
        with _channel(broker) as channel:
            channel.queue_delete(QUEUE)


def exchange_with_bindings(broker: Broker, count: int) -> str:
    """Declare a topic exchange with bindings that match nothing, unless it is there; return its name."""
    name = f"bench.{count}"
    with _channel(broker) as channel:
        channel.exchange_declare(name, "topic", durable=True)
        channel.queue_declare(name, durable=True)
        # About half of an application's topic, and patterns of the kinds that applications use.
        patterns = (
            "org.fedoraproject.prod.{}.#",
            "org.fedoraproject.prod.bodhi.{}.*",
            "org.*.{}.update.comment",
        )
        for number in range(count):
            channel.queue_bind(name, name, patterns[number % len(patterns)].format(f"word{number}"))
    return name
