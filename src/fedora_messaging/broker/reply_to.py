"""Direct reply-to (RabbitMQ extension): replies reach a channel without a queue."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ..protocol.errors import PRECONDITION_FAILED, ChannelError
from ..wire import methods as m
from ..wire.properties import with_text_property
from .core.message import BrokerMessage, with_properties

if TYPE_CHECKING:
    from .channel import BrokerChannel

REPLY_TO: Final = "amq.rabbitmq.reply-to"


@dataclass(frozen=True, slots=True)
class ReplyConsumer:
    """The only reply consumer of a channel; replies to it are published with ``address`` as routing key."""

    tag: str
    address: str
    channel: "BrokerChannel"


class Replies:
    """All reply consumers of a broker, by address."""

    def __init__(self) -> None:
        self._consumers: dict[str, ReplyConsumer] = {}

    def subscribe(self, channel: "BrokerChannel", tag: str, method: m.BasicConsume) -> ReplyConsumer:
        """Make a channel's reply consumer.

        Raises:
            ChannelError: 406 if it wants acknowledgements, or the channel has a reply consumer already.
        """
        if not method.no_ack:
            raise ChannelError(PRECONDITION_FAILED, "reply consumer cannot acknowledge")
        if channel.reply_consumer is not None:
            raise ChannelError(PRECONDITION_FAILED, "reply consumer already set")
        consumer = ReplyConsumer(tag, f"{REPLY_TO}.{os.urandom(16).hex()}", channel)
        self._consumers[consumer.address] = consumer
        return consumer

    def unsubscribe(self, channel: "BrokerChannel") -> None:
        """Forget a channel's reply consumer."""
        if channel.reply_consumer is not None:
            del self._consumers[channel.reply_consumer.address]
            channel.reply_consumer = None

    def has(self, address: str) -> bool:
        """Whether an address belongs to a reply consumer."""
        return address in self._consumers

    def rewrite(self, channel: "BrokerChannel", message: BrokerMessage) -> BrokerMessage:
        """Put the address of the channel's reply consumer into a request.

        Raises:
            ChannelError: 406 when the channel has no reply consumer, 311 when the address does not fit.
        """
        if message.scan.reply_to != REPLY_TO:
            return message
        if channel.reply_consumer is None:
            raise ChannelError(PRECONDITION_FAILED, "fast reply consumer does not exist")
        properties = with_text_property(message.properties, "reply_to", channel.reply_consumer.address)
        channel.check_room("the request", properties)
        return with_properties(message, properties)

    def deliver(self, message: BrokerMessage) -> bool:
        """Deliver a message if its routing key is the address of a reply consumer; returns whether it was."""
        consumer = self._consumers.get(message.routing_key)
        if consumer is None:
            return False
        consumer.channel.deliver_reply(consumer.tag, message)
        return True
