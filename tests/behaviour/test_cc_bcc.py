"""The CC and BCC headers: extra routing keys of a message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pika
import pytest
from pamqp import commands
from pika.exceptions import UnroutableError
from tests.behaviour.peer import table
from tests.behaviour.support import bodies, closes, roundtrip, send, take

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel
    from tests.behaviour.peer import Peer
    from tests.support.admin import Names


@pytest.fixture
def queues(channel: BlockingChannel, names: Names) -> list[str]:
    """Three queues."""
    made = [names(str(position)) for position in range(3)]
    for queue in made:
        channel.queue_declare(queue)
    return made


@pytest.mark.parametrize("header", ["CC", "BCC"])
def test_extra_routing_keys(channel: BlockingChannel, queues: list[str], header: str) -> None:
    """Either header holds an array of texts, which are extra routing keys."""
    send(channel, queues[0], b"x", headers={header: queues[1:]})
    assert [bodies(channel, queue) for queue in queues] == [[b"x"]] * 3


def test_cc_and_bcc_together(channel: BlockingChannel, queues: list[str]) -> None:
    """The broker routes by the message's own key, by CC and by BCC."""
    send(channel, queues[0], b"x", headers={"CC": [queues[1]], "BCC": [queues[2]]})
    assert [bodies(channel, queue) for queue in queues] == [[b"x"]] * 3


def test_cc_is_kept_and_bcc_removed(channel: BlockingChannel, queues: list[str]) -> None:
    """Every receiver sees CC, and none sees BCC."""
    send(channel, queues[0], b"x", headers={"CC": [queues[1]], "BCC": [queues[2]], "own": 1})
    for queue in queues:
        assert take(channel, queue).headers == {"CC": [queues[1]], "own": 1}


def test_delivery_names_the_routing_key(channel: BlockingChannel, queues: list[str]) -> None:
    """Receivers by CC see the routing key of the publish."""
    send(channel, queues[0], b"x", headers={"CC": queues[1:]})
    assert [take(channel, queue).routing_key for queue in queues] == [queues[0]] * 3


@pytest.mark.parametrize("header", ["CC", "BCC"])
def test_same_queue_gets_one_copy(channel: BlockingChannel, queues: list[str], header: str) -> None:
    """A queue gets one copy of a message, however many of its keys match."""
    send(channel, queues[0], b"x", headers={header: [queues[0], queues[0], queues[1]]})
    assert [bodies(channel, queue) for queue in queues] == [[b"x"], [b"x"], []]


@pytest.mark.parametrize("kind", ["direct", "topic"])
def test_keys_count_on_every_exchange(channel: BlockingChannel, queue: str, kind: str) -> None:
    """Extra keys count on direct and topic exchanges as on the default exchange."""
    channel.exchange_declare(queue, kind)
    channel.queue_bind(queue, queue, "a.b")
    for headers in ({"CC": ["a.b"]}, {"BCC": ["a.b"]}, {"CC": ["other"]}):
        send_to(channel, queue, "unbound", headers)
    assert bodies(channel, queue) == [b"CC", b"BCC"]


def send_to(channel: BlockingChannel, exchange: str, key: str, headers: dict[str, list[str]]) -> None:
    """Publish with the name of the first header as the body."""
    channel.basic_publish(exchange, key, next(iter(headers)), pika.BasicProperties(headers=headers))


def test_empty_array(channel: BlockingChannel, queues: list[str]) -> None:
    """An empty array adds no keys."""
    send(channel, queues[0], b"x", headers={"CC": [], "BCC": []})
    assert [bodies(channel, queue) for queue in queues] == [[b"x"], [], []]


def test_headers_are_case_sensitive(channel: BlockingChannel, queues: list[str]) -> None:
    """The broker takes other spellings for ordinary headers."""
    send(channel, queues[0], b"x", headers={"cc": [queues[1]], "Bcc": [queues[2]]})
    assert [bodies(channel, queue) for queue in queues] == [[b"x"], [], []]


@pytest.mark.parametrize("header", ["CC", "BCC"])
@pytest.mark.parametrize(("value", "kind"), [("q", "longstr"), (5, "signedint"), ({"a": 1}, "table")])
def test_header_must_be_an_array(
    channel: BlockingChannel, queue: str, header: str, value: object, kind: str
) -> None:
    """The broker closes the channel with 406 when the header is not an array."""
    send(channel, queue, b"x", headers={header: value})
    with closes(406, f'invalid message: {{unacceptable_type_in_header,"{header}",{kind}}}'):
        roundtrip(channel)


def test_mandatory_counts_extra_keys(peer: Peer, queue: str, name: str) -> None:
    """A message that only its CC routes counts as routed."""
    key = queue.encode()
    array = b"S" + len(key).to_bytes(4, "big") + key
    header = b"A" + len(array).to_bytes(4, "big") + array
    properties = b"\x20\x00" + table((b"CC", header))
    missing = name + ".missing"
    peer.publish(b"x", routing_key=missing, property_bytes=properties, mandatory=True)
    peer.roundtrip()
    assert peer.get(queue).body == b"x"
    peer.publish(b"x", routing_key=missing, mandatory=True)
    peer.expect(commands.Basic.Return)


def test_extra_keys_through_an_alternate_exchange(channel: BlockingChannel, queue: str, names: Names) -> None:
    """The alternate exchange gets the message with the same keys, those of CC included."""
    exchange = names("exchange")
    channel.exchange_declare(queue, "direct")
    channel.queue_bind(queue, queue, "copy")
    arguments: dict[str, Any] = {"alternate-exchange": queue}
    channel.exchange_declare(exchange, "direct", arguments=arguments)
    send_to(channel, exchange, "key", {"CC": ["copy"]})
    assert bodies(channel, queue) == [b"CC"]


def test_alternate_exchange_only_if_no_key_routes(
    channel: BlockingChannel, queues: list[str], names: Names
) -> None:
    """A CC key that routes is enough: the alternate exchange gets nothing."""
    exchange, alternate = names("exchange"), names("alternate")
    channel.exchange_declare(alternate, "fanout")
    channel.queue_bind(queues[0], alternate)
    channel.exchange_declare(exchange, "direct", arguments={"alternate-exchange": alternate})
    channel.queue_bind(queues[1], exchange, "copy")
    send_to(channel, exchange, "key", {"CC": ["copy"]})
    assert [bodies(channel, queue) for queue in queues] == [[], [b"CC"], []]


def test_alternate_of_an_exchange_that_another_one_is_bound_to(
    channel: BlockingChannel, queue: str, names: Names
) -> None:
    """Each exchange on the way hands what it cannot route to its own alternate."""
    first, dead_end = names("first"), names("dead-end")
    channel.exchange_declare(queue, "fanout")
    channel.queue_bind(queue, queue)
    channel.exchange_declare(dead_end, "fanout", arguments={"alternate-exchange": queue})
    channel.exchange_declare(first, "fanout")
    channel.exchange_bind(dead_end, first)
    send_to(channel, first, "key", {"CC": ["copy"]})
    assert bodies(channel, queue) == [b"CC"]


def test_alternate_gets_nothing_that_another_exchange_takes(
    channel: BlockingChannel, queue: str, names: Names
) -> None:
    """An exchange is a destination, even if nothing is bound to it."""
    first, empty = names("first"), names("empty")
    channel.exchange_declare(queue, "fanout")
    channel.queue_bind(queue, queue)
    channel.exchange_declare(empty, "fanout")
    channel.exchange_declare(first, "fanout", arguments={"alternate-exchange": queue})
    channel.exchange_bind(empty, first)
    send_to(channel, first, "key", {"CC": ["copy"]})
    assert bodies(channel, queue) == []


@pytest.mark.parametrize("keys", [[], [1]])
def test_bcc_without_a_key_is_removed(channel: BlockingChannel, queues: list[str], keys: list[int]) -> None:
    """Nobody sees BCC, even if it names nobody."""
    send(channel, queues[0], b"x", headers={"BCC": keys, "own": 1})
    assert take(channel, queues[0]).headers == {"own": 1}


def test_bcc_is_removed_from_what_is_returned(confirming: BlockingChannel, name: str) -> None:
    with pytest.raises(UnroutableError) as caught:
        confirming.basic_publish(
            "", name, b"x", pika.BasicProperties(headers={"BCC": [name], "own": 1}), mandatory=True
        )
    assert [message.properties.headers for message in caught.value.messages] == [{"own": 1}]
