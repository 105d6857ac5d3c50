"""Noticing that a broker confirms nothing any more."""

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from ...exceptions import ChannelClosed, ConnectionException
from ...logs import logger
from ...protocol.confirms import AwaitedConfirms
from ...wire import methods as m
from .outgoing import Outgoing

if TYPE_CHECKING:
    from ..amqp.channel import Channel

_log = logger(__name__)


class ConfirmWatch:
    """Checks from time to time that the broker still reads, if the same publish stays the oldest one.

    Heartbeats do not show that. They also arrive when the broker takes everything for the rest of a damaged
    frame, and when the broker's process for this channel no longer works.

    The watch ends with the channel.

    Args:
        channel: A channel in confirm mode.
        awaited: The publishes on it that are not confirmed yet.
        has_other_nodes: Whether the cluster has other nodes to go to, if this one answers but confirms
            nothing.
    """

    def __init__(
        self, channel: "Channel", awaited: AwaitedConfirms[Outgoing], *, has_other_nodes: bool
    ) -> None:
        self._channel = channel
        self._awaited = awaited
        self._has_other_nodes = has_other_nodes
        # The oldest publish at the time of the broker's last answer to a question of ours.
        self._answered_for: Outgoing | None = None
        self._asking: asyncio.Task[None] | None = None

    def look_later(self) -> None:
        """Look whether the oldest publish of now is the oldest one still, after the time for an answer."""
        timeout = self._channel.connection.options.answer_timeout
        asyncio.get_running_loop().call_later(timeout, self._look, self._oldest())

    def _oldest(self) -> Outgoing | None:
        return next(iter(self._awaited), None)

    def _look(self, before: Outgoing | None) -> None:
        if not self._channel.is_open:
            return
        if before is not None and before is self._oldest() and self._channel.connection.blocked is None:
            if before is self._answered_for and self._has_other_nodes:
                self._leave_node()
            elif self._asking is None:
                self._asking = asyncio.create_task(self._ask(before))
        self.look_later()

    def _leave_node(self) -> None:
        """Publish over another node: this one answers, but confirms nothing.

        It may be cut off from most others of its cluster and go on nevertheless, as RabbitMQ 4.3 does.
        """
        _log.warning(
            "The broker at %s answers, but has not confirmed a message for long: trying another node",
            self._channel.connection.options.address,
        )
        self._channel.connection.abort()

    async def _ask(self, oldest: Outgoing) -> None:
        """Make the broker answer a request on the channel; without an answer, give the connection up."""
        try:
            with suppress(ConnectionException, ChannelClosed):
                # The channel is in confirm mode already, so this changes nothing.
                await self._channel.call(m.ConfirmSelect(), m.ConfirmSelectOk)
                self._answered_for = oldest
        finally:
            self._asking = None
