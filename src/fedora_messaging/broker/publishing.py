"""Publishing on a channel of the broker: checks, routing, returns, confirms."""

import re
from collections.abc import Collection
from typing import TYPE_CHECKING

from ..protocol.confirms import OwedConfirms
from ..protocol.errors import (
    ACCESS_REFUSED,
    NO_ROUTE,
    NOT_IMPLEMENTED,
    PRECONDITION_FAILED,
    ChannelError,
    ConnectionError,
)
from ..protocol.events import ContentReceived
from ..wire import methods as m
from ..wire.property_codec import PERSISTENT, TRANSIENT
from .accounts import WRITE, User
from .core.exchanges import Exchange
from .core.message import BrokerMessage, in_canonical_order, new_message
from .core.profile import Profile
from .core.queue_arguments import check_time
from .core.routing import without_bcc
from .core.vhost import Enqueued

if TYPE_CHECKING:
    from .channel import BrokerChannel


class Publishing:
    """Handles publishes on one channel, and their returns and confirms."""

    def __init__(self, channel: "BrokerChannel") -> None:
        self._channel = channel
        self._session = channel.session
        self._vhost = channel.vhost
        self._owed_confirms: OwedConfirms | None = None
        self._awaiting_disk: list[int] = []
        self._counters = channel.counters

    @property
    def confirms(self) -> bool:
        """Whether the channel confirms publishes."""
        return self._owed_confirms is not None

    @property
    def unconfirmed(self) -> int:
        """How many publishes await their confirm."""
        return len(self._owed_confirms) if self._owed_confirms is not None else 0

    def select_confirms(self) -> None:
        """Begin to confirm publishes."""
        if self._owed_confirms is None:
            self._owed_confirms = OwedConfirms()

    def publish(self, content: ContentReceived) -> None:
        """Carry out ``basic.publish``.

        Raises:
            ChannelError: 403, 404 or 406.
            ConnectionError: 540 for ``immediate``.
        """
        method = content.method
        assert isinstance(method, m.BasicPublish)  # the protocol accepts no other content
        if method.immediate:
            raise ConnectionError(NOT_IMPLEMENTED, "immediate=true")
        if content.body is None:
            raise ChannelError(
                PRECONDITION_FAILED,
                f"message size {content.announced} is larger than configured max size "
                f"{self._session.max_body}",
            )
        self._session.permissions.require(WRITE, "exchange", method.exchange)
        exchange = self._vhost.exchange(method.exchange)
        self._session.permissions.require_topic(WRITE, exchange, method.routing_key)
        if exchange.internal:
            raise ChannelError(
                ACCESS_REFUSED,
                f"cannot publish to internal exchange '{exchange.name}' in vhost '{self._vhost.name}'",
            )
        message = new_message(method.exchange, method.routing_key, content.properties, content.body)
        if self._vhost.profile.sorts_headers:
            message = in_canonical_order(message)
        check_message(message, self._session.user, self._vhost.profile)
        message = self._session.replies.rewrite(self._channel, message)
        transaction = self._channel.transaction
        if transaction is not None:
            transaction.hold(exchange, message, method.mandatory, self._vhost.destinations(exchange, message))
            return
        self._counters.publish += 1
        fault = self._session.faults.take_publish(method.exchange, method.routing_key)
        if fault is not None:
            self._fail(fault, message, method.mandatory)
            return
        tag = self._owed_confirms.received() if self._owed_confirms is not None else 0
        self.route(exchange, message, method.mandatory, tag)

    def route(
        self,
        exchange: Exchange,
        message: BrokerMessage,
        mandatory: bool,
        tag: int = 0,
        queues: tuple[str, ...] | None = None,
    ) -> None:
        """Put a message into queues, and begin its confirm; ``tag`` is 0 without one.

        The names of the queues are given for a message that was routed before.

        Raises:
            ChannelError: 406 for a CC or BCC header that is not an array.
        """
        if exchange.name == "" and self._session.replies.deliver(message):
            # A reply goes to no queue, so older releases count it as not routed.
            outcome = Enqueued(self._vhost.profile.replies_count_as_routed, refused=False, stored=False)
        else:
            outcome = self._vhost.enqueue(exchange, message, queues)
        if not outcome.routed:
            if mandatory:
                self._counters.return_unroutable += 1
                self._return(message)
            else:
                self._counters.drop_unroutable += 1
        if self._owed_confirms is None or not tag:
            return
        if outcome.refused:
            self._owed_confirms.reject(tag)
            self._channel.reply(m.BasicNack(tag))
        elif outcome.stored:
            self._awaiting_disk.append(tag)
        else:
            self._counters.confirm += 1
            self._owed_confirms.confirm(tag)
        self._session.needs_flush(self._channel)

    def _fail(self, fault: str, message: BrokerMessage, mandatory: bool) -> None:
        """Lose a message on demand."""
        owed = self._owed_confirms
        tag = owed.received() if owed is not None else 0
        if fault == "return_next" and mandatory:
            self._return(message)
        if owed is None:
            return
        if fault == "nack_next":
            owed.reject(tag)
            self._channel.reply(m.BasicNack(tag))
        else:
            owed.confirm(tag)
        self._session.needs_flush(self._channel)

    def _return(self, message: BrokerMessage) -> None:
        if message.mentions(b"BCC") and "BCC" in message.headers:
            message = without_bcc(message)
        method = m.BasicReturn(NO_ROUTE, "NO_ROUTE", message.exchange, message.routing_key)
        self._channel.send_content(method.encode(), message.properties, message.body)

    def flush_confirms(self) -> None:
        """Send the confirms that are due; the others follow when the journal has stored their messages."""
        if self._awaiting_disk:
            tags, self._awaiting_disk = self._awaiting_disk, []
            self._vhost.journal.when_durable(lambda: self._confirm(tags))
        self._send_confirms()

    def _confirm(self, tags: Collection[int]) -> None:
        if self._channel.closed or self._owed_confirms is None:
            return
        self._counters.confirm += len(tags)
        for tag in tags:
            self._owed_confirms.confirm(tag)
        self._send_confirms()

    def _send_confirms(self) -> None:
        if self._owed_confirms is not None:
            for tag, multiple in self._owed_confirms.flush():
                self._channel.reply(m.BasicAck(tag, multiple))


def check_message(message: BrokerMessage, user: User, profile: Profile) -> None:
    """Check the properties of a message that a user publishes.

    Raises:
        ChannelError: 406.
    """
    scan = message.scan
    if scan.expiration is not None:
        _check_expiration(scan.expiration)
    if scan.delivery_mode not in (None, TRANSIENT, PERSISTENT) and profile.checks_delivery_mode:
        raise ChannelError(
            PRECONDITION_FAILED, f"invalid message: {{delivery_mode_unknown,{scan.delivery_mode}}}"
        )
    if scan.user_id is not None and scan.user_id != user.name and "impersonator" not in user.tags:
        raise ChannelError(
            PRECONDITION_FAILED,
            f"user_id property set to '{scan.user_id}' but authenticated user was '{user.name}'",
        )


def _check_expiration(text: str) -> None:
    number = re.match(r"[+-]?[0-9]+", text)
    try:
        if number is None:
            raise ValueError("no_integer")
        if number.end() < len(text):
            raise ValueError(f'{{leftover_string,"{text[number.end() :]}"}}')
        check_time(int(text))
    except ValueError as error:
        raise ChannelError(PRECONDITION_FAILED, f"invalid expiration '{text}': {error}") from None
