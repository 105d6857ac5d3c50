"""A broker in memory for fuzzing: no sockets, a clock that only moves when told, and looks at all it holds.

The server, its sessions, links and management API are the real ones. The event loop's time is false, the
journal answers late, and the clients remember what they asked for, so that each answer can be examined.
"""

import asyncio
import base64
import heapq
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlsplit

import orjson

from fedora_messaging.broker.accounts import Accounts, Permissions, TopicPermissions
from fedora_messaging.broker.alarms import ResourceLimits
from fedora_messaging.broker.channel import BrokerChannel
from fedora_messaging.broker.core.exchanges import Exchange
from fedora_messaging.broker.core.journal import NoJournal
from fedora_messaging.broker.core.memory import OVERHEAD, declared_size
from fedora_messaging.broker.core.message import BrokerMessage, Entry
from fedora_messaging.broker.core.profile import Profile
from fedora_messaging.broker.core.queue import Queue
from fedora_messaging.broker.core.ready_list import PriorityReadyList, ReturnsFirstList
from fedora_messaging.broker.core.stream import StreamQueue
from fedora_messaging.broker.core.vhost import VirtualHost
from fedora_messaging.broker.definitions import export_definitions
from fedora_messaging.broker.server import Server
from fedora_messaging.broker.session import PATIENCE, Session
from fedora_messaging.broker.strangers import Strangers
from fedora_messaging.protocol import errors as codes
from fedora_messaging.protocol import sasl
from fedora_messaging.protocol.server_handshake import ServerMachine
from fedora_messaging.protocol.states import REPLIES
from fedora_messaging.transport.link import Link
from fedora_messaging.web.management.app import make_app
from fedora_messaging.wire import methods as m
from fedora_messaging.wire.fields import encode_table
from fedora_messaging.wire.frames import (
    BODY,
    HEADER,
    METHOD,
    NEED_DATA,
    PROTOCOL_HEADER,
    FrameReader,
    encode_method,
)
from fedora_messaging.wire.methods import BY_KEY, Method, decode_method

#: Turns of the loop after which a broker that has nothing new to do should have come to rest.
_MOST_TURNS: Final = 20_000
#: Seconds that each look at the clock takes, so that long work loses its turn now and then.
_TICK: Final = 0.00002
#: Seconds that the thread which writes may take, however busy the machine is.
_PATIENCE: Final = 60.0
#: A client that does not read has so many bytes in its socket before the broker is told to wait.
_SOCKET: Final = 65536
_PLACE: Final = {"\0": None}
#: How often no script lets a message fail.
_MANY: Final = 20
#: What the broker says of its own accord when it refuses something with 541.
_PERMITTED_541: Final = ("queue_master_locator", "is not a string")
_CHANNEL_CODES: Final = {
    codes.CONTENT_TOO_LARGE,
    codes.ACCESS_REFUSED,
    codes.NOT_FOUND,
    codes.RESOURCE_LOCKED,
    codes.PRECONDITION_FAILED,
}


class Finding(AssertionError):
    """Something happened that should not."""


def expect(condition: bool, what: str) -> None:
    """Raise ``Finding`` unless the condition holds (``assert`` would vanish under ``python -O``)."""
    if not condition:
        raise Finding(what)


class FalseTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose time moves by :meth:`advance`."""

    def __init__(self) -> None:
        self.now = 1000.0
        super().__init__()
        self._ready: deque[Any]
        self._scheduled: list[Any]

    def time(self) -> float:
        """Return the false time."""
        self.now += _TICK
        return self.now

    def clock(self) -> float:
        """Return it as seconds since 1970."""
        return 1_800_000_000.0 + self.time()

    @property
    def has_work(self) -> bool:
        """Whether anything is to be done now."""
        return bool(self._ready)

    def turn(self) -> None:
        """Do what is to be done now."""
        self.call_soon(self.stop)
        self.run_forever()

    def next_timer(self) -> float | None:
        """Return the time of the next timer."""
        while self._scheduled and self._scheduled[0].cancelled():
            handle = heapq.heappop(self._scheduled)
            handle._scheduled = False
        return self._scheduled[0].when() if self._scheduled else None


class LateJournal(NoJournal):
    """A journal that stores nothing, calls back some time later, and notices what makes no sense.

    Args:
        loop: Calls back.
        lag: Seconds until then; 0 for at once.
    """

    def __init__(self, loop: FalseTimeLoop, lag: float) -> None:
        self._loop = loop
        self._lag = lag
        self.messages: dict[tuple[int, int], BrokerMessage] = {}
        self.objects: set[tuple[str, int]] = set()

    def _add(self, kind: str, thing: object) -> None:
        expect((kind, id(thing)) not in self.objects, f"the journal gets a {kind} twice")
        self.objects.add((kind, id(thing)))

    def _remove(self, kind: str, thing: object) -> None:
        expect((kind, id(thing)) in self.objects, f"the journal loses a {kind} that it never got")
        self.objects.discard((kind, id(thing)))

    def exchange_added(self, exchange: Any) -> None:
        self._add("exchange", exchange)

    def exchange_removed(self, exchange: Any) -> None:
        if exchange.name.startswith("amq.") or not exchange.name:
            return  # it goes with its virtual host, and was never stored
        self._remove("exchange", exchange)

    def queue_added(self, queue: Any) -> None:
        self._add("queue", queue)

    def queue_removed(self, queue: Any) -> None:
        self._remove("queue", queue)

    def message_added(self, queue: Any, entry: Any) -> None:
        expect(("queue", id(queue)) in self.objects, "a message is stored for a queue that is not")
        key = (id(queue), entry.position)
        expect(key not in self.messages, "two messages of a queue have the same position")
        self.messages[key] = entry.message
        entry.message.placements += 1

    def message_removed(self, queue: Any, entry: Any) -> None:
        found = self.messages.pop((id(queue), entry.position), None)
        expect(found is entry.message, "a stored message is removed that is not there")

    def delivered(self, queue: Any, entry: Any) -> None:
        expect((id(queue), entry.position) in self.messages, "a delivery is noted of a message not stored")

    def returned(self, queue: Any, entry: Any) -> None:
        expect((id(queue), entry.position) in self.messages, "a return is noted of a message not stored")

    def when_durable(self, callback: Callable[[], None]) -> None:
        if self._lag:
            self._loop.call_later(self._lag, callback)
        else:
            callback()


class MemoryServer(Server):
    """A server that listens nowhere.

    Args:
        loop: Its event loop.
        profile: The release to imitate.
        memory: Limit of the memory; 0 for none.
        lag: Seconds that the journals take, if nothing is stored.
        data: Where it stores.
        is_new: Whether its virtual hosts are to be made; otherwise they are stored.
    """

    def __init__(
        self,
        loop: FalseTimeLoop,
        profile: Profile,
        memory: int,
        lag: float,
        data: Path | None = None,
        is_new: bool = True,
    ) -> None:
        accounts = Accounts()
        resources = ResourceLimits(memory=memory, disk=0)
        super().__init__(accounts=accounts, profile=profile, resources=resources, data=data)
        self.clock = cast("Any", loop.clock)
        self.strangers = Strangers(loop.clock)
        self.lag = lag
        self.journals: list[LateJournal] = []
        self.false_loop = loop
        for name, tags in (("alice", ()), ("bob", ("monitoring",)), ("carol", ("policymaker",))):
            accounts.add_user(name, name, tags)
        accounts.add_user("imp", "imp", ("impersonator", "management"))
        self.open(loop)
        accounts.on_removed.add(self._user_removed)
        for vhost in ("v1", "v2") if is_new else ():
            self.administration.set_vhost(vhost)
        for vhost in ("/", "v1", "v2") if is_new else ():
            for name in ("guest", "imp", "bob"):
                accounts.set_permissions(name, vhost, Permissions())
        accounts.set_permissions("alice", "/", Permissions("^(q[0-3]|e.*|amq.gen.*)$", "^(q|e|amq)", "^[^h]"))
        accounts.set_topic_permissions("bob", "/", "amq.topic", TopicPermissions("^a", "^[a#]"))

    def create_vhost(self, name: str) -> VirtualHost:
        """Add an empty virtual host."""
        vhost = super().create_vhost(name)
        if self.data is not None:
            return vhost
        journal = LateJournal(self.false_loop, self.lag)
        self.journals.append(journal)
        vhost.journal = journal
        vhost._bindings._journal = journal
        return vhost


class _Transport(asyncio.Transport):
    """The broker's end of a connection; what it writes comes to a client at once, if that reads."""

    def __init__(self, world: "World", client: "Client") -> None:
        super().__init__()
        self.reads = True
        self.is_paused = False
        self._world = world
        self._client = client
        self._closing = False
        self.kept: list[bytes] = []

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        ends = {"peername": ("127.0.0.1", 40000 + self._client.number), "sockname": ("127.0.0.1", 5672)}
        return ends.get(name, default)

    def write(self, data: Any) -> None:
        if self._closing:
            return
        if self._client.reads:
            self._client.receive(bytes(data))
            return
        self.kept.append(bytes(data))
        if not self.is_paused and self.get_write_buffer_size() > _SOCKET:
            self.is_paused = True
            self._client.link.pause_writing()

    def take_kept(self) -> None:
        """Give the client what it did not read."""
        kept, self.kept = self.kept, []
        for data in kept:
            self._client.receive(data)
        if self.is_paused and not self._closing:
            self.is_paused = False
            self._client.link.resume_writing()

    def get_write_buffer_size(self) -> int:
        return sum(map(len, self.kept))

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._world.loop.call_soon(self._lost)

    abort = close

    def _lost(self) -> None:
        self._client.is_gone = True
        self._client.link.connection_lost(None)

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True


class _Channel:
    """What a client knows of one of its channels."""

    def __init__(self) -> None:
        self.expected: deque[tuple[type[Method], ...]] = deque()
        self.consumers: dict[str, bool] = {}
        self.asked: dict[str, bool] = {}
        self.dropped: set[str] = set()
        self.next_tag = 1
        self.out: dict[int, str | None] = {}
        self.last_tag = 0
        self.confirms = False
        self.transactional = False
        self.published = 0
        self.unconfirmed: dict[int, bool] = {}
        self.mandatory = 0
        self.is_closing = False


class Client:
    """A client of raw frames that examines each answer.

    Attributes:
        reads: Whether it reads what the broker sends.
        is_sane: Whether it has sent nothing that no client may send.
        is_gone: Whether the network connection has ended.
    """

    def __init__(self, world: "World", number: int, login: tuple[str, str, str, int, int, bytes]) -> None:
        self.number = number
        self.reads = True
        self.is_sane = True
        self.is_gone = False
        self.is_open = False
        self.closed_with: m.ConnectionClose | None = None
        self.channels: dict[int, _Channel] = {}
        self.piece = 0
        self.mechanism = "PLAIN"
        self._login = login
        self._out = bytearray()
        self._reader = FrameReader(131072)
        self._contents: dict[int, tuple[Method, bytearray, int]] = {}
        server = world.server
        machine = ServerMachine(now=world.loop.time(), limits=server.limits)
        self.session = Session(server, machine)
        self.link = Link(machine, self.session, world.loop, PATIENCE)
        self.transport = _Transport(world, self)
        self.link.connection_made(self.transport)
        self.write(PROTOCOL_HEADER)

    # What it sends

    def write(self, data: bytes) -> None:
        """Send bytes, as soon as the broker reads them."""
        self._out += data

    @property
    def has_output(self) -> bool:
        """Whether the broker can read anything now."""
        return bool(self._out) and self.transport.reads and not self.is_gone

    def pump(self) -> None:
        """Let the broker read."""
        if self.has_output:
            size = max(self.piece, len(self._out) // 500) if self.piece else len(self._out)
            data = bytes(self._out[:size])
            del self._out[:size]
            if not self.transport.is_closing():
                self.link.data_received(data)

    def ask(self, number: int, method: Method, payload: bytes) -> None:
        """Send a method, and remember what may answer it."""
        channel = self.channels.get(number)
        if channel is not None:
            self._note_request(channel, method)
        self.write(encode_method(number, payload))

    def _note_request(self, channel: _Channel, method: Method) -> None:
        replies = REPLIES.get(type(method))
        if replies is not None and not getattr(method, "no_wait", False):
            channel.expected.append(replies)
        if isinstance(method, m.ChannelClose):
            channel.is_closing = True
        elif isinstance(method, m.ConfirmSelect):
            channel.confirms = True
        elif isinstance(method, m.TxSelect):
            channel.transactional = True
        elif isinstance(method, m.BasicConsume) and method.no_wait and method.consumer_tag:
            channel.consumers[method.consumer_tag] = method.no_ack
        elif isinstance(method, m.BasicConsume):
            channel.asked[method.consumer_tag] = method.no_ack
        elif isinstance(method, m.BasicRecover | m.BasicRecoverAsync):
            channel.out.clear()

    def open_channel(self, number: int) -> None:
        """Open a channel."""
        self.channels[number] = _Channel()
        self.ask(number, m.ChannelOpen(), m.ChannelOpen().encode())

    # What comes

    def receive(self, data: bytes) -> None:
        """Examine bytes of the broker."""
        self._reader.feed(data)
        while (frame := self._reader.next_frame()) is not NEED_DATA:
            self._frame(*frame)

    def _frame(self, kind: int, number: int, payload: bytes) -> None:
        if kind == METHOD:
            method = decode_method(payload)
            expect(number not in self._contents, f"{method.name} inside a content")
            if method.has_content:
                self._contents[number] = (method, bytearray(), -1)
            elif number == 0:
                self._on_connection(method)
            else:
                self._on_method(number, method)
        elif kind in (HEADER, BODY):
            expect(number in self._contents, "a content without a method")
            method, body, size = self._contents[number]
            if kind == HEADER:
                (size,) = struct.unpack_from(">Q", payload, 4)
                self._contents[number] = (method, body, size)
            else:
                body += payload
            expect(len(body) <= size, "a body longer than announced")
            if len(body) == size:
                del self._contents[number]
                self._on_content(number, method)

    def _on_connection(self, method: Method) -> None:
        user, password, vhost, frame_max, heartbeat, properties = self._login
        if isinstance(method, m.ConnectionStart):
            response = sasl.initial_response("PLAIN", user, password)
            if self.mechanism == sasl.AMQPLAIN:
                response = sasl.initial_response(sasl.AMQPLAIN, user, password)
            start = m.ConnectionStartOk(_PLACE, self.mechanism, response, "en_US")
            self.write(encode_method(0, start.encode().replace(encode_table(_PLACE), properties, 1)))
        elif isinstance(method, m.ConnectionTune):
            self.write(encode_method(0, m.ConnectionTuneOk(100, frame_max, heartbeat).encode()))
            self._reader.frame_max = frame_max
            self.write(encode_method(0, m.ConnectionOpen(vhost).encode()))
        elif isinstance(method, m.ConnectionOpenOk):
            self.is_open = True
        elif isinstance(method, m.ConnectionClose):
            self._examine_close(method, False)
            self.closed_with = method
            self.is_open = False
            self.channels.clear()
            self.write(encode_method(0, m.ConnectionCloseOk().encode()))
        elif isinstance(method, m.ConnectionCloseOk):
            self.is_open = False
            self.channels.clear()

    def _examine_close(self, method: m.ConnectionClose | m.ChannelClose, is_channel: bool) -> None:
        code, text = method.reply_code, method.reply_text
        if code == codes.INTERNAL_ERROR:
            expect(any(part in text for part in _PERMITTED_541), f"541: {text}")
            return
        expect(code in codes.NAMES, f"an unknown reply code {code}")
        expect(text.startswith(f"{codes.NAMES[code]} - "), f"reply text without a name: {text}")
        expect(not is_channel or code in _CHANNEL_CODES, f"a channel closed with {code}: {text}")
        key = (method.class_id, method.method_id)
        expect(key == (0, 0) or key in BY_KEY, f"closed because of no method: {key}")

    def _on_method(self, number: int, method: Method) -> None:
        channel = self.channels.get(number)
        if isinstance(method, m.ChannelClose):
            self._examine_close(method, True)
            self.channels.pop(number, None)
            self.write(encode_method(number, m.ChannelCloseOk().encode()))
            return
        if isinstance(method, m.ChannelCloseOk):
            if channel is not None and channel.is_closing:
                del self.channels[number]
            return
        if not self.is_sane:
            return
        expect(channel is not None, f"{method} on channel {number}, which is closed")
        assert channel is not None
        if isinstance(method, m.BasicAck | m.BasicNack):
            self._confirmed(channel, method)
        elif isinstance(method, m.BasicCancel):
            tag = method.consumer_tag
            # The client may have cancelled it meanwhile.
            is_known = tag in channel.consumers or tag in channel.dropped or tag.startswith("amq.ctag-")
            expect(is_known, f"cancel of no consumer {tag!r}")
            channel.consumers.pop(tag, None)
        else:
            expect(
                bool(channel.expected) and isinstance(method, channel.expected[0]),
                f"{method} is no answer to {list(channel.expected)[:3]}",
            )
            channel.expected.popleft()
            self._answered(channel, method)

    def _answered(self, channel: _Channel, method: Method) -> None:
        if isinstance(method, m.BasicConsumeOk):
            tag = method.consumer_tag
            expect(tag not in channel.consumers, f"consume-ok for {tag!r} twice")
            channel.consumers[tag] = channel.asked.pop(tag, channel.asked.get("", False))
        elif isinstance(method, m.BasicCancelOk):
            channel.consumers.pop(method.consumer_tag, None)
        elif isinstance(method, m.QueueDeclareOk):
            expect(method.message_count < 1 << 31 and method.consumer_count < 1 << 31, f"{method}")

    def _confirmed(self, channel: _Channel, method: m.BasicAck | m.BasicNack) -> None:
        tag = method.delivery_tag
        expect(channel.confirms, f"{method} without confirms")
        expect(0 < tag <= channel.published, f"{method}, but only {channel.published} were published")
        covered = [each for each in channel.unconfirmed if each == tag or (method.multiple and each < tag)]
        expect(bool(covered), f"{method} confirms nothing")
        for each in covered:
            del channel.unconfirmed[each]

    def _on_content(self, number: int, method: Method) -> None:
        channel = self.channels.get(number)
        if not self.is_sane:
            if channel is not None and isinstance(method, m.BasicDeliver | m.BasicGetOk):
                channel.last_tag = method.delivery_tag
            return
        expect(channel is not None, f"{method} on channel {number}, which is closed")
        assert channel is not None
        if isinstance(method, m.BasicReturn):
            expect(channel.mandatory > 0, f"{method}, but nothing is mandatory")
            expect(method.reply_code == codes.NO_ROUTE, f"{method}")
            channel.mandatory -= 1
            return
        assert isinstance(method, m.BasicDeliver | m.BasicGetOk)
        expect(method.delivery_tag == channel.next_tag, f"{method}, but the next tag is {channel.next_tag}")
        channel.next_tag += 1
        channel.last_tag = method.delivery_tag
        if isinstance(method, m.BasicGetOk):
            expect(bool(channel.expected) and m.BasicGetOk in channel.expected[0], f"{method} is no answer")
            channel.expected.popleft()
            channel.out[method.delivery_tag] = None
        else:
            tag = method.consumer_tag
            if tag not in channel.consumers and tag.startswith("amq.ctag-"):
                return  # the client did not want to know the name that the broker chose
            is_known = tag in channel.consumers or tag in channel.dropped
            expect(is_known, f"a delivery to {tag!r}, which does not consume")
            if not channel.consumers.get(tag, True):
                channel.out[method.delivery_tag] = tag


class World:
    """A broker with its clients."""

    def __init__(
        self,
        profile: Profile,
        memory: int = 0,
        lag: float = 0.0,
        data: Path | None = None,
        former: "World | None" = None,
    ) -> None:
        self.loop = FalseTimeLoop()
        if former is not None:
            self.loop.now = former.loop.now
        asyncio.set_event_loop(self.loop)
        self.server = MemoryServer(self.loop, profile, memory, lag, data, former is None)
        self.app = make_app(self.server)
        self.clients: dict[int, Client] = {}

    def close(self) -> None:
        """Release the data, and forget the loop."""
        if self.server._store is not None:
            store, self.server._store = self.server._store, None
            store.close()
        asyncio.set_event_loop(None)
        self.loop.close()

    # Time

    def drain(self) -> None:
        """Let everybody do what there is to be done now."""
        for _ in range(_MOST_TURNS):
            clients = list(self.clients.values())
            for client in clients:
                client.pump()
            if not self.loop.has_work and not any(client.has_output for client in clients):
                self._wait_for_disk()
                if not self.loop.has_work:
                    return
            self.loop.turn()
        raise Finding("the broker does not come to rest")

    def _wait_for_disk(self) -> None:
        """Wait until everything is stored, and those who wait for that are told."""
        store = self.server._store
        if store is None:
            return
        end = time.monotonic() + _PATIENCE
        # Callbacks may wait although there is nothing to write any more.
        while store.backlog or store._window.is_due or store._in_flight is not None:
            expect(time.monotonic() < end, "the writer never comes to an end")
            time.sleep(0.0002)
            self.loop.turn()
        time.sleep(0.0002)  # for what it tells then

    def advance(self, seconds: float) -> None:
        """Let time go by."""
        self.drain()
        end = self.loop.now + seconds
        while (when := self.loop.next_timer()) is not None and when <= end:
            self.loop.now = max(self.loop.now, when)
            self.loop.turn()
            self.drain()
        self.loop.now = max(end, self.loop.now)

    def watch(self) -> None:
        """Do what the broker does four times in a second."""
        self.server._watch_resources()
        if self.server._watch is not None:
            self.server._watch.cancel()
        self.drain()

    # The management API

    def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        user: str = "guest",
        headers: dict[str, str] | None = None,
    ) -> tuple[int, Any]:
        """Make a request; returns the status and the body, decoded if it is JSON.

        Raises:
            Finding: The answer is none that a client may get.
        """
        parts = urlsplit(path)
        token = base64.b64encode(f"{user}:{user}".encode()).decode()
        fields = {"authorization": f"Basic {token}", "content-type": "application/json", **(headers or {})}
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": parts.path,
            "raw_path": parts.path.encode(),
            "query_string": parts.query.encode(),
            "headers": [
                (name.encode(), value.encode("latin-1", "replace")) for name, value in fields.items()
            ],
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 15672),
        }
        told: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            told.append(message)

        task = self.loop.create_task(cast("Any", self.app(scope, receive, send)))
        self.drain()
        end = time.monotonic() + _PATIENCE
        for count in range(1_000_000):
            if task.done() or (count > 20 and (self.server.data is None or time.monotonic() > end)):
                break
            # The thread that writes may be about to tell of what is stored.
            self.advance(1.0 if count < 20 else 0.0)
            time.sleep(0.0002)
        what = f"{method} {path} {body[:300]!r}"
        expect(task.done(), f"{what}: no answer")
        task.result()
        status = told[0]["status"]
        expect(status in (200, 201, 204, 400, 401, 403, 404, 405, 412, 415, 503), f"{what}: status {status}")
        raw = b"".join(message.get("body", b"") for message in told[1:])
        kinds = dict(told[0]["headers"])
        if kinds.get(b"content-type", b"").startswith(b"application/json"):
            decoded = orjson.loads(raw)
            if method == "GET" and status == 200:
                _expect_no_negative(decoded, what)
            return status, decoded
        return status, raw

    # Looking at all of it

    def audit(self) -> None:
        """Compare what the broker counts with what it holds."""
        server = self.server
        held: dict[int, tuple[BrokerMessage, int]] = {}
        out: dict[int, list[tuple[Entry, Queue]]] = {}
        declared = 0
        by_consumer: dict[int, int] = {}

        def hold(message: BrokerMessage) -> None:
            _, count = held.get(id(message), (message, 0))
            held[id(message)] = (message, count + 1)

        for session in server.sessions:
            for channel in session.channels.values():
                expect(not channel.closed, "a closed channel is still there")
                declared += sum(declared_size(consumer.arguments) for consumer in channel.consumers.values())
                self._audit_channel(channel)
                for unacked in _out_of(channel):
                    out.setdefault(id(unacked.queue), []).append((unacked.entry, unacked.queue))
                    if unacked.consumer is not None:
                        by_consumer[id(unacked.consumer)] = by_consumer.get(id(unacked.consumer), 0) + 1
                    if not isinstance(unacked.queue, StreamQueue):
                        hold(unacked.entry.message)
                if channel.transaction is not None:
                    for _, message, _, _ in channel.transaction._publishes:
                        hold(message)
        for vhost in server.vhosts.values():
            self._audit_counters(vhost)
            for exchange in vhost.exchanges.values():
                declared += declared_size(exchange.arguments)
                declared += sum(declared_size(binding.arguments) for binding in exchange.bindings.values())
                _audit_exchange(vhost, exchange)
            for waiting in vhost.delayed.values():
                expect(waiting.exchange in vhost.exchanges, "delayed messages of no exchange")
                for _, _, entry in waiting._waiting:
                    hold(entry.message)
            for queue in vhost.queues.values():
                declared += declared_size(queue.declared)
                entries = list(_entries(queue))
                for entry in entries:
                    hold(entry.message)
                what = f"queue {queue.name!r}"
                size = sum(len(entry.message.body) for entry in entries)
                expect(
                    len(entries) == len(queue), f"{what}: {len(queue)} messages, but {len(entries)} are there"
                )
                expect(
                    size == queue.ready_bytes,
                    f"{what}: {queue.ready_bytes} bytes ready, but {size} are there",
                )
                mine = out.get(id(queue), [])
                expect(
                    queue.unacked == len(mine), f"{what}: {queue.unacked} out, but {len(mine)} on channels"
                )
                size = sum(len(entry.message.body) for entry, _ in mine)
                expect(
                    queue.unacked_bytes == size, f"{what}: {queue.unacked_bytes} bytes out, but {size} are"
                )
                for consumer in queue.consumers:
                    have = by_consumer.get(id(consumer), 0)
                    expect(consumer.unacked == have, f"{what}: {consumer.unacked} at a consumer, but {have}")
                    outlet = cast("BrokerChannel", consumer.outlet)
                    expect(outlet.consumers.get(consumer.tag) is consumer, f"{what}: consumer of no channel")
                    if consumer.prefetch and not consumer.no_ack:
                        expect(consumer.unacked <= consumer.prefetch, f"{what}: more than the prefetch")
        size = sum(message.in_memory + OVERHEAD for message, _ in held.values())
        for message, count in held.values():
            expect(message.holders == count, f"a message has {message.holders} holders, but {count} hold it")
        expect(server.memory.bytes == size, f"{server.memory.bytes} bytes of messages, but {size} are there")
        expect(
            server.memory.declared == declared,
            f"{server.memory.declared} bytes declared, but {declared} are there",
        )

    def _audit_channel(self, channel: BrokerChannel) -> None:
        at_consumers = sum(unacked.consumer is not None for unacked in _out_of(channel))
        expect(
            channel.unacked.at_consumers == at_consumers,
            f"{channel.unacked.at_consumers} counted at the consumers of a channel, but {at_consumers} are",
        )
        for consumer in channel.consumers.values():
            expect(not consumer.queue.deleted, "a consumer of a queue that is deleted")
            expect(consumer in list(consumer.queue.consumers), "a consumer that its queue does not know")

    def _audit_counters(self, vhost: VirtualHost) -> None:
        sources = [vhost.past, *(queue.counters for queue in vhost.queues.values())]
        for counters in sources:
            for name in counters.__slots__:
                expect(getattr(counters, name) >= 0, f"the counter {name} is negative")

    def expect_rest(self) -> None:
        """Check that nothing waits that could happen now. Time must have gone by before."""
        now = self.server.clock()
        for vhost in self.server.vhosts.values():
            for waiting in vhost.delayed.values():
                for when, _, _ in waiting._waiting:
                    expect(when > now - 0.5, f"a delayed message is {now - when:g} s late")
            for queue in vhost.queues.values():
                what = f"queue {queue.name!r}"
                head = queue.peek()
                if head is not None and not isinstance(queue, StreamQueue):
                    if head.expires_at is not None:
                        expect(
                            head.expires_at > now - 0.5,
                            f"{what}: the head has expired {now - head.expires_at:g} s ago",
                        )
                    able = [consumer.tag for consumer in _eligible(queue) if consumer.can_take()]
                    expect(not able, f"{what}: {len(queue)} messages wait although {able} could take them")
                expires = queue.arguments.expires
                if expires is not None and not queue.consumers and not isinstance(queue, StreamQueue):
                    unused = now - queue._timer._last_used
                    expect(
                        unused < expires / 1000 + 0.5, f"{what}: unused for {unused:g} s, x-expires {expires}"
                    )

    def expect_nothing_owed(self) -> None:
        """Check that all requests of sane clients have been answered, and all publishes confirmed."""
        for client in self.clients.values():
            if not client.is_sane or client.is_gone or not client.is_open or client.session.blocked:
                continue
            for number, channel in client.channels.items():
                what = f"channel {number} of client {client.number}"
                expect(not channel.expected, f"{what}: no answer {list(channel.expected)[:3]}")
                expect(not channel.unconfirmed, f"{what}: not confirmed: {list(channel.unconfirmed)[:5]}")

    def end(self) -> None:
        """Close all connections."""
        for number, client in sorted(self.clients.items()):
            if client.is_gone:
                continue
            if number % 2 and client.is_open:
                client.write(encode_method(0, m.ConnectionClose(200, "bye", 0, 0).encode()))
            else:
                client.transport.abort()
        self.advance(PATIENCE + 5)
        server = self.server
        for session in list(server.sessions):
            session.abort()
        self.drain()
        expect(not server.sessions, f"{len(server.sessions)} sessions never end")
        expect(not server.replies._consumers, "reply consumers of channels that are gone")
        self.audit()

    def delete_all(self) -> None:
        """Delete everything; nothing may be left."""
        server = self.server
        for name in list(server.vhosts):
            server.administration.protect_vhost(name, False)
            server.administration.delete_vhost(name)
        self.advance(1.0)
        expect(server.memory.bytes == 0, f"{server.memory.bytes} bytes of messages are left")
        expect(server.memory.declared == 0, f"{server.memory.declared} bytes declared are left")
        for journal in server.journals:
            expect(not journal.messages, f"{len(journal.messages)} stored messages are left")
            expect(not journal.objects, f"stored objects are left: {journal.objects}")


def _expect_no_negative(value: Any, what: str) -> None:
    """Counters in an answer are never negative."""
    if isinstance(value, list):
        for item in value:
            _expect_no_negative(item, what)
    elif isinstance(value, dict):
        for name, item in value.items():
            is_counter = name.startswith("message") or name in ("consumers", "channels", "memory", "queues")
            if is_counter and isinstance(item, int | float):
                expect(item >= 0, f"{what}: {name} is {item}")
            if name == "message_stats" and isinstance(item, dict):
                for counter, number in item.items():
                    if isinstance(number, int | float):
                        expect(number >= 0, f"{what}: {counter} is {number}")
            elif name not in ("arguments", "headers", "value", "definition", "client_properties", "limits"):
                _expect_no_negative(item, what)


def _out_of(channel: BrokerChannel) -> Iterator[Any]:
    yield from channel.unacked._out.values()
    if channel.transaction is not None:
        for taken, _ in channel.transaction._acks:
            yield from taken.values()


def _entries(queue: Queue) -> Iterator[Entry]:
    if isinstance(queue, StreamQueue):
        yield from queue._log
        return
    ready: Any = queue._ready
    if isinstance(ready, ReturnsFirstList):
        yield from ready._returned
        ready = ready._fresh
    levels = ready._levels.values() if isinstance(ready, PriorityReadyList) else (ready,)
    for level in levels:
        yield from level._fresh
        for returned in level._returned:
            yield returned[1] if isinstance(returned, tuple) else returned


def _eligible(queue: Queue) -> list[Any]:
    if queue.arguments.single_active:
        active = queue.consumers.active
        return [] if active is None else [active]
    return list(queue.consumers)


def _audit_exchange(vhost: VirtualHost, exchange: Exchange) -> None:
    for binding in exchange.bindings.values():
        destination = binding.destination
        found = vhost.queues if destination.kind == "queue" else vhost.exchanges
        what = f"{exchange.name!r} is bound to {destination.name!r}"
        expect(cast("Any", found).get(destination.name) is destination, f"{what}, which is gone")
        expect(binding in vhost._bindings._to[destination], f"{what}, which does not know")
    if exchange.bindings:
        return
    router: Any = getattr(exchange, "_router", exchange)
    for name in ("_index", "_unconditional", "_ring", "_cache"):
        expect(not getattr(router, name, None) or name == "_cache", f"{exchange.name!r} keeps {name}")
    trie = getattr(router, "_trie", None)
    expect(
        trie is None or not (trie._root.children or trie._root.values), f"{exchange.name!r} keeps its trie"
    )


def durable_state(world: World, is_crash: bool = False) -> dict[str, Any]:
    """Return what a restart must not change.

    Args:
        world: The broker.
        is_crash: Whether the broker does not stop in good order, so that messages may be out, and their
            deliveries have been counted already.
    """
    server = world.server
    out: dict[int, list[Entry]] = {}
    for session in server.sessions:
        for channel in session.channels.values():
            for unacked in _out_of(channel):
                if not isinstance(unacked.queue, StreamQueue):
                    out.setdefault(id(unacked.queue), []).append(unacked.entry)
    exported = export_definitions(server)
    state: dict[str, Any] = {
        section: sorted(map(repr, exported[section]))
        for section in ("vhosts", "policies", "parameters", "global_parameters")
    }
    for section in ("queues", "exchanges"):
        state[section] = sorted(repr(item) for item in exported[section] if item["durable"])
    state["bindings"] = sorted(
        repr(
            (
                vhost.name,
                binding.source.name,
                binding.destination.name,
                binding.routing_key,
                binding.arguments,
            )
        )
        for vhost in server.vhosts.values()
        for exchange in vhost.exchanges.values()
        for binding in exchange.bindings.values()
        if exchange.durable and exchange.name and _is_kept(binding.destination)
    )
    for vhost in server.vhosts.values():
        for queue in vhost.queues.values():
            # What is out when the broker is killed has failed, and may be too much for the queue afterwards.
            bounds = queue.arguments
            is_bounded = bounds.max_length is not None or bounds.max_length_bytes is not None
            is_bounded = is_bounded or (bounds.delivery_limit is not None and bounds.delivery_limit < _MANY)
            if queue.keeps and not (is_crash and is_bounded):
                entries = [*_entries(queue), *out.get(id(queue), [])]
                has_count = queue.counts_deliveries and not is_crash
                state[f"messages of {vhost.name} {queue.name}"] = sorted(
                    _shown(entry, has_count) for entry in entries if entry.stored
                )
        for name, waiting in vhost.delayed.items():
            if waiting.keeps:
                entries = [entry for _, _, entry in waiting._waiting if entry.stored]
                state[f"delayed messages of {vhost.name} {name}"] = sorted(map(_shown, entries))
    return state


def _is_kept(destination: Any) -> bool:
    return bool(destination.keeps if isinstance(destination, Queue) else destination.durable)


def _shown(entry: Entry, has_count: bool = False) -> tuple[Any, ...]:
    message = entry.message
    published = (message.exchange, message.routing_key, message.properties, message.body[:50])
    expires = None if entry.expires_at is None else round(entry.expires_at, 1)
    return entry.position, entry.priority, expires or 0.0, entry.returns if has_count else 0, *published
