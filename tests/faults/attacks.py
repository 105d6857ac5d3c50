"""What a user can do to a broker; ``python -m tests.faults.attacks [NAME…]`` tells the damage.

Each attack runs in a process of its own and ends by itself. It encodes its bytes beforehand as far as it can,
so that the broker has the work and not the attacker.
"""

from __future__ import annotations

import argparse
import resource
import select
import socket
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from pamqp import base, commands, constants, frame
from tests.behaviour.peer import PROTOCOL_HEADER, Peer, content_header, raw_frame, shortstr, table

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_SECONDS: Final = 12.0
"""Seconds after which an attack sends no more."""
STUCK: Final = 3.0
"""Seconds after which an attacker gives up a broker that takes nothing."""
AFTERMATH: Final = 2.0
"""Seconds for which an attacker keeps its connections when it has sent everything."""

_NUMBER: Final = b"00000000"
_PIECE: Final = 100_000
_BIG: Final = bytes(100_000)
_HEADERS_FLAG: Final = b"\x20\x00"


class Attacker(Peer):
    """A connection that sends whatever the broker takes, and reads only when it is told to.

    Attributes:
        to_send: How many bytes it was to send.
        sent: How many of these the broker has taken.
    """

    def __init__(self, url: str, deadline: float) -> None:
        super().__init__(url)
        self._deadline = deadline
        self.to_send = 0
        self.sent = 0

    def push(self, data: bytes) -> bool:
        """Send without reading; returns whether the broker has taken everything in time."""
        self._socket.setblocking(False)
        self.to_send += len(data)
        view = memoryview(data)
        while view:
            patience = min(self._deadline - time.monotonic(), STUCK)
            if patience <= 0 or not select.select([], [self._socket], [], patience)[1]:
                return False
            try:
                count = self._socket.send(view[:1_000_000])
            except BlockingIOError:
                continue
            except OSError:
                return False  # the broker has closed the connection, which is its right
            self.sent += count
            view = view[count:]
        return True

    def drain(self, quiet: float = 1.0) -> None:
        """Read and forget what comes, until nothing has come for some seconds."""
        self._socket.setblocking(False)
        self._buffer.clear()
        while time.monotonic() < self._deadline and select.select([self._socket], [], [], quiet)[0]:
            try:
                if not self._socket.recv(1_000_000):
                    return
            except OSError:
                return

    def sip(self, seconds: float) -> None:
        """Read one kilobyte a second."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(1)
            with suppress(OSError):
                self._socket.settimeout(0.1)
                self._socket.recv(1024)


class Target:
    """The broker under attack: makes connections, which last until the attack is over.

    Args:
        url: URL of the broker.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.deadline = time.monotonic() + MOST_SECONDS
        self._connections = ExitStack()
        self._attackers: list[Attacker] = []

    @property
    def taken(self) -> float:
        """Which part of what was to be sent the broker has taken."""
        to_send = sum(attacker.to_send for attacker in self._attackers)
        return sum(attacker.sent for attacker in self._attackers) / max(to_send, 1)

    @property
    def is_over(self) -> bool:
        """Whether the time of the attack is over."""
        return time.monotonic() >= self.deadline

    def login(self, channels: int = 1) -> Attacker:
        """A connection that is logged in, with some channels."""
        attacker = self._connections.enter_context(Attacker(self.url, self.deadline)).login()
        self._attackers.append(attacker)
        if channels == 1:
            return attacker.open_channel()
        attacker.push(b"".join(call(commands.Channel.Open(), number) for number in range(1, channels + 1)))
        for number in range(1, channels + 1):
            attacker.expect(commands.Channel.OpenOk, number)
        return attacker

    def connect(self) -> None:
        """A connection that does nothing."""
        self._connections.enter_context(Peer(self.url)).write(PROTOCOL_HEADER)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._connections.close()


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack.

    Attributes:
        name: Its name.
        does: What it does, in a line.
        carry_out: Carries it out.
        arguments: More arguments of the command ``broker``.
        user: Who attacks, and that user's password.
    """

    name: str
    does: str
    carry_out: Callable[[Target], None]
    arguments: tuple[str, ...] = ()
    user: str = "guest"


ATTACKS: Final[dict[str, Attack]] = {}


def attack(
    *arguments: str, user: str = "guest"
) -> Callable[[Callable[[Target], None]], Callable[[Target], None]]:
    """Make a function an attack, whose name and docstring are the function's."""

    def add(function: Callable[[Target], None]) -> Callable[[Target], None]:
        assert function.__doc__ is not None
        ATTACKS[function.__name__] = Attack(
            function.__name__, function.__doc__.rstrip("."), function, arguments, user
        )
        return function

    return add


# Bytes


def call(method: base.Frame, channel: int = 1) -> bytes:
    """A method as a frame."""
    encoded: bytes = frame.marshal(method, channel)
    return encoded


def message(
    body: bytes = b"",
    *,
    exchange: str = "",
    routing_key: str = "",
    properties: bytes = b"\x00\x00",
    mandatory: bool = False,
    channel: int = 1,
) -> bytes:
    """A publish with its content."""
    publish = commands.Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=mandatory)
    pieces = [
        raw_frame(constants.FRAME_BODY, channel, body[start : start + _PIECE])
        for start in range(0, len(body), _PIECE)
    ]
    head = raw_frame(constants.FRAME_HEADER, channel, content_header(len(body), properties))
    return b"".join((call(publish, channel), head, *pieces))


def numbered(template: bytes, count: int) -> bytes:
    """Copies of bytes in which eight zeros count."""
    return b"".join(template.replace(_NUMBER, b"%08d" % number) for number in range(count))


def declare(queue: str, arguments: dict[str, Any] | None = None, *, exclusive: bool = False) -> bytes:
    """A declaration that wants no answer."""
    return call(
        commands.Queue.Declare(queue=queue, arguments=arguments or {}, exclusive=exclusive, nowait=True)
    )


def consume(queue: str, tag: str, *, no_ack: bool = False, channel: int = 1) -> bytes:
    """A consumer that wants no answer."""
    return call(commands.Basic.Consume(queue=queue, consumer_tag=tag, no_ack=no_ack, nowait=True), channel)


def many_headers(count: int) -> bytes:
    """Properties with a table of tiny fields."""
    return _HEADERS_FLAG + table(*((b"k%04d" % number, b"t\x01") for number in range(count)))


def array(texts: list[str]) -> bytes:
    """An array of texts, with its length."""
    content = b"".join(b"S" + len(text).to_bytes(4, "big") + text.encode() for text in texts)
    return len(content).to_bytes(4, "big") + content


@attack()
def nothing(target: Target) -> None:
    """Logs in and does nothing: this is how long everything takes in any case."""
    target.login()


# Answers that nobody reads


@attack()
def unread_gets(target: Target) -> None:
    """Gets a message of 1 MB 2000 times, puts it back each time, and reads nothing."""
    attacker = target.login()
    get = call(commands.Basic.Get(queue="q"))
    nacks = (call(commands.Basic.Nack(delivery_tag=tag, requeue=True)) for tag in range(1, 2001))
    attacker.push(declare("q") + message(bytes(1_000_000), routing_key="q"))
    attacker.push(b"".join(get + nack for nack in nacks))


@attack()
def unread_replies(target: Target) -> None:
    """Asks for direct replies, does not read them, and sends itself 4000 of 100 kB."""
    requester, replier = target.login(), target.login()
    reply_to = "amq.rabbitmq.reply-to"
    consumer = commands.Basic.Consume(queue=reply_to, no_ack=True)
    requester.call(consumer, commands.Basic.ConsumeOk)
    requester.push(declare("q"))
    requester.publish(b"", routing_key="q", property_bytes=b"\x02\x00" + shortstr(reply_to))
    address = requester.get("q").properties.reply_to
    assert address is not None
    replier.push(message(_BIG, routing_key=address) * 4000)


@attack()
def unread_returns(target: Target) -> None:
    """Publishes 4000 mandatory messages of 100 kB to nowhere, and reads none of those that come back."""
    target.login().push(message(_BIG, routing_key="nowhere", mandatory=True) * 4000)


@attack()
def unread_fanout(target: Target) -> None:
    """Publishes 60 MB to 40 consumers on connections of their own that do not read."""
    publisher = target.login()
    for number in range(40):
        consumer = target.login()
        declared = declare(f"q{number}", exclusive=True)
        bound = call(commands.Queue.Bind(queue=f"q{number}", exchange="amq.fanout", nowait=True))
        consumer.push(declared + bound + consume(f"q{number}", "c"))
        consumer.roundtrip()
    publisher.push(message(bytes(60_000_000), exchange="amq.fanout"))


@attack()
def unread_declarations(target: Target) -> None:
    """Asks a million times whether a queue exists, and reads no answer."""
    attacker = target.login()
    attacker.push(declare("q"))
    attacker.push(call(commands.Queue.Declare(queue="q", passive=True)) * 1_000_000)


# Messages that are in no queue


@attack()
def uncommitted(target: Target) -> None:
    """Publishes 4000 messages of 100 kB in a transaction that does not end."""
    attacker = target.login()
    attacker.push(declare("q"))
    attacker.call(commands.Tx.Select(), commands.Tx.SelectOk)
    attacker.push(message(_BIG, routing_key="q") * 4000)


@attack()
def unfinished_bodies(target: Target) -> None:
    """Begins messages of 16 MB on 2000 channels of two connections, and sends 200 kB of each."""
    for _ in range(2):
        attacker = target.login(1000)
        for number in range(1, 1001):
            head = raw_frame(constants.FRAME_HEADER, number, content_header(16_000_000))
            body = raw_frame(constants.FRAME_BODY, number, _BIG) * 2
            if not attacker.push(call(commands.Basic.Publish(routing_key="q"), number) + head + body):
                break


@attack()
def big_commit(target: Target) -> None:
    """Commits a transaction with 100 000 tiny messages."""
    attacker = target.login()
    attacker.push(declare("q"))
    attacker.call(commands.Tx.Select(), commands.Tx.SelectOk)
    attacker.push(message(routing_key="q") * 100_000)
    attacker.push(call(commands.Tx.Commit()))


# Messages that take more than their bytes


@attack()
def decoded_headers(target: Target) -> None:
    """Queues 5000 messages with 1000 headers by way of a headers exchange."""
    attacker = target.login()
    wanted: dict[str, Any] = {"x-match": "any", "k0000": True}
    bind = commands.Queue.Bind(queue="q", exchange="amq.headers", arguments=wanted, nowait=True)
    attacker.push(declare("q") + call(bind))
    attacker.push(message(exchange="amq.headers", properties=many_headers(1000)) * 5000)


@attack()
def decoded_headers_of_dead_letters(target: Target) -> None:
    """Has 5000 messages with 1000 headers die into a headers exchange."""
    attacker = target.login()
    wanted: dict[str, Any] = {"x-match": "any", "k0000": True}
    bind = commands.Queue.Bind(queue="dead", exchange="amq.headers", arguments=wanted, nowait=True)
    attacker.push(declare("dead") + call(bind))
    attacker.push(declare("q", {"x-dead-letter-exchange": "amq.headers", "x-max-length": 1}))
    attacker.push(message(routing_key="q", properties=many_headers(1000)) * 5000)


# What takes memory or time besides messages


@attack()
def priority_queues(target: Target) -> None:
    """Declares up to 20 000 queues with 256 priorities, with one message each."""
    attacker = target.login()
    for number in range(20_000):
        name = f"q{number}"
        priority = b"\x08\x00" + bytes([number % 256])
        data = declare(name, {"x-max-priority": 255}) + message(routing_key=name, properties=priority)
        if not attacker.push(data):
            break


@attack()
def expiring_queues(target: Target) -> None:
    """Declares and deletes 100 000 queues that would expire in an hour."""
    name = _NUMBER.decode()
    delete = call(commands.Queue.Delete(queue=name, nowait=True))
    target.login().push(numbered(declare(name, {"x-expires": 3_600_000}) + delete, 100_000))


@attack()
def many_queues(target: Target) -> None:
    """Declares up to 200 000 queues."""
    target.login().push(numbered(declare(_NUMBER.decode()), 200_000))


@attack()
def big_arguments(target: Target) -> None:
    """Declares, binds and consumes 1500 queues, each time with 100 kB of arguments that mean nothing."""
    attacker = target.login()
    arguments: dict[str, Any] = {"nonsense": "x" * _PIECE}
    name = _NUMBER.decode()
    bind = commands.Queue.Bind(queue=name, exchange="amq.direct", arguments=arguments, nowait=True)
    consumer = commands.Basic.Consume(queue=name, consumer_tag=name, arguments=arguments, nowait=True)
    steps = declare(name, arguments) + call(bind) + call(consumer)
    for number in range(1500):
        if not attacker.push(steps.replace(_NUMBER, b"%08d" % number)):
            break


@attack()
def wide_fanout(target: Target) -> None:
    """Publishes 2000 messages to an exchange with 5000 queues, which keep one each."""
    attacker = target.login()
    name = _NUMBER.decode()
    bind = call(commands.Queue.Bind(queue=name, exchange="amq.fanout", nowait=True))
    attacker.push(numbered(declare(name, {"x-max-length": 1}) + bind, 5000))
    attacker.roundtrip()
    attacker.push(message(exchange="amq.fanout") * 2000)


@attack()
def remembered_routes(target: Target) -> None:
    """Publishes with 4000 keys to a topic exchange to which 8000 exchanges are bound."""
    attacker = target.login()
    name = _NUMBER.decode()
    made = call(commands.Exchange.Declare(exchange=name, nowait=True))
    bind = commands.Exchange.Bind(destination=name, source="amq.topic", routing_key="#", nowait=True)
    attacker.push(numbered(made + call(bind), 8000))
    attacker.roundtrip()
    attacker.push(numbered(message(exchange="amq.topic", routing_key=name), 4000))


@attack()
def big_purge(target: Target) -> None:
    """Purges 200 000 tiny messages at once."""
    attacker = target.login()
    attacker.push(declare("q") + message(routing_key="q") * 200_000)
    attacker.push(call(commands.Queue.Purge(queue="q")))


@attack()
def exclusive_queues(target: Target) -> None:
    """Declares 20 000 exclusive queues, and leaves."""
    attacker = target.login()
    attacker.push(numbered(declare(_NUMBER.decode(), exclusive=True), 20_000))
    attacker.roundtrip()
    attacker.drop()


@attack()
def many_words(target: Target) -> None:
    """Publishes one message with 500 long keys of many words to 50 patterns with many wildcards."""
    attacker = target.login()
    attacker.push(declare("q"))
    for number in range(50):
        # No two patterns share more than their first words, so that none of the work does for all of them.
        first = ["#.a" if number >> bit & 1 else "#.*" for bit in range(6)]
        pattern = ".".join([*first, *["#.a"] * 50, "b"])
        bind = commands.Queue.Bind(queue="q", exchange="amq.topic", routing_key=pattern, nowait=True)
        attacker.push(call(bind))
    keys = [f"{number:03d}" + ".a" * 98 for number in range(500)]
    cc = b"A" + array(keys)
    attacker.push(message(exchange="amq.topic", properties=_HEADERS_FLAG + table((b"CC", cc))))


@attack()
def many_bindings(target: Target) -> None:
    """Publishes 2000 messages to a headers exchange with 10 000 bindings that have a header in common."""
    attacker = target.login()
    attacker.push(declare("q"))
    for number in range(10_000):
        wanted: dict[str, Any] = {"x-match": "all", "a": 1, "n": number}
        attacker.push(
            call(commands.Queue.Bind(queue="q", exchange="amq.headers", arguments=wanted, nowait=True))
        )
    attacker.roundtrip()
    one = _HEADERS_FLAG + table((b"a", b"b\x01"))
    attacker.push(message(exchange="amq.headers", properties=one) * 2000)


@attack()
def busy_consumers(target: Target) -> None:
    """Publishes to a queue with 20 000 consumers that all have what they may have."""
    attacker = target.login()
    attacker.call(commands.Basic.Qos(prefetch_count=1), commands.Basic.QosOk)
    attacker.push(declare("q") + numbered(consume("q", _NUMBER.decode()), 20_000))
    attacker.roundtrip()
    publisher = target.login()
    publisher.push(message(routing_key="q") * 20_000)
    attacker.drain(2.0)
    publisher.push(message(routing_key="q") * 5000)


@attack()
def channels_of_consumers(target: Target) -> None:
    """Consumes a queue on 2047 channels, and asks for room 1000 times while all of them are busy."""
    attacker = target.login(2047)
    qos = commands.Basic.Qos(prefetch_count=1)
    attacker.push(declare("q"))
    attacker.push(
        b"".join(call(qos, number) + consume("q", "c", channel=number) for number in range(1, 2048))
    )
    attacker.push(message(routing_key="q") * 3000)
    attacker.drain()
    attacker.push(call(qos) * 1000)
    attacker.drain()


@attack()
def expiring_messages(target: Target) -> None:
    """Has 150 000 messages die at the same moment."""
    attacker = target.login()
    bind = commands.Queue.Bind(queue="dead", exchange="amq.fanout", nowait=True)
    attacker.push(declare("dead") + call(bind) + declare("q", {"x-dead-letter-exchange": "amq.fanout"}))
    # The first one lasts longer than the others, which may leave only when it has.
    first = b"\x01\x00" + b"\x048000"
    others = b"\x01\x00" + b"\x011"
    died = time.monotonic() + 8.0
    attacker.push(message(routing_key="q", properties=first))
    batch = message(routing_key="q", properties=others) * 1000
    for _ in range(150):
        if time.monotonic() > died - 0.5 or not attacker.push(batch):
            break
    time.sleep(max(0.0, died - time.monotonic()))


@attack()
def slow_reader(target: Target) -> None:
    """Consumes up to 300 000 tiny messages without a limit, and reads one kilobyte a second."""
    attacker = target.login()
    attacker.push(declare("q"))
    batch = message(routing_key="q") * 1000
    end = time.monotonic() + 7.0
    for _ in range(300):
        if time.monotonic() > end or not attacker.push(batch):
            break
    consumer = target.login()
    consumer.push(consume("q", "c"))
    consumer.sip(3.0)


@attack()
def requeue_storm(target: Target) -> None:
    """Takes 100 000 messages and gives all of them back, again and again."""
    attacker = target.login()
    attacker.push(declare("q") + message(routing_key="q") * 100_000)
    attacker.roundtrip()
    attacker.push(consume("q", "c"))
    attacker.drain()
    while not target.is_over:
        if not attacker.push(call(commands.Basic.Nack(delivery_tag=0, multiple=True, requeue=True))):
            break
        attacker.drain()


# Logins and permissions


@attack()
def connection_flood(target: Target) -> None:
    """Keeps 200 connections that do not log in, and connects and leaves for 5 seconds."""
    for _ in range(200):
        target.connect()
    end = time.monotonic() + 5.0
    while time.monotonic() < end:
        with suppress(OSError), Peer(target.url) as stranger:
            stranger.write(PROTOCOL_HEADER)


@attack()
def many_connections(target: Target) -> None:
    """Logs in on as many connections as it can, up to 3000."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for _ in range(3000):
        if target.is_over:
            break
        target.login()


@attack(
    "--user",
    "guest:guest",
    "--user",
    "mallory:mallory",
    "--permissions",
    "mallory",
    ".*",
    ".*",
    "^(a+)+$",
    user="mallory",
)
def slow_expression(target: Target) -> None:
    """Reads from a queue whose name takes a regular expression for ever."""
    attacker = target.login()
    name = "a" * 60 + "b"
    attacker.push(declare(name) + call(commands.Basic.Get(queue=name)))


def _carry_out(name: str, url: str) -> None:
    with Target(url) as target:
        with suppress(OSError, EOFError):
            ATTACKS[name].carry_out(target)
        time.sleep(AFTERMATH)
        print(f"{target.taken:.0%}")


def _main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.attacks", description="Attack an embedded broker, and tell the damage."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all attacks")
    parser.add_argument("--carry-out", metavar="URL", help="only carry out one attack on this broker")
    parser.add_argument("--list", action="store_true", help="list the attacks")
    arguments = parser.parse_args()
    chosen = arguments.names or list(ATTACKS)
    if unknown := set(chosen) - ATTACKS.keys():
        parser.error(f"no such attack: {', '.join(sorted(unknown))}")
    if arguments.list:
        for one in ATTACKS.values():
            print(f"{one.name:33}{one.does}")
        return 0
    if arguments.carry_out is not None:
        for name in chosen:
            _carry_out(name, arguments.carry_out)
        return 0
    from tests.faults.attacked import HEADING, watch

    print(HEADING, flush=True)
    failed = False
    for name in chosen:
        with tempfile.TemporaryDirectory() as directory:
            damage = watch(ATTACKS[name], Path(directory))
        failed = failed or bool(damage.complaint)
        print(damage.row(name), flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(_main())
