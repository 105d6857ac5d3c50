"""Publisher confirms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pamqp import commands
from tests.behaviour.peer import ClosedByBrokerError, Peer
from tests.behaviour.support import bodies, closes, take

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel
    from tests.support.admin import Names

PERSISTENT = b"\x10\x00\x02"
TRANSIENT = b"\x10\x00\x01"


@pytest.fixture
def publisher(peer: Peer) -> Peer:
    """A peer whose channel 1 is in confirm mode."""
    peer.call(commands.Confirm.Select(), commands.Confirm.SelectOk)
    return peer


class Confirms:
    """Reads the confirms of one channel and holds them to the rules."""

    def __init__(self, peer: Peer, channel: int = 1) -> None:
        self._peer = peer
        self._channel = channel
        self._open: set[int] = set()
        self._published = 0
        self.acked: set[int] = set()
        self.nacked: set[int] = set()
        self.returned: list[bytes] = []

    def published(self, count: int = 1) -> None:
        self._open.update(range(self._published + 1, self._published + count + 1))
        self._published += count

    def read(self) -> commands.Basic.Ack | commands.Basic.Nack | commands.Basic.Return:
        """Take in one method: each tag is confirmed once, and only if it was published."""
        channel, method = self._peer.read_method()
        assert channel == self._channel
        if isinstance(method, commands.Basic.Return):
            self.returned.append(self._peer.read_content().body)
            return method
        assert isinstance(method, commands.Basic.Ack | commands.Basic.Nack)
        tag = method.delivery_tag or 0
        assert tag in self._open
        settled = {open_tag for open_tag in self._open if open_tag <= tag} if method.multiple else {tag}
        self._open -= settled
        (self.acked if isinstance(method, commands.Basic.Ack) else self.nacked).update(settled)
        return method

    def wait(self) -> None:
        while self._open:
            self.read()


def declare(peer: Peer, name: str, *, durable: bool = False, **arguments: int | str) -> None:
    table = {key.replace("_", "-"): value for key, value in arguments.items()}
    declare_it = commands.Queue.Declare(queue=name, durable=durable, arguments={**table})
    peer.call(declare_it, commands.Queue.DeclareOk)


def test_select_may_be_repeated(publisher: Peer) -> None:
    """The broker answers a second confirm.select with select-ok, too."""
    publisher.call(commands.Confirm.Select(), commands.Confirm.SelectOk)


def test_select_with_no_wait(peer: Peer, queue: str) -> None:
    """With no-wait confirm.select has no answer, but takes effect."""
    peer.send(commands.Confirm.Select(nowait=True))
    peer.publish(b"x", routing_key=queue)
    assert peer.expect(commands.Basic.Ack).delivery_tag == 1


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("properties", [PERSISTENT, TRANSIENT, b"\x00\x00"])
def test_routed_message_is_acked(publisher: Peer, name: str, durable: bool, properties: bytes) -> None:
    """The broker acks a message once it is queued, or, if both it and the queue last, once it is written."""
    declare(publisher, name, durable=durable)
    publisher.publish(b"x", routing_key=name, property_bytes=properties)
    assert publisher.expect(commands.Basic.Ack).delivery_tag == 1
    assert publisher.get(name).body == b"x"


def test_unroutable_message_is_acked(publisher: Peer, name: str) -> None:
    """The broker acks an unroutable message at once."""
    publisher.publish(b"x", routing_key=name, property_bytes=PERSISTENT)
    assert publisher.expect(commands.Basic.Ack).delivery_tag == 1


def test_return_comes_before_the_ack(publisher: Peer, name: str) -> None:
    """The broker returns an unroutable mandatory message first, and acks it then."""
    publisher.publish(b"x", routing_key=name, mandatory=True)
    publisher.expect(commands.Basic.Return)
    publisher.read_content()
    assert publisher.expect(commands.Basic.Ack).delivery_tag == 1


def test_each_return_comes_before_its_ack(publisher: Peer, queue: str, name: str) -> None:
    """In a stream of routed and unroutable messages each return precedes its ack."""
    confirms = Confirms(publisher)
    for number in range(40):
        key = queue if number % 2 else name + ".missing"
        publisher.publish(str(number).encode(), routing_key=key, mandatory=True)
        confirms.published()
    while len(confirms.acked) < 40:
        confirms.read()
        unreturned = {number for number in range(0, 40, 2) if str(number).encode() not in confirms.returned}
        assert not unreturned & {tag - 1 for tag in confirms.acked}
    assert len(confirms.returned) == 20


def test_tags_count_publishes_since_select(peer: Peer, queue: str) -> None:
    """Tags begin at 1 with the first publish after confirm.select; earlier ones do not count."""
    peer.publish(b"before", routing_key=queue)
    peer.call(commands.Confirm.Select(), commands.Confirm.SelectOk)
    for tag in (1, 2, 3):
        peer.publish(b"after", routing_key=queue)
        assert peer.expect(commands.Basic.Ack).delivery_tag == tag


def test_tags_are_the_channels_own(publisher: Peer, queue: str) -> None:
    """Each channel counts its own publishes."""
    publisher.open_channel(2)
    publisher.call(commands.Confirm.Select(), commands.Confirm.SelectOk, 2)
    for channel in (1, 2):
        publisher.publish(b"x", routing_key=queue, channel=channel)
        assert publisher.expect(commands.Basic.Ack, channel).delivery_tag == 1


def test_other_channels_get_no_confirms(publisher: Peer, queue: str) -> None:
    """Confirm mode belongs to the channel that asked for it."""
    publisher.open_channel(2)
    publisher.publish(b"x", routing_key=queue, channel=2)
    publisher.roundtrip(2)
    publisher.publish(b"x", routing_key=queue)
    publisher.expect(commands.Basic.Ack)


def test_tags_start_again_on_a_new_channel(publisher: Peer, queue: str) -> None:
    """A new channel begins at 1, although the number was used before."""
    publisher.publish(b"x", routing_key=queue)
    publisher.expect(commands.Basic.Ack)
    publisher.call(commands.Channel.Close(200, "", 0, 0), commands.Channel.CloseOk)
    publisher.open_channel()
    publisher.call(commands.Confirm.Select(), commands.Confirm.SelectOk)
    publisher.publish(b"x", routing_key=queue)
    assert publisher.expect(commands.Basic.Ack).delivery_tag == 1


@pytest.mark.parametrize("properties", [PERSISTENT, TRANSIENT])
@pytest.mark.parametrize("durable", [False, True])
def test_every_message_is_confirmed_once(
    publisher: Peer, name: str, properties: bytes, durable: bool
) -> None:
    """An ack with multiple never covers what is not safe, nor anything twice."""
    declare(publisher, name, durable=durable)
    confirms = Confirms(publisher)
    for _ in range(500):
        publisher.publish(b"x", routing_key=name, property_bytes=properties)
    confirms.published(500)
    confirms.wait()
    assert confirms.acked == set(range(1, 501))
    purged = publisher.call(commands.Queue.Purge(queue=name), commands.Queue.PurgeOk)
    assert purged.message_count == 500


@pytest.mark.parametrize("overflow", ["reject-publish", "reject-publish-dlx"])
def test_rejected_publish_is_nacked(publisher: Peer, name: str, overflow: str) -> None:
    """The broker nacks what a full queue with reject-publish does not take."""
    declare(publisher, name, x_max_length=2, x_overflow=overflow)
    confirms = Confirms(publisher)
    for _ in range(5):
        publisher.publish(b"x", routing_key=name)
        confirms.published()
        confirms.wait()
    assert (confirms.acked, confirms.nacked) == ({1, 2}, {3, 4, 5})


def test_rejected_publish_is_not_returned(publisher: Peer, name: str) -> None:
    """The message was routed, so mandatory has no say."""
    declare(publisher, name, x_max_length=0, x_overflow="reject-publish")
    publisher.publish(b"x", routing_key=name, mandatory=True)
    publisher.expect(commands.Basic.Nack)


def test_message_to_several_queues_is_acked_once(publisher: Peer, names: Names) -> None:
    """The broker acks a message once, when all its queues have it."""
    exchange = names("exchange")
    fanout = commands.Exchange.Declare(exchange=exchange, exchange_type="fanout")
    publisher.call(fanout, commands.Exchange.DeclareOk)
    for durable in (False, True):
        queue = names()
        declare(publisher, queue, durable=durable)
        publisher.call(commands.Queue.Bind(queue=queue, exchange=exchange), commands.Queue.BindOk)
    confirms = Confirms(publisher)
    for _ in range(20):
        publisher.publish(b"x", exchange=exchange, property_bytes=PERSISTENT)
    confirms.published(20)
    confirms.wait()
    publisher.roundtrip()


@pytest.mark.parametrize(
    "arguments", [{"x_max_length": 0}, {"x_message_ttl": 0}, {"x_max_length": 1}], ids=str
)
def test_dropped_messages_are_acked(publisher: Peer, name: str, arguments: dict[str, int]) -> None:
    """A message that overflows or expires was taken, so the broker acks it."""
    declare(publisher, name, durable=True, **arguments)
    confirms = Confirms(publisher)
    for _ in range(10):
        publisher.publish(b"x", routing_key=name, property_bytes=PERSISTENT)
    confirms.published(10)
    confirms.wait()
    assert confirms.acked == set(range(1, 11))


def test_message_consumed_at_once_is_acked(publisher: Peer, name: str) -> None:
    """The broker acks a persistent message that a consumer already took."""
    declare(publisher, name, durable=True)
    publisher.open_channel(2)
    consume = commands.Basic.Consume(queue=name, no_ack=True)
    publisher.call(consume, commands.Basic.ConsumeOk, 2)
    publisher.publish(b"x", routing_key=name, property_bytes=PERSISTENT)
    seen = set()
    for _ in range(2):
        _, method = publisher.read_method()
        seen.add(method.name)
        if isinstance(method, commands.Basic.Deliver):
            publisher.read_content()
    assert seen == {"Basic.Deliver", "Basic.Ack"}


@pytest.mark.parametrize("durable", [False, True])
def test_message_purged_is_acked(publisher: Peer, name: str, durable: bool) -> None:
    """A purge does not swallow confirms."""
    declare(publisher, name, durable=durable)
    confirms = Confirms(publisher)
    publisher.open_channel(2)
    for _ in range(20):
        publisher.publish(b"x", routing_key=name, property_bytes=PERSISTENT)
    publisher.send(commands.Queue.Purge(queue=name, nowait=True), channel=2)
    confirms.published(20)
    confirms.wait()
    assert confirms.acked == set(range(1, 21))


def test_publish_to_missing_exchange_is_not_confirmed(publisher: Peer, name: str) -> None:
    """The broker sends no ack or nack, and closes the channel with 404."""
    publisher.publish(b"x", exchange=name)
    with closes(404, f"no exchange '{name}' in vhost '/'"):
        publisher.read_method()


def test_channel_error_ends_confirms(publisher: Peer, queue: str, name: str) -> None:
    """Outstanding confirms are lost: the broker confirms nothing after channel.close."""
    confirms = Confirms(publisher)
    for _ in range(10):
        publisher.publish(b"x", routing_key=queue)
    publisher.publish(b"x", exchange=name + ".missing")
    for _ in range(10):
        publisher.publish(b"x", routing_key=queue)
    confirms.published(10)
    with pytest.raises(ClosedByBrokerError) as caught:
        while True:
            confirms.read()
    assert caught.value.reply_code == 404
    publisher.open_channel()


def test_messages_published_before_an_error_stay(
    publisher: Peer, channel: BlockingChannel, queue: str, name: str
) -> None:
    """A channel that the broker closed takes nothing back, and takes nothing more."""
    publisher.publish(b"before", routing_key=queue)
    publisher.publish(b"bad", exchange=name + ".missing")
    publisher.publish(b"after", routing_key=queue)
    with pytest.raises(ClosedByBrokerError):
        while True:
            publisher.read_method()
    assert take(channel, queue, auto_ack=True).body == b"before"
    assert bodies(channel, queue) == []


def test_confirm_on_a_transactional_channel(peer: Peer) -> None:
    """A transactional channel cannot enter confirm mode."""
    peer.call(commands.Tx.Select(), commands.Tx.SelectOk)
    with closes(406, "cannot switch from tx to confirm mode"):
        peer.call(commands.Confirm.Select(), commands.Confirm.SelectOk)


def test_transaction_on_a_confirming_channel(publisher: Peer) -> None:
    """A channel in confirm mode cannot become transactional."""
    with closes(406, "cannot switch from confirm to tx mode"):
        publisher.call(commands.Tx.Select(), commands.Tx.SelectOk)
