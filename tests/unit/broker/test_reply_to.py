"""Direct reply-to: the addresses of a broker, and the channels behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.broker.support import Client

from fedora_messaging.broker.core.message import BrokerMessage, new_message
from fedora_messaging.broker.reply_to import REPLY_TO, Replies
from fedora_messaging.protocol.errors import ChannelError
from fedora_messaging.wire import methods as m
from fedora_messaging.wire.properties import BasicProperties, decode_properties
from fedora_messaging.wire.property_codec import encode_properties

if TYPE_CHECKING:
    from tests.unit.broker.support import MemoryServer

    from fedora_messaging.broker.channel import BrokerChannel
    from fedora_messaging.broker.reply_to import ReplyConsumer

CONSUME = m.BasicConsume(REPLY_TO, no_ack=True)


@pytest.fixture
def replies(server: MemoryServer) -> Replies:
    """The replies of the server."""
    return server.replies


@pytest.fixture
def channel(client: Client) -> BrokerChannel:
    """A channel without a reply consumer."""
    return client.channel


def subscribe(replies: Replies, channel: BrokerChannel, tag: str = "t") -> ReplyConsumer:
    """Subscribe as `basic.consume` does."""
    channel.reply_consumer = replies.subscribe(channel, tag, CONSUME)
    return channel.reply_consumer


def request(**properties: Any) -> BrokerMessage:
    return new_message("e", "k", encode_properties(BasicProperties(**properties)), b"body")


def reply(address: str, content: bytes = b"answer") -> BrokerMessage:
    return new_message("", address, encode_properties(BasicProperties(correlation_id="7")), content)


def test_consumer_must_want_no_acknowledgements(replies: Replies, channel: BrokerChannel) -> None:
    with pytest.raises(ChannelError) as caught:
        replies.subscribe(channel, "t", m.BasicConsume(REPLY_TO))
    assert caught.value.reply_text == "PRECONDITION_FAILED - reply consumer cannot acknowledge"


def test_refused_second_consumer_leaves_the_first(replies: Replies, channel: BrokerChannel) -> None:
    first = subscribe(replies, channel)
    with pytest.raises(ChannelError) as caught:
        replies.subscribe(channel, "other", CONSUME)
    assert caught.value.reply_text == "PRECONDITION_FAILED - reply consumer already set"
    assert channel.reply_consumer is first
    assert replies.has(first.address)


def test_each_address_is_new_and_cannot_be_guessed(replies: Replies, channel: BrokerChannel) -> None:
    addresses = set()
    for _ in range(20):
        address = subscribe(replies, channel).address
        assert address.startswith(f"{REPLY_TO}.")
        assert len(bytes.fromhex(address.removeprefix(f"{REPLY_TO}."))) == 16
        addresses.add(address)
        replies.unsubscribe(channel)
    assert len(addresses) == 20
    assert not any(replies.has(address) for address in addresses)


def test_plain_name_is_no_address(replies: Replies, channel: BrokerChannel) -> None:
    subscribe(replies, channel)
    assert not replies.has(REPLY_TO)
    assert not replies.deliver(reply(REPLY_TO))


def test_unsubscribing_twice_is_no_mistake(replies: Replies, channel: BrokerChannel) -> None:
    replies.unsubscribe(channel)
    address = subscribe(replies, channel).address
    replies.unsubscribe(channel)
    replies.unsubscribe(channel)
    assert channel.reply_consumer is None
    assert not replies.has(address)


def test_reply_finds_the_channel_of_its_address(
    replies: Replies, server: MemoryServer, client: Client
) -> None:
    other = Client(server).login()
    address = subscribe(replies, client.channel, "mine").address
    subscribe(replies, other.channel, "theirs")
    assert replies.deliver(reply(address, b"1"))
    assert replies.deliver(reply(address, b"2"))
    told = client.told()
    assert [repr(one.method) for one in told] == [
        repr(m.BasicDeliver("mine", tag, False, "", address)) for tag in (1, 2)
    ]
    assert [one.body for one in told] == [b"1", b"2"]
    assert decode_properties(told[0].properties).correlation_id == "7"
    assert other.told() == []


def test_reply_to_one_who_has_left_is_not_delivered(replies: Replies, client: Client) -> None:
    address = subscribe(replies, client.channel).address
    client.ask(m.ChannelClose(200, "", 0, 0))
    assert not replies.has(address)
    assert not replies.deliver(reply(address))
    assert client.told() == []


@pytest.mark.parametrize("reply_to", [None, "", "queue", f"{REPLY_TO}.x", REPLY_TO.upper()])
def test_other_requests_stay_the_same_message(
    replies: Replies, channel: BrokerChannel, reply_to: str | None
) -> None:
    """Also on a channel without a reply consumer."""
    message = request() if reply_to is None else request(reply_to=reply_to)
    assert replies.rewrite(channel, message) is message
    subscribe(replies, channel)
    assert replies.rewrite(channel, message) is message


def test_request_gets_the_address_and_keeps_the_rest(replies: Replies, channel: BrokerChannel) -> None:
    address = subscribe(replies, channel).address
    published = request(reply_to=REPLY_TO, correlation_id="7", app_id="asker")
    seen = replies.rewrite(channel, published)
    assert decode_properties(seen.properties) == BasicProperties(
        reply_to=address, correlation_id="7", app_id="asker"
    )
    assert (seen.exchange, seen.routing_key, seen.body) == ("e", "k", b"body")
    assert published.scan.reply_to == REPLY_TO


def test_request_without_a_consumer(replies: Replies, channel: BrokerChannel) -> None:
    with pytest.raises(ChannelError) as caught:
        replies.rewrite(channel, request(reply_to=REPLY_TO))
    assert caught.value.reply_text == "PRECONDITION_FAILED - fast reply consumer does not exist"


def test_address_must_fit_into_a_frame(replies: Replies, server: MemoryServer) -> None:
    """The address is longer by 33 bytes than the name that it replaces."""
    channel = Client(server, frame_max=8192).login().channel
    subscribe(replies, channel)
    plain = request(reply_to=REPLY_TO, message_id="")

    def padded(short_of: int) -> BrokerMessage:
        fill = channel.room - len(plain.properties) - 33 - short_of
        headers = {"fill": b"x" * (fill - 14)}  # and four bytes of length, five of name, five of value
        encoded = encode_properties(BasicProperties(reply_to=REPLY_TO, message_id="", headers=headers))
        return new_message("e", "k", encoded, b"")

    assert len(replies.rewrite(channel, padded(0)).properties) == channel.room
    with pytest.raises(ChannelError) as caught:
        replies.rewrite(channel, padded(-1))
    assert caught.value.reply_text == (
        "CONTENT_TOO_LARGE - frame_max 8192 of this connection is too small for the "
        f"{channel.room + 1} bytes of properties of the request"
    )
