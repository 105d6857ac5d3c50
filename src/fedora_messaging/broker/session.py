"""One client connection of the broker: login, virtual host, channels."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, cast

from ..logs import REPEATABLE, logger
from ..printable import printable
from ..protocol.errors import (
    CONNECTION_FORCED,
    INTERNAL_ERROR,
    NOT_ALLOWED,
    PRECONDITION_FAILED,
    ChannelError,
    ConnectionError,
)
from ..protocol.events import (
    ChannelEnded,
    ChannelOpened,
    ConnectionEnded,
    ContentReceived,
    Event,
    LoginRequested,
    MethodReceived,
    OpenRequested,
)
from ..protocol.server_handshake import ServerMachine
from ..protocol.states import State
from ..transport.link import Link
from ..wire import methods as m
from ..wire.errors import WireError
from ..wire.methods import Method
from .accounts import LoginRefused, User
from .channel import BrokerChannel
from .chores import TURN, advance
from .connection_limits import check_channels, refusal_of_connection
from .core.queue_arguments import QUORUM
from .core.vhost import VirtualHost
from .login import authenticate
from .methods import HANDLERS
from .permissions import Permissions
from .unacked import Unacked

if TYPE_CHECKING:
    import asyncio

    from .core.queue import Queue
    from .faults import Faults
    from .reply_to import Replies
    from .server import Server

_log = logger(__name__)

#: RabbitMQ's name of the protocol, in counts of logins.
_PROTOCOL: Final = "amqp091"
#: A session accepts no more deliveries when it has this many encoded but unsent bytes.
_OUT_HIGH: Final = 262144
#: A session handles no more events when it has this many bytes of answers that the client has not read.
_OWED_HIGH: Final = 1_000_000
#: Bytes of direct replies that a client may leave unread; nothing holds back those who send them.
_REPLIES_HIGH: Final = 8_000_000
#: The reasons why a session pauses.
_TURN_OVER: Final = "turn"
_DELAYED: Final = "delay on demand"
_STALLED: Final = "stall on demand"
_UNREAD: Final = "unread answers"
#: Seconds until the socket is closed after a login was refused without a close method, as in RabbitMQ.
_REFUSAL_DELAY: Final = 3.0
#: Seconds for a client to read why its connection ends, and to end the network connection, as in RabbitMQ.
PATIENCE: Final = 30.0
#: Seconds for a client to log in and open its virtual host.
HANDSHAKE_TIMEOUT: Final = 10.0


class Session:
    """Acts on the events of one connection.

    Attributes:
        machine: The protocol machine.
        user: The user who is logged in.
        peer_port: TCP port of the client.
        mechanism: How the client has logged in.
        connected_at: Time of the beginning, in seconds since 1970.
        vhost: The open virtual host.
        permissions: What the user may do there.
        client_wants_cancel: Whether the client understands ``basic.cancel`` from the broker.
        blocked: The alarm because of which this publisher is not read from, or ``None``.
        max_body: Largest message body that is accepted, in bytes.
    """

    user: User
    vhost: VirtualHost
    permissions: Permissions

    def __init__(self, server: "Server", machine: ServerMachine) -> None:
        self.machine = machine
        self.client_wants_cancel: bool = False
        self.blocked: str | None = None
        self.max_body: int = server.limits.max_body
        self._client_wants_blocked = False
        self._publishes = False
        self._pauses: set[str] = set()
        self.replies: Replies = server.replies
        self.faults: Faults = server.faults
        self._server = server
        self._link: Link | None = None
        self._peer_host: str | None = None
        self.peer_port: int = 0
        self.mechanism: str = ""
        self.connected_at: float = 0.0
        self._channels: dict[int, BrokerChannel] = {}
        # Events that the session has not handled yet.
        self._events: deque[Event] = deque()
        # The event that it has handled last, and what is left to do of that.
        self._event: Event | None = None
        self._steps: Iterator[None] | None = None
        self._to_flush: dict[BrokerChannel, None] = {}
        self._resume_due = False
        self._resumptions = 0
        #: Done when the socket is gone.
        self.ended: asyncio.Future[None] = server.loop.create_future()
        self._ended = False
        self._timeout: asyncio.TimerHandle | None = None
        self._delay: asyncio.TimerHandle | None = None

    # Called by the link

    def on_connected(self, link: Link) -> None:
        """Begin the session: a client has connected."""
        self._link = link
        name = link.peer_info("peername")
        if isinstance(name, tuple):
            self._peer_host, self.peer_port = str(name[0]), int(name[1])
        self.connected_at = time.time()
        # A TLS handshake that fails never comes to this point; it has a time limit of its own.
        self._limit_time(HANDSHAKE_TIMEOUT, self._handshake_timed_out)
        self._server.sessions.add(self)
        self._server.strangers.came(self)
        if self._server.faults.is_stalled:
            self.stall(True)

    def on_events(self, events: list[Event]) -> None:
        """Handle what the client sent."""
        self._events.extend(events)
        latency = self._server.faults.latency
        if latency and self.machine.state is State.OPEN:
            if _DELAYED not in self._pauses:
                self._pause(_DELAYED)
                self._delay = self._server.loop.call_later(latency, self.end_delay)
            return
        self._server.catch_up()
        self._act()

    def _act(self) -> None:
        loop_time = self._server.loop.time
        end = loop_time() + TURN
        while self._events or self._steps is not None:
            if loop_time() > end:
                self._pause(_TURN_OVER)
                self._server.loop.call_soon(self._go_on, _TURN_OVER)
                break
            steps, self._steps = self._steps, None
            # What has begun goes on in any case: it may hold back a queue, which would be deaf to everybody.
            if steps is None:
                if self.blocked is not None:
                    break  # heed_alarms goes on with them
                if self._owes_too_much():
                    self._pause(_UNREAD)
                    break
                self._event = self._events.popleft()
            event = cast("Event", self._event)
            try:
                if steps is None:
                    steps = self._on_event(event)
                if steps is not None and not advance(steps, loop_time, end):
                    self._steps = steps
            except ChannelError as error:
                offending = cast("ContentReceived | MethodReceived", event)
                self._close_channel(offending.channel, error, type(offending.method))
            except ConnectionError as error:
                self.close(error.reply_code, error.explanation, error.method or _method_of(event))
            except WireError as error:
                self.close(error.reply_code, error.text)
            except Exception:
                _log.exception("Internal error while acting on %s", type(event).__name__, extra=REPEATABLE)
                self.close(INTERNAL_ERROR, "the broker failed; see its log")
            if self._ended:
                return
        if self._to_flush:
            channels, self._to_flush = self._to_flush, {}
            for channel in channels:
                channel.publishing.flush_confirms()
            if self._server.journal_is_behind:
                self._wait_for_journal()
        if self._publishes:
            self._server.look_at_resources()
            self.heed_alarms()

    def _go_on(self, why: str) -> None:
        if self._ended:
            return
        self._resume(why)
        self._act()
        self.flush_soon()

    def on_writable(self, writable: bool) -> None:
        """Go on if the socket has room again."""
        if not writable:
            return
        if _UNREAD in self._pauses:
            self._resume(_UNREAD)
            self._act()
            self.flush_soon()
        self.resume_delivery()

    def _owes_too_much(self) -> bool:
        """Whether the client leaves too many answers unread; then its next requests must wait."""
        link = self._link
        if link is None or self.machine.state is not State.OPEN:
            return False
        if link.owed >= _OWED_HIGH:
            link.flush()
        return not link.writable and link.owed >= _OWED_HIGH

    def on_lost(self, error: Exception | None) -> None:
        """End the session: the socket is gone."""
        self._end()
        self._server.churn.connection_closed += 1
        self._server.sessions.discard(self)
        self.ended.set_result(None)

    def _on_event(self, event: Event) -> Iterator[None] | None:
        if isinstance(event, ContentReceived):
            channel = self._channels.get(event.channel)
            if channel is not None:
                self._publishes = True
                channel.publishing.publish(event)
        elif isinstance(event, MethodReceived):
            if event.channel == 0:
                self._connection_method(event.method)
                return None
            channel = self._channels.get(event.channel)
            if channel is not None:
                return HANDLERS[type(event.method)](channel, event.method)
        elif isinstance(event, ChannelOpened):
            check_channels(self.user, self._server.sessions)
            self._channels[event.channel] = BrokerChannel(self, event.channel)
            self._server.churn.channel_created += 1
        elif isinstance(event, ChannelEnded):
            self._drop_channel(event.channel)
        elif isinstance(event, LoginRequested):
            self._login(event)
        elif isinstance(event, OpenRequested):
            self._open(event)
        elif isinstance(event, ConnectionEnded):
            self._closed(event)
        return None

    # Beginning

    def _login(self, event: LoginRequested) -> None:
        self.mechanism = event.mechanism
        capabilities = event.client_properties.get("capabilities")
        if isinstance(capabilities, dict):
            self.client_wants_cancel = capabilities.get("consumer_cancel_notify") is True
            self._client_wants_blocked = capabilities.get("connection.blocked") is True
        try:
            if self._server.faults.take_login(event.mechanism):
                raise LoginRefused("a test asked for it")
            self.user = authenticate(self._server.accounts, event, self._peer_host, self._peer_certificate)
        except LoginRefused as error:
            self._server.logins.count(_PROTOCOL, False)
            _log.warning(
                "Login from %s by %s refused: %s",
                self.peer,
                printable(event.mechanism),
                error,
                extra=REPEATABLE,
            )
            self._refuse(event.mechanism)
        else:
            self._server.logins.count(_PROTOCOL, True)
            self.machine.accept_login()

    def _refuse(self, mechanism: str) -> None:
        delay = self._server.strangers.delay_of_refusal(self._peer_host)
        if not self.machine.closes_on_refusal:
            self._limit_time(_REFUSAL_DELAY, self.abort)
        elif delay:
            self._limit_time(delay, lambda: self._tell_refusal(mechanism))
        else:
            self.machine.refuse_login(mechanism)

    def _tell_refusal(self, mechanism: str) -> None:
        self.machine.refuse_login(mechanism)
        self.flush_soon()

    def _peer_certificate(self) -> object:
        return self._link.peer_info("peercert") if self._link is not None else None

    @property
    def peer(self) -> str:
        """Address of the client, for the log."""
        return self._peer_host or "a Unix socket"

    def _open(self, event: OpenRequested) -> None:
        vhost = self._server.vhosts.get(event.vhost)
        if vhost is None:
            self.close(NOT_ALLOWED, f"vhost {event.vhost} not found", m.ConnectionOpen)
        elif event.vhost not in self.user.permissions:
            self.close(
                NOT_ALLOWED,
                f"access to vhost '{event.vhost}' refused for user '{self.user.name}'",
                m.ConnectionOpen,
            )
        elif (refusal := refusal_of_connection(self.user, vhost, self._server.sessions)) is not None:
            self.close(NOT_ALLOWED, refusal, m.ConnectionOpen)
        else:
            self.vhost = vhost
            self.permissions = Permissions(self._server.accounts, self.user, vhost)
            self._server.churn.connection_created += 1
            self._lift_limit()
            self._server.strangers.went(self)
            self.machine.accept_open()

    def _limit_time(self, seconds: float, act: Callable[[], None]) -> None:
        """Act when some time is over, in place of what was to be done before."""
        self._lift_limit()
        self._timeout = self._server.loop.call_later(seconds, act)

    def _lift_limit(self) -> None:
        if self._timeout is not None:
            self._timeout.cancel()

    def _handshake_timed_out(self) -> None:
        _log.warning(
            "Connection from %s did not log in within %g s", self.peer, HANDSHAKE_TIMEOUT, extra=REPEATABLE
        )
        self.abort()

    def _connection_method(self, method: Method) -> None:
        if isinstance(method, m.ConnectionUpdateSecret):
            self.machine.accept_secret()

    # Channels

    def _close_channel(self, number: int, error: ChannelError, method: type[Method]) -> None:
        if number not in self._channels:
            return
        self._drop_channel(number)
        self.machine.close_channel(number, error.reply_code, error.reply_text, method)

    def check_deliveries(self, now: float, timeout_of: Callable[["Queue"], float | None]) -> None:
        """End the consumers, or close the channels, on which a delivery has been out for too long."""
        for channel in list(self._channels.values()):
            overdue = channel.unacked.overdue(now, timeout_of)
            if overdue is not None:
                self._end_late(channel, *overdue)

    def _end_late(self, channel: BrokerChannel, unacked: Unacked, timeout: float) -> None:
        cancels = self.vhost.profile.timeout_cancels and unacked.queue.arguments.queue_type == QUORUM
        if cancels and unacked.consumer is not None and self.client_wants_cancel:
            channel.cancel_late(unacked.consumer)
            return
        error = ChannelError(
            PRECONDITION_FAILED,
            f"delivery acknowledgement on channel {channel.number} timed out. Timeout value used: "
            f"{timeout * 1000:.0f} ms. This timeout value can be configured, see consumers doc guide "
            "to learn more",
        )
        self._drop_channel(channel.number)
        self.machine.close_channel(channel.number, error.reply_code, error.reply_text, None)
        self.flush_soon()

    def fail_soon(self, channel: BrokerChannel, error: ChannelError, method: type[Method]) -> None:
        """Close a channel soon, after the current event, because of a method that could not be sent."""

        def fail() -> None:
            if self._channels.get(channel.number) is channel:
                self._close_channel(channel.number, error, method)
                self.flush_soon()

        self.call_soon(fail)

    def _drop_channel(self, number: int) -> None:
        channel = self._channels.pop(number, None)
        if channel is not None:
            self._server.churn.channel_closed += 1
            self._to_flush.pop(channel, None)
            channel.close()

    def needs_flush(self, channel: BrokerChannel) -> None:
        """Have the channel's confirms sent when all events that came together have been handled."""
        self._to_flush[channel] = None

    # Flow

    def can_send(self) -> bool:
        """Whether deliveries may be sent; if not, :meth:`resume_delivery` follows."""
        if self._link is None or not self._link.writable or _STALLED in self._pauses:
            return False
        if self.machine.unsent < _OUT_HIGH:
            return True
        # If the kernel takes the whole write, no `on_writable` follows.
        if not self._resume_due:
            self._resume_due = True
            self._link.flush_soon()
            self._server.loop.call_soon(self._resume_after_flush)
        return False

    def can_reply(self) -> bool:
        """Whether the client reads the direct replies that it gets; if not, further ones are dropped."""
        link = self._link
        if link is None:
            return False
        if link.owed < _REPLIES_HIGH:
            return True
        _log.warning(
            "%s reads no replies: further ones are dropped until it does", self.peer, extra=REPEATABLE
        )
        return False

    def _resume_after_flush(self) -> None:
        self._resume_due = False
        self.resume_delivery()

    def call_soon(self, call: Callable[[], None]) -> None:
        """Call a function when the current event has been answered."""
        self._server.loop.call_soon(call)

    def flush_soon(self) -> None:
        """Write the bytes to send at the end of this turn of the loop."""
        if self._link is not None:
            self._link.flush_soon()

    def resume_delivery(self) -> None:
        """Have the queues of all consumers deliver again, because there is room now."""
        channels = deque(self._channels.values())
        # The first one may take all the room, so it is another one each time.
        self._resumptions += 1
        channels.rotate(-self._resumptions)
        queues: dict[Queue, None] = {}
        for channel in channels:
            queues.update(channel.recall_consumers())
        for queue in queues:
            if not queue.deleted:
                queue.deliver()

    def heed_alarms(self) -> None:
        """Block the client while there is an alarm, if it has published, and unblock it afterwards."""
        reason = self._server.alarms.reason if self._publishes else None
        if (reason is None) == (self.blocked is None) or self.machine.state is not State.OPEN:
            return
        self.blocked = reason
        if reason is not None:
            self._pause("alarm")
            if self._client_wants_blocked:
                self.machine.block(reason)
        else:
            if self._client_wants_blocked:
                self.machine.unblock()
            self._server.loop.call_soon(self._end_block)
        self.flush_soon()

    def _end_block(self) -> None:
        if self.blocked is None:  # there may be a new alarm already
            self._go_on("alarm")

    def _wait_for_journal(self) -> None:
        self._pause("journal")
        self.vhost.journal.when_durable(lambda: self._resume("journal"))

    def end_delay(self) -> None:
        """Look at what the client has sent meanwhile."""
        if self._delay is not None:
            self._delay.cancel()
            self._delay = None
            self._go_on(_DELAYED)

    def stall(self, is_stalled: bool) -> None:
        """Neither read nor write any more, or go on."""
        if self._link is None:
            return
        if is_stalled:
            self._pause(_STALLED)
            self._link.mute(True)
        else:
            self._resume(_STALLED)
            self._link.mute(False)
            self.resume_delivery()

    def _pause(self, why: str) -> None:
        """Stop reading until :meth:`_resume` has been called for each reason."""
        if not self._pauses and self._link is not None:
            self._link.pause_reading()
        self._pauses.add(why)

    def _resume(self, why: str) -> None:
        self._pauses.discard(why)
        if not self._pauses and self._link is not None:
            self._link.resume_reading()

    # End

    def close(self, code: int, explanation: str, method: type[Method] | None = None) -> None:
        """Close the connection with an error."""
        self.machine.close(code, explanation, method)
        self._end()
        if self._link is not None:
            # The client's answer must be read.
            self._link.resume_reading()
            self._link.close_within(PATIENCE)

    @property
    def peer_host(self) -> str:
        """IP address of the client; empty for a Unix socket."""
        return self._peer_host or ""

    @property
    def link_name(self) -> str:
        """The addresses of both ends, by which the management API names the connection."""
        own = self._link.peer_info("sockname") if self._link is not None else None
        here = f"{own[0]}:{own[1]}" if isinstance(own, tuple) else "unix"
        return f"{self.peer_host}:{self.peer_port} -> {here}"

    @property
    def is_encrypted(self) -> bool:
        """Whether the connection uses TLS."""
        return self._link is not None and self._link.peer_info("ssl_object") is not None

    @property
    def buffered(self) -> int:
        """Bytes of contents that are received incompletely, or that the client has not read."""
        link = self._link
        return self.machine.buffered + (link.buffered if link is not None else 0)

    @property
    def octets_in(self) -> int:
        """Bytes received."""
        return self._link.received if self._link is not None else 0

    @property
    def octets_out(self) -> int:
        """Bytes sent."""
        return self._link.written if self._link is not None else 0

    @property
    def channels(self) -> "Mapping[int, BrokerChannel]":
        """The open channels by number."""
        return self._channels

    @property
    def open_vhost(self) -> VirtualHost | None:
        """The open virtual host, or ``None`` before that."""
        return getattr(self, "vhost", None)

    @property
    def user_name(self) -> str | None:
        """Name of the user who is logged in, or ``None`` before that."""
        return self.user.name if hasattr(self, "user") else None

    @property
    def name(self) -> str | None:
        """The name that the client gave its connection."""
        name = self.machine.client_properties.get("connection_name")
        return name if isinstance(name, str) else None

    def force_close(self, reason: str, code: int = CONNECTION_FORCED) -> None:
        """Close the connection on behalf of an operator, or of the broker itself."""
        if self.machine.state in (State.OPEN, State.OPENING, State.EXPECT_OPEN):
            self.close(code, reason)
        else:
            self.abort()

    def abort(self) -> None:
        """Cut the socket."""
        if self._link is not None:
            self._link.abort()

    def _closed(self, event: ConnectionEnded) -> None:
        if not event.by_peer and event.reply_code:
            _log.warning(
                "Connection from %s closed: %s", self.peer, printable(event.reply_text), extra=REPEATABLE
            )
        self._end()

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        if self._steps is not None:
            # What the client has asked for in full is done in full.
            steps, self._steps = self._steps, None
            self._server.work_off(steps)
        self._lift_limit()
        self._server.strangers.went(self)
        for number in list(self._channels):
            self._drop_channel(number)
        if hasattr(self, "vhost"):
            self.vhost.connection_ended(self)


def _method_of(event: Event) -> type[Method] | None:
    return type(event.method) if isinstance(event, ContentReceived | MethodReceived) else None
