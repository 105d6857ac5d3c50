"""A broker that does what a test tells it to: for what real ones do seldom, or never."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self, cast

from fedora_messaging.protocol.connection import Limits
from fedora_messaging.protocol.events import (
    ChannelEnded,
    ConnectionEnded,
    ContentReceived,
    Event,
    LoginRequested,
    MethodReceived,
    OpenRequested,
)
from fedora_messaging.protocol.server_handshake import ServerMachine
from fedora_messaging.wire import methods as m
from fedora_messaging.wire.property_codec import encode_properties

if TYPE_CHECKING:
    from collections.abc import Callable

    from fedora_messaging.wire.methods import Method
    from fedora_messaging.wire.properties import BasicProperties


class ScriptedBroker:
    """Answers requests by itself; a context manager in the event loop of the test.

    Attributes:
        links: Connections, in the order in which they were made.
        on_method: Called with each method of a channel; returns whether it has been dealt with.
        on_publish: Called with each message.
        on_accept: Called with each new connection, before anything is answered; returns whether it has been
            dealt with.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits(channel_max=2047, frame_max=131072, heartbeat=0)
        self.links: list[ScriptedLink] = []
        self.on_method: Callable[[ScriptedLink, int, Method], bool] = lambda _link, _channel, _method: False
        self.on_publish: Callable[[ScriptedLink, ContentReceived], None] = lambda link, content: link.send(
            content.channel, m.BasicAck(link.tag(content.channel))
        )
        self.on_accept: Callable[[ScriptedLink], bool] = lambda _link: False
        self._server: asyncio.Server

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: ScriptedLink(self), "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._server.close()
        for link in self.links:
            link.abort()
        await asyncio.gather(*[link.gone.wait() for link in self.links])

    @property
    def url(self) -> str:
        return f"amqp://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @property
    def link(self) -> ScriptedLink:
        """The latest connection."""
        return self.links[-1]

    @property
    def published(self) -> list[ContentReceived]:
        """All messages, over all connections."""
        return [content for link in self.links for content in link.published]


class ScriptedLink(asyncio.Protocol):
    """One connection.

    Attributes:
        published: Messages that came.
        methods: Methods that came, with their channels.
        gone: Set when the connection has ended.
        ended: The machine's last event.
    """

    def __init__(self, broker: ScriptedBroker) -> None:
        self._broker = broker
        self._loop = asyncio.get_running_loop()
        self._tags: dict[int, int] = {}
        self._transport: asyncio.Transport | None = None
        self._flow_ok = asyncio.Event()
        self.machine = ServerMachine(
            now=self._loop.time(), limits=broker.limits, server_properties={"product": "scripted"}
        )
        self.published: list[ContentReceived] = []
        self.methods: list[tuple[int, Method]] = []
        self.gone = asyncio.Event()
        self.ended: ConnectionEnded | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._broker.links.append(self)

    def data_received(self, data: bytes) -> None:
        if self._broker.on_accept(self):
            return
        self.machine.receive_data(data, self._loop.time())
        for event in self.machine.events():
            self._act(event)
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.gone.set()

    def tag(self, channel: int) -> int:
        """Delivery tag of the message that a channel published last."""
        return self._tags[channel]

    def send(self, channel: int, method: Method) -> None:
        """Send a method, with all else that is sent in this turn."""
        self.machine.send_method(channel, method)
        self._loop.call_soon(self.flush)

    def deliver(self, channel: int, method: Method, body: bytes, properties: BasicProperties) -> None:
        """Send a method with content."""
        self.machine.send_content(channel, method.encode(), encode_properties(properties), body)
        self._loop.call_soon(self.flush)

    def close_channel(self, channel: int, code: int, text: str) -> None:
        """Close a channel."""
        self.machine.close_channel(channel, code, text)
        self._loop.call_soon(self.flush)

    def write(self, data: bytes) -> None:
        """Send bytes, right or wrong."""
        self.flush()
        if self._transport is not None:
            self._transport.write(data)

    @property
    def unsent(self) -> int:
        """How many bytes the client has not taken yet."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    async def everything_read(self, channel: int) -> None:
        """Return when the client has dealt with all that was sent, or has hung up."""
        self._flow_ok.clear()
        self.send(channel, m.ChannelFlow(True))
        waiting = [asyncio.ensure_future(event.wait()) for event in (self._flow_ok, self.gone)]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waiting:
                one.cancel()

    def flush(self) -> None:
        """Send what has gathered."""
        data = self.machine.data_to_send(self._loop.time())
        if data and self._transport is not None:
            self._transport.write(data)
        if self.machine.is_closed and self._transport is not None:
            self._transport.close()

    def close(self) -> None:
        """End the connection without a word, after what was sent has left."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Break the connection."""
        if self._transport is not None:
            self._transport.abort()

    def _act(self, event: Event) -> None:
        if isinstance(event, LoginRequested):
            self.machine.accept_login()
        elif isinstance(event, OpenRequested):
            self.machine.accept_open()
        elif isinstance(event, MethodReceived):
            self.methods.append((event.channel, event.method))
            if isinstance(event.method, m.ChannelFlowOk):
                self._flow_ok.set()
            if not self._broker.on_method(self, event.channel, event.method):
                self._answer(event.channel, event.method)
        elif isinstance(event, ContentReceived):
            self._tags[event.channel] = self._tags.get(event.channel, 0) + 1
            self.published.append(event)
            self._broker.on_publish(self, event)
        elif isinstance(event, ChannelEnded):
            self._tags.pop(event.channel, None)
        elif isinstance(event, ConnectionEnded):
            self.ended = event

    def _answer(self, channel: int, method: Method) -> None:
        answer: Method | None = None
        if isinstance(method, m.ConfirmSelect):
            answer = m.ConfirmSelectOk()
        elif isinstance(method, m.QueueDeclare):
            answer = m.QueueDeclareOk(method.queue or "amq.gen-scripted", 0, 0)
        elif isinstance(method, m.QueueBind):
            answer = m.QueueBindOk()
        elif isinstance(method, m.BasicQos):
            answer = m.BasicQosOk()
        elif isinstance(method, m.BasicConsume):
            answer = m.BasicConsumeOk(method.consumer_tag)
        if answer is not None:
            self.machine.send_method(channel, answer)
