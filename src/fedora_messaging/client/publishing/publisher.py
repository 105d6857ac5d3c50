"""Publishing with confirms, across channels and connections."""

import asyncio
from collections import deque
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Final

from ...exceptions import (
    AMQPError,
    ChannelClosed,
    ConnectionClosed,
    ConnectionException,
    DeliveryRefused,
    EncodingError,
    ExchangeNotFound,
    NoFreeChannels,
    PublishException,
    PublishForbidden,
    PublishNacked,
    PublishReturned,
    Unroutable,
)
from ...logs import REPEATABLE, logger
from ...printable import printable
from ...protocol import events as ev
from ...protocol.confirms import AwaitedConfirms
from ...protocol.errors import ACCESS_REFUSED, NOT_FOUND, REPLY_SUCCESS
from ...wire import methods as m
from ...wire.methods import Method
from ..amqp.connection import Connection
from ..amqp.permission_hints import PUBLISH, name_permission
from .confirm_watch import ConfirmWatch
from .outgoing import Outgoing

if TYPE_CHECKING:
    from ..amqp.channel import Channel

_log = logger(__name__)

#: Seconds before a channel that the broker keeps refusing is opened again.
_REOPEN_DELAY: Final = 1.0
#: Publishes in flight up to which a thread sends its own message. Of more, the loop makes fewer writes.
_FEW: Final = 3


class Publisher:
    """Sends on one channel in confirm mode and tells the outcome of each publish by its own confirm.

    When the broker closes the channel because of *some* publish, those in flight become suspects: they are
    sent again one by one until the guilty one is found. That one fails with the broker's error, and no other
    is lost. Publishes in flight when a connection ends are sent again on the next one, so a message may
    arrive twice.

    Args:
        has_other_nodes: Whether the cluster has other nodes to go to, if one answers but confirms nothing.

    Attributes:
        published: How many publishes were confirmed.
    """

    def __init__(self, has_other_nodes: bool = False) -> None:
        self.published: int = 0
        self._has_other_nodes = has_other_nodes
        self._channel: Channel | None = None
        self._connection: Connection | None = None
        self._waiting: deque[Outgoing] = deque()
        self._suspects: deque[Outgoing] = deque()
        self._awaited: AwaitedConfirms[Outgoing] = AwaitedConfirms()
        self._opened_at = 0.0
        self._pause_before_opening = 0.0
        self._retired: _Retired | None = None
        self._opening: asyncio.Task[None] | None = None
        self._next_outcome: asyncio.Future[None] | None = None

    # Called by the supervisor

    def attach(self, connection: Connection) -> None:
        """Use a new connection, and send waiting publishes on it."""
        self._connection = connection
        if self._waiting or self._suspects:
            self._open_soon()

    @property
    def has_waiting(self) -> bool:
        """Whether a publish waits for a connection."""
        return any(not out.abandoned for out in chain(self._suspects, self._waiting))

    @property
    def in_flight(self) -> int:
        """How many publishes have been sent whose outcome is not known yet."""
        return len(self._awaited) + (0 if self._retired is None else len(self._retired.awaited))

    def fail_waiting(self, error: Exception) -> None:
        """Fail all publishes that wait for a connection."""
        doomed = [*self._suspects, *self._waiting]
        self._suspects.clear()
        self._waiting.clear()
        for out in doomed:
            self._tell_outcome(out, error)

    async def idle(self) -> None:
        """Return when no caller waits for a confirm any more."""
        while any(not out.abandoned for out in chain(self._in_flight(), self._suspects, self._waiting)):
            if self._next_outcome is None or self._next_outcome.done():
                self._next_outcome = asyncio.get_running_loop().create_future()
            # More than one caller may wait, and each may be cancelled alone.
            await asyncio.wait([self._next_outcome])

    def fail_all(self, error: Exception) -> None:
        """Fail all publishes; those in flight may have arrived nevertheless."""
        for out in self._take_all():
            self._tell_outcome(out, error)
        self.fail_waiting(error)

    def _in_flight(self) -> Iterator[Outgoing]:
        return chain(() if self._retired is None else self._retired.awaited, self._awaited)

    def _take_all(self) -> list[Outgoing]:
        older = [] if self._retired is None else self._retired.awaited.take_all()
        return older + self._awaited.take_all()

    async def close_channel(self) -> None:
        """Close the channel; send publishes in flight again, and the next ones, over another channel."""
        channel = self._channel
        if channel is not None:
            channel.user = None
            closed = asyncio.ensure_future(channel.close())
            self.on_channel_closed(ChannelClosed(REPLY_SUCCESS, "closed by the client"))
            await closed

    # Called by the frontends

    def submit(self, out: Outgoing) -> None:
        """Send a message, at once or as soon as possible."""
        while self._waiting and self._waiting[0].abandoned:
            self._waiting.popleft()
        channel = self._channel
        if channel is None:
            self._waiting.append(out)
            self._open_soon()
        elif self._waiting or self._suspects or not channel.connection.can_send:
            self._waiting.append(out)
        else:
            self._transmit(channel, out)

    def send_now(self, out: Outgoing) -> bool:
        """Send a message at once, if none waits and few are in flight; needs no running loop.

        Returns:
            Whether that was possible.
        """
        channel = self._channel
        if channel is None or self._waiting or self._suspects or not channel.connection.can_send:
            return False
        if len(self._awaited) >= _FEW:
            return False
        if not out.begin():
            return True
        try:
            channel.send_content_now(out.method, out.properties, out.body)
        except EncodingError:
            return False  # told in the loop's turn
        self._awaited.sent(out)
        return True

    def _open_soon(self) -> None:
        if self._connection is not None and self._opening is None:
            self._opening = asyncio.create_task(self._open())

    async def _open(self) -> None:
        """Open a channel on the newest connection, with as many attempts as needed."""
        delay = self._pause_before_opening
        self._pause_before_opening = 0.0
        try:
            if delay:
                await asyncio.sleep(delay)
            while (connection := self._connection) is not None and self._channel is None:
                if not self._waiting and not self._suspects:
                    break
                self._channel = await self._try_to_open(connection)
                if self._channel is None and connection is self._connection:
                    await asyncio.sleep(delay)
                    delay = _REOPEN_DELAY
        finally:
            self._opening = None
        self._send()

    async def _try_to_open(self, connection: Connection) -> "Channel | None":
        try:
            channel = await connection.open_channel()
            await channel.call(m.ConfirmSelect(), m.ConfirmSelectOk)
        except NoFreeChannels as error:
            self.fail_waiting(error)
        except (ConnectionException, ChannelClosed) as error:
            _log.info("No channel for publishing: %s", error)
        else:
            # The broker may have closed the channel right after its answer.
            if channel.is_open:
                channel.user = self
                self._awaited = AwaitedConfirms()
                self._opened_at = asyncio.get_running_loop().time()
                ConfirmWatch(channel, self._awaited, has_other_nodes=self._has_other_nodes).look_later()
                return channel
        if connection.closed.done() and connection is self._connection:
            self._connection = None
        return None

    def _send(self) -> None:
        """Send the waiting publishes that may be sent now."""
        channel = self._channel
        if channel is None:
            return
        while self._suspects and channel.connection.can_send:
            if self._awaited:
                return
            if self._transmit(channel, self._suspects.popleft()):
                return
        while self._waiting and channel.connection.can_send and not self._suspects:
            self._transmit(channel, self._waiting.popleft())

    def _transmit(self, channel: "Channel", out: Outgoing) -> bool:
        if not out.begin():
            return False
        try:
            channel.send_content(out.method, out.properties, out.body)
        except EncodingError as error:
            # The broker would end the connection because of this message, and with it all other publishes.
            self._tell_outcome(out, error)
            return False
        self._awaited.sent(out)
        return True

    def _tell_outcome(self, out: Outgoing, error: Exception | None) -> None:
        if error is None:
            self.published += 1
        out.on_outcome(error)
        if self._next_outcome is not None and not self._next_outcome.done():
            self._next_outcome.set_result(None)

    def _confirm(self, awaited: AwaitedConfirms[Outgoing], method: Method) -> None:
        if isinstance(method, m.BasicAck):
            for out in awaited.take(method.delivery_tag, method.multiple):
                self._tell_outcome(out, out.error)
        elif isinstance(method, m.BasicNack):
            error = DeliveryRefused(0, "the broker refused the message (basic.nack)")
            for out in awaited.take(method.delivery_tag, method.multiple):
                self._tell_outcome(out, PublishNacked(error))

    def _returned(self, awaited: AwaitedConfirms[Outgoing], content: ev.ContentReceived) -> bool:
        """Note which publish the broker returned; returns False if that cannot be told."""
        method = content.method
        if not isinstance(method, m.BasicReturn):
            return True
        out = awaited.find(lambda one: one.may_be(content, method))
        if out is None:
            _log.error(
                "The broker returned a message (%s) that equals none in flight: exchange %r, routing key %r",
                printable(method.reply_text),
                printable(method.exchange),
                printable(method.routing_key),
                extra=REPEATABLE,
            )
            suspects = [one for one in awaited if one.mandatory and one.error is None]
            if not suspects:
                return True
            if len(suspects) > 1:
                return False
            out = suspects[0]
        out.error = PublishReturned(Unroutable(method.reply_code, method.reply_text))
        out.error.add_note(
            f"no queue is bound to the exchange {printable(method.exchange)!r} "
            f"for the routing key {printable(method.routing_key)!r}"
        )
        return True

    def _leave(self, channel: "Channel", awaited: AwaitedConfirms[Outgoing]) -> None:
        """Send publishes in flight on a channel again, over another one, one by one.

        The broker returned one of them so changed that we cannot tell which it is. Sent alone, it is known.
        """
        channel.user = None
        channel.close_soon()
        self._suspects.extendleft(reversed(awaited.take_all()))
        self._open_soon()

    def _retire_channel(self) -> None:
        """Publish on another channel from now on, after a refusal; at most once a second.

        In RabbitMQ 3.10 a channel remembers that a quorum queue had no leader at the first publish to it. It
        then refuses all further messages for that queue, as long as the former leader is away.
        """
        is_old = asyncio.get_running_loop().time() - self._opened_at >= _REOPEN_DELAY
        if self._channel is not None and self._retired is None and is_old:
            _log.info("Publishing goes on over another channel, because the broker refused a message")
            self._retired = _Retired(self, self._channel, self._awaited)
            self._channel = None
            self._awaited = AwaitedConfirms()
            self._retired.close_if_idle()

    # Called by the channel

    def on_method(self, method: Method) -> None:
        """Tell the outcome of the publishes that the broker confirms or refuses."""
        self._confirm(self._awaited, method)
        if isinstance(method, m.BasicNack):
            self._retire_channel()
        if self._suspects or self._waiting:
            self._send()

    def on_content(self, content: ev.ContentReceived) -> None:
        """Note a returned message."""
        if not self._returned(self._awaited, content) and self._channel is not None:
            channel, self._channel = self._channel, None
            self._leave(channel, self._awaited)

    def on_writable(self) -> None:
        """Send waiting publishes: there is room again."""
        self._send()

    def on_channel_closed(self, error: AMQPError) -> None:
        """Find the publish at fault, or send again on the next connection."""
        self._channel = None
        if isinstance(error, ConnectionClosed):
            self._connection_lost()
        else:
            self._try_again(self._awaited.take_all(), error)

    def _connection_lost(self) -> None:
        self._connection = None
        self._waiting.extendleft(reversed([*self._take_all(), *self._suspects]))
        self._suspects.clear()

    def _try_again(self, in_flight: list[Outgoing], error: AMQPError) -> None:
        if not in_flight:
            # No message is to blame, so the broker may close the next channel, too.
            if asyncio.get_running_loop().time() - self._opened_at < _REOPEN_DELAY:
                self._pause_before_opening = _REOPEN_DELAY
        elif len(in_flight) == 1:
            self._blame(in_flight[0], error)
        else:
            self._suspects.extendleft(reversed(in_flight))
        if self._waiting or self._suspects:
            self._open_soon()

    def _blame(self, out: Outgoing, error: AMQPError) -> None:
        reason = ChannelClosed(error.reply_code, error.reply_text)
        if error.reply_code == ACCESS_REFUSED:
            _log.error("The broker does not let us publish to %r: %s", out.exchange, error)
            self._tell_outcome(out, name_permission(PublishForbidden(reason), error, PUBLISH))
        elif error.reply_code == NOT_FOUND:
            self._tell_outcome(out, ExchangeNotFound(reason))
        elif out.attempts > 1:
            self._tell_outcome(out, PublishException(reason))
        else:
            self._suspects.appendleft(out)


class _Retired:
    """A channel without new publishes, on which those in flight still await their confirms.

    Args:
        publisher: The publisher that used the channel.
        channel: The channel.
        awaited: The publishes in flight.
    """

    def __init__(self, publisher: Publisher, channel: "Channel", awaited: AwaitedConfirms[Outgoing]) -> None:
        self.awaited = awaited
        self._publisher = publisher
        self._channel = channel
        channel.user = self

    def close_if_idle(self) -> None:
        """Close the channel unless a publish is in flight."""
        if not self.awaited:
            self._channel.user = None
            self._channel.close_soon()
            self._publisher._retired = None

    def on_method(self, method: Method) -> None:
        """Tell the outcome of the publishes that the broker confirms or refuses."""
        self._publisher._confirm(self.awaited, method)
        self.close_if_idle()

    def on_content(self, content: ev.ContentReceived) -> None:
        """Note a returned message."""
        if not self._publisher._returned(self.awaited, content):
            self._publisher._retired = None
            self._publisher._leave(self._channel, self.awaited)

    def on_writable(self) -> None:
        """Do nothing: no more publishes are sent here."""

    def on_channel_closed(self, error: AMQPError) -> None:
        """Send the publishes in flight again, over another channel."""
        publisher = self._publisher
        if isinstance(error, ConnectionClosed):
            publisher._connection_lost()
        else:
            publisher._try_again(self.awaited.take_all(), error)
        publisher._retired = None
