"""Deliveries that are no valid messages: each is refused, none stops or silences a consumer (P01)."""

from __future__ import annotations

import functools
import gzip
import json
import struct
from typing import TYPE_CHECKING, Any

import pika
import pytest
from tests.behaviour.peer import Peer, table
from tests.client import broken_schemas
from tests.client.support import AioConsuming, Consuming, message, numbers, plan, run
from tests.support.waiting import WAIT, eventually, soon

from fedora_messaging import aio
from fedora_messaging import message as message_module
from fedora_messaging.message import Message

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.admin import Admin, Names
    from tests.support.brokers import Broker

    Make = Callable[..., Consuming]

BODY = b'{"number": 1}'


def properties(body: bytes = BODY, **changed: Any) -> tuple[bytes, pika.BasicProperties]:
    """A message that is right but for some properties."""
    settings: dict[str, Any] = {
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "message_id": "canary",
        "headers": {"fedora_messaging_schema": "base.message", "fedora_messaging_severity": 20},
    }
    return body, pika.BasicProperties(**{**settings, **changed})


def headers(**changed: Any) -> tuple[bytes, pika.BasicProperties]:
    """A message that is right but for some headers."""
    return properties(headers={"fedora_messaging_severity": 20, **changed})


def deep(levels: int) -> dict[str, Any]:
    """A table within a table within a table."""
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"t": value}
    return value


NESTED = 100_000
INVALID: dict[str, tuple[bytes, pika.BasicProperties]] = {
    "nothing at all": (b"", pika.BasicProperties()),
    "empty body": properties(b""),
    "not JSON": properties(b"{"),
    "not an object": properties(b'["number"]'),
    "text": properties(b'"text"'),
    "trailing comma": properties(b'{"number": 1,}'),
    "two objects": properties(b"{}{}"),
    "deeply nested lists": properties(b'{"a": ' + b"[" * NESTED + b"]" * NESTED + b"}"),
    "deeply nested objects": properties(b'{"a":' * NESTED + b"1" + b"}" * NESTED),
    "deeply nested and cut": properties(b"[" * NESTED),
    "large and no object": properties(b"[" + b"0," * 700_000 + b"0]"),
    "large and not JSON": properties(b"x" * 1_500_000),
    "byte order mark": properties(b"\xef\xbb\xbf{}"),
    "not UTF-8": properties(b'{"number": "\xff"}'),
    "NUL bytes": properties(b"\0" * 100),
    "encoding gzip": properties(gzip.compress(BODY), content_encoding="gzip"),
    "encoding gzip of plain text": properties(content_encoding="gzip"),
    "encoding unknown": properties(content_encoding="canary"),
    "encoding empty": properties(content_encoding=""),
    "encoding with NUL": properties(content_encoding="utf\0-8"),
    "encoding of 255 characters": properties(content_encoding="x" * 255),
    "encoding that is a module": properties(content_encoding="os.path"),
    "encoding that is a path": properties(content_encoding="../../utf-8"),
    "encoding zlib": properties(content_encoding="zlib"),
    "encoding hex": properties(b"7b7d", content_encoding="hex"),
    "encoding base64": properties(b"e30=", content_encoding="base64"),
    "encoding rot13": properties(content_encoding="rot13"),
    "encoding undefined": properties(content_encoding="undefined"),
    "encoding with a lone surrogate": properties(content_encoding="é"),
    "encoding utf-16 of UTF-8": properties(content_encoding="utf-16"),
    "schema is a list": headers(fedora_messaging_schema=["base.message"]),
    "schema is a table": headers(fedora_messaging_schema={"name": "base.message"}),
    "schema is a number": headers(fedora_messaging_schema=5),
    "schema is true": headers(fedora_messaging_schema=True),
    "schema is bytes": headers(fedora_messaging_schema=b"\xff\xfe"),
    "schema is nothing": headers(fedora_messaging_schema=None),
    "severity is text": headers(fedora_messaging_severity="20"),
    "severity is unknown": headers(fedora_messaging_severity=21),
    "severity is a list": headers(fedora_messaging_severity=[20]),
    "severity is huge": headers(fedora_messaging_severity=2**62),
    "severity is nothing": headers(fedora_messaging_severity=None),
    "package is a number": headers(
        fedora_messaging_schema="base.message", fedora_messaging_schema_package=[1]
    ),
    "sent-at is a number": headers(**{"sent-at": 5}),
}

# Not what this library sends, but valid messages all the same, as they were for version 3.9.
VALID: dict[str, tuple[bytes, pika.BasicProperties]] = {
    "no properties": (BODY, pika.BasicProperties()),
    "no headers": properties(headers=None),
    "no encoding": properties(content_encoding=None),
    "unknown schema": headers(fedora_messaging_schema="canary"),
    "unknown schema with newlines": headers(fedora_messaging_schema="canary\n\x1b[31m"),
    "other encoding": properties('{"number": 1, "ä": "ö"}'.encode("utf-16"), content_encoding="utf-16"),
    "other headers": headers(number=5, nothing=None, list=[1, {"a": 2}], bytes=b"\xff"),
    "tables within tables": headers(deep=deep(20)),
    "over one megabyte": properties(json.dumps({"number": 1, "text": "x" * 1_500_000}).encode()),
    "odd numbers": properties(b'{"number": 1, "a": 1e999, "b": NaN, "c": 123456789012345678901234567890}'),
    "every property": properties(
        content_type="text/plain",
        correlation_id="c",
        reply_to="r",
        expiration="60000",
        timestamp=2**40,
        type="t",
        app_id="a",
        cluster_id="c",
        priority=9,
        message_id=None,
    ),
}


def text_flags(*texts: bytes) -> bytes:
    """Property flags for headers, and the bytes of a table that may be wrong."""
    return b"\x20\x00" + b"".join(texts)


#: Property bytes whose table of headers cannot be read; brokers need not look into it.
BROKEN_TABLES = {
    "unknown type": text_flags(table((b"k", b"Z\x00"))),
    "text beyond the table": text_flags(table((b"k", b"S\x00\x00\x00\x09ab"))),
    "name beyond the table": text_flags(struct.pack(">I", 3), b"\x09ab"),
    "no value": text_flags(struct.pack(">I", 2), b"\x01k"),
    "table beyond the table": text_flags(table((b"k", b"F\x00\x00\xff\xff"))),
    "array beyond the table": text_flags(table((b"k", b"A\xff\xff\xff\xff"))),
    "cut number": text_flags(table((b"k", b"l\x00"))),
    "tables nested 5000 deep": text_flags(
        functools.reduce(lambda inner, _: table((b"k", b"F" + inner)), range(5000), table())
    ),
    "arrays nested 5000 deep": text_flags(
        table((b"k", functools.reduce(lambda i, _: b"A" + struct.pack(">I", len(i)) + i, range(5000), b"V")))
    ),
}


@pytest.fixture(params=["function", "coroutine function"])
def kind(request: pytest.FixtureRequest) -> str:
    """Form of the callback."""
    return str(request.param)


@pytest.fixture
def consuming(kind: str, broker: Broker, service: None) -> Make:
    """Begins to consume in a thread: functions by `api`, coroutine functions by `aio`."""
    return Consuming if kind == "function" else functools.partial(AioConsuming, broker.url)


class Collector:
    """A callback in either form."""

    def __init__(self) -> None:
        self.received: list[Message] = []

    async def coroutine(self, received: Message) -> None:
        self.received.append(received)

    def callback(self, kind: str) -> Any:
        return self.received.append if kind == "function" else self.coroutine


@pytest.fixture
def dead(admin: Admin, names: Names) -> str:
    """The queue where refused messages go."""
    return admin.declare(names("dead"))


@pytest.fixture
def arguments(dead: str) -> dict[str, Any]:
    """Arguments of a queue that dead-letters."""
    return {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}


@pytest.fixture
def lettering(admin: Admin, name: str, arguments: dict[str, Any]) -> str:
    """A queue that dead-letters what is refused."""
    return admin.declare(name, **arguments)


def good(number: int) -> tuple[bytes, pika.BasicProperties]:
    return properties(f'{{"number": {number}}}'.encode())


def test_p01_matrix(
    broker: Broker,
    admin: Admin,
    lettering: str,
    dead: str,
    arguments: dict[str, Any],
    consuming: Make,
    kind: str,
) -> None:
    """P01: bad, good, bad, good, ...: each bad one is refused, each good one arrives, in order."""
    collector = Collector()
    with consuming(collector.callback(kind), **plan(lettering, **arguments)) as run_:
        for number, (label, bad) in enumerate(INVALID.items()):
            admin.publish(lettering, *bad)
            admin.publish(lettering, *good(number))
            eventually(lambda: len(collector.received) > number)  # noqa: B023
            assert run_.is_alive, label
            assert collector.received[-1].body == {"number": number}, f"{label} was handed to the callback"
            eventually(lambda: admin.ready(dead) == number + 1)  # noqa: B023
        assert admin.consumers(lettering) == 1
    assert numbers(collector.received) == list(range(len(INVALID)))
    assert admin.ready(lettering) == 0
    assert sorted(admin.take(dead)) == sorted(body for body, _ in INVALID.values())


@pytest.mark.parametrize("label", VALID)
def test_unusual_but_valid(
    broker: Broker, admin: Admin, queue: str, consuming: Make, kind: str, label: str
) -> None:
    collector = Collector()
    admin.publish(queue, *VALID[label])
    with consuming(collector.callback(kind), **plan(queue)):
        eventually(lambda: collector.received)
    received = collector.received[0]
    assert type(received) is Message
    assert received.body["number"] == 1
    assert received.topic == queue
    assert str(received)
    assert repr(received)
    assert admin.ready(queue) == 0


def test_p01_all_at_once(
    broker: Broker,
    admin: Admin,
    lettering: str,
    dead: str,
    arguments: dict[str, Any],
    consuming: Make,
    kind: str,
) -> None:
    """More bad ones than the prefetch, before anybody consumes."""
    small = [bad for bad in INVALID.values() if len(bad[0]) < 1000]
    for bad in small:
        admin.publish(lettering, *bad)
    admin.publish(lettering, *good(1))
    collector = Collector()
    with consuming(collector.callback(kind), **plan(lettering, **arguments)):
        eventually(lambda: collector.received)
        eventually(lambda: admin.ready(dead) == len(small))
    assert numbers(collector.received) == [1]


def test_p01_without_dead_letter_exchange_they_are_gone(
    broker: Broker, admin: Admin, queue: str, consuming: Make, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Refused, not put back: and said so in the log."""
    collector = Collector()
    admin.publish(queue, *INVALID["not JSON"])
    admin.publish(queue, *good(1))
    with consuming(collector.callback(kind), **plan(queue)):
        eventually(lambda: collector.received)
    assert admin.ready(queue) == 0
    lines = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert any("did not pass validation; ignoring message" in line for line in lines)


def test_p01_subscription(
    broker: Broker, admin: Admin, lettering: str, dead: str, arguments: dict[str, Any]
) -> None:
    """`aio.Bus.subscribe` passes them over likewise."""
    for number, bad in enumerate(INVALID.values()):
        admin.publish(lettering, *bad)
        admin.publish(lettering, *good(number))

    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            async with bus.subscribe(queue=lettering, arguments=arguments) as subscription:
                for number in range(len(INVALID)):
                    delivery = await anext(subscription)
                    assert delivery.message.body == {"number": number}
                await delivery.ack()
                await soon(lambda: admin.ready(dead) == len(INVALID))

    run(main())
    assert admin.ready(lettering) == 0


@pytest.mark.parametrize("label", BROKEN_TABLES)
def test_p01_broken_header_table(
    broker: Broker,
    admin: Admin,
    lettering: str,
    arguments: dict[str, Any],
    consuming: Make,
    kind: str,
    label: str,
) -> None:
    """A broker may refuse to take it, or to dead-letter it; a consumer may not suffer from it."""
    collector = Collector()
    with Peer(broker.url) as peer:
        peer.login().open_channel()
        peer.publish(BODY, routing_key=lettering, property_bytes=BROKEN_TABLES[label])
        peer.drop()
    admin.publish(lettering, *good(2))
    with consuming(collector.callback(kind), **plan(lettering, **arguments)) as run_:
        eventually(lambda: collector.received)
        assert run_.is_alive
        assert numbers(collector.received) == [2]
        admin.publish(lettering, *good(3))
        eventually(lambda: len(collector.received) == 2)
    assert admin.ready(lettering) == 0


def test_strings_that_are_not_text(
    broker: Broker, admin: Admin, lettering: str, consuming: Make, kind: str, arguments: dict[str, Any]
) -> None:
    """Names and strings that are no UTF-8, in every property that has text, and values at the limits."""
    collector = Collector()
    # content-type, correlation-id, reply-to, message-id and app-id.
    short_strings = b"\x86\x88" + b"\x03\xff\xfe\x00" * 5
    values = [
        (b"\xff\xfe", b"S\x00\x00\x00\x02\xff\xfe"),
        (b"", b"V"),
        (b"decimal", b"D\xff\x7f\xff\xff\xff"),
        (b"time", b"T\x7f\xff\xff\xff\xff\xff\xff\xff"),
    ]
    if broker.kind == "embedded":
        # Erlang has no such number: RabbitMQ answers with 541 INTERNAL_ERROR.
        values.append((b"nan", b"d\x7f\xf8\x00\x00\x00\x00\x00\x00"))
    with Peer(broker.url) as peer:
        peer.login().open_channel()
        peer.publish(b'{"number": 1}', routing_key=lettering, property_bytes=short_strings)
        peer.publish(b'{"number": 2}', routing_key=lettering, property_bytes=b"\x20\x00" + table(*values))
        peer.roundtrip()
    admin.publish(lettering, *good(3))
    with consuming(collector.callback(kind), **plan(lettering, **arguments)):
        eventually(lambda: 3 in numbers(collector.received))
    assert admin.ready(lettering) == 0
    for received in collector.received:
        assert str(received)


# Schema classes that fail


@pytest.fixture(scope="module")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Have the classes of broken_schemas.py announced by an installed distribution, and registered."""
    site = tmp_path_factory.mktemp("site")
    write_distribution(site)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        message_module.load_message_classes()


def write_distribution(site: Path) -> None:
    info = site / "broken_schemas-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-schemas\nVersion: 1.0\n")
    names = [cls.__name__ for cls in (*broken_schemas.INVALID, *broken_schemas.DOUBTFUL)]
    names += ["NotAMessage", "not_a_class"]
    lines = [f"canary.{name} = tests.client.broken_schemas:{name}" for name in names]
    (info / "entry_points.txt").write_text("\n".join(["[fedora.messages]", *lines, ""]))


def of_class(name: str) -> tuple[bytes, pika.BasicProperties]:
    return headers(fedora_messaging_schema=f"canary.{name}")


def test_p01_schema_classes_that_fail(
    broker: Broker,
    admin: Admin,
    lettering: str,
    dead: str,
    arguments: dict[str, Any],
    consuming: Make,
    kind: str,
    schemas: None,
) -> None:
    """P01: constructors and properties that raise, wrong schemas: only their messages suffer."""
    collector = Collector()
    with consuming(collector.callback(kind), **plan(lettering, **arguments)) as run_:
        for number, cls in enumerate(broken_schemas.INVALID):
            admin.publish(lettering, *of_class(cls.__name__))
            admin.publish(lettering, *good(number))
            eventually(lambda: len(collector.received) > number)  # noqa: B023
            assert run_.is_alive, cls
            assert type(collector.received[-1]) is Message, f"{cls} was handed to the callback"
            eventually(lambda: admin.ready(dead) == number + 1)  # noqa: B023
        assert admin.consumers(lettering) == 1
    assert admin.ready(lettering) == 0


@pytest.mark.parametrize("doubtful", ["SchemaWithoutEnd", "ReprRaises", "NotAMessage", "not_a_class"])
def test_p01_doubtful_schema_classes(
    broker: Broker,
    admin: Admin,
    lettering: str,
    arguments: dict[str, Any],
    consuming: Make,
    kind: str,
    schemas: None,
    doubtful: str,
) -> None:
    """Whether such a message is valid is a matter of taste; that the next one arrives is not."""
    collector = Collector()
    with consuming(collector.callback(kind), **plan(lettering, **arguments)):
        admin.publish(lettering, *of_class(doubtful))
        admin.publish(lettering, *good(2))
        eventually(lambda: any(type(received) is Message for received in collector.received))
    assert admin.ready(lettering) == 0


def test_p01_broken_class_in_a_subscription(
    broker: Broker, admin: Admin, lettering: str, dead: str, arguments: dict[str, Any], schemas: None
) -> None:
    for number, cls in enumerate(broken_schemas.INVALID):
        admin.publish(lettering, *of_class(cls.__name__))
        admin.publish(lettering, *good(number))

    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            async with bus.subscribe(queue=lettering, arguments=arguments) as subscription:
                for number in range(len(broken_schemas.INVALID)):
                    delivery = await anext(subscription)
                    assert delivery.message.body == {"number": number}
                await soon(lambda: admin.ready(dead) == len(broken_schemas.INVALID))

    run(main(), within=WAIT)


def test_publishing_a_message_whose_class_fails(
    broker: Broker, admin: Admin, queue: str, schemas: None
) -> None:
    """The caller gets the class's own error; the bus stays usable."""

    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            with pytest.raises(broken_schemas.CanaryError):
                await bus.publish(broken_schemas.Validate(topic="t"))
            with pytest.raises(RecursionError):
                await bus.publish(broken_schemas.Recursive(topic="t"))
            await bus.publish(message(queue))

    run(main())
    assert admin.ready(queue) == 1
