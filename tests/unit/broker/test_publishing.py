"""Publishing on a channel: what is checked first, and when returns and confirms come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.broker.support import Client, MemoryServer, SlowJournal, Told, publish

from fedora_messaging.broker.accounts import User
from fedora_messaging.broker.core.declarations import ExchangeDeclaration, QueueDeclaration
from fedora_messaging.broker.core.message import new_message
from fedora_messaging.broker.core.profile import RABBITMQ_3, RABBITMQ_4, Profile
from fedora_messaging.broker.publishing import check_message
from fedora_messaging.protocol.connection import Limits
from fedora_messaging.protocol.errors import ChannelError, ConnectionError
from fedora_messaging.protocol.events import ContentReceived
from fedora_messaging.wire import methods as m
from fedora_messaging.wire.properties import BasicProperties
from fedora_messaging.wire.property_codec import encode_properties

if TYPE_CHECKING:
    import asyncio

    from fedora_messaging.broker.core.queue import Queue


def content(
    exchange: str = "", body: bytes | None = b"x", immediate: bool = False, **properties: Any
) -> ContentReceived:
    method = m.BasicPublish(exchange, "q", immediate=immediate)
    announced = 5678 if body is None else 0
    return ContentReceived(1, method, encode_properties(BasicProperties(**properties)), body, announced)


def declare(client: Client, name: str = "q", durable: bool = False, **arguments: Any) -> Queue:
    spelled = {f"x-{argument.replace('_', '-')}": value for argument, value in arguments.items()}
    return client.session.vhost.declare_queue(
        QueueDeclaration(name, durable=durable, arguments=spelled), owner=None
    )


def select(client: Client) -> None:
    assert isinstance(client.ask(m.ConfirmSelect()), m.ConfirmSelectOk)


def confirms(told: list[Told]) -> list[tuple[str, int, bool]]:
    return [
        (one.method.name, one.method.delivery_tag, one.method.multiple)
        for one in told
        if isinstance(one.method, m.BasicAck | m.BasicNack)
    ]


# Checks


@pytest.mark.parametrize(
    ("expiration", "why"),
    [
        ("", "no_integer"),
        ("soon", "no_integer"),
        (" 1", "no_integer"),
        ("-", "no_integer"),
        ("10s", '{leftover_string,"s"}'),
        ("1.5", '{leftover_string,".5"}'),
        ("1 ", '{leftover_string," "}'),
        ("1\n", '{leftover_string,"\n"}'),
    ],
)
def test_expiration_that_is_no_number(client: Client, expiration: str, why: str) -> None:
    with pytest.raises(ChannelError) as caught:
        client.channel.publishing.publish(content(expiration=expiration))
    assert caught.value.reply_text == f"PRECONDITION_FAILED - invalid expiration '{expiration}': {why}"


@pytest.mark.parametrize("expiration", ["-1", "-1000000"])
def test_expiration_before_now(client: Client, expiration: str) -> None:
    queue = declare(client)
    with pytest.raises(ChannelError, match=f"invalid expiration '{expiration}': ") as caught:
        client.channel.publishing.publish(content(expiration=expiration))
    assert caught.value.reply_code == 406
    assert len(queue) == 0


@pytest.mark.parametrize("expiration", ["1000", "+1000", "0001000"])
def test_expiration_that_is_a_number(client: Client, expiration: str) -> None:
    queue = declare(client)
    client.channel.publishing.publish(content(expiration=expiration))
    assert len(queue) == 1


@pytest.mark.parametrize("mode", [0, 3, 255])
def test_unknown_delivery_mode(loop: asyncio.AbstractEventLoop, mode: int) -> None:
    """RabbitMQ 3 refuses it; RabbitMQ 4 takes the message for a transient one."""
    client = Client(MemoryServer(loop)).login()
    queue = declare(client)
    client.channel.publishing.publish(content(delivery_mode=mode))
    entry = queue.get(no_ack=True)
    assert entry is not None
    assert not entry.message.persistent
    assert entry.message.scan.delivery_mode == mode
    client = Client(MemoryServer(loop, profile=RABBITMQ_3)).login()
    with pytest.raises(ChannelError) as caught:
        client.channel.publishing.publish(content(delivery_mode=mode))
    assert (
        caught.value.reply_text == f"PRECONDITION_FAILED - invalid message: {{delivery_mode_unknown,{mode}}}"
    )


@pytest.mark.parametrize(("profile", "names"), [(RABBITMQ_4, ["a", "b"]), (RABBITMQ_3, ["b", "a"])])
def test_order_of_headers(loop: asyncio.AbstractEventLoop, profile: Profile, names: list[str]) -> None:
    client = Client(MemoryServer(loop, profile=profile)).login()
    queue = declare(client)
    client.channel.publishing.publish(content(headers={"b": 1, "a": 2}))
    entry = queue.get(no_ack=True)
    assert entry is not None
    assert list(entry.message.headers) == names


def test_body_that_was_discarded_says_the_limit(loop: asyncio.AbstractEventLoop) -> None:
    client = Client(MemoryServer(loop, limits=Limits(max_body=1234))).login()
    with pytest.raises(
        ChannelError, match="message size 5678 is larger than configured max size 1234"
    ) as caught:
        client.channel.publishing.publish(content(body=None))
    assert caught.value.reply_code == 406


def test_first_mistake_counts(client: Client) -> None:
    """A client with several mistakes hears of the one that costs it most."""
    publishing = client.channel.publishing
    with pytest.raises(ConnectionError) as worst:
        publishing.publish(content("none", body=None, immediate=True, expiration="soon"))
    assert worst.value.reply_text == "NOT_IMPLEMENTED - immediate=true"
    with pytest.raises(ChannelError, match="message size"):
        publishing.publish(content("none", body=None, expiration="soon"))
    with pytest.raises(ChannelError, match="no exchange 'none' in vhost '/'"):
        publishing.publish(content("none", expiration="soon"))
    client.session.vhost.declare_exchange(ExchangeDeclaration("inner", internal=True))
    with pytest.raises(ChannelError, match="cannot publish to internal exchange 'inner' in vhost '/'"):
        publishing.publish(content("inner", expiration="soon"))


def test_refused_publish_takes_no_tag(client: Client) -> None:
    declare(client)
    select(client)
    for _ in range(2):
        with pytest.raises(ChannelError):
            client.channel.publishing.publish(content(expiration="soon"))
    assert confirms(client.feed(publish("", "q"))) == [("basic.ack", 1, False)]


# Confirms


def test_without_confirms_nothing_is_answered(client: Client) -> None:
    declare(client)
    assert not client.channel.publishing.confirms
    assert client.feed(publish("", "q") + publish("", "nowhere")) == []


def test_second_select_does_not_count_anew(client: Client) -> None:
    declare(client)
    select(client)
    client.feed(publish("", "q"))
    select(client)
    assert client.channel.publishing.confirms
    assert confirms(client.feed(publish("", "q"))) == [("basic.ack", 2, False)]


def test_publishes_that_come_together_are_confirmed_together(client: Client) -> None:
    declare(client)
    select(client)
    assert confirms(client.feed(publish("", "q") * 5)) == [("basic.ack", 5, True)]
    assert confirms(client.feed(publish("", "q"))) == [("basic.ack", 6, False)]


def test_confirm_comes_after_the_return(client: Client) -> None:
    select(client)
    told = client.feed(publish("", "nowhere", b"body", mandatory=True, message_id="7"))
    returned, _ = told
    method = returned.method
    assert isinstance(method, m.BasicReturn)
    assert (method.reply_code, method.reply_text, method.exchange, method.routing_key) == (
        312,
        "NO_ROUTE",
        "",
        "nowhere",
    )
    assert returned.body == b"body"
    assert returned.properties == encode_properties(BasicProperties(message_id="7"))
    assert confirms(told) == [("basic.ack", 1, False)]


def test_refusal_of_one_queue_is_no_confirm_of_its_neighbours(client: Client) -> None:
    """The nack stands alone, and the acknowledgement around it covers the rest."""
    declare(client, "full", max_length=1, overflow="reject-publish")
    declare(client)
    select(client)
    sent = [publish("", key) for key in ("full", "q", "full", "q", "q")]
    assert confirms(client.feed(b"".join(sent))) == [("basic.nack", 3, False), ("basic.ack", 5, True)]


def test_stored_message_is_confirmed_when_it_is_safe(slow_client: Client, journal: SlowJournal) -> None:
    declare(slow_client, durable=True)
    declare(slow_client, "transient")
    select(slow_client)
    stored = publish("", "q", delivery_mode=2)
    told = slow_client.feed(stored * 2 + publish("", "transient") + stored)
    # The third need not wait, but says nothing of the two before it.
    assert confirms(told) == [("basic.ack", 3, False)]
    assert len(journal.waiting) == 1
    journal.catch_up()
    assert confirms(slow_client.told()) == [("basic.ack", 4, True)]


@pytest.mark.parametrize("header", ["CC", "BCC"])
def test_stored_message_with_more_routing_keys_is_confirmed_when_it_is_safe(
    slow_client: Client, journal: SlowJournal, header: str
) -> None:
    """The broker removes BCC, so the message that it stores is not quite the one that came."""
    declare(slow_client, durable=True)
    declare(slow_client, "other", durable=True)
    select(slow_client)
    assert slow_client.feed(publish("", "q", delivery_mode=2, headers={header: ["other"]})) == []
    journal.catch_up()
    assert confirms(slow_client.told()) == [("basic.ack", 1, False)]


@pytest.mark.parametrize(
    ("durable", "delivery_mode"),
    [(False, 2), (True, 1), (True, None)],
)
def test_message_that_is_not_stored_waits_for_nothing(
    slow_client: Client, journal: SlowJournal, durable: bool, delivery_mode: int | None
) -> None:
    declare(slow_client, durable=durable)
    select(slow_client)
    assert confirms(slow_client.feed(publish("", "q", delivery_mode=delivery_mode))) == [
        ("basic.ack", 1, False)
    ]
    assert journal.waiting == []


def test_channel_that_has_ended_is_told_nothing(slow_client: Client, journal: SlowJournal) -> None:
    declare(slow_client, durable=True)
    select(slow_client)
    assert slow_client.feed(publish("", "q", delivery_mode=2)) == []
    assert isinstance(slow_client.ask(m.ChannelClose(200, "", 0, 0)), m.ChannelCloseOk)
    assert isinstance(slow_client.ask(m.ChannelOpen()), m.ChannelOpenOk)
    select(slow_client)
    journal.catch_up()
    assert slow_client.told() == []


def test_publish_in_a_transaction_waits_for_the_commit(client: Client) -> None:
    queue = declare(client)
    client.ask(m.TxSelect())
    assert client.feed(publish("", "q") + publish("", "nowhere", mandatory=True)) == []
    assert len(queue) == 0
    told = client.send(m.TxCommit())
    assert [type(one.method) for one in told] == [m.BasicReturn, m.TxCommitOk]
    assert len(queue) == 1


# Messages that are published in another way than on a channel


def checked(profile: Profile = RABBITMQ_4, tags: tuple[str, ...] = (), **properties: Any) -> None:
    encoded = encode_properties(BasicProperties(**properties))
    check_message(new_message("", "q", encoded, b""), User("bob", None, tags), profile)


def test_message_that_anybody_may_publish() -> None:
    checked(expiration="0", delivery_mode=2, user_id="bob")
    checked(RABBITMQ_4, delivery_mode=7)
    checked(tags=("administrator", "impersonator"), user_id="alice")


@pytest.mark.parametrize(
    ("properties", "text"),
    [
        ({"expiration": "5x"}, "invalid expiration '5x': {leftover_string,\"x\"}"),
        ({"delivery_mode": 7}, "invalid message: {delivery_mode_unknown,7}"),
        ({"user_id": "alice"}, "user_id property set to 'alice' but authenticated user was 'bob'"),
    ],
)
def test_message_that_the_user_may_not_publish(properties: dict[str, Any], text: str) -> None:
    with pytest.raises(ChannelError) as caught:
        checked(RABBITMQ_3, ("administrator",), **properties)
    assert (caught.value.reply_code, caught.value.explanation) == (406, text)
