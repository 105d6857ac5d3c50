"""A virtual host: what fails changes nothing, and what differs between the profiles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.broker.core.support import declare, message, new_vhost

from fedora_messaging.broker.core.declarations import ExchangeDeclaration, QueueDeclaration
from fedora_messaging.broker.core.journal import NoJournal
from fedora_messaging.broker.core.profile import RABBITMQ_3, RABBITMQ_4, Profile
from fedora_messaging.broker.core.vhost import VirtualHost
from fedora_messaging.exceptions import EncodingError
from fedora_messaging.protocol.errors import ChannelError, ConnectionError, PeerError

if TYPE_CHECKING:
    from fedora_messaging.broker.core.queue import Queue


def test_queue_is_removed_once(vhost: VirtualHost) -> None:
    queue = declare(vhost, "q")
    vhost.remove_queue(queue)
    vhost.remove_queue(queue)
    assert vhost.queues == {}


class RefusingJournal(NoJournal):
    """A journal that cannot keep anything."""

    def queue_added(self, queue: Queue) -> None:
        raise EncodingError("no")

    def exchange_added(self, exchange: Any) -> None:
        raise EncodingError("no")


def test_declaration_that_cannot_be_stored_leaves_nothing_behind() -> None:
    scheduled: list[Any] = []
    vhost = VirtualHost("/", lambda: 1000.0, RefusingJournal(), lambda *call: scheduled.append(call))
    exchanges = dict(vhost.exchanges)
    with pytest.raises(EncodingError):
        vhost.declare_queue(QueueDeclaration("q", durable=True, arguments={"x-expires": 1}), owner=None)
    with pytest.raises(EncodingError):
        vhost.declare_exchange(ExchangeDeclaration("e", "fanout", durable=True))
    assert (vhost.queues, vhost.exchanges, scheduled) == ({}, exchanges, [])
    assert vhost.enqueue(vhost.exchanges[""], message("q")) == (False, False, False)
    # A queue of this name, declared later, has nothing to do with the first.
    queue = declare(vhost, "q")
    assert vhost.enqueue(vhost.exchanges[""], message("q")) == (True, False, False)
    assert len(queue) == 1


@pytest.mark.parametrize(
    ("profile", "error", "text"),
    [
        (RABBITMQ_3, ConnectionError, "COMMAND_INVALID - unknown exchange type 'none'"),
        (RABBITMQ_4, ChannelError, "PRECONDITION_FAILED - unknown exchange type 'none'"),
    ],
)
def test_exchange_type_that_does_not_exist(profile: Profile, error: type[PeerError], text: str) -> None:
    with pytest.raises(error) as caught:
        new_vhost(profile).declare_exchange(ExchangeDeclaration("e", "none"))
    assert caught.value.reply_text == text


@pytest.mark.parametrize("profile", [RABBITMQ_3, RABBITMQ_4])
def test_exchanges_know_the_profile(profile: Profile) -> None:
    vhost = new_vhost(profile)
    vhost.declare_exchange(ExchangeDeclaration("e", "topic"))
    assert {exchange.profile for exchange in vhost.exchanges.values()} == {profile}


def declared(vhost: VirtualHost, name: str = "q", **options: Any) -> dict[str, Any]:
    """Return the arguments that a queue bears after its declaration."""
    owner = "me" if options.get("exclusive") else None
    return vhost.declare_queue(QueueDeclaration(name, **options), owner).declared


EMPTY: dict[str, Any] = {"x-queue-type": ""}


def test_queue_bears_its_type() -> None:
    """RabbitMQ 4 writes it down; an empty type is the default one."""
    new = new_vhost(RABBITMQ_4)
    assert declared(new, "a", durable=True) == {"x-queue-type": "classic"}
    assert declared(new, "b", durable=True, arguments=EMPTY) == {"x-queue-type": "classic"}
    assert declared(new, "c", durable=True, arguments={"x-queue-type": "quorum"}) == {
        "x-queue-type": "quorum"
    }
    old = new_vhost(RABBITMQ_3)
    assert declared(old, durable=True) == {}
    with pytest.raises(ChannelError, match="unsupported queue type"):
        declared(old, "b", arguments=EMPTY)


def test_type_is_empty_only_where_it_is_chosen() -> None:
    vhost = new_vhost(RABBITMQ_4)
    queue = vhost.declare_queue(QueueDeclaration("q", arguments=EMPTY), None)
    assert vhost.declare_queue(QueueDeclaration("q"), None) is queue
    with pytest.raises(ChannelError, match="unsupported queue type"):
        declared(vhost, arguments=EMPTY)


def test_default_type_is_for_queues_that_last() -> None:
    vhost = new_vhost(RABBITMQ_4)
    vhost.default_queue_type = "quorum"
    assert declared(vhost, "lasting", durable=True) == {"x-queue-type": "quorum"}
    for number, options in enumerate(
        ({}, {"durable": True, "exclusive": True}, {"durable": True, "auto_delete": True})
    ):
        assert declared(vhost, f"q{number}", **options) == {"x-queue-type": "classic"}
