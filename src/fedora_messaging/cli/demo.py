"""``fedora-messaging demo``: shows a broker, a publisher and consumers at work."""

import asyncio
import io
import itertools
import logging
import signal
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from importlib.resources import files
from importlib.util import find_spec
from typing import Final

import click

from .. import aio
from ..message import Message, loads
from ..printable import printable

_QUEUE: Final = "tutorial"
_ALL_QUEUE: Final = "everything"
_WORKERS: Final = ("consumer A", "consumer B")
_ARCHIVE: Final = "archive"
#: Seconds between messages when a person watches.
_PACE: Final = 0.5
#: Seconds to wait for the last messages before they count as lost.
_DRAIN: Final = 30.0


@click.command()
@click.option("--once", is_flag=True, help="End after --messages messages.")
@click.option(
    "--messages",
    default=50,
    show_default=True,
    type=click.IntRange(min=1),
    help="How many messages to publish with --once.",
)
def demo(once: bool, messages: int) -> None:
    """Show a bus at work: a broker, a publisher, and consumers that share a queue.

    Everything lives in a temporary directory and ends with this command.
    """
    # The demo mentions missing schema packages itself, once, below.
    logging.getLogger("fedora_messaging").setLevel(logging.ERROR)
    lost = asyncio.run(_Demo(messages if once else None).run())
    if lost:
        raise SystemExit(1)


class _Demo:
    def __init__(self, limit: int | None) -> None:
        from rich.console import Console

        if isinstance(sys.stdout, io.TextIOWrapper):
            # Names and table lines are not ASCII; an ASCII terminal must not end the demo.
            sys.stdout.reconfigure(errors="replace")
        self._limit = limit
        self._console = Console(highlight=False, soft_wrap=True)
        self._published: dict[str, float] = {}
        self._consumed: dict[str, set[str]] = {name: set() for name in (*_WORKERS, _ARCHIVE)}
        self._topics: Counter[str] = Counter()
        self._arrived = asyncio.Event()
        self._stop = asyncio.Event()

    async def run(self) -> int:
        """Run the demo and return how many messages were lost."""
        from ..broker import AsyncBroker

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop.set)
        with tempfile.TemporaryDirectory(prefix="fedora-messaging-demo-") as directory:
            async with AsyncBroker(data=directory, http_port=self._http_port()) as broker:
                self._console.print(
                    f"[bold]1.[/] An AMQP broker listens on {broker.amqp_url}, its data in {directory}"
                )
                if broker.management_url is not None:
                    self._console.print(f"   Look at it in a browser: {broker.management_url}/")
                async with aio.connect(broker.amqp_url) as bus:
                    started = time.monotonic()
                    await self._play(bus, broker.amqp_url)
                    return self._summary(time.monotonic() - started)

    def _http_port(self) -> int | None:
        """Return 0, for a free port for the web pages, or ``None`` if nobody has time to look at them."""
        has_web = all(find_spec(name) for name in ("uvicorn", "starlette", "jinja2", "sse_starlette"))
        return 0 if has_web and self._limit is None else None

    async def _play(self, bus: aio.Bus, url: str) -> None:
        consumers = [
            asyncio.create_task(self._consume(url, name, queue, pattern))
            for name, queue, pattern in (
                (_WORKERS[0], _QUEUE, f"{_QUEUE}.#"),
                (_WORKERS[1], _QUEUE, f"{_QUEUE}.#"),
                (_ARCHIVE, _ALL_QUEUE, "#"),
            )
        ]
        self._subscribed = 0
        while self._subscribed < len(consumers):
            await self._next_arrival(consumers)
        self._console.print(
            f"[bold]2.[/] Queue [cyan]{_QUEUE}[/] is bound to amq.topic with {_QUEUE}.#, "
            f"and {_WORKERS[0]} and {_WORKERS[1]} share it;\n"
            f"   queue [cyan]{_ALL_QUEUE}[/], bound with #, keeps a copy for the {_ARCHIVE}"
        )
        self._console.print("[bold]3.[/] Applications publish: topic, summary, and who got it\n")
        await self._publish(bus)
        await self._drain(consumers)
        for task in consumers:
            task.cancel()
        await asyncio.gather(*consumers, return_exceptions=True)

    async def _publish(self, bus: aio.Bus) -> None:
        for message in itertools.islice(_messages(), self._limit):
            if self._stop.is_set():
                return
            assert message.id is not None  # a new message has one
            self._published[message.id] = time.monotonic()
            await bus.publish(message)
            if self._limit is None:
                await _wait(self._stop, _PACE)

    async def _consume(self, url: str, name: str, queue: str, pattern: str) -> None:
        async with aio.connect(url) as bus, bus.subscribe(pattern, queue=queue) as deliveries:
            self._subscribed += 1
            self._arrived.set()
            async for delivery in deliveries:
                self._note(name, delivery.message)

    def _note(self, name: str, message: Message) -> None:
        assert message.id is not None  # we published it with an id
        self._consumed[name].add(message.id)
        self._arrived.set()
        if name == _ARCHIVE:
            return
        topic = message.topic.removeprefix(f"{_QUEUE}.")
        self._topics[topic.split(".")[3] if topic.count(".") > 3 else topic] += 1
        color = "green" if name == _WORKERS[0] else "magenta"
        self._console.print(f"[dim]{topic}[/]", end="  ")
        self._console.print(printable(message.summary), markup=False, end="  ")
        self._console.print(f"[{color}]-> {name}[/]")

    def _missing(self) -> set[str]:
        shared = set().union(*(self._consumed[name] for name in _WORKERS))
        return set(self._published) - (shared & self._consumed[_ARCHIVE])

    async def _drain(self, consumers: list[asyncio.Task[None]]) -> None:
        try:
            async with asyncio.timeout(_DRAIN):
                while self._missing():
                    await self._next_arrival(consumers)
        except TimeoutError:
            pass  # the summary tells how many are missing

    async def _next_arrival(self, consumers: list[asyncio.Task[None]]) -> None:
        self._arrived.clear()
        arrival = asyncio.ensure_future(self._arrived.wait())
        done, _ = await asyncio.wait([arrival, *consumers], return_when=asyncio.FIRST_COMPLETED)
        arrival.cancel()
        for task in done & set(consumers):
            task.result()

    def _summary(self, seconds: float) -> int:
        from rich.table import Table

        table = Table(title="Who got what")
        for column in ("consumer", "queue", "messages"):
            table.add_column(column, justify="right" if column == "messages" else "left")
        for name, ids in self._consumed.items():
            table.add_row(name, _ALL_QUEUE if name == _ARCHIVE else _QUEUE, str(len(ids)))
        self._console.print()
        self._console.print(table)
        sources = ", ".join(f"{name} {count}" for name, count in self._topics.most_common())
        self._console.print(f"By application: {sources}")
        rate = len(self._published) / seconds if seconds else 0.0
        self._console.print(f"{len(self._published)} messages in {seconds:.2f} s: {rate:.0f} per second")
        lost = len(self._missing())
        click.echo(
            f"demo: published {len(self._published)}, consumed {len(self._published) - lost}, lost {lost}"
        )
        return lost


def _messages() -> Iterator[Message]:
    """Yield copies of the sample messages again and again, each copy a new message."""
    text = files(__package__).joinpath("demo_messages.jsonl").read_text(encoding="utf-8")
    for line in itertools.cycle(text.splitlines()):
        (message,) = loads(line)
        message.id = str(uuid.uuid4())
        message.topic = f"{_QUEUE}.{message.topic}"
        yield message


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
