"""Fuzz the codec and both protocol machines with bytes that nobody should send.

With atheris (``pip install atheris``), guided by coverage, for as long as you let it run::

    python fuzz/fuzz_codec.py [directory of inputs] [-max_total_time=600] [other options of libFuzzer]

Without it, a plain loop that mutates valid input::

    python fuzz/fuzz_codec.py --seconds 60 [--seed 7]

Whatever goes in, only ``WireError`` may be raised by the codec and nothing at all by a connection: it
tells of the end in one ``ConnectionEnded``, and is silent after it.
"""

import argparse
import importlib
import random
import sys
import time
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Final

from fedora_messaging.exceptions import EncodingError
from fedora_messaging.protocol import sasl
from fedora_messaging.protocol.client_handshake import ClientMachine
from fedora_messaging.protocol.connection import Limits, Machine
from fedora_messaging.protocol.events import (
    ChannelEnded,
    ChannelOpened,
    ConnectionEnded,
    ConnectionOpened,
    ContentReceived,
    Event,
    LoginRequested,
    MethodReceived,
    OpenRequested,
)
from fedora_messaging.protocol.server_handshake import ServerMachine
from fedora_messaging.protocol.states import Role, State
from fedora_messaging.wire import methods as m
from fedora_messaging.wire.errors import WireError
from fedora_messaging.wire.fields import decode_table, encode_table
from fedora_messaging.wire.frames import (
    HEARTBEAT_FRAME,
    METHOD,
    NEED_DATA,
    OVERHEAD,
    PROTOCOL_HEADER,
    FrameReader,
    encode_content,
    encode_method,
)
from fedora_messaging.wire.methods import BY_KEY, Method, decode_method
from fedora_messaging.wire.properties import BasicProperties, decode_properties
from fedora_messaging.wire.property_codec import PropertyScan, encode_properties

SMALL: Final = Limits(channel_max=9, frame_max=8192, heartbeat=10, max_body=100)
SCANNED: Final = ("delivery_mode", "priority", "reply_to", "expiration", "user_id")
#: Property flags, a method's indexes or a table's length come from the fuzzer now and then only; these
#: make sure that it gets beyond them.
KEYS: Final = tuple(BY_KEY)


class Finding(AssertionError):
    """Something came out that should not."""


def expect(condition: bool, what: str) -> None:
    """Raise ``Finding`` unless the condition holds (``assert`` would vanish under ``python -O``)."""
    if not condition:
        raise Finding(what)


# The codec


def fuzz_table(data: bytes) -> None:
    """Read a table; what can be read can be written and read again."""
    try:
        table, end = decode_table(data)
    except WireError:
        return
    expect(4 <= end <= len(data), "read beyond the end")
    try:
        again = encode_table(table)
    except EncodingError as error:
        # The one value that is read but not written.
        expect("before 1970" in str(error), f"read but not written: {error}")
        return
    expect(repr(decode_table(again)[0]) == repr(table), "written as something else")


def fuzz_method(data: bytes) -> None:
    """Read a method, of an index that exists in most cases."""
    if data and data[0] < 0xF0:
        class_id, method_id = KEYS[data[0] % len(KEYS)]
        data = class_id.to_bytes(2, "big") + method_id.to_bytes(2, "big") + data[1:]
    try:
        method = decode_method(data)
    except WireError:
        return
    try:
        again = method.encode()
    except EncodingError as error:
        expect("before 1970" in str(error), f"read but not written: {error}")
        return
    expect(repr(decode_method(again)) == repr(method), "written as something else")


def fuzz_properties(data: bytes) -> None:
    """Read properties in both ways; the quick one may accept more, but sees the same."""
    try:
        properties = decode_properties(data)
    except WireError:
        scan_or_refuse(data)
        return
    scan = PropertyScan(data)
    for name in SCANNED:
        expect(getattr(scan, name) == getattr(properties, name), f"the scan sees another {name}")
    expect((scan.headers is None) == (properties.headers is None), "the scan sees other headers")


def scan_or_refuse(data: bytes) -> None:
    """Read properties in the quick way."""
    try:
        scan = PropertyScan(data)
    except WireError:
        return
    if scan.headers is not None:
        start, end = scan.headers
        expect(2 <= start < end <= len(data), "headers beyond the end")


def fuzz_frames(data: bytes) -> None:
    """Cut frames from pieces of any size; none is larger than agreed on."""
    reader = FrameReader(300)
    for piece in pieces(data):
        reader.feed(piece)
        try:
            while (frame := reader.next_frame()) is not NEED_DATA:
                expect(len(frame[2]) <= 300 - OVERHEAD, "a frame larger than frame_max")
        except WireError:
            return


def fuzz_sasl(data: bytes) -> None:
    """Read a login."""
    for mechanism in (sasl.PLAIN, sasl.AMQPLAIN):
        parsed = sasl.parse_response(mechanism, data)
        expect(parsed is None or all(isinstance(text, str) for text in parsed), "a login that is no text")


def pieces(data: bytes) -> list[bytes]:
    """Split by the first byte: 0 leaves one piece."""
    size = data[0] if data else 0
    rest = data[1:]
    return [rest[at : at + size] for at in range(0, len(rest), size)] if size else [rest]


# The machines

START: Final = m.ConnectionStart(0, 9, {"capabilities": {"basic.nack": True}}, b"PLAIN", b"en_US")
START_OK: Final = m.ConnectionStartOk(
    {"capabilities": {"authentication_failure_close": True}}, "PLAIN", b"\0guest\0guest", "en_US"
)
TUNE: Final = m.ConnectionTune(9, 8192, 10)
TUNE_OK: Final = m.ConnectionTuneOk(9, 8192, 10)


def frame(channel: int, method: Method) -> bytes:
    """Encode a method frame."""
    return encode_method(channel, method.encode())


def content(method: Method, body: bytes) -> bytes:
    """Encode a method with a content on channel 1."""
    properties = encode_properties(BasicProperties(app_id="a", headers={"n": [1, None, {"m": "x"}]}))
    return encode_content(1, method.encode(), properties, body, 4096)


#: What a client may be sent, and a server, from the beginning.
CONVERSATIONS: Final[dict[Role, list[bytes]]] = {
    Role.CLIENT: [
        frame(0, START),
        frame(0, TUNE),
        frame(0, m.ConnectionOpenOk()),
        frame(1, m.ChannelOpenOk()),
        frame(1, m.QueueDeclareOk("q", 1, 1)),
        content(m.BasicGetOk(1, False, "e", "k", 0), b"first"),
        content(m.BasicDeliver("c", 2, False, "e", "k"), b"second" * 10),
        content(m.BasicReturn(312, "NO_ROUTE", "e", "k"), b""),
        content(m.BasicDeliver("c", 3, True, "e", "k"), b"x" * 200),
        frame(1, m.BasicAck(1, True)) + HEARTBEAT_FRAME,
        frame(0, m.ConnectionBlocked("memory")),
        content(m.BasicDeliver("c", 4), b"stop"),
        frame(1, m.ChannelClose(404, "NOT_FOUND - x", 50, 10)) + frame(1, m.ChannelCloseOk()),
        frame(0, m.ConnectionClose(320, "CONNECTION_FORCED - x", 0, 0)),
    ],
    Role.SERVER: [
        PROTOCOL_HEADER,
        frame(0, START_OK),
        frame(0, TUNE_OK) + frame(0, m.ConnectionOpen("/")),
        frame(1, m.ChannelOpen()) + frame(2, m.ChannelOpen()),
        frame(1, m.ConfirmSelect()),
        frame(1, m.QueueDeclare("q", arguments={"x-message-ttl": 1000, "x-queue-type": "classic"})),
        content(m.BasicPublish("e", "k", True), b"first"),
        content(m.BasicPublish("", "q"), b"second" * 10),
        content(m.BasicPublish("", "q"), b"x" * 200),
        frame(2, m.BasicConsume("q", "c", arguments={"x-priority": 5})) + HEARTBEAT_FRAME,
        frame(2, m.BasicNack(1, True, True)),
        content(m.BasicPublish("", "q"), b"stop"),
        frame(1, m.ChannelCloseOk()),
        frame(0, m.ConnectionUpdateSecret(b"s", "r")),
        frame(2, m.ChannelClose(200, "bye", 0, 0)),
        frame(0, m.ConnectionClose(200, "bye", 0, 0)),
    ],
}


def judge(machine: ServerMachine, event: Event) -> None:
    """Let in whoever knows the password, to any virtual host."""
    if isinstance(event, LoginRequested) and machine.state is State.AUTHENTICATING:
        if sasl.parse_response(event.mechanism, event.response) == ("guest", "guest"):
            machine.accept_login()
        else:
            machine.refuse_login(event.mechanism)
    elif isinstance(event, OpenRequested) and machine.state is State.OPENING:
        machine.accept_open()


def answer(machine: Machine, event: Event) -> None:
    """Do what an owner does, unless the connection has ended behind the event."""
    state = machine.state
    if isinstance(machine, ServerMachine):
        judge(machine, event)
    if isinstance(event, ConnectionOpened) and isinstance(machine, ClientMachine) and state is State.OPEN:
        machine.open_channel(1)
    elif isinstance(event, ChannelOpened) and isinstance(machine, ClientMachine):
        machine.send_method(event.channel, m.QueueDeclare("q"))
        machine.send_method(event.channel, m.BasicGet("q"))
    elif isinstance(event, MethodReceived) and isinstance(event.method, m.QueueDeclare):
        machine.send_method(event.channel, m.QueueDeclareOk("q"))
    elif isinstance(event, ContentReceived) and event.body == b"stop":
        machine.close_channel(event.channel, 406, "PRECONDITION_FAILED - stop")


def talk(machine: Machine, chunks: Sequence[bytes]) -> list[Event]:
    """Feed a machine, own it, and look at all that comes out."""
    happened: list[Event] = []
    for now, chunk in enumerate(chunks, 1):
        ended = machine.is_closed
        machine.receive_data(chunk, float(now))
        events = machine.events()
        expect(not (ended and events), f"events after the end: {events}")
        for event in events:
            happened.append(event)
            answer(machine, event)
        happened += machine.events()
        data = machine.data_to_send(float(now))
        expect(not (ended and data), f"bytes after the end: {data!r}")
        written(data)
    ends = [event for event in happened if isinstance(event, ConnectionEnded)]
    expect(len(ends) == machine.is_closed, f"{len(ends)} ends of the connection")
    expect(not ends or happened[-1] is ends[0], "something happened after the end")
    expect(not machine.is_closed or machine.next_deadline() is None, "a deadline after the end")
    for event in happened:
        examine(event)
    return happened


def examine(event: Event) -> None:
    """An event can be shown, and has a body within the limits."""
    expect(bool(repr(event)), "no representation")
    if isinstance(event, ContentReceived) and event.body is not None:
        expect(len(event.body) <= SMALL.max_body, "a body above the limit")
    if isinstance(event, ChannelEnded):
        expect(event.channel > 0, "the end of channel 0")


def written(data: bytes) -> None:
    """What a machine sends are whole frames with methods that exist."""
    reader = FrameReader(SMALL.frame_max)
    reader.feed(data.removeprefix(PROTOCOL_HEADER))
    while (frame_ := reader.next_frame()) is not NEED_DATA:
        if frame_[0] == METHOD:
            decode_method(frame_[2])


def fuzz_connection(role: Role, data: bytes) -> None:
    """The first byte says how much of a valid conversation comes before the rest, the second its pieces."""
    conversation = CONVERSATIONS[role]
    known = data[0] % (len(conversation) + 1) if data else 0
    talk(fresh(role), [*conversation[:known], *pieces(data[1:])])


def fresh(role: Role) -> Machine:
    """Make a machine with small limits."""
    if role is Role.CLIENT:
        return ClientMachine(now=0.0, limits=SMALL)
    return ServerMachine(now=0.0, limits=SMALL)


def fuzz_client(data: bytes) -> None:
    """A hostile server."""
    fuzz_connection(Role.CLIENT, data)


def fuzz_server(data: bytes) -> None:
    """A hostile client."""
    fuzz_connection(Role.SERVER, data)


TARGETS: Final[tuple[Callable[[bytes], None], ...]] = (
    fuzz_table,
    fuzz_method,
    fuzz_properties,
    fuzz_frames,
    fuzz_sasl,
    fuzz_client,
    fuzz_server,
)


def one_input(data: bytes) -> None:
    """Run the target that the first byte names."""
    if data:
        TARGETS[data[0] % len(TARGETS)](data[1:])


# Without atheris


def seeds() -> list[bytes]:
    """Valid inputs of every target."""
    table: dict[str, Any] = {
        "t": True,
        "I": 1,
        "l": 1 << 40,
        "d": 1.5,
        "S": "text",
        "x": b"bytes",
        "A": [1, [None]],
        "F": {"V": None},
    }
    read_only = b"\x01bb\x80\x01BB\xff\x01ss\xff\xfe\x01uu\xff\xfe\x01ii\xff\xff\xff\xfe\x01ff\x3f\0\0\0"
    timed = b"\x01TT\0\0\0\0\x65\0\0\0\x01DD\x02\0\0\x01\x3a\x01LL" + b"\xff" * 8
    properties = BasicProperties("a", "b", table, 2, 9, "c", "d", "e", "f", 1, "g", "h", "i", "j")
    by_target: dict[Callable[[bytes], None], list[bytes]] = {
        fuzz_table: [
            encode_table(table),
            *(len(raw).to_bytes(4, "big") + raw for raw in (read_only, timed)),
        ],
        fuzz_method: [b"\xff" + method().encode() for method in BY_KEY.values()]
        + [b"\xff" + filled(method).encode() for method in BY_KEY.values()]
        + [bytes((index,)) + method().encode()[4:] for index, method in enumerate(BY_KEY.values())],
        fuzz_properties: [encode_properties(properties), encode_properties(BasicProperties(priority=1))],
        fuzz_frames: [bytes((size,)) + HEARTBEAT_FRAME + frame(1, START) for size in (0, 1, 5)],
        fuzz_sasl: [sasl.initial_response(name, "guest", "guest") for name in (sasl.PLAIN, sasl.AMQPLAIN)],
        fuzz_client: conversation_seeds(Role.CLIENT),
        fuzz_server: conversation_seeds(Role.SERVER),
    }
    return [bytes((index,)) + seed for index, target in enumerate(TARGETS) for seed in by_target[target]]


def filled(kind: type[Method]) -> Method:
    """Return a method whose arguments say something."""
    blank = kind()
    values: dict[type, Any] = {
        bool: True,
        int: 7,
        str: "name",
        bytes: b"text",
        dict: {"x-match": "all", "n": [1, 1 << 40, None, True, 1.5, {"t": b"x"}]},
    }
    return kind(*[values[type(getattr(blank, name))] for name in kind.__match_args__])


def conversation_seeds(role: Role) -> list[bytes]:
    """The rest of a conversation behind each of its steps, in pieces of some sizes."""
    conversation = CONVERSATIONS[role]
    return [
        bytes((known, size)) + b"".join(conversation[known:])
        for known in range(len(conversation))
        for size in (0, 1, 17)
    ]


def mutated(data: bytes, corpus: Sequence[bytes], chance: random.Random) -> bytes:
    """Spoil an input in one to four ways; its first byte, which names the target, stays."""
    body = bytearray(data[1:])
    for _ in range(chance.randint(1, 4)):
        at = chance.randint(0, len(body))
        end = min(len(body), at + chance.choice((1, 1, 2, 4, 8, 40)))
        way = chance.randrange(7)
        if way == 0:
            body[at:end] = chance.randbytes(end - at)
        elif way == 1:
            del body[at:end]
        elif way == 2:
            body[at:at] = body[at:end] * chance.choice((1, 2, 50))
        elif way == 3:
            body[at:end] = chance.choice((b"\0", b"\xff", b"\x7f\xff", b"\xff" * 4, b"\0" * 4, b"\xce"))
        elif way == 4:
            body[at:at] = chance.choice(corpus)[1:][: chance.randint(0, 200)]
        elif way == 5:
            del body[at:]
        elif body:
            body[at - 1] ^= 1 << chance.randrange(8)
    return data[:1] + bytes(body)


def run(*, iterations: int | None = None, seconds: float | None = None, seed: int = 0) -> int:
    """Mutate valid inputs until either limit is reached; returns how many were tried.

    Raises:
        Exception: Whatever an input let out; the note behind it says how to run that input again.
    """
    chance = random.Random(seed)  # noqa: S311 - to be repeatable is the point
    corpus = seeds()
    for data in corpus:
        attempt(data)
    end = None if seconds is None else time.monotonic() + seconds
    for done in count():
        if done == iterations or (end is not None and time.monotonic() >= end):
            return done
        attempt(mutated(chance.choice(corpus), corpus, chance))
    raise AssertionError("count() ended")


def attempt(data: bytes) -> None:
    """Run one input; an error gets a note that names it."""
    try:
        one_input(data)
    except Exception as error:
        error.add_note(f"input: bytes.fromhex({data.hex()!r})")
        raise


def guided(argv: list[str]) -> int:
    """Hand over to atheris, which never returns but by its own options."""
    atheris: Any = importlib.import_module("atheris")
    atheris.instrument_all()
    atheris.Setup(argv, one_input)
    atheris.Fuzz()
    return 0


def main(argv: list[str]) -> int:
    """Run the plain loop when told for how long, atheris otherwise."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, help="run the plain loop for so long")
    parser.add_argument("--iterations", type=int, help="run the plain loop so many times")
    parser.add_argument("--seed", type=int, default=0, help="of the plain loop's choices")
    parser.add_argument("--replay", type=Path, nargs="+", help="run the inputs in these files")
    options, rest = parser.parse_known_args(argv[1:])
    if options.replay:
        for path in options.replay:
            attempt(path.read_bytes())
        return 0
    if options.seconds is None and options.iterations is None:
        return guided([argv[0], *rest])
    done = run(iterations=options.iterations, seconds=options.seconds, seed=options.seed)
    sys.stdout.write(f"{done} inputs, nothing found\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
