"""One AMQP connection as the client sees it, from dialling to its end."""

import asyncio
import os
import platform
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from ...exceptions import (
    ConfigurationException,
    ConnectionClosed,
    ConnectionException,
    EncodingError,
    NoFreeChannels,
)
from ...logs import REPEATABLE, logger
from ...options import ConnectionOptions, TLSOptions
from ...printable import printable
from ...protocol import events as ev
from ...protocol import sasl
from ...protocol.client_handshake import ClientMachine
from ...protocol.connection import Limits
from ...protocol.errors import REPLY_SUCCESS, RESOURCE_ERROR, PeerError
from ...transport.dial import dial
from ...transport.link import Link, fault_text
from ...transport.tls import certificate_hint, explain
from ...wire.frames import HEARTBEAT_FRAME
from ...wire.methods import BasicAck, ChannelOpen, ConnectionBlocked, ConnectionUnblocked
from .channel import Channel

_log = logger(__name__)

Result = TypeVar("Result")

#: Seconds for the broker to answer our ``connection.close``.
_CLOSE_TIMEOUT: Final = 5.0
#: Most bytes of answers and acknowledgements that wait for a broker that reads none. Publishes stop before.
_OWED: Final = 16 * 1024 * 1024
#: How often to check whether bytes flow, as a part of the longest time to wait without any.
_SAMPLE: Final = 0.25

_CAPABILITIES: Final = {
    "authentication_failure_close": True,
    "basic.nack": True,
    "connection.blocked": True,
    "consumer_cancel_notify": True,
    "exchange_exchange_bindings": True,
    "publisher_confirms": True,
}
_HANDSHAKE_FAILED: Final = (
    "The TCP connection appears to have started, but the TLS or AMQP handshake with the broker at {} "
    "failed, check your connection and authentication parameters: {}"
)


class Unreachable(ConnectionException):
    """No broker listens at the address, or the network does not reach it; trying again may help."""


class HandshakeCut(ConnectionException):
    """The network connection ended, or fell silent, before the broker accepted or refused the login."""


class Connection:
    """An open connection; make one with :meth:`open`.

    Attributes:
        closed: Done, with the reason as its result, when the connection has ended.
        blocked: Why the broker accepts no publishes now, or ``None``.
        broken: Whether the broker broke the protocol.
    """

    def __init__(self, options: ConnectionOptions, loop: asyncio.AbstractEventLoop) -> None:
        self.options = options
        self.closed: asyncio.Future[Exception] = loop.create_future()
        self.blocked: str | None = None
        self.broken: bool = False
        self._unblocked_at = loop.time()
        self._loop = loop
        self._opened: asyncio.Future[None] = loop.create_future()
        self._lost: asyncio.Future[None] = loop.create_future()
        self._connected = False
        self._channels: dict[int, Channel] = {}
        self._link: Link | None = None
        self._block_timer: asyncio.TimerHandle | None = None
        self.machine: ClientMachine = ClientMachine(
            now=loop.time(),
            limits=Limits(options.channel_max, options.frame_max, options.heartbeat),
            vhost=options.vhost,
            username=options.username,
            password=options.password,
            mechanism=sasl.EXTERNAL if options.external else sasl.PLAIN,
            locale=options.locale,
            client_properties=_client_properties(options.client_properties),
        )

    @classmethod
    async def open(cls, options: ConnectionOptions) -> "Connection":
        """Dial and log in.

        Raises:
            ConfigurationException: The TLS settings are wrong, or AMQP cannot carry a client property.
            Unreachable: There is no broker at that address.
            HandshakeCut: The network connection ended too early.
            ConnectionException: The broker refuses us; ``reason`` says why.
        """
        loop = asyncio.get_running_loop()
        try:
            self = cls(options, loop)
        except EncodingError as error:
            raise ConfigurationException(
                f'"client_properties" or "amqp_url" cannot be sent: {error}'
            ) from error
        try:
            await self._open(loop)
        except BaseException:
            await self._abort_and_wait()
            raise
        return self

    async def _open(self, loop: asyncio.AbstractEventLoop) -> None:
        options = self.options
        try:
            async with asyncio.timeout(options.connect_timeout):
                await dial(options, lambda: Link(self.machine, self, loop))
                await self._opened
        except ssl.SSLEOFError as error:
            raise self._cut("the network connection was lost in the TLS handshake") from error
        except ssl.SSLError as error:
            raise self._refused(self._explain(error)) from error
        except TimeoutError as error:
            if self._connected:
                raise self._cut(f"no answer within {options.connect_timeout:g} s") from error
            raise self._unreachable("timed out") from error
        except OSError as error:
            raise self._unreachable(_describe(error)) from error
        except UnicodeError as error:
            raise ConfigurationException(
                f'"amqp_url" names the host {options.host!r}, which cannot be the name of a host'
            ) from error

    async def _abort_and_wait(self) -> None:
        """Cut the connection, and wait until the socket is closed."""
        self.abort()
        if self._connected:
            await asyncio.wait([self._lost], timeout=_CLOSE_TIMEOUT)
        if self._opened.done() and not self._opened.cancelled():
            self._opened.exception()

    def _unreachable(self, why: str) -> Unreachable:
        text = (
            f"cannot connect to {self.options.address}: {why} (is a broker running there? "
            "`fedora-messaging broker` starts a local one)"
        )
        return Unreachable(text, reason=text)

    def _refused(self, why: str) -> ConnectionException:
        text = _HANDSHAKE_FAILED.format(self.options.address, why)
        return ConnectionException(text, reason=text)

    def _cut(self, why: str) -> HandshakeCut:
        text = _HANDSHAKE_FAILED.format(self.options.address, why)
        return HandshakeCut(text, reason=text)

    # Called by the link

    def on_connected(self, link: Link) -> None:
        """Begin the AMQP handshake: TCP and TLS are ready."""
        self._link = link
        self._connected = True

    def on_events(self, events: list[ev.Event]) -> None:
        """Hand each event to the channel that it belongs to."""
        for event in events:
            if self.broken and not isinstance(event, ev.ConnectionEnded):
                continue  # it was on its way when we closed because of the broker's mistake
            try:
                self._on_event(event)
            except PeerError as error:
                self._refuse(error)
        if self._link is not None and self._link.owed > _OWED and not self.broken:
            self._refuse(PeerError(RESOURCE_ERROR, f"{self._link.owed} bytes of our answers were not read"))

    def _refuse(self, error: PeerError) -> None:
        """Tell the broker what it did wrong, and close the connection."""
        _log.error("The broker broke the protocol: %s", printable(error.explanation))
        self.broken = True
        self.machine.close(error.reply_code, error.explanation, error.method)
        if self._link is not None:
            self._link.close_within(_CLOSE_TIMEOUT)

    def _on_event(self, event: ev.Event) -> None:
        if isinstance(event, ev.ContentReceived | ev.MethodReceived):
            channel = self._channels.get(event.channel)
            if channel is not None:
                channel.on_event(event)
            elif event.channel == 0 and isinstance(event, ev.MethodReceived):
                self._on_connection_method(event)
        elif isinstance(event, ev.ChannelOpened):
            self._channels[event.channel].on_opened()
        elif isinstance(event, ev.ChannelEnded):
            channel = self._channels.pop(event.channel, None)
            if channel is not None:
                channel.on_closed(event)
        elif isinstance(event, ev.ConnectionOpened):
            if not self._opened.done():
                self._opened.set_result(None)
        elif isinstance(event, ev.ConnectionEnded):
            self._on_closed(event)

    def on_writable(self, writable: bool) -> None:
        """Let publishers go on when the socket has room again."""
        if writable:
            self._resume()

    def _explain(self, error: ssl.SSLError) -> str:
        return explain(error, self.options.tls or TLSOptions(), self.options.host)

    def _hint(self) -> str:
        """Return a hint at the likely reason when the broker hangs up without a word."""
        if self.machine.server_properties:
            return ""
        tls = self.options.tls
        if tls is None:
            return " (if it wants TLS, write amqps:// in amqp_url)"
        return f" ({certificate_hint(tls)})"

    def on_lost(self, error: Exception | None) -> None:
        """Note that the socket is gone; the event that says so came before."""
        if not self._lost.done():
            self._lost.set_result(None)

    def _on_connection_method(self, event: ev.MethodReceived) -> None:
        if isinstance(event.method, ConnectionBlocked):
            self.blocked = printable(event.method.reason)
            _log.warning("The broker blocks publishing: %s", self.blocked, extra=REPEATABLE)
            timeout = self.options.blocked_connection_timeout
            if timeout is not None and self._block_timer is None:
                self._block_timer = self._loop.call_later(timeout, self._blocked_too_long)
        elif isinstance(event.method, ConnectionUnblocked):
            self.blocked = None
            self._unblocked_at = self._loop.time()
            self._stop_block_timer()
            _log.info("The broker takes publishes again", extra=REPEATABLE)
            self._resume()

    def _blocked_too_long(self) -> None:
        _log.error("The broker has blocked publishing for too long, giving up the connection")
        self.abort()

    def _stop_block_timer(self) -> None:
        if self._block_timer is not None:
            self._block_timer.cancel()
            self._block_timer = None

    def _resume(self) -> None:
        for channel in list(self._channels.values()):
            channel.on_writable()

    def _on_closed(self, event: ev.ConnectionEnded) -> None:
        self._stop_block_timer()
        if not self._opened.done():
            self._opened.set_exception(self._why_not_opened(event))
        # An ordinary end has no code, or the code of success.
        self.broken = self.broken or (not event.by_peer and event.reply_code not in (0, REPLY_SUCCESS))
        error = ConnectionClosed(event.reply_code, event.reply_text)
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            channel.on_lost(error)
        if not self.closed.done():
            self.closed.set_result(error)

    def _why_not_opened(self, event: ev.ConnectionEnded) -> ConnectionException:
        if self._link is not None and self._link.fault is not None:
            text = fault_text(self._link.fault)
            return ConnectionException(text, reason=text)
        if event.reply_code == 0 and not event.by_peer:
            return self._cut(printable(event.reply_text) + self._hint())
        why = printable(event.reply_text) or "the broker hung up"
        if self.options.external and self.options.tls is not None:
            return self._refused(
                f"{why} (the client certificate {self.options.tls.certfile} stands for no user of the "
                "broker, or it takes none)"
            )
        return self._refused(why + ("" if self.options.tls else self._hint()))

    # Called by the rest of the client

    @property
    def can_send(self) -> bool:
        """Whether contents may be sent now: the socket has room and the broker accepts publishes."""
        return self._link is not None and self._link.writable and self.blocked is None

    @property
    def certificate_end(self) -> float | None:
        """When the broker's certificate expires, in seconds since 1970; ``None`` without TLS."""
        certificate = self._link.peer_info("peercert") if self._link is not None else None
        if not isinstance(certificate, dict) or "notAfter" not in certificate:
            return None
        return ssl.cert_time_to_seconds(certificate["notAfter"])

    async def open_channel(self) -> Channel:
        """Open a channel.

        Raises:
            NoFreeChannels: All channels that were negotiated are open.
            ConnectionException: The connection is closed.
        """
        if self.closed.done() or self._link is None:
            raise ConnectionException("the connection is closed", reason=self.closed.result())
        number = self.machine.free_channel()
        if number is None:
            raise NoFreeChannels(f"all {self.machine.channel_max} channels of the connection are in use")
        channel = self._channels[number] = Channel(self, number)
        self.machine.open_channel(number)
        self._link.flush_soon()
        await self.answer(channel.opened, ChannelOpen.name)
        return channel

    async def answer(self, future: "asyncio.Future[Result]", what: str) -> Result:
        """Wait for the answer to a method; give up a broker that sends heartbeats and nothing else.

        Raises:
            ConnectionException: No answer came in time. The connection is closed then.
        """
        timeout = self.options.answer_timeout
        if not await self.patience(future, timeout):
            text = f"the broker has not answered {what} within {timeout:g} s"
            _log.error("Giving up the connection to %s: %s", self.options.address, text)
            await self._abort_and_wait()
            raise ConnectionException(text, reason=text)
        return future.result()

    async def patience(self, future: "asyncio.Future[Any]", timeout: float) -> bool:
        """Wait until a future is done, or nothing has moved for some seconds; returns whether it is done.

        Bytes that flow count as progress: on a slow line the request, or its answer, may have to wait behind
        a big message. Bytes written after the request do not count; otherwise publishing could keep us
        waiting for ever for a broker that reads and never answers. Heartbeats do not count either, not even
        as bytes inside a damaged frame. Time in which the broker blocks us is left out: RabbitMQ then reads
        nothing.
        """
        begin = self._loop.time()
        flow = request_end = 0
        while not future.done():
            now, moved = self._loop.time(), self._flow(request_end)
            if self.blocked is not None or moved - flow > self._heartbeats_within(now - begin):
                begin, flow = now, moved
            if (left := max(begin, self._unblocked_at) + timeout - now) <= 0:
                return False
            await asyncio.wait([future], timeout=min(left, timeout * _SAMPLE))
            if not request_end and self._link is not None:
                # The link writes the request at the end of a turn of the loop, so its end is known only now.
                request_end = self._link.written
        return True

    def _flow(self, request_end: int) -> int:
        """Return how many bytes have arrived, plus those that have left up to the end of a request."""
        if self._link is None:
            return 0
        return self._link.received + min(self._link.written - self._link.unsent, request_end)

    def _heartbeats_within(self, seconds: float) -> float:
        """Return how many bytes the broker's heartbeats may take; it sends at most two in each interval."""
        interval = self.machine.heartbeat
        return (2 * seconds / interval + 2) * len(HEARTBEAT_FRAME) if interval else 0

    @property
    def sending(self) -> int | None:
        """How many bytes have left so far, or ``None`` if none wait to leave."""
        if self._link is None or not (unsent := self._link.unsent):
            return None
        return self._link.written - unsent

    def flush_soon(self) -> None:
        """Write the bytes to send at the end of this turn of the loop."""
        if self._link is not None:
            self._link.flush_soon()

    def flush_now(self) -> None:
        """Write the bytes to send; needs no running loop, only that this one waits."""
        if self._link is not None:
            self._link.flush_now()

    def lend_reading(self, on_returned: Callable[[], None]) -> int | None:
        """Let other threads read confirms; see :meth:`.Link.lend_reading`."""
        return None if self._link is None else self._link.lend_reading(on_returned)

    def read_confirms(self) -> bool:
        """Read confirms in any thread, while the loop waits; see :meth:`.Link.read_now`."""
        return self._link is not None and self._link.read_now(_are_confirms)

    def take_reading_back(self) -> None:
        """See :meth:`.Link.take_reading_back`."""
        if self._link is not None:
            self._link.take_reading_back()

    async def close(self) -> None:
        """Close the connection in good order; returns when it has ended."""
        if self._link is None:
            return
        self.machine.close()
        self._link.close_within(_CLOSE_TIMEOUT)
        await self._lost

    def abort(self) -> None:
        """Cut the connection without telling the broker."""
        if self._link is not None:
            self._link.abort()


def _client_properties(given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "platform": f"Python {platform.python_version()}",
        "capabilities": _CAPABILITIES,
        **given,
    }


def _describe(error: OSError) -> str:
    """Return a description of an error that people understand."""
    if isinstance(error, socket.gaierror):
        return "the host name cannot be resolved"
    return str(error) if error.errno is None else os.strerror(error.errno)


def _are_confirms(events: list[ev.Event]) -> bool:
    return all(isinstance(event, ev.MethodReceived) and type(event.method) is BasicAck for event in events)
