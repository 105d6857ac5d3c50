"""A channel as the client sees it: requests, their answers, and the user who gets everything else."""

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Protocol, TypeVar

from ...exceptions import AMQPError, ChannelClosed, ConnectionClosed, ConnectionException
from ...printable import printable
from ...protocol import events as ev
from ...protocol.errors import REPLY_SUCCESS
from ...wire import methods as m
from ...wire.methods import Method

if TYPE_CHECKING:
    from .connection import Connection

Reply = TypeVar("Reply", bound=Method)


class ChannelUser(Protocol):
    """The user of a channel, a publisher or a consumer; all calls come from the event loop."""

    def on_content(self, content: ev.ContentReceived) -> None:
        """Take a delivery or a returned message."""
        ...

    def on_method(self, method: Method) -> None:
        """Take a confirm, or the broker's cancel."""
        ...

    def on_channel_closed(self, error: AMQPError) -> None:
        """React to the end of the channel; with :class:`ConnectionClosed` its connection has ended, too."""
        ...

    def on_writable(self) -> None:
        """Go on sending contents: there is room again."""
        ...


class Channel:
    """An open channel.

    Attributes:
        number: Channel number.
        connection: The connection of the channel.
        user: Gets deliveries, returned messages, confirms and the end; ``None`` ignores them.
        opened: Done when the broker has opened the channel.
    """

    def __init__(self, connection: "Connection", number: int) -> None:
        self.connection = connection
        self.number = number
        self.user: ChannelUser | None = None
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._waiting: deque[asyncio.Future[Method]] = deque()
        self._closed: asyncio.Future[None] = loop.create_future()
        self._error: AMQPError | None = None

    @property
    def is_open(self) -> bool:
        """Whether anything may still be sent."""
        return self._error is None and not self._closed.done()

    async def call(self, request: Method, reply: type[Reply]) -> Reply:
        """Send a request and wait for its answer.

        Raises:
            ChannelClosed: The broker refused the request by closing the channel.
            ConnectionException: The connection was lost, or the broker has not answered in time.
            EncodingError: The request cannot be sent.
        """
        if self._error is not None:
            raise self._as_exception(self._error)
        future: asyncio.Future[Method] = self._loop.create_future()
        # Send first, since that may fail: a waiter without a request would get the next request's answer.
        self.send(request)
        self._waiting.append(future)
        answer = await self.connection.answer(future, request.name)
        assert isinstance(answer, reply)  # the protocol lets no other answer through
        return answer

    def send(self, method: Method) -> None:
        """Send a method that has no answer."""
        self.connection.machine.send_method(self.number, method)
        self.connection.flush_soon()

    def send_content(self, method: bytes, properties: bytes, body: bytes) -> None:
        """Send an encoded method with content.

        Raises:
            EncodingError: The properties are larger than a frame of this connection may be.
        """
        self.connection.machine.send_content(self.number, method, properties, body)
        self.connection.flush_soon()

    def send_content_now(self, method: bytes, properties: bytes, body: bytes) -> None:
        """Do the same, and write it at once; needs no running loop, only that this one waits.

        Raises:
            EncodingError: The properties are larger than a frame of this connection may be.
        """
        self.connection.machine.send_content(self.number, method, properties, body)
        self.connection.flush_now()

    async def close(self) -> None:
        """Close the channel; unacknowledged deliveries go back to their queues."""
        if self.is_open:
            self.close_soon()
            await self.connection.answer(asyncio.shield(self._closed), m.ChannelClose.name)

    def close_soon(self) -> None:
        """Close the channel without waiting for the broker's answer."""
        if self.is_open:
            self.connection.machine.close_channel(self.number, REPLY_SUCCESS, "")
            self.connection.flush_soon()

    async def wait_closed(self, timeout: float) -> None:
        """Wait for the broker's answer, or give up after some seconds in which no bytes flow."""
        await self.connection.patience(self._closed, timeout)

    # Called by the connection

    def on_opened(self) -> None:
        """Note that the broker has opened the channel."""
        if not self.opened.done():
            self.opened.set_result(None)

    def on_event(self, event: ev.ContentReceived | ev.MethodReceived) -> None:
        """Handle a method or content: an answer goes to its waiter, most others go to the user."""
        if isinstance(event, ev.ContentReceived):
            if self.user is not None:
                self.user.on_content(event)
            return
        method = event.method
        if isinstance(method, m.BasicAck | m.BasicNack | m.BasicCancel):
            if self.user is not None:
                self.user.on_method(method)
        elif isinstance(method, m.ChannelFlow):
            self.send(m.ChannelFlowOk(method.active))
        else:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(method)

    def on_closed(self, event: ev.ChannelEnded) -> None:
        """Note that the channel has ended while the connection goes on."""
        if not self._closed.done():
            self._closed.set_result(None)
        error = ChannelClosed(event.reply_code, event.reply_text)
        if event.by_peer:
            self._fail(error)
        else:
            # We closed the channel ourselves while a caller was waiting for an answer on it.
            self._error = error
            self._fail_waiting(error)

    def on_lost(self, error: ConnectionClosed) -> None:
        """Note that the connection has ended."""
        if not self._closed.done():
            self._closed.set_result(None)
        self._fail(error)

    def on_writable(self) -> None:
        """Go on sending contents: there is room again."""
        if self.user is not None:
            self.user.on_writable()

    def _fail(self, error: AMQPError) -> None:
        self._error = error
        self._fail_waiting(error)
        if self.user is not None:
            self.user.on_channel_closed(error)

    def _fail_waiting(self, error: AMQPError) -> None:
        waiting: list[asyncio.Future[None] | asyncio.Future[Method]] = [self.opened, *self._waiting]
        self._waiting.clear()
        for future in waiting:
            if not future.done():
                future.set_exception(self._as_exception(error))
                # The caller may have stopped waiting. Mark the error as retrieved, so that asyncio is silent.
                future.exception()

    def _as_exception(self, error: AMQPError) -> Exception:
        if isinstance(error, ChannelClosed):
            return ChannelClosed(error.reply_code, error.reply_text)
        return ConnectionException(f"the connection was lost: {printable(error.reply_text)}", reason=error)
