"""Policies: which are accepted, which applies to what, and what several of them together mean."""

from __future__ import annotations

import math
import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedora_messaging.broker.core.policies import (
    APPLY_TO,
    Policies,
    Policy,
    PolicyError,
    combine,
    make_policy,
    override,
)
from fedora_messaging.broker.core.profile import RABBITMQ_3

KINDS = ("classic", "quorum", "stream", "exchange")


def make(
    definition: Any = None,
    *,
    name: str = "p",
    pattern: Any = "^q",
    priority: Any = 0,
    apply_to: Any = "all",
    operator: bool = False,
) -> Policy:
    given = {"max-length": 1} if definition is None else definition
    return make_policy(name, pattern, given, priority, apply_to, operator)


def refusal(*arguments: Any, **options: Any) -> str:
    with pytest.raises(PolicyError) as caught:
        make(*arguments, **options)
    return str(caught.value)


# What is accepted


@pytest.mark.parametrize(
    ("key", "accepted", "refused", "noun"),
    [
        ("message-ttl", [0, 2**64], [-1, 1.5, "5", True, None], "message TTL"),
        ("expires", [1, 2**64], [0, "5", True], "queue expiry"),
        ("max-length", [0, 2**64], [-1, 1.5, [], {}, False], "maximum length"),
        ("max-length-bytes", [0, 2**64], [-1, "x"], "maximum length in bytes"),
        ("max-in-memory-length", [0], [-1], "maximum memory in bytes"),
        ("max-in-memory-bytes", [0], [-1], "maximum memory in bytes"),
        ("delivery-limit", [0, -1, 2**64], ["1", True], "delivery limit"),
        ("dead-letter-exchange", ["", "x"], [1, None, ["x"]], "dead letter exchange name"),
        ("dead-letter-routing-key", ["", "ä" * 127], [1], "dead letter routing key"),
        ("dead-letter-strategy", ["at-most-once", "at-least-once"], ["", 1, {}], "dead letter strategy"),
        ("alternate-exchange", ["", "x"], [1], "alternate exchange name"),
        (
            "overflow",
            ["drop-head", "reject-publish", "reject-publish-dlx"],
            ["drop", ["drop-head"], {"a": 1}, True, 1],
            "overflow value",
        ),
        ("queue-mode", ["default", "lazy"], ["", 1], "queue-mode value"),
        ("queue-version", [1, 2], [0, 3, "2", True, 1.0], "queue-version value"),
        (
            "queue-leader-locator",
            ["client-local", "balanced", "random", "least-leaders"],
            ["bogus", []],
            "queue leader locator value",
        ),
        (
            "max-age",
            ["1Y", "2M", "03D", "1h", "1m", "9" * 5000 + "s"],
            ["bogus", "0s", "1d", "", 5],
            "max age",
        ),
        ("stream-max-segment-size-bytes", [0, 3_000_000_000], [-1, 3_000_000_001, "1"], "segment size"),
        (
            "stream-filter-size-bytes",
            [16, 255],
            [15, 256, "16", True],
            "filter size. Valid range is 16-255",
        ),
        ("initial-cluster-size", [0, 10**12], [-1], "cluster size"),
        ("target-group-size", [1], [0], "qq target count value"),
        ("consumer-timeout", [0], [-1], "consumer timeout"),
    ],
)
def test_values_of_a_setting(key: str, accepted: list[Any], refused: list[Any], noun: str) -> None:
    for value in accepted:
        assert make({key: value}).definition == {key: value}
    for value in refused:
        assert refusal({key: value}).endswith(f" is not a valid {noun}\n")


@pytest.mark.parametrize(
    ("value", "term"),
    [
        ("bogus", '<<"bogus">>'),
        ("", "<<>>"),
        (True, "true"),
        (None, "null"),
        (-5, "-5"),
        (1.5, "1.5"),
        ([], "[]"),
        ({}, "#{}"),
    ],
)
def test_how_a_wrong_value_is_shown(value: Any, term: str) -> None:
    assert refusal({"max-length": value}) == f"{term} is not a valid maximum length\n"


def test_dead_letter_key_that_no_message_can_bear() -> None:
    assert refusal({"dead-letter-routing-key": "ä" * 128}).endswith("not a valid dead letter routing key\n")


OF_OPERATORS = {
    "delivery-limit": 1,
    "expires": 1,
    "max-in-memory-bytes": 1,
    "max-in-memory-length": 1,
    "max-length": 1,
    "max-length-bytes": 1,
    "message-ttl": 1,
    "overflow": "drop-head",
    "queue-version": 2,
    "target-group-size": 1,
}


@pytest.mark.parametrize(("key", "value"), OF_OPERATORS.items())
def test_settings_of_operators(key: str, value: Any) -> None:
    assert make({key: value}, operator=True).definition == {key: value}


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("dead-letter-exchange", "d", '<<"d">>'),
        ("alternate-exchange", "a", '<<"a">>'),
        ("max-age", "1h", '<<"1h">>'),
        ("queue-mode", "lazy", '<<"lazy">>'),
        ("consumer-timeout", 1, "1"),
        ("queue-leader-locator", "balanced", '<<"balanced">>'),
    ],
)
def test_settings_that_operators_do_not_have(key: str, value: Any, shown: str) -> None:
    make({key: value})
    assert refusal({key: value}, operator=True) == (
        f'[{{<<"{key}">>,{shown}}}] are not recognised policy settings\n'
    )


@pytest.mark.parametrize(
    "key", ["max-priority", "single-active-consumer", "quorum-initial-group-size", "x-max-length", "", "foo"]
)
def test_settings_that_do_not_exist(key: str) -> None:
    shown = f'<<"{key}">>' if key else "<<>>"
    assert refusal({key: 1}) == f"[{{{shown},1}}] are not recognised policy settings\n"


def test_unknown_settings_are_told_together() -> None:
    assert refusal({"foo": 1, "bar": 2}) == (
        '[{<<"bar">>,2},{<<"foo">>,1}] are not recognised policy settings\n'
    )


def test_policy_without_settings() -> None:
    assert refusal({}) == "no policy provided\n"


def test_definition_is_a_copy() -> None:
    definition = {"max-length": 1}
    policy = make(definition)
    definition["max-length"] = 2
    assert policy.definition == {"max-length": 1}


@pytest.mark.parametrize("apply_to", APPLY_TO)
def test_what_a_policy_can_apply_to(apply_to: str) -> None:
    """Whether the settings suit it does not matter."""
    for definition in ({"max-age": "1h"}, {"alternate-exchange": "a"}):
        assert make(definition, apply_to=apply_to).apply_to == apply_to


@pytest.mark.parametrize(
    ("apply_to", "shown"),
    [
        ("foo", "foo"),
        ("", ""),
        ("it's", "it's"),
        (None, "null"),
        (["queues"], "['queues']"),
        ({}, "#{}"),
        (1, "1"),
    ],
)
def test_what_a_policy_cannot_apply_to(apply_to: Any, shown: str) -> None:
    assert refusal(apply_to=apply_to) == (
        f"apply-to '{shown}' unrecognised; should be one of: "
        "'queues', 'classic_queues',  'quorum_queues', 'streams', 'exchanges', or 'all'\n"
    )


@pytest.mark.parametrize(("pattern", "shown"), [(1, "1"), (None, "null"), ([], "[]")])
def test_pattern_that_is_no_text(pattern: Any, shown: str) -> None:
    assert refusal(pattern=pattern) == f"pattern should be a binary but was {shown}\n"


@pytest.mark.parametrize(
    "pattern", ["(", "*", "a[b", "(?P<n>a)(?P<n>b)", "a{99999999999999}", "(" * 9999 + ")" * 9999]
)
def test_pattern_that_is_no_expression(pattern: str) -> None:
    assert re.fullmatch(
        r'pattern should be regular expression but is invalid: \{"[^"]+",[0-9]+\}\n', refusal(pattern=pattern)
    )


@pytest.mark.parametrize("priority", [0, -5, 1.5, 10**400, -(10**400), math.inf])
def test_priorities(priority: float) -> None:
    assert make(priority=priority).priority == priority


@pytest.mark.parametrize(
    ("priority", "shown"),
    [("5", '<<"5">>'), (None, "null"), (True, "true"), (math.nan, "nan"), ([], "[]")],
)
def test_priority_that_is_no_number(priority: Any, shown: str) -> None:
    assert refusal(priority=priority) == f"priority should be a number, actually was {shown}\n"


def test_all_mistakes_are_told_in_order() -> None:
    told = refusal({"foo": 1, "max-length": "x"}, pattern=1, priority="5", apply_to="foo").splitlines()
    assert [line.split()[0] for line in told] == [
        '[{<<"foo">>,1}]',
        '<<"x">>',
        "apply-to",
        "pattern",
        "priority",
    ]


# What a policy applies to


@pytest.mark.parametrize(
    ("definition", "kinds"),
    [
        ({"max-length": 1}, {"classic", "quorum"}),
        ({"max-length-bytes": 1}, {"classic", "quorum", "stream"}),
        ({"max-age": "1h"}, {"stream"}),
        ({"queue-mode": "lazy"}, {"classic"}),
        ({"delivery-limit": 1}, {"quorum"}),
        ({"target-group-size": 1}, {"quorum"}),
        ({"max-in-memory-length": 1}, {"quorum"}),
        ({"alternate-exchange": "a"}, {"classic", "quorum", "stream"}),
        ({"max-length": 1, "max-age": "1h", "delivery-limit": 1}, set()),
        ({"max-length": 1, "alternate-exchange": "a"}, {"classic", "quorum"}),
    ],
)
def test_policy_applies_only_to_what_supports_all_of_it(definition: dict[str, Any], kinds: set[str]) -> None:
    """An exchange does not mind settings that it has not."""
    policy = make(definition, pattern="")
    assert {kind for kind in KINDS if policy.matches(kind, "q")} == kinds | {"exchange"}


@pytest.mark.parametrize(
    ("apply_to", "kinds"),
    [
        ("queues", {"classic", "quorum", "stream"}),
        ("classic_queues", {"classic"}),
        ("quorum_queues", {"quorum"}),
        ("streams", {"stream"}),
        ("exchanges", {"exchange"}),
        ("all", {"classic", "quorum", "stream", "exchange"}),
    ],
)
def test_policy_applies_to_the_kinds_it_names(apply_to: str, kinds: set[str]) -> None:
    policy = make({"max-length-bytes": 1}, pattern="", apply_to=apply_to)
    assert {kind for kind in KINDS if policy.matches(kind, "q")} == kinds


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("^q", "queue", "a queue"),
        ("q", "a queue", "other"),
        ("^$", "", "q"),
        ("", "anything", None),
        (r"^amq\.gen-", "amq.gen-abc", "amq_gen-abc"),
        ("(?i)QUEUE", "queue", "que"),
    ],
)
def test_pattern_is_searched_for(pattern: str, matching: str, other: str | None) -> None:
    policy = make(pattern=pattern)
    assert policy.matches("classic", matching)
    assert other is None or not policy.matches("classic", other)


def test_costly_pattern_takes_no_time() -> None:
    """Where no engine can decide in bounded time, the policy does not apply."""
    costly = make(pattern=r"^(a+)+\N{DIGIT ONE}$")
    assert costly.matches("classic", "a1")
    start = time.monotonic()
    assert not costly.matches("classic", "a" * 200 + "1")
    assert not make(pattern=r"^(a+)+$").matches("classic", "a" * 200 + "b")
    assert time.monotonic() - start < 5


# Which one applies


def policies(*given: Policy) -> Policies:
    found = Policies()
    found.ordinary = {policy.name: policy for policy in given}
    return found


def test_no_policy() -> None:
    assert Policies().find("classic", "q") == (None, None)


@pytest.mark.parametrize(
    ("priorities", "name"),
    [
        ({"a": 1, "b": 2}, "b"),
        ({"a": 1.5, "b": 1}, "a"),
        ({"a": -1, "b": -2}, "a"),
        ({"m": 0, "k": 0, "a": 0, "z": 0}, "a"),
        ({"cc": 0, "qq": 0, "al": 0}, "al"),
        ({"a": 1, "b": 10**400}, "b"),
    ],
)
def test_highest_priority_applies_and_then_the_first_name(priorities: dict[str, float], name: str) -> None:
    found = policies(*(make(name=name, priority=priority) for name, priority in priorities.items()))
    policy, operator = found.find("classic", "q")
    assert policy is found.ordinary[name]
    assert operator is None


def test_policy_that_does_not_suit_leaves_its_place_to_a_lower_one() -> None:
    high = make({"max-length": 1, "max-age": "1h"}, name="high", priority=9)
    low = make({"max-length": 5}, name="low")
    assert policies(high, low).find("classic", "q") == (low, None)
    assert policies(high, low).find("stream", "q") == (None, None)


def test_specific_policy_has_no_precedence() -> None:
    general, specific = make(name="a"), make(name="b", apply_to="classic_queues")
    assert policies(general, specific).find("classic", "q")[0] is general


def test_operator_policies_are_found_apart() -> None:
    found = policies(make(name="same", priority=1))
    found.operator["same"] = make({"max-length": 5}, name="same", operator=True)
    found.operator["other"] = make(name="other", pattern="^x", priority=9, operator=True)
    policy, operator = found.find("quorum", "q")
    assert policy is found.ordinary["same"]
    assert operator is found.operator["same"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["", "^q", "q$", "x", "1"]),
            st.sampled_from(
                [{"max-length": 1}, {"max-length-bytes": 1}, {"max-age": "1h"}, {"alternate-exchange": "a"}]
            ),
            st.integers(-2, 2) | st.floats(allow_nan=False),
            st.sampled_from(list(APPLY_TO)),
        )
    ),
    st.sampled_from(KINDS),
    st.sampled_from(["q", "q1", "x", ""]),
)
def test_found_policy_is_the_best_one(given: list[tuple[Any, ...]], kind: str, name: str) -> None:
    made = [
        make(definition, name=f"{number:03}", pattern=pattern, priority=priority, apply_to=apply_to)
        for number, (pattern, definition, priority, apply_to) in enumerate(given)
    ]
    best: Policy | None = None
    for policy in made:
        suits = kind == "exchange" or all(
            kind in {"max-length": "classic quorum", "max-age": "stream"}.get(key, kind)
            for key in policy.definition
        )
        meant = {"queues": "classic quorum stream", "all": kind, "exchanges": "exchange"}.get(
            policy.apply_to, policy.apply_to.split("_")[0].removesuffix("s")
        )
        matches = suits and kind in meant and re.search(policy.pattern, name)
        if matches and (best is None or policy.priority > best.priority):
            best = policy
    assert policies(*reversed(made)).find(kind, name) == (best, None)


# What they mean together


def together(ordinary: dict[str, Any], operator: dict[str, Any]) -> dict[str, Any]:
    return combine(make(ordinary), make(operator, operator=True))


@pytest.mark.parametrize(
    "key",
    [
        "message-ttl",
        "expires",
        "max-length",
        "max-length-bytes",
        "max-in-memory-length",
        "max-in-memory-bytes",
        "delivery-limit",
    ],
)
def test_smaller_limit_applies(key: str) -> None:
    assert together({key: 5}, {key: 9}) == together({key: 9}, {key: 5}) == {key: 5}


def test_no_delivery_limit_gives_way_to_one() -> None:
    assert together({"delivery-limit": -1}, {"delivery-limit": 5}) == {"delivery-limit": 5}
    assert together({"delivery-limit": 5}, {"delivery-limit": -1}) == {"delivery-limit": 5}
    assert together({"delivery-limit": -1}, {"delivery-limit": -1}) == {"delivery-limit": -1}


@pytest.mark.parametrize(
    ("key", "ordinary", "operator"),
    [("overflow", "reject-publish", "drop-head"), ("queue-version", 1, 2), ("queue-version", 2, 1)],
)
def test_operator_wins(key: str, ordinary: Any, operator: Any) -> None:
    assert together({key: ordinary}, {key: operator}) == {key: operator}


def test_settings_of_both_are_united() -> None:
    assert together({"max-length": 5, "dead-letter-exchange": "d"}, {"max-length": 3, "expires": 7}) == {
        "max-length": 3,
        "dead-letter-exchange": "d",
        "expires": 7,
    }


def test_one_policy_alone() -> None:
    assert combine(None, None) == {}
    assert combine(make({"max-length": 5}), None) == {"max-length": 5}
    assert combine(None, make({"max-length": 5}, operator=True)) == {"max-length": 5}


LIMITS = st.dictionaries(
    st.sampled_from(["message-ttl", "expires", "max-length"]), st.integers(1, 9), min_size=1
)


@given(LIMITS, LIMITS)
def test_combined_limits_are_those_of_both(ordinary: dict[str, int], operator: dict[str, int]) -> None:
    combined = together(ordinary, operator)
    assert combined == together(operator, ordinary)
    assert combined == {
        key: min(given[key] for given in (ordinary, operator) if key in given) for key in ordinary | operator
    }


@given(LIMITS, LIMITS, st.sampled_from(["classic", "quorum"]))
def test_argument_and_policy_are_limits_both(
    arguments: dict[str, int], settings: dict[str, int], kind: str
) -> None:
    declared = {f"x-{key}": value for key, value in arguments.items()}
    meant = override(declared, settings, kind)
    assert meant == {f"x-{key}": value for key, value in together(arguments, settings).items()}
    assert override(meant, settings, kind) == meant
    assert declared == {f"x-{key}": value for key, value in arguments.items()}


@pytest.mark.parametrize("kind", ["classic", "quorum"])
@pytest.mark.parametrize("key", ["dead-letter-exchange", "dead-letter-routing-key"])
def test_argument_wins(kind: str, key: str) -> None:
    assert override({f"x-{key}": "own"}, {key: "policy"}, kind) == {f"x-{key}": "own"}
    assert override({f"x-{key}": ""}, {key: "policy"}, kind) == {f"x-{key}": ""}
    assert override({}, {key: "policy"}, kind) == {f"x-{key}": "policy"}


@pytest.mark.parametrize(("kind", "wins"), [("classic", "drop-head"), ("quorum", "reject-publish")])
def test_policy_wins_over_the_overflow_of_a_quorum_queue(kind: str, wins: str) -> None:
    assert override({"x-overflow": "drop-head"}, {"overflow": "reject-publish"}, kind) == {"x-overflow": wins}


def test_argument_without_delivery_limit_gives_way_to_one() -> None:
    assert override({"x-delivery-limit": -1}, {"delivery-limit": 5}, "quorum") == {"x-delivery-limit": 5}


@pytest.mark.parametrize(
    ("own", "policy", "wins"), [("1h", "61m", "1h"), ("61m", "1h", "1h"), ("9s", "1Y", "9s")]
)
def test_smaller_age_applies(own: str, policy: str, wins: str) -> None:
    assert override({"x-max-age": own}, {"max-age": policy}, "stream") == {"x-max-age": wins}


def test_mirrors_need_a_mode() -> None:
    """Policies of RabbitMQ 3 may have settings for mirrors, which have no effect on one node."""
    make_policy("p", "", {"ha-mode": "all", "ha-sync-mode": "manual"}, 0, "all", False, RABBITMQ_3)
    with pytest.raises(PolicyError, match="ha-mode must be specified to specify ha-params, ha-sync-mode or"):
        make_policy("p", "", {"ha-sync-mode": "manual"}, 0, "all", False, RABBITMQ_3)
    with pytest.raises(PolicyError, match="are not recognised policy settings"):
        make({"ha-mode": "all"})
