"""A virtual host: what fails changes nothing, and what differs between the profiles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.broker.core.support import declare, message, new_vhost

from fedora_messaging.broker.core.declarations import ExchangeDeclaration, QueueDeclaration
from fedora_messaging.broker.core.journal import NoJournal
from fedora_messaging.broker.core.policies import make_policy
from fedora_messaging.broker.core.profile import RABBITMQ_3, RABBITMQ_4, Profile
from fedora_messaging.broker.core.queue import Queue
from fedora_messaging.broker.core.stream import StreamQueue
from fedora_messaging.broker.core.vhost import VirtualHost, generated_name, queue_class
from fedora_messaging.exceptions import EncodingError
from fedora_messaging.protocol.errors import ChannelError, ConnectionError, PeerError

if TYPE_CHECKING:
    from fedora_messaging.broker.core.exchanges import Binding, Exchange


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


def test_empty_type_is_the_default_one_in_each_declaration() -> None:
    """A program that declares its queue at each start gets it each time."""
    vhost = new_vhost(RABBITMQ_4)
    queue = vhost.declare_queue(QueueDeclaration("q", arguments=EMPTY), None)
    for arguments in ({}, EMPTY, {"x-queue-type": "classic"}):
        assert vhost.declare_queue(QueueDeclaration("q", arguments=arguments), None) is queue


def test_default_type_is_for_queues_that_last() -> None:
    vhost = new_vhost(RABBITMQ_4)
    vhost.default_queue_type = "quorum"
    assert declared(vhost, "lasting", durable=True) == {"x-queue-type": "quorum"}
    for number, options in enumerate(
        ({}, {"durable": True, "exclusive": True}, {"durable": True, "auto_delete": True})
    ):
        assert declared(vhost, f"q{number}", **options) == {"x-queue-type": "classic"}


@pytest.mark.parametrize("kind", ["quorum", "stream"])
def test_default_type_of_the_old_release(kind: str) -> None:
    """RabbitMQ 3 writes only another default than classic down."""
    vhost = new_vhost(RABBITMQ_3)
    assert declared(vhost, "before", durable=True) == {}
    vhost.default_queue_type = kind
    assert declared(vhost, "lasting", durable=True) == {"x-queue-type": kind}
    assert declared(vhost, "own", durable=True, arguments={"x-queue-type": "classic"}) == {
        "x-queue-type": "classic"
    }
    for number, options in enumerate(
        ({}, {"durable": True, "exclusive": True}, {"durable": True, "auto_delete": True})
    ):
        assert declared(vhost, f"q{number}", **options) == {}
    # A repeated declaration means the default type, too.
    assert declared(vhost, "lasting", durable=True) == {"x-queue-type": kind}
    with pytest.raises(ChannelError, match="received 'classic' but current is"):
        declared(vhost, "lasting", durable=True, arguments={"x-queue-type": "classic"})
    with pytest.raises(ChannelError, match="unsupported queue type"):
        declared(vhost, "empty", durable=True, arguments=EMPTY)


def test_default_type_is_filled_in_before_declarations_are_compared() -> None:
    vhost = new_vhost(RABBITMQ_4)
    vhost.default_queue_type = "quorum"
    declared(vhost, "q", durable=True, arguments={"x-queue-type": "classic"})
    with pytest.raises(ChannelError) as caught:
        declared(vhost, "q", durable=True)
    assert caught.value.explanation == (
        "inequivalent arg 'x-queue-type' for queue 'q' in vhost '/': "
        "received 'quorum' but current is 'classic'"
    )


@pytest.mark.parametrize("profile", [RABBITMQ_3, RABBITMQ_4])
def test_arguments_must_suit_the_default_type(profile: Profile) -> None:
    vhost = new_vhost(profile)
    vhost.default_queue_type = "quorum"
    with pytest.raises(ChannelError) as caught:
        declared(vhost, "p", durable=True, arguments={"x-max-priority": 5})
    assert caught.value.explanation == (
        "invalid arg 'x-max-priority' for queue 'p' in vhost '/' of queue type rabbit_quorum_queue"
    )


def test_name_that_the_broker_chooses_is_not_the_empty_name(vhost: VirtualHost) -> None:
    """Definitions may hold a queue with an empty name; who leaves the name open gets another one."""
    nameless = declare(vhost, "")
    chosen = vhost.declare_queue(QueueDeclaration("", durable=True), None, "amq.gen-1")
    assert vhost.queues == {"": nameless, "amq.gen-1": chosen}


def test_classes_of_queues() -> None:
    assert [queue_class(kind) for kind in ("classic", "quorum", "stream")] == [Queue, Queue, StreamQueue]


STREAM: dict[str, Any] = {"x-queue-type": "stream"}


def test_stream_needs_a_name(vhost: VirtualHost) -> None:
    with pytest.raises(ChannelError) as caught:
        vhost.choose_name(QueueDeclaration("", durable=True, arguments=STREAM))
    assert caught.value.explanation == "Cannot declare a server-named queue for type rabbit_stream_queue"
    assert vhost.queues == {}


def test_name_for_a_queue_of_an_unknown_type(vhost: VirtualHost) -> None:
    with pytest.raises(ChannelError) as caught:
        vhost.choose_name(QueueDeclaration("", arguments={"x-queue-type": "bogus"}))
    assert caught.value.explanation == "unknown queue type 'bogus'"


def test_message_that_waited_for_an_exchange_that_is_gone(vhost: VirtualHost) -> None:
    """A data file may hold one whose exchange was deleted by an older version."""
    vhost.route_delayed("gone", message("x"))
    assert vhost.memory.bytes == 0


def test_stream_is_declared_again() -> None:
    own = {**STREAM, "x-max-age": "1h", "x-max-length-bytes": 5}
    vhost = new_vhost(RABBITMQ_4)
    assert declared(vhost, "s", durable=True, arguments=own) == own
    assert declared(vhost, "s", durable=True, arguments={**own, "x-unknown": 1}) == own
    for options, problem in (
        (
            {"durable": True, "arguments": {**own, "x-max-length-bytes": 6}},
            "inequivalent arg 'x-max-length-bytes' for queue 's' in vhost '/': "
            "received '6' but current is '5'",
        ),
        (
            {"durable": True, "arguments": {**own, "x-initial-cluster-size": 1}},
            "inequivalent arg 'x-initial-cluster-size' for queue 's' in vhost '/': "
            "received the value '1' of type 'signedint' but current is none",
        ),
        (
            {"durable": True, "arguments": {**STREAM, "x-max-length-bytes": 5}},
            "inequivalent arg 'x-max-age' for queue 's' in vhost '/': "
            "received none but current is the value '3600000' of type 'longstr'",
        ),
    ):
        with pytest.raises(ChannelError) as caught:
            declared(vhost, "s", **options)
        assert caught.value.explanation == problem


@pytest.mark.parametrize(
    ("profile", "received"),
    [
        (RABBITMQ_3, "received none but current is the value 'stream' of type 'longstr'"),
        (RABBITMQ_4, "received 'classic' but current is 'stream'"),
    ],
)
def test_stream_is_declared_again_as_another_queue(profile: Profile, received: str) -> None:
    vhost = new_vhost(profile)
    declared(vhost, "s", durable=True, arguments={**STREAM, "x-max-age": "1h"})
    about = "for queue 's' in vhost '/'"
    for options, problem in (
        ({"durable": True}, f"inequivalent arg 'x-queue-type' {about}: {received}"),
        (
            {"durable": True, "arguments": {"x-queue-type": "quorum"}},
            f"inequivalent arg 'x-queue-type' {about}: received 'quorum' but current is 'stream'",
        ),
        ({}, f"inequivalent arg 'durable' {about}: received 'false' but current is 'true'"),
    ):
        with pytest.raises(ChannelError) as caught:
            declared(vhost, "s", **options)
        assert caught.value.explanation == problem


# Limits


@pytest.mark.parametrize("limit", [-1, 5])
def test_queues_within_the_limit(vhost: VirtualHost, limit: int) -> None:
    vhost.limits = {"max-queues": limit, "max-connections": 0}
    for name in "abcde":
        declare(vhost, name)
    assert len(vhost.queues) == 5


def test_queue_above_the_limit(vhost: VirtualHost) -> None:
    vhost.limits["max-queues"] = 1
    first = declare(vhost, "q1")
    with pytest.raises(ChannelError) as caught:
        declare(vhost, "q2")
    assert caught.value.reply_text == (
        "PRECONDITION_FAILED - cannot declare queue 'q2': queue limit in vhost '/' (1) is reached"
    )
    for options in ({"exclusive": True}, {"durable": True, "arguments": {"x-queue-type": "quorum"}}):
        with pytest.raises(ChannelError, match="queue limit"):
            declared(vhost, "other", **options)
    assert declare(vhost, "q1") is first
    with pytest.raises(ChannelError, match="cannot declare queue 'amq.gen-x'"):
        vhost.declare_queue(QueueDeclaration(""), None, chosen="amq.gen-x")
    vhost.remove_queue(first)
    assert list(vhost.queues) == []
    declare(vhost, "q2")


def test_limit_of_no_queues(vhost: VirtualHost) -> None:
    queue = declare(vhost, "old")
    vhost.limits["max-queues"] = 0
    with pytest.raises(ChannelError, match=r"\(0\) is reached"):
        declare(vhost, "new")
    assert declare(vhost, "old") is queue


# Policies


class Policed:
    """A virtual host with policies."""

    def __init__(self, profile: Profile = RABBITMQ_4) -> None:
        self.vhost = new_vhost(profile)

    def add(self, name: str, definition: dict[str, Any], *, operator: bool = False, **options: Any) -> None:
        policies = self.vhost.policies.operator if operator else self.vhost.policies.ordinary
        policies[name] = make_policy(
            name,
            options.get("pattern", ".*"),
            definition,
            options.get("priority", 0),
            options.get("apply_to", "all"),
            operator,
        )
        self.vhost.policies_changed()

    def remove(self, name: str) -> None:
        self.vhost.policies.ordinary.pop(name, None)
        self.vhost.policies.operator.pop(name, None)
        self.vhost.policies_changed()


def test_policies_apply_to_queues_that_come_and_that_are_there() -> None:
    policed = Policed()
    before = declare(policed.vhost, "before")
    policed.add("p", {"max-length": 5})
    policed.add("o", {"max-length": 3, "expires": 1000}, operator=True)
    after = declare(policed.vhost, "after")
    for queue in (before, after):
        assert (queue.policy, queue.operator_policy) == (
            policed.vhost.policies.ordinary["p"],
            policed.vhost.policies.operator["o"],
        )
        assert (queue.arguments.max_length, queue.arguments.expires) == (3, 1000)
        assert queue.declared == {"x-queue-type": "classic"}
    policed.remove("p")
    policed.remove("o")
    for queue in (before, after):
        assert (queue.policy, queue.operator_policy) == (None, None)
        assert (queue.arguments.max_length, queue.arguments.expires) == (None, None)


def test_policies_apply_to_exclusive_and_server_named_queues() -> None:
    policed = Policed()
    policed.add("p", {"max-length": 1})
    vhost = policed.vhost
    exclusive = vhost.declare_queue(QueueDeclaration("x", exclusive=True), owner="me")
    named = vhost.declare_queue(QueueDeclaration(""), None, chosen=generated_name("amq.gen-"))
    assert [queue.arguments.max_length for queue in (exclusive, named)] == [1, 1]


@pytest.mark.parametrize(("own", "policy", "operator", "length"), [(5, 9, 9, 5), (6, 5, 4, 4), (6, 5, 9, 5)])
@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_argument_is_one_limit_of_three(kind: str, own: int, policy: int, operator: int, length: int) -> None:
    policed = Policed()
    policed.add("p", {"max-length": policy})
    policed.add("o", {"max-length": operator}, operator=True)
    queue = policed.vhost.declare_queue(
        QueueDeclaration("q", durable=True, arguments={"x-queue-type": kind, "x-max-length": own}), None
    )
    assert queue.arguments.max_length == length
    # A repeated declaration is compared with what was declared.
    assert queue.declared["x-max-length"] == own


def test_policy_that_does_not_suit_the_type_of_a_queue() -> None:
    policed = Policed()
    policed.add("high", {"delivery-limit": 7}, priority=9)
    policed.add("low", {"max-length": 3})
    vhost = policed.vhost
    classic = declare(vhost, "c")
    quorum = vhost.declare_queue(
        QueueDeclaration("q", durable=True, arguments={"x-queue-type": "quorum"}), None
    )
    assert (classic.arguments.max_length, classic.arguments.delivery_limit) == (3, None)
    assert (quorum.arguments.max_length, quorum.arguments.delivery_limit) == (None, 7)
    assert quorum.arguments.max_priority == 31


def test_policy_of_a_stream() -> None:
    policed = Policed()
    policed.add("p", {"max-age": "1m", "stream-max-segment-size-bytes": 0, "max-length-bytes": 10})
    vhost = policed.vhost
    stream = vhost.declare_queue(
        QueueDeclaration("s", durable=True, arguments={**STREAM, "x-max-age": "1h"}), None
    )
    assert (stream.arguments.max_age, stream.arguments.segment_size, stream.arguments.max_length_bytes) == (
        60,
        0,
        10,
    )
    for _ in range(5):
        vhost.enqueue(vhost.exchanges[""], message("s"))
    assert len(stream) == 2
    policed.remove("p")
    assert (stream.arguments.max_age, stream.arguments.segment_size) == (3600, 500_000_000)


@pytest.mark.parametrize(
    "definition",
    [
        {"message-ttl": 2**64},
        {"expires": 2**64},
        {"max-length": 10**400},
        {"max-length-bytes": 10**400},
        {"message-ttl": 10**400, "expires": 10**400},
        {"queue-version": 1},
        {"dead-letter-routing-key": "k"},
    ],
)
@pytest.mark.parametrize("profile", [RABBITMQ_3, RABBITMQ_4])
def test_extreme_policy_does_no_harm(profile: Profile, definition: dict[str, Any]) -> None:
    policed = Policed(profile)
    before = declare(policed.vhost, "before")
    policed.add("p", definition)
    after = declare(policed.vhost, "after")
    for queue in (before, after):
        queue.enqueue(message())
        assert queue.policy is not None
        assert queue.get(no_ack=True) is not None


@pytest.mark.parametrize("age", ["9" * 5000 + "Y", "1" * 400 + "s"])
def test_endless_age_does_no_harm(age: str) -> None:
    policed = Policed()
    vhost = policed.vhost
    policed.add("p", {"max-age": age, "stream-max-segment-size-bytes": 0})
    stream = vhost.declare_queue(QueueDeclaration("s", durable=True, arguments=STREAM), None)
    for _ in range(3):
        stream.enqueue(message())
    assert len(stream) == 3


def test_alternate_exchange_by_policy() -> None:
    policed = Policed()
    vhost = policed.vhost
    vhost.declare_exchange(ExchangeDeclaration("e", "direct"))
    lost = declare(vhost, "lost")
    vhost.bind("amq.fanout", lost, "", {})
    policed.add("p", {"alternate-exchange": "amq.fanout"}, pattern="^e$")
    vhost.enqueue(vhost.exchanges["e"], message("nowhere"))
    assert len(lost) == 1
    policed.remove("p")
    vhost.enqueue(vhost.exchanges["e"], message("nowhere"))
    assert len(lost) == 1


def test_declared_alternate_exchange_wins() -> None:
    policed = Policed()
    policed.add("p", {"alternate-exchange": "policy"}, apply_to="exchanges")
    policed.vhost.declare_exchange(ExchangeDeclaration("e", arguments={"alternate-exchange": "own"}))
    policed.vhost.declare_exchange(ExchangeDeclaration("f"))
    found = policed.vhost.exchanges
    assert (found["e"].alternate, found["f"].alternate, found["amq.topic"].alternate) == (
        "own",
        "policy",
        "policy",
    )
    assert all(exchange.policy is policed.vhost.policies.ordinary["p"] for exchange in found.values())


def test_trimming_by_a_policy_may_remove_a_queue() -> None:
    """Dead letters of one queue go to another one while the policies are applied."""
    policed = Policed()
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "b"}
    first = policed.vhost.declare_queue(QueueDeclaration("a", arguments=arguments), None)
    second = declare(policed.vhost, "b")
    for _ in range(5):
        first.enqueue(message())
    policed.add("p", {"max-length": 1})
    assert (len(first), len(second)) == (1, 1)


# What is there, and the end of it


def test_bindings_to_something(vhost: VirtualHost) -> None:
    queue = declare(vhost, "q")
    exchange = vhost.exchanges["amq.direct"]
    vhost.bind("amq.topic", queue, "k", {"a": 1})
    vhost.bind("amq.topic", exchange, "e", {})

    def shown(bindings: list[Binding]) -> list[tuple[str, str, str]]:
        return [(binding.source.name, binding.destination.name, binding.routing_key) for binding in bindings]

    assert shown(vhost.bindings_to(queue)) == [("", "q", "q"), ("amq.topic", "q", "k")]
    assert shown(vhost.bindings_to(exchange)) == [("amq.topic", "amq.direct", "e")]
    assert vhost.bindings_to(vhost.exchanges["amq.topic"]) == []
    vhost.remove_queue(queue)
    assert vhost.bindings_to(queue) == []


class Forgetful(NoJournal):
    """Remembers what it was told to forget."""

    def __init__(self) -> None:
        self.forgotten: list[str] = []

    def queue_removed(self, queue: Queue) -> None:
        self.forgotten.append(queue.name)

    def exchange_removed(self, exchange: Exchange) -> None:
        self.forgotten.append(exchange.name)


def test_everything_is_removed() -> None:
    journal = Forgetful()
    vhost = VirtualHost("/", lambda: 1000.0, journal, lambda *_call: None)
    vhost.declare_exchange(ExchangeDeclaration("auto", "fanout", auto_delete=True))
    vhost.declare_exchange(ExchangeDeclaration("chained", "fanout", durable=True, auto_delete=True))
    vhost.declare_exchange(ExchangeDeclaration("source", "fanout", auto_delete=True))
    kept = vhost.declare_queue(QueueDeclaration("kept", durable=True), None)
    stream = vhost.declare_queue(QueueDeclaration("s", durable=True, arguments=STREAM), None)
    vhost.declare_queue(QueueDeclaration("mine", exclusive=True), "me")
    vhost.bind("auto", vhost.exchanges["chained"], "", {})
    vhost.bind("chained", kept, "", {})
    vhost.bind("source", vhost.exchanges["amq.fanout"], "", {})
    for key in ("kept", "s", "mine"):
        vhost.enqueue(vhost.exchanges[""], message(key))
    vhost.clear()
    assert (vhost.queues, vhost.exchanges, vhost.memory.bytes) == ({}, {}, 0)
    assert (kept.deleted, stream.deleted) == (True, True)
    assert {"kept", "s", "chained", "amq.topic", ""} <= set(journal.forgotten)
    assert len(journal.forgotten) == len(set(journal.forgotten))
    vhost.connection_ended("me")


def test_deliveries_of_a_queue_that_is_gone_are_remembered(vhost: VirtualHost) -> None:
    queue = declare(vhost, "q")
    vhost.enqueue(vhost.exchanges[""], message("q"))
    queue.get(no_ack=True)
    vhost.remove_queue(queue)
    assert (vhost.past.get_no_ack, vhost.past.publish) == (1, 0)


def test_messages_of_an_exchange_are_counted(vhost: VirtualHost) -> None:
    for name in "ab":
        vhost.bind("amq.fanout", declare(vhost, name), "", {})
    exchange = vhost.exchanges["amq.fanout"]
    for _ in range(3):
        vhost.enqueue(exchange, message())
    assert (exchange.publish_in, exchange.publish_out) == (3, 6)


def test_generated_names() -> None:
    names = {generated_name("amq.gen-") for _ in range(100)}
    assert len(names) == 100
    assert {len(name) for name in names} == {len("amq.gen-") + 22}
    assert all(name.startswith("amq.gen-") for name in names)
