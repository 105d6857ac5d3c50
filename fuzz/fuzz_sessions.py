"""Run whole sessions of hostile clients against the embedded broker, typed rightly and valued oddly.

Every field type at its limits in every table; declarations, bindings, publishes, consumers and transactions
that meet each other in a few queues and exchanges. Beside them live innocents: one publishes and consumes,
one takes messages from the queues of the hostile and rejects most. After each round nothing that was
confirmed may be lost, no innocent may have been closed, and the broker may have failed nobody (541, an error
in its log)::

    python fuzz/fuzz_sessions.py --sessions 100000 [--seed 7] [--first 0]

What is found names the sessions of its round; ``--first`` and ``--sessions`` run them again.
"""

import argparse
import asyncio
import contextlib
import logging
import random
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar, cast

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fuzz.typed_values import INTEGERS, TEXTS, Vocabulary, any_table, properties

from fedora_messaging.broker import AsyncBroker, ResourceLimits
from fedora_messaging.protocol.confirms import AwaitedConfirms
from fedora_messaging.protocol.errors import INTERNAL_ERROR
from fedora_messaging.wire import methods as m
from fedora_messaging.wire.errors import WireError
from fedora_messaging.wire.fields import encode_longstr, encode_shortstr, encode_table, join_table
from fedora_messaging.wire.frames import (
    BODY,
    HEADER,
    METHOD,
    NEED_DATA,
    PROTOCOL_HEADER,
    FrameReader,
    encode_content,
    encode_method,
    room_for_properties,
)
from fedora_messaging.wire.methods import BY_KEY, Method, decode_method
from fedora_messaging.wire.properties import decode_properties

Answer = TypeVar("Answer", bound=Method)

#: Seconds for an answer; generous, because only a broker that is stuck needs them.
WAIT: Final = 60.0
#: Seconds for what was confirmed to come.
ARRIVAL: Final = 60.0
FRAME_MAX: Final = 131072
#: Sessions that share a broker, and how many of them run at once.
ROUND: Final = 200
ABREAST: Final = 4

QUEUES: Final = ("q0", "q1", "q2", "q3", "q4", "q5")
EXCHANGES: Final = (
    "",
    "e0",
    "e1",
    "e2",
    "e3",
    "h1",
    "d0",
    "m4",
    "amq.direct",
    "amq.topic",
    "amq.headers",
    "amq.fanout",
)
KINDS: Final = {
    "e0": "direct",
    "e1": "topic",
    "e2": "fanout",
    "e3": "headers",
    "h1": "x-consistent-hash",
    "d0": "x-delayed-message",
    "m4": "x-modulus-hash",
}
KEYS: Final = ("", "a", "a.b", "#", "*", "a.#.b", "1", "3", *QUEUES)
_ODD: Final = ("", "\x1b[2J", "\udcff", "x" * 255, "amq.mine", "nowhere")
WORDS: Final = Vocabulary((*QUEUES, *_ODD), (*EXCHANGES, *_ODD), (*KEYS, *_ODD))

#: Only innocents touch these two, but for publishing to the first. What leaves it comes to the second.
PIT: Final = "pit"
KEPT: Final = "kept"
#: The channels of the hostile.
CHANNELS: Final = (1, 2, 3)
#: A channel on which nothing is ever wrong: its answers show that all before them was dealt with.
CLEAN: Final = 9
_PLACE: Final = {"\0": None}


class Finding(AssertionError):
    """Something happened that should not."""


def expect(condition: bool, what: str) -> None:
    """Raise ``Finding`` unless the condition holds (``assert`` would vanish under ``python -O``)."""
    if not condition:
        raise Finding(what)


def with_table(method: Method, table: bytes) -> bytes:
    """Encode a method that was made with ``_PLACE`` where this encoded table belongs."""
    return method.encode().replace(encode_table(_PLACE), table, 1)


def _examine(raw: bytes) -> None:
    """Properties can be read, unless they nest deeper than any reader of ours goes."""
    try:
        decode_properties(raw)
    except WireError as error:
        expect("nested deeper" in error.text, f"unreadable properties: {error.text}")


#: Parts of the texts that explain 541 where RabbitMQ gives this code, too, for what a client asks.
_NO_FAILURES: Final = ("queue_master_locator", "is not a string")


def _examine_close(method: m.ConnectionClose | m.ChannelClose) -> None:
    """The broker has not failed."""
    is_failure = method.reply_code == INTERNAL_ERROR and not any(
        part in method.reply_text for part in _NO_FAILURES
    )
    expect(not is_failure, f"541: {method.reply_text}")


class Wire(asyncio.Protocol):
    """A client of raw frames that looks at everything the broker sends.

    Attributes:
        frame_max: Largest frame that it tunes to.
        fault: What the broker did wrong.
        is_over: The broker is about to stop, and may say so.
        ended: Done when the connection is gone: with the broker's close, if it has sent one.
    """

    def __init__(self, frame_max: int = FRAME_MAX) -> None:
        self.frame_max = frame_max
        self.ended: asyncio.Future[m.ConnectionClose | None] = asyncio.get_running_loop().create_future()
        self.fault: Exception | None = None
        self.is_over = False
        self._close: m.ConnectionClose | None = None
        self._reader = FrameReader(FRAME_MAX)
        self._contents: dict[int, tuple[Method, bytearray, int]] = {}
        self._answers: list[tuple[int, type[Method], asyncio.Future[Method]]] = []
        self._transport: asyncio.Transport

    # asyncio calls these

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (frame := self._reader.next_frame()) is not NEED_DATA:
                self._frame(*frame)
        except Exception as error:
            self.fault = self.fault or error
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(self._close)
        for _, _, answer in self._answers:
            answer.cancel()

    def _frame(self, kind: int, channel: int, payload: bytes) -> None:
        if kind == METHOD:
            method = decode_method(payload)
            if method.has_content:
                self._contents[channel] = (method, bytearray(), -1)
            else:
                self._on_method(channel, method)
        elif kind in (HEADER, BODY):
            method, body, size = self._contents[channel]
            if kind == HEADER:
                _examine(payload[12:])
                (size,) = struct.unpack_from(">Q", payload, 4)
                self._contents[channel] = (method, body, size)
            else:
                body += payload
            if len(body) >= size:
                del self._contents[channel]
                self.on_content(channel, method, bytes(body))

    def _on_method(self, channel: int, method: Method) -> None:
        if isinstance(method, m.ConnectionClose):
            _examine_close(method)
            self._close = method
            self.send(0, m.ConnectionCloseOk())
        elif isinstance(method, m.ChannelClose):
            _examine_close(method)
            self.send(channel, m.ChannelCloseOk())
        for index, (on, kind, answer) in enumerate(self._answers):
            if on == channel and isinstance(method, kind):
                del self._answers[index]
                if not answer.done():
                    answer.set_result(method)
                break
        if not self.is_over:
            self.on_method(channel, method)

    # Those below override these

    def on_method(self, channel: int, method: Method) -> None:
        """A method came."""

    def on_content(self, channel: int, method: Method, body: bytes) -> None:
        """A delivery, a message that was asked for, or one that comes back."""

    # The fuzzer calls these

    def write(self, data: bytes) -> None:
        """Send bytes."""
        if not self._transport.is_closing():
            self._transport.write(data)

    def send(self, channel: int, method: Method) -> None:
        """Send a method."""
        self.write(encode_method(channel, method.encode()))

    async def answer(self, channel: int, kind: type[Answer]) -> Answer:
        """Wait for a method; :exc:`asyncio.CancelledError` if the connection ends instead."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self._transport.is_closing():
            raise EOFError
        self._answers.append((channel, kind, future))
        done, _ = await asyncio.wait([future], timeout=WAIT)
        expect(bool(done), f"no {kind.name} within {WAIT:g} s")
        if future.cancelled():
            raise EOFError
        return cast("Answer", future.result())

    async def login(self, client_properties: bytes) -> None:
        """The handshake, and the clean channel."""
        self.write(PROTOCOL_HEADER)
        await self.answer(0, m.ConnectionStart)
        start = m.ConnectionStartOk(_PLACE, "PLAIN", b"\0guest\0guest", "en_US")
        self.write(encode_method(0, with_table(start, client_properties)))
        await self.answer(0, m.ConnectionTune)
        self.send(0, m.ConnectionTuneOk(100, self.frame_max, 0))
        self._reader.frame_max = self.frame_max
        self.send(0, m.ConnectionOpen("/"))
        await self.answer(0, m.ConnectionOpenOk)
        self.send(CLEAN, m.ChannelOpen())
        await self.answer(CLEAN, m.ChannelOpenOk)

    async def settled(self) -> None:
        """Return when the broker has dealt with all that was sent."""
        self.send(CLEAN, m.ExchangeDeclare("amq.direct", passive=True))
        await self.answer(CLEAN, m.ExchangeDeclareOk)

    async def end(self) -> None:
        """Close the connection."""
        if not self._transport.is_closing():
            self.send(0, m.ConnectionClose(200, "bye", 0, 0))
            with contextlib.suppress(EOFError):
                await self.answer(0, m.ConnectionCloseOk)
        self._transport.close()
        await asyncio.wait([self.ended], timeout=WAIT)


class Witness(Wire):
    """An innocent that owns the pit, and keeps what comes out of it."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: set[bytes] = set()
        self._awaited: AwaitedConfirms[bytes] = AwaitedConfirms()
        self.confirmed: set[bytes] = set()
        self._changed = asyncio.Event()

    async def declare(self, arguments: dict[str, Any]) -> None:
        """Declare both queues."""
        self.send(1, m.ChannelOpen())
        for name, table in ((PIT, arguments), (KEPT, {})):
            self.send(1, m.QueueDeclare(name, durable=True, arguments=table))
            await self.answer(1, m.QueueDeclareOk)
        self.send(1, m.ConfirmSelect())
        await self.answer(1, m.ConfirmSelectOk)

    async def consume(self) -> None:
        """Begin to take what was kept."""
        self.send(1, m.BasicQos(0, 100))
        self.send(1, m.BasicConsume(KEPT))
        await self.answer(1, m.BasicConsumeOk)

    def publish(self, body: bytes) -> None:
        """Publish to the pit, as good clients do."""
        self._awaited.sent(body)
        plain = b"\x10\x00\x02"
        self.write(encode_content(1, m.BasicPublish("", PIT).encode(), plain, body, FRAME_MAX))

    def on_method(self, channel: int, method: Method) -> None:
        if isinstance(method, m.BasicAck):
            self.confirmed.update(self._awaited.take(method.delivery_tag, method.multiple))
            self._changed.set()
        elif isinstance(method, m.ConnectionClose | m.ChannelClose | m.BasicNack | m.BasicCancel):
            raise Finding(f"the witness was told {method!r}")

    def on_content(self, channel: int, method: Method, body: bytes) -> None:
        expect(isinstance(method, m.BasicDeliver), f"the witness got {method!r}")
        self.kept.add(body)
        self.send(1, m.BasicAck(cast("m.BasicDeliver", method).delivery_tag))
        self._changed.set()

    async def confirms(self) -> None:
        """Wait until all of its own publishes are confirmed."""
        await self._until(WAIT, lambda: not len(self._awaited), lambda: "good messages are not confirmed")

    async def everything(self, confirmed: set[bytes]) -> None:
        """Wait until all that was confirmed has come.

        Raises:
            Finding: Something does not come.
        """
        await self.confirms()
        all_of_them = confirmed | self.confirmed

        def lost() -> str:
            missing = sorted(all_of_them - self.kept)
            return f"{len(missing)} confirmed messages are lost: {missing[:20]}"

        await self._until(ARRIVAL, lambda: all_of_them <= self.kept, lost)

    async def _until(self, seconds: float, is_so: Callable[[], bool], otherwise: Callable[[], str]) -> None:
        end = time.monotonic() + seconds
        while not is_so():
            if self.fault is not None:
                raise self.fault
            expect(time.monotonic() < end, otherwise())
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), 1.0)


def durable(name: str) -> bool:
    """Whether good clients declare it so."""
    return name[-1:] in ("0", "1", "2", "3")


class Drainer(Wire):
    """An innocent that declares what the hostile use, consumes half of the queues, and rejects most of it."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance
        self._subscribed: set[int] = set()

    def begin(self) -> None:
        """Open a channel for each queue."""
        for channel, name in enumerate(QUEUES, 1):
            self._begin(channel, name)

    def _begin(self, channel: int, queue: str) -> None:
        """Declare a queue, unless it exists in another form, and bind it to an exchange."""
        self.send(channel, m.ChannelOpen())
        exchange = self._chance.choice(("e0", "e1", "e2", "e3"))
        self.send(channel, m.ExchangeDeclare(exchange, KINDS[exchange], durable=durable(exchange)))
        # The one argument that costs the connection.
        known = {name: make for name, make in WORDS.of_queues.items() if name != "x-queue-master-locator"}
        arguments = WORDS.arguments(self._chance, known, wrong=0.0)
        declare = m.QueueDeclare(queue, durable=durable(queue), arguments=_PLACE)
        self.write(encode_method(channel, with_table(declare, arguments)))
        self.send(channel, m.QueueBind(queue, exchange, self._chance.choice(KEYS)))
        self.send(channel, m.BasicQos(0, 10))

    def subscribe(self) -> None:
        """Consume the queues that are to be consumed and are not at the moment."""
        for channel, name in enumerate(QUEUES, 1):
            if channel not in self._subscribed:
                self._subscribed.add(channel)
                if channel % 2:
                    self.send(channel, m.BasicConsume(name, "drainer"))
                else:
                    self.send(channel, m.QueueDeclare(name, passive=True))

    def on_method(self, channel: int, method: Method) -> None:
        if isinstance(method, m.ConnectionClose):
            raise Finding(f"the drainer was told {method!r}")
        if isinstance(method, m.ChannelClose):
            self._begin(channel, QUEUES[channel - 1])
            self._subscribed.discard(channel)
        elif isinstance(method, m.BasicCancel):
            self._subscribed.discard(channel)

    def on_content(self, channel: int, method: Method, body: bytes) -> None:
        if not isinstance(method, m.BasicDeliver):
            return
        what = self._chance.random()
        if what < 0.2:
            self.send(channel, m.BasicAck(method.delivery_tag))
        else:
            self.send(channel, m.BasicReject(method.delivery_tag, requeue=what > 0.9))


class Hostile(Wire):
    """A session of some batches, each of some steps on a few channels.

    Args:
        number: Names the session's messages.
        chance: Decides all of it.
        confirmed: Takes the bodies that the broker has confirmed in the pit.
    """

    def __init__(self, number: int, chance: random.Random, confirmed: set[bytes]) -> None:
        super().__init__(chance.choice((4096, 8192, FRAME_MAX, FRAME_MAX)))
        self._number = number
        self._chance = chance
        self._confirmed = confirmed
        self._open: set[int] = set()
        self._awaited: dict[int, AwaitedConfirms[bytes | None]] = {}
        self._transactional: set[int] = set()
        self._last_tag: dict[int, int] = {}
        self._messages = 0
        self._steps = [
            (6, self._declare_queue),
            (3, self._declare_exchange),
            (6, self._bind),
            (2, self._unbind),
            (3, self._delete),
            (30, self._publish),
            (20, self._publish_to_pit),
            (6, self._confirm_select),
            (2, self._transaction),
            (6, self._consume),
            (2, self._cancel),
            (6, self._get),
            (6, self._settle),
            (3, self._set_prefetch),
            (2, self._other),
        ]

    async def run(self) -> None:
        """Do all of it; the broker may end it at any time."""
        chance = self._chance
        with contextlib.suppress(EOFError):
            await self.login(any_table(chance) if chance.random() < 0.5 else encode_table({}))
            for _ in range(chance.randint(1, 5)):
                for channel in CHANNELS:
                    if channel not in self._open:
                        self._open.add(channel)
                        self.send(channel, m.ChannelOpen())
                        if self._flag():
                            self._confirm_select(channel)
                for _ in range(chance.randint(1, 8)):
                    [step] = chance.choices(
                        [one for _, one in self._steps], [weight for weight, _ in self._steps]
                    )
                    step(chance.choice(CHANNELS))
                await self.settled()
        if chance.random() < 0.5:
            await self.end()
        self._transport.abort()
        await asyncio.wait([self.ended], timeout=WAIT)

    def on_method(self, channel: int, method: Method) -> None:
        if isinstance(method, m.ChannelClose | m.ChannelCloseOk):
            self._open.discard(channel)
            self._awaited.pop(channel, None)
            self._last_tag.pop(channel, None)
            self._transactional.discard(channel)
        elif isinstance(method, m.BasicAck | m.BasicNack) and channel in self._awaited:
            bodies = self._awaited[channel].take(method.delivery_tag, method.multiple)
            if isinstance(method, m.BasicAck):
                self._confirmed.update(body for body in bodies if body is not None)

    def on_content(self, channel: int, method: Method, body: bytes) -> None:
        if isinstance(method, m.BasicDeliver | m.BasicGetOk):
            self._last_tag[channel] = method.delivery_tag

    # What a session does; each on a channel

    def _flag(self, likely: float = 0.5) -> bool:
        return self._chance.random() < likely

    def _queue(self) -> str:
        return self._chance.choice(QUEUES if self._flag(0.9) else _ODD)

    def _exchange(self) -> str:
        return self._chance.choice(EXCHANGES if self._flag(0.9) else _ODD)

    def _key(self) -> str:
        return self._chance.choice(KEYS if self._flag(0.9) else _ODD)

    def _send(self, channel: int, method: Method, table: bytes | None = None) -> None:
        payload = method.encode() if table is None else with_table(method, table)
        self.write(encode_method(channel, payload))

    def _declare_queue(self, channel: int) -> None:
        arguments = WORDS.arguments(self._chance, WORDS.of_queues)
        name = self._queue()
        lasting = durable(name) if self._flag(0.95) else self._flag()
        exclusive, auto_delete = self._flag(0.05), self._flag(0.05)
        method = m.QueueDeclare(
            name, self._flag(0.05), lasting, exclusive, auto_delete, self._flag(0.1), _PLACE
        )
        self._send(channel, method, arguments)

    def _declare_exchange(self, channel: int) -> None:
        name = self._chance.choice(list(KINDS)) if self._flag(0.9) else self._exchange()
        kinds = (*KINDS.values(), "x-random", "")
        kind = KINDS[name] if name in KINDS and self._flag(0.9) else self._chance.choice(kinds)
        passive, auto_delete, internal = self._flag(0.05), self._flag(0.05), self._flag(0.05)
        lasting = durable(name) if self._flag(0.95) else self._flag()
        method = m.ExchangeDeclare(
            name, kind, passive, lasting, auto_delete, internal, self._flag(0.1), _PLACE
        )
        arguments = WORDS.arguments(self._chance, WORDS.of_exchanges)
        if kind == "x-delayed-message" and self._flag(0.8):
            arguments = encode_table({"x-delayed-type": self._chance.choice(("direct", "topic", "fanout"))})
        self._send(channel, method, arguments)

    def _bind(self, channel: int) -> None:
        arguments = WORDS.arguments(self._chance, WORDS.of_bindings)
        nowait = self._flag(0.1)
        source = self._exchange() or "e1"
        method: Method = m.QueueBind(self._queue(), source, self._key(), nowait, _PLACE)
        if self._flag(0.3):
            method = m.ExchangeBind(self._exchange() or "e0", source, self._key(), nowait, _PLACE)
        self._send(channel, method, arguments)

    def _unbind(self, channel: int) -> None:
        arguments = WORDS.arguments(self._chance, WORDS.of_bindings)
        method: Method = m.QueueUnbind(self._queue(), self._exchange(), self._key(), _PLACE)
        if self._flag(0.3):
            method = m.ExchangeUnbind(self._exchange(), self._exchange(), self._key(), False, _PLACE)
        self._send(channel, method, arguments)

    def _delete(self, channel: int) -> None:
        if self._flag(0.3):
            self._send(channel, m.QueuePurge(self._queue(), self._flag(0.1)))
        elif self._flag(0.5):
            self._send(channel, m.ExchangeDelete(self._exchange(), self._flag(0.3), self._flag(0.1)))
        else:
            method = m.QueueDelete(self._queue(), self._flag(0.3), self._flag(0.3), self._flag(0.1))
            self._send(channel, method)

    def _content(self, channel: int, method: m.BasicPublish, raw: bytes, body: bytes) -> None:
        self.write(encode_content(channel, method.encode(), raw, body, self.frame_max))

    def _headers(self) -> bytes:
        headers = WORDS.arguments(self._chance, WORDS.of_messages)
        if self._flag(0.03):
            # About as large as a frame may be, or larger by some bytes.
            room = room_for_properties(self.frame_max) - self._chance.choice(
                (-1, 0, 1, 3, 20, 100, 300, 1000)
            )
            long = b"x" + encode_longstr(b"z" * max(0, room - len(headers) - 30))
            headers = join_table({"long": long}) if self._flag(0.5) else _joined(headers, long)
        return headers

    def _publish(self, channel: int) -> None:
        expiration = ("0", "1", "5", "50", "-1", "", "x", "1.5", "4294967295", "9" * 30)
        raw = properties(self._chance, self._headers(), persistent=False, expiration=expiration)
        body = self._chance.choice((*TEXTS, b"b" * 5000))
        immediate = self._flag(0.01)
        method = m.BasicPublish(self._exchange(), self._key(), self._flag(0.2), immediate)
        self._content(channel, method, raw, body)
        if channel in self._awaited:
            self._awaited[channel].sent(None)

    def _publish_to_pit(self, channel: int) -> None:
        expiration = ("0", "1", "5")
        raw = properties(self._chance, self._headers(), persistent=True, expiration=expiration)
        self._messages += 1
        body = f"{self._number}.{self._messages}".encode()
        self._content(channel, m.BasicPublish("", PIT, self._flag(0.2)), raw, body)
        if channel in self._awaited:
            self._awaited[channel].sent(body)

    def _confirm_select(self, channel: int) -> None:
        self._send(channel, m.ConfirmSelect(self._flag(0.3)))
        self._awaited.setdefault(channel, AwaitedConfirms())

    def _transaction(self, channel: int) -> None:
        if channel not in self._transactional:
            self._transactional.add(channel)
            self._send(channel, m.TxSelect())
        else:
            self._send(channel, self._chance.choice((m.TxCommit(), m.TxCommit(), m.TxRollback())))

    def _consume(self, channel: int) -> None:
        tag = self._chance.choice(("", "c", "d", *_ODD))
        queue = "amq.rabbitmq.reply-to" if self._flag(0.1) else self._queue()
        no_local, no_ack, exclusive = self._flag(0.1), self._flag(0.4), self._flag(0.05)
        method = m.BasicConsume(queue, tag, no_local, no_ack, exclusive, self._flag(0.1), _PLACE)
        self._send(channel, method, WORDS.arguments(self._chance, WORDS.of_consumers))

    def _cancel(self, channel: int) -> None:
        self._send(channel, m.BasicCancel(self._chance.choice(("c", "d", "", "nobody")), self._flag(0.2)))

    def _get(self, channel: int) -> None:
        self._send(channel, m.BasicGet(self._queue(), self._flag(0.4)))

    def _settle(self, channel: int) -> None:
        last = self._last_tag.get(channel, 0)
        if not last and self._flag(0.95):
            return
        tag = last if self._flag(0.8) else self._chance.choice(INTEGERS) & ((1 << 64) - 1)
        multiple, requeue = self._flag(0.3), self._flag(0.2)
        answers = (
            m.BasicAck(tag, multiple),
            m.BasicNack(tag, multiple, requeue),
            m.BasicReject(tag, requeue),
        )
        self._send(channel, self._chance.choice(answers))

    def _set_prefetch(self, channel: int) -> None:
        count = self._chance.choice((0, 1, 2, 10, 65535))
        self._send(channel, m.BasicQos(int(self._flag(0.02)), count, self._flag(0.3)))

    def _other(self, channel: int) -> None:
        """What clients seldom do, or must not."""
        methods = (
            m.ChannelFlow(self._flag(0.9)),
            m.ChannelFlowOk(True),
            m.BasicRecover(self._flag(0.9)),
            m.BasicRecoverAsync(True),
            m.ChannelClose(200, "\x1b[2J", 0, 0),
            m.BasicCancelOk("c"),
        )
        if self._flag(0.9):
            self._send(channel, self._chance.choice(methods))
        elif self._flag(0.5):
            self._send(0, m.ConnectionUpdateSecret(b"guest", "\x1b[2J"))
        else:
            self._send(channel, self._chance.choice(sorted(BY_KEY.items()))[1]())


def _joined(headers: bytes, long: bytes) -> bytes:
    """Add a long value to an encoded table."""
    return encode_longstr(headers[4:] + encode_shortstr("long") + long)


# Rounds


class _Errors(logging.Handler):
    """Gathers what the broker logs of its own failures."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def raise_if_any(self) -> None:
        """Raise the first."""
        if self.records:
            record = self.records[0]
            cause = record.exc_info[1] if record.exc_info else None
            raise Finding(f"the broker logs: {record.getMessage()}") from cause


@contextlib.contextmanager
def _errors() -> Iterator[_Errors]:
    handler = _Errors()
    names = ("fedora_messaging", "asyncio")
    for name in names:
        logging.getLogger(name).addHandler(handler)
    try:
        yield handler
    finally:
        for name in names:
            logging.getLogger(name).removeHandler(handler)


def pit_arguments(chance: random.Random) -> dict[str, Any]:
    """Return how messages leave the pit in this round."""
    arguments: dict[str, Any] = {
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": KEPT,
        "x-message-ttl": chance.choice((0, 1, 5, 50)),
    }
    arguments.update(
        chance.choice(
            (
                {},
                {"x-queue-type": "quorum"},
                {"x-max-length": 2},
                {"x-max-length-bytes": 50},
                {"x-max-priority": 5},
                {"x-queue-type": "quorum", "x-max-length": 1},
            )
        )
    )
    return arguments


async def _join(wire: Wire, port: int) -> None:
    await asyncio.get_running_loop().create_connection(lambda: wire, "127.0.0.1", port)


async def _hostile(port: int, number: int, seed: int, confirmed: set[bytes]) -> None:
    session = Hostile(number, random.Random(f"{seed}/{number}"), confirmed)
    await _join(session, port)
    await session.run()
    if session.fault is not None:
        session.fault.add_note(f"in session {number}")
        raise session.fault


async def _round(first: int, sessions: int, seed: int, data: Path | None) -> None:
    chance = random.Random(f"round {seed}/{first}")
    confirmed: set[bytes] = set()
    resources = ResourceLimits(memory=0, disk=0)
    witness = Witness()
    async with AsyncBroker(data=data, resources=resources) as broker:
        await _join(witness, broker.port)
        await witness.login(encode_table({}))
        await witness.declare(pit_arguments(chance))
        drainer = Drainer(chance)
        await _join(drainer, broker.port)
        await drainer.login(encode_table({}))
        drainer.begin()
        if data is None:
            await witness.consume()
        numbers = iter(range(first, first + sessions))

        async def worker() -> None:
            for number in numbers:
                witness.publish(b"good %d" % number)
                drainer.subscribe()
                await _hostile(broker.port, number, seed, confirmed)

        async with asyncio.TaskGroup() as group:
            for _ in range(ABREAST):
                group.create_task(worker())
        for innocent in (drainer, witness):
            if innocent.fault is not None:
                raise innocent.fault
            await innocent.settled()
        if data is None:
            await witness.everything(confirmed)
        else:
            await witness.confirms()
        witness.is_over = drainer.is_over = True
    if data is not None:
        confirmed |= witness.confirmed
        witness = Witness()
        async with AsyncBroker(data=data, resources=resources) as broker:
            await _join(witness, broker.port)
            await witness.login(encode_table({}))
            witness.send(1, m.ChannelOpen())
            await witness.consume()
            await witness.everything(confirmed)
            witness.is_over = True


def run(sessions: int, *, seed: int = 0, first: int = 0, tell: bool = False) -> int:
    """Run so many sessions, in rounds of which every other one stores and starts its broker again.

    Returns:
        How many there were.

    Raises:
        Exception: Whatever was found; the note says how to run the round again.
    """
    done = 0
    while done < sessions:
        begin = first + done
        size = min(ROUND - begin % ROUND, sessions - done)
        try:
            with _errors() as errors, tempfile.TemporaryDirectory() as directory:
                stored = Path(directory) / "data" if begin // ROUND % 2 else None
                try:
                    asyncio.run(_round(begin, size, seed, stored))
                finally:
                    errors.raise_if_any()
        except BaseException as error:
            error.add_note(f"run it again by: --seed {seed} --first {begin} --sessions {size}")
            raise
        done += size
        if tell:
            sys.stdout.write(f"{done} sessions\n")
            sys.stdout.flush()
    return done


def main(argv: list[str]) -> int:
    """Run sessions."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sessions", type=int, default=1000, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of all choices")
    parser.add_argument("--first", type=int, default=0, help="number of the first session")
    options = parser.parse_args(argv[1:])
    logging.getLogger("fedora_messaging").setLevel(logging.ERROR)
    done = run(options.sessions, seed=options.seed, first=options.first, tell=True)
    sys.stdout.write(f"{done} sessions, nothing found\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
