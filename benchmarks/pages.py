"""How fast the dashboard's pages are for a large broker: ``python -m benchmarks.pages --queues 10000``."""

import argparse
import re
import resource
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

import httpx
import pika
from tests.support.rabbitmq import RabbitNode

from benchmarks.brokers import COMMAND, EMBEDDED, RABBITMQ
from benchmarks.processes import ProgramFailed, environment, running
from benchmarks.report import table
from benchmarks.workers.common import rss_mb

#: Pages by what a reader looks for there.
_PAGES = {
    "overview": "/",
    "overview, the part that comes later": "/waiting",
    "queues by name": "/queues",
    "queues, page 100": "/queues?page=100",
    "queues with 77 in their name": "/queues?name=77",
    "queues, most messages first": "/queues?sort=messages",
    "a queue": "/queue?vhost=%2F&name=pages.00077",
    "exchanges": "/exchanges",
    "an exchange, all bound to it": "/exchange?vhost=%2F&name=amq.topic",
    "where a routing key leads": "/exchange?vhost=%2F&name=amq.topic&key=pages.00077.done",
    "connections": "/connections",
    "consumers": "/consumers",
}
#: Seconds until RabbitMQ shows what was made.
_PATIENCE = 300.0


class _Site(NamedTuple):
    """A running dashboard.

    Attributes:
        url: Its address.
        amqp_url: The broker's.
        management_url: The broker's management API, with user and password.
        pid: Of the process that serves the pages.
    """

    url: str
    amqp_url: str
    management_url: str
    pid: int


@contextmanager
def _command(log: Path, *arguments: str) -> Iterator[tuple[int, Iterator[str]]]:
    """Run ``fedora-messaging``; yield its pid and the lines it prints."""
    with (
        log.open("w", encoding="utf-8") as errors,
        running([COMMAND, *arguments], environment(), stdout=subprocess.PIPE, stderr=errors) as process,
    ):
        assert process.stdout is not None
        yield process.pid, process.stdout


def _find(lines: Iterator[str], pattern: str) -> str:
    for line in lines:
        if found := re.search(pattern, line):
            return found[1]
    raise ProgramFailed(f"{COMMAND} ended without a line like {pattern}")


@contextmanager
def _embedded(directory: Path) -> Iterator[_Site]:
    with _command(directory / "broker.log", "broker", "--port", "0", "--http-port", "0") as (pid, lines):
        amqp_url = _find(lines, r"AMQP ready on (amqp://127\.0\.0\.1:\d+)").replace("://", "://guest:guest@")
        url = _find(lines, r"HTTP ready on (http://127\.0\.0\.1:\d+)")
        yield _Site(url, f"{amqp_url}/%2F", url.replace("://", "://guest:guest@"), pid)


@contextmanager
def _rabbitmq(directory: Path) -> Iterator[_Site]:
    with ExitStack() as stack:
        node = stack.enter_context(RabbitNode(directory / "node", name="fm-pages"))
        arguments = ("dashboard", "--management-url", node.management_url, "--port", "0")
        pid, lines = stack.enter_context(_command(directory / "dashboard.log", *arguments))
        url = _find(lines, r"Dashboard on (http://127\.0\.0\.1:\d+)")
        yield _Site(url, node.url, node.management_url, pid)


@contextmanager
def _connections(url: str, number: int) -> Iterator[None]:
    """Keep connections open, each with a channel and a consumer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # pika uses some files for each connection.
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 8 * number + 1000), hard), hard))
    parameters = pika.URLParameters(url)
    parameters.heartbeat = 0
    connections = []
    try:
        for place in range(number):
            connections.append(pika.BlockingConnection(parameters))
            connections[-1].channel().basic_consume(_queue(place), lambda *_: None)
        yield
    finally:
        for connection in connections:
            connection.close()


def _queue(number: int) -> str:
    return f"pages.{number:05}"


def _declare(url: str, number: int) -> None:
    """Declare queues, bound to amq.topic; every tenth holds a message."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    for place in range(number):
        queue = _queue(place)
        channel.queue_declare(queue, durable=True)
        channel.queue_bind(queue, "amq.topic", f"{queue}.#")
        if place % 10 == 0:
            channel.basic_publish("", queue, b"{}")
    connection.close()


def _wait_until_shown(site: _Site, queues: int, connections: int) -> None:
    """Wait until the management API shows all."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        answer = httpx.get(f"{site.management_url}/api/overview", trust_env=False, timeout=60)
        totals = answer.json().get("object_totals", {})
        if totals.get("queues", 0) >= queues and totals.get("connections", 0) >= connections:
            return
        time.sleep(1)
    raise ProgramFailed(f"the broker does not show {queues} queues and {connections} connections: {totals}")


def _measure(site: _Site, repeats: int) -> Iterator[list[str]]:
    with httpx.Client(base_url=site.url, trust_env=False, timeout=60) as client:
        for name, path in _PAGES.items():
            times, size = [], 0
            for _ in range(repeats):
                began = time.perf_counter()
                answer = client.get(path).raise_for_status()
                times.append(1000 * (time.perf_counter() - began))
                size = len(answer.content)
            first, *others = times
            yield [
                name,
                f"{first:.0f}",
                f"{median(others):.0f}",
                f"{max(others):.0f}",
                f"{size / 1000:.0f}",
            ]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__)
    parser.add_argument("--broker", choices=[EMBEDDED, RABBITMQ], default=EMBEDDED)
    parser.add_argument("--queues", type=int, metavar="N", default=10_000, help="default 10000")
    parser.add_argument("--connections", type=int, metavar="N", default=1000, help="default 1000")
    parser.add_argument("--repeats", type=int, metavar="N", default=20, help="of each page; default 20")
    return parser.parse_args()


def _main() -> None:
    arguments = _arguments()
    started = _rabbitmq if arguments.broker == RABBITMQ else _embedded
    with tempfile.TemporaryDirectory(prefix="fm-benchmark-") as directory, started(Path(directory)) as site:
        _declare(site.amqp_url, arguments.queues)
        with _connections(site.amqp_url, arguments.connections):
            _wait_until_shown(site, arguments.queues, arguments.connections)
            rows = [["page, in ms", "first", "median", "longest", "kB"], *_measure(site, arguments.repeats)]
            print(f"{table(rows)}\n\nmemory of the server, MB: {rss_mb(site.pid):.0f}")


if __name__ == "__main__":
    _main()
