"""Policies and operator policies: which one applies, with what effect, and what the broker refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pika.exceptions import NackError
from tests.behaviour.support import bodies, closes, get, ready, send, since, take
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
    from tests.support.admin import Names
    from tests.support.brokers import Broker
    from tests.support.management import Management

KINDS = ("classic", "quorum")


def make(channel: BlockingChannel, name: str, kind: str = "classic", **arguments: Any) -> None:
    """Declare a durable queue; arguments are written with _ for -."""
    named = {key.replace("_", "-"): value for key, value in arguments.items()}
    channel.queue_declare(name, durable=True, arguments={"x-queue-type": kind, **named})


def fill(channel: BlockingChannel, queue: str, count: int) -> None:
    """Publish messages that bear the numbers from 0 on."""
    send(channel, queue, *(str(number) for number in range(count)), delivery_mode=2)


def holds(channel: BlockingChannel, queue: str, count: int) -> None:
    """Wait until the queue has so many messages."""
    eventually(lambda: ready(channel, queue) == count)


def limit(channel: BlockingChannel, queue: str) -> int:
    """Return how many messages of eleven the queue keeps."""
    fill(channel, queue, 11)
    return len(bodies(channel, queue))


# --- Effects


@pytest.mark.parametrize("kind", KINDS)
def test_existing_queue_is_cut(
    management: Management, confirming: BlockingChannel, name: str, kind: str
) -> None:
    """A queue that is too long for a new policy loses its oldest messages."""
    make(confirming, name, kind)
    fill(confirming, name, 10)
    management.policy(f"^{name}$", max_length=3)
    holds(confirming, name, 3)
    assert bodies(confirming, name) == [b"7", b"8", b"9"]


@pytest.mark.parametrize("kind", KINDS)
def test_policy_that_is_deleted_limits_no_longer(
    management: Management, confirming: BlockingChannel, name: str, kind: str
) -> None:
    """The queue grows again."""
    policy = management.policy(f"^{name}$", max_length=3)
    make(confirming, name, kind)
    assert limit(confirming, name) == 3
    management.delete(*policy)
    eventually(lambda: limit(confirming, name) == 11)


@pytest.mark.parametrize("kind", KINDS)
def test_policy_that_is_changed(
    management: Management, confirming: BlockingChannel, name: str, kind: str
) -> None:
    """Another definition replaces the first one."""
    _, _, policy = management.policy(f"^{name}$", max_length=3)
    make(confirming, name, kind)
    fill(confirming, name, 5)
    management.policy(f"^{name}$", name=policy, max_length=2)
    holds(confirming, name, 2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("argument", "ordinary", "operator", "kept"),
    [
        (None, 4, None, 4),
        (None, None, 4, 4),
        (5, 9, None, 5),
        (9, 5, None, 5),
        (9, None, 5, 5),
        (None, 3, 5, 3),
        (None, 5, 3, 3),
        (6, 5, 4, 4),
        (4, 5, 6, 4),
    ],
)
def test_smallest_limit_counts(
    management: Management,
    confirming: BlockingChannel,
    name: str,
    kind: str,
    argument: int | None,
    ordinary: int | None,
    operator: int | None,
    kept: int,
) -> None:
    """Argument, policy and operator policy limit a queue together."""
    if ordinary is not None:
        management.policy(f"^{name}$", max_length=ordinary)
    if operator is not None:
        management.policy(f"^{name}$", operator=True, max_length=operator)
    make(confirming, name, kind, **({} if argument is None else {"x_max_length": argument}))
    assert limit(confirming, name) == kept


@pytest.mark.parametrize(("kind", "rejects"), [("classic", False), ("quorum", True)])
def test_overflow_of_argument_and_policy(
    management: Management, confirming: BlockingChannel, name: str, kind: str, rejects: bool
) -> None:
    """For a classic queue the argument counts, for a quorum queue the policy."""
    management.policy(f"^{name}$", overflow="reject-publish")
    make(confirming, name, kind, x_max_length=1, x_overflow="drop-head")

    def is_refused() -> bool:
        try:
            fill(confirming, name, 5)
        except NackError:
            return True
        return False

    assert is_refused() == rejects


@pytest.mark.parametrize(("kind", "left"), [("classic", 3), ("quorum", 10)])
def test_existing_queue_that_rejects(
    management: Management, confirming: BlockingChannel, name: str, kind: str, left: int
) -> None:
    """A classic queue is cut all the same; a quorum queue keeps what it has."""
    make(confirming, name, kind)
    fill(confirming, name, 10)
    management.policy(f"^{name}$", max_length=3, overflow="reject-publish")

    def rejects() -> bool:
        try:
            send(confirming, name, b"more")
        except NackError:
            return True
        take(confirming, name, auto_ack=True)
        send(confirming, name, b"more")
        return False

    holds(confirming, name, left) if kind == "classic" else eventually(rejects)
    assert rejects()
    holds(confirming, name, left)


@pytest.mark.parametrize("kind", KINDS)
def test_dead_letter_exchange(
    management: Management, confirming: BlockingChannel, names: Names, kind: str
) -> None:
    """A policy gives a queue that exists a dead-letter exchange, without one of its own only."""
    name, own, other, dead, never = names(), names("own"), names("other"), names("dead"), names("never")
    make(confirming, name, kind)
    make(confirming, own, kind, x_dead_letter_exchange="", x_dead_letter_routing_key=other)
    for queue in (other, dead, never):
        confirming.queue_declare(queue)
    management.policy(f"^{own}$", dead_letter_exchange="", dead_letter_routing_key=never)
    management.policy(f"^{name}$", dead_letter_exchange="", dead_letter_routing_key=dead)

    def reject(queue: str) -> None:
        send(confirming, queue, b"x")
        confirming.basic_reject(take(confirming, queue).tag, requeue=False)

    def arrives() -> int:
        reject(name)
        return ready(confirming, dead)

    eventually(arrives)
    reject(own)
    take(confirming, other)
    assert ready(confirming, never) == 0


def test_ttl_is_for_messages_to_come(
    management: Management, channel: BlockingChannel, connection: BlockingConnection, name: str
) -> None:
    """A message keeps the time that it came with: none."""
    make(channel, name)
    send(channel, name, b"old")
    old = take(channel, name)
    management.policy(f"^{name}$", message_ttl=0)
    confirming = connection.channel()
    confirming.confirm_delivery()

    def expires() -> bool:
        send(confirming, name, b"new")
        return get(confirming, name, auto_ack=True) is None

    eventually(expires)
    channel.basic_nack(old.tag)
    assert take(channel, name, auto_ack=True).body == b"old"


def test_ttl_stays_with_a_message(management: Management, confirming: BlockingChannel, names: Names) -> None:
    """Messages keep their time when the policy is deleted."""
    name = names()
    policy = management.policy(f"^{name}$", message_ttl=200)
    make(confirming, name)
    send(confirming, name, b"x")
    management.delete(*policy)
    holds(confirming, name, 0)


def test_unused_queue_expires(
    management: Management, channel: BlockingChannel, gone: Callable[[str], bool], name: str
) -> None:
    """A queue that exists expires, too."""
    make(channel, name)
    management.policy(f"^{name}$", expires=20)
    eventually(lambda: gone(name))


def test_alternate_exchange(management: Management, confirming: BlockingChannel, names: Names) -> None:
    """An exchange has that of a policy as long as there is the policy, unless it has its own.

    Settings for queues do not matter.
    """
    exchange, own, queue = names(), names("own"), names("queue")
    confirming.exchange_declare(exchange, "direct")
    confirming.exchange_declare(own, "direct", arguments={"alternate-exchange": "amq.direct"})
    confirming.queue_declare(queue)
    confirming.queue_bind(queue, "amq.fanout")
    policy = management.policy(f"^({exchange}|{own})$", alternate_exchange="amq.fanout", max_length=1)

    def reaches(source: str) -> bool:
        confirming.basic_publish(source, "k", b"x")
        return bodies(confirming, queue) == [b"x"]

    eventually(lambda: reaches(exchange))
    assert not reaches(own)
    management.delete(*policy)
    eventually(lambda: not reaches(exchange))


def test_server_named_exclusive_queue(management: Management, confirming: BlockingChannel) -> None:
    """Policies are for every queue."""
    queue = confirming.queue_declare("", exclusive=True).method.queue
    fill(confirming, queue, 5)
    management.policy(f"^{queue}$", max_length=2)
    holds(confirming, queue, 2)


# --- Which one applies


@pytest.mark.parametrize(
    ("priorities", "kept"), [((1, 2), 2), ((2, 1), 1), ((1, 1.5), 2), ((-1, -2), 1), ((None, -1), 1)]
)
@pytest.mark.parametrize("operator", [False, True])
def test_highest_priority(
    management: Management,
    confirming: BlockingChannel,
    name: str,
    priorities: tuple[float | None, float | None],
    kept: int,
    operator: bool,
) -> None:
    """One policy applies, that of the highest priority; fractions count. The default is 0."""
    for number, priority in enumerate(priorities, 1):
        given: dict[str, Any] = {} if priority is None else {"priority": priority}
        management.policy(f"^{name}$", operator=operator, max_length=number, **given)
    make(confirming, name)
    assert limit(confirming, name) == kept


def test_next_one_applies_when_the_first_is_deleted(
    management: Management, confirming: BlockingChannel, name: str
) -> None:
    """The policy with the next lower priority takes over."""
    first = management.policy(f"^{name}$", max_length=5, priority=2)
    management.policy(f"^{name}$", max_length=3, priority=1)
    make(confirming, name)
    assert limit(confirming, name) == 5
    fill(confirming, name, 5)
    management.delete(*first)
    holds(confirming, name, 3)


@pytest.mark.parametrize(
    ("kind", "definition", "applies"),
    [
        ("classic", {"max_length": 3, "message_ttl": 60_000}, True),
        ("classic", {"max_length": 3, "queue_mode": "lazy"}, True),
        ("classic", {"max_length": 3, "max_age": "1h"}, False),
        ("classic", {"max_length": 3, "delivery_limit": 5}, False),
        ("classic", {"max_length": 3, "alternate_exchange": "amq.fanout"}, True),
        ("quorum", {"max_length": 3, "delivery_limit": 5}, True),
        ("quorum", {"max_length": 3, "queue_mode": "lazy"}, False),
        ("quorum", {"max_length": 3, "max_age": "1h"}, False),
    ],
)
def test_policy_must_fit_as_a_whole(
    management: Management,
    confirming: BlockingChannel,
    name: str,
    kind: str,
    definition: dict[str, Any],
    applies: bool,
) -> None:
    """A policy with one setting that the type of the queue lacks is passed over for a lower one."""
    management.policy(f"^{name}$", priority=1, **definition)
    management.policy(f"^{name}$", max_length=6)
    make(confirming, name, kind)
    assert limit(confirming, name) == (3 if applies else 6)


@pytest.mark.parametrize(
    ("apply_to", "classic", "quorum"),
    [
        ("all", True, True),
        ("queues", True, True),
        ("exchanges", False, False),
        ("classic_queues", True, False),
        ("quorum_queues", False, True),
        ("streams", False, False),
    ],
)
def test_apply_to(
    broker: Broker,
    management: Management,
    confirming: BlockingChannel,
    names: Names,
    apply_to: str,
    classic: bool,
    quorum: bool,
) -> None:
    """A policy is for what it says; RabbitMQ 3.10 does not tell the types of queues apart."""
    name = names()
    if broker.version < (4, 0) and apply_to not in {"all", "queues", "exchanges"}:
        body = {"pattern": "", "definition": {"max-length": 1}, "apply-to": apply_to}
        status, reason = management.refused("policies", "/", name, **body)
        assert (status, f"apply-to '{apply_to}' unrecognised" in reason) == (400, True)
        return
    management.policy(f"^{name}", max_length=1, apply_to=apply_to)
    for kind, applies in (("classic", classic), ("quorum", quorum)):
        queue = names(kind)
        management.policy(f"^{queue}$", max_length=1, apply_to=apply_to)
        make(confirming, queue, kind)
        assert limit(confirming, queue) == (1 if applies else 11)


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("", True),
        ("^behaviour", True),
        ("viour", True),
        ("^viour", False),
        ("BEHAV", False),
        ("(?i)BEHAV", True),
    ],
)
def test_pattern_is_not_anchored(
    management: Management, confirming: BlockingChannel, name: str, pattern: str, matches: bool
) -> None:
    """A pattern is searched for in the name, upper and lower case apart; the empty one is in all names."""
    management.policy(pattern, max_length=1)
    make(confirming, name)
    assert limit(confirming, name) == (1 if matches else 11)


def test_policy_is_for_one_virtual_host(
    management: Management, confirming: BlockingChannel, name: str
) -> None:
    """Queues of others do not obey it."""
    management.policy(f"^{name}$", max_length=1, vhost=management.vhost())
    make(confirming, name)
    assert limit(confirming, name) == 11


# --- Requests


@pytest.mark.parametrize("kind", ["policies", "operator-policies"])
def test_life_of_a_policy(management: Management, name: str, kind: str) -> None:
    """Its statuses; the defaults are shown."""
    body = {"pattern": "^no", "definition": {"max-length": 5}}
    assert management.put(kind, "/", name, **body) == 201
    assert management.put(kind, "/", name, **body) == 204
    shown = {"vhost": "/", "name": name, "apply-to": "all", "priority": 0, **body}
    assert management.get(kind, "/", name) == shown
    assert shown in management.get(kind, "/")
    assert management.delete(kind, "/", name) == 204
    for method in ("GET", "DELETE"):
        answer = management.ask(method, kind, "/", name)
        assert (answer.status_code, answer.json()["error"]) == (404, "Object Not Found")
    assert management.refused(kind, name, name, **body) == (404, "vhost_not_found")


GOOD: dict[str, Any] = {"pattern": "^no", "definition": {"max-length": 1}}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"definition": {}}, "no policy provided"),
        ({"definition": {"foo": 1}}, '[{<<"foo">>,1}] are not recognised policy settings'),
        (
            {"definition": {"max-priority": 1}},
            '[{<<"max-priority">>,1}] are not recognised policy settings',
        ),
        ({"definition": {"x-max-length": 1}}, '[{<<"x-max-length">>,1}] are not recognised policy settings'),
        ({"definition": {"max-length": -1}}, "-1 is not a valid maximum length"),
        ({"definition": {"max-length": "1"}}, '<<"1">> is not a valid maximum length'),
        ({"definition": {"max-length-bytes": -1}}, "-1 is not a valid maximum length in bytes"),
        ({"definition": {"message-ttl": -1}}, "-1 is not a valid message TTL"),
        ({"definition": {"message-ttl": True}}, "true is not a valid message TTL"),
        ({"definition": {"expires": 0}}, "0 is not a valid queue expiry"),
        ({"definition": {"dead-letter-exchange": 5}}, "5 is not a valid dead letter exchange name"),
        ({"definition": {"dead-letter-routing-key": 5}}, "5 is not a valid dead letter routing key"),
        ({"definition": {"dead-letter-strategy": "foo"}}, '<<"foo">> is not a valid dead letter strategy'),
        ({"definition": {"alternate-exchange": 5}}, "5 is not a valid alternate exchange name"),
        ({"definition": {"overflow": "foo"}}, '<<"foo">> is not a valid overflow value'),
        ({"definition": {"queue-mode": "foo"}}, '<<"foo">> is not a valid queue-mode value'),
        ({"definition": {"queue-version": 3}}, "3 is not a valid queue-version value"),
        ({"definition": {"delivery-limit": "5"}}, '<<"5">> is not a valid delivery limit'),
        ({"definition": {"max-age": "0s"}}, '<<"0s">> is not a valid max age'),
        (
            {"definition": {"stream-max-segment-size-bytes": 5_000_000_000}},
            "5000000000 is not a valid segment size",
        ),
        (
            {"definition": {"queue-leader-locator": "foo"}},
            '<<"foo">> is not a valid queue leader locator value',
        ),
        ({"priority": "5"}, 'priority should be a number, actually was <<"5">>'),
        ({"priority": None}, "priority should be a number, actually was null"),
        ({"pattern": 1}, "pattern should be a binary but was 1"),
        ({"pattern": None}, "pattern should be a binary but was null"),
        ({"pattern": "("}, 'pattern should be regular expression but is invalid: {"missing '),
        ({"apply-to": "foo"}, "apply-to 'foo' unrecognised; should be "),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_refused_policy(management: Management, name: str, change: dict[str, Any], reason: str) -> None:
    """What is wrong is told as RabbitMQ does, and nothing is made."""
    status, text = management.refused("policies", "/", name, **{**GOOD, **change})
    assert status == 400
    assert text.startswith(f"Validation failed\n\n{reason}")
    assert text.endswith("\n")
    assert management.ask("GET", "policies", "/", name).status_code == 404


def test_all_mistakes_are_told(management: Management, name: str) -> None:
    """One line each."""
    body = {"pattern": 1, "definition": {"foo": 1}, "priority": "a", "apply-to": "exchanges"}
    assert management.refused("policies", "/", name, **body) == (
        400,
        'Validation failed\n\n[{<<"foo">>,1}] are not recognised policy settings\n'
        'pattern should be a binary but was 1\npriority should be a number, actually was <<"a">>\n',
    )


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"definition": {"max-length": 1}}, "[{key_missing,pattern}]"),
        ({"pattern": ""}, "[{key_missing,definition}]"),
        ({}, "[{key_missing,pattern},{key_missing,definition}]"),
    ],
)
def test_missing_keys(management: Management, name: str, body: dict[str, Any], reason: str) -> None:
    """They are told alone."""
    assert management.refused("policies", "/", name, **body) == (400, reason)


OPERATORS: dict[str, Any] = {
    "delivery-limit": 5,
    "expires": 5,
    "max-in-memory-bytes": 5,
    "max-in-memory-length": 5,
    "max-length": 5,
    "max-length-bytes": 5,
    "message-ttl": 5,
}
OPERATORS_OF_4: dict[str, Any] = {"overflow": "drop-head", "queue-version": 2, "target-group-size": 3}
NOT_FOR_OPERATORS: dict[str, Any] = {
    "alternate-exchange": "e",
    "dead-letter-exchange": "e",
    "dead-letter-routing-key": "k",
    "max-age": "1h",
    "queue-mode": "lazy",
}


@pytest.mark.parametrize(
    ("setting", "value"), {**OPERATORS, **OPERATORS_OF_4, **NOT_FOR_OPERATORS}.items(), ids=str
)
def test_settings_of_operator_policies(
    broker: Broker, management: Management, name: str, setting: str, value: Any
) -> None:
    """Operators set limits, and in RabbitMQ 4 a little more."""
    body = {"pattern": "^no", "definition": {setting: value}}
    if setting in since(broker, (4, 0), {**OPERATORS, **OPERATORS_OF_4}, OPERATORS):
        assert management.put("operator-policies", "/", name, **body) == 201
        return
    status, reason = management.refused("operator-policies", "/", name, **body)
    assert (status, "are not recognised policy settings" in reason) == (400, True)


@pytest.mark.parametrize(
    ("setting", "value", "first", "last"),
    [
        ("ha-mode", "all", (3, 0), (4, 0)),
        ("queue-master-locator", "random", (3, 0), (4, 3)),
        ("stream-filter-size-bytes", 20, (4, 0), (9, 0)),
        ("target-group-size", 3, (4, 0), (9, 0)),
        ("consumer-timeout", 5000, (4, 3), (9, 0)),
        ("consumer-disconnected-timeout", 5000, (4, 3), (9, 0)),
    ],
)
def test_settings_that_came_and_went(
    broker: Broker,
    management: Management,
    name: str,
    setting: str,
    value: Any,
    first: tuple[int, int],
    last: tuple[int, int],
) -> None:
    """Each release has its settings."""
    body = {"pattern": "^no", "definition": {setting: value}}
    if first <= broker.version < last:
        assert management.put("policies", "/", name, **body) == 201
    else:
        assert management.refused("policies", "/", name, **body)[0] == 400


def test_policies_are_no_parameters(management: Management, name: str) -> None:
    """They have requests of their own."""
    assert management.refused("parameters", "policy", "/", name, value=GOOD) == (
        400,
        "policies may not be set using this method",
    )


def test_policy_does_not_change_what_is_compared(
    management: Management, channel: BlockingChannel, name: str
) -> None:
    """A client declares its queue again with the arguments that it has, not with those of the policy."""
    management.policy(f"^{name}$", max_length=5)
    make(channel, name)
    make(channel, name)
    with closes(406, f"inequivalent arg 'x-max-length' for queue '{name}' in vhost '/': "):
        make(channel, name, x_max_length=5)
