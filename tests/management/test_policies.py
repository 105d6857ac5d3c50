"""Policies, operator policies and parameters over the management API."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import pytest
from tests.behaviour.support import since
from tests.management.client import NOT_FOUND, ROOT, Api, bad_request
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.brokers import Broker

LENGTH = {"pattern": ".", "definition": {"max-length": 5}}


@pytest.fixture
def policy(api: Api, name: str) -> Iterator[str]:
    """The name of a policy that a test makes in the default virtual host."""
    yield name
    for kind in ("policies", "operator-policies"):
        api.ask("DELETE", f"{kind}/{ROOT}/{name}")


@pytest.mark.parametrize("kind", ["policies", "operator-policies"])
def test_a_policy_is_shown_as_it_was_set(api: Api, vhost: str, kind: str) -> None:
    path = f"{kind}/{vhost}/p"
    wanted = {"pattern": "^a", "definition": {"max-length": 5}, "priority": 3, "apply-to": "queues"}
    assert [api.put(path, wanted) for _ in range(2)] == [201, 204]
    expected = {"vhost": vhost, "name": "p", **wanted}
    assert api.get(path) == expected
    assert api.get(f"{kind}/{vhost}") == [expected]
    assert expected in api.get(kind)
    api.delete(path)
    assert api.error(404, "DELETE", path) == NOT_FOUND
    assert api.error(404, "GET", path) == NOT_FOUND


def test_a_policy_is_for_everything_unless_it_says_otherwise(api: Api, vhost: str) -> None:
    api.put(f"policies/{vhost}/p", {"pattern": ".", "definition": {"max-length": 5}})
    shown = api.get(f"policies/{vhost}/p")
    assert (shown["priority"], shown["apply-to"]) == (0, "all")


def test_queues_and_exchanges_show_the_policies_that_apply_to_them(api: Api, queue: str, policy: str) -> None:
    pattern = f"^{queue}$"
    api.put(f"exchanges/{ROOT}/{queue}", {})
    definition = {"max-length": 10, "message-ttl": 1000}
    api.put(f"policies/{ROOT}/{policy}", {"pattern": pattern, "definition": definition, "apply-to": "queues"})
    api.put(f"operator-policies/{ROOT}/{policy}", {"pattern": pattern, "definition": {"max-length": 5}})

    def governed() -> Any:
        found = api.get(f"queues/{ROOT}/{queue}")
        return found if found.get("operator_policy") and found.get("policy") else None

    shown = eventually(governed)
    assert (shown["policy"], shown["operator_policy"]) == (policy, policy)
    assert shown["effective_policy_definition"] == {"max-length": 5, "message-ttl": 1000}
    assert "policy" not in api.get(f"exchanges/{ROOT}/{queue}")
    of_exchanges = {
        "pattern": pattern,
        "definition": {"alternate-exchange": "amq.fanout"},
        "apply-to": "exchanges",
    }
    api.put(f"policies/{ROOT}/{policy}", of_exchanges)
    assert eventually(lambda: api.get(f"exchanges/{ROOT}/{queue}").get("policy")) == policy


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"definition": {}}, "no policy provided\n"),
        ({"definition": {"foo": 1}}, '[{<<"foo">>,1}] are not recognised policy settings\n'),
        ({"definition": {"max-length": -1}}, "-1 is not a valid maximum length\n"),
        ({"priority": "a"}, 'priority should be a number, actually was <<"a">>\n'),
    ],
)
def test_wrong_policies_are_refused(
    api: Api, vhost: str, changes: dict[str, Any], reason: str, broker: Broker
) -> None:
    error = api.error(400, "PUT", f"policies/{vhost}/p", {**LENGTH, **changes})
    told = html.unescape(error["reason"])
    assert (error["error"], told) == ("bad_request", f"Validation failed\n\n{reason}")
    assert api.get(f"policies/{vhost}") == []


def test_a_pattern_must_be_a_regular_expression(api: Api, vhost: str, broker: Broker) -> None:
    error = api.error(400, "PUT", f"policies/{vhost}/p", {**LENGTH, "pattern": "("})
    assert "pattern should be regular expression but is invalid: {" in error["reason"]


def test_what_a_policy_applies_to_must_be_known(api: Api, vhost: str, broker: Broker) -> None:
    error = api.error(400, "PUT", f"policies/{vhost}/p", {**LENGTH, "apply-to": "things"})
    new = (
        "Validation failed\n\napply-to 'things' unrecognised; should be one of: "
        "'queues', 'classic_queues',  'quorum_queues', 'streams', 'exchanges', or 'all'\n"
    )
    old = "Validation failed\n\napply-to 'things' unrecognised; should be 'queues', 'exchanges' or 'all'\n"
    assert html.unescape(error["reason"]) == since(broker, (4, 0), new, old)


def test_a_policy_needs_pattern_and_definition(api: Api, vhost: str) -> None:
    error = api.error(400, "PUT", f"policies/{vhost}/p", {"definition": {"max-length": 1}})
    assert error == bad_request("[{key_missing,pattern}]")
    nowhere = api.error(404, "PUT", "policies/nov/p", LENGTH)
    assert nowhere == {"error": "not_found", "reason": "vhost_not_found"}


def test_operators_have_fewer_settings(api: Api, vhost: str) -> None:
    wanted = {"pattern": ".", "definition": {"dead-letter-exchange": "x"}}
    error = api.error(400, "PUT", f"operator-policies/{vhost}/p", wanted)
    assert "are not recognised policy settings" in error["reason"]


# Parameters


def test_parameters_show_operator_policies_and_limits(api: Api, vhost: str) -> None:
    api.put(f"operator-policies/{vhost}/p", LENGTH)
    api.put(f"vhost-limits/{vhost}/max-queues", {"value": 3})
    limits = {
        "component": "vhost-limits",
        "name": "limits",
        "value": {"max-queues": 3},
        "vhost": vhost,
    }
    assert api.get(f"parameters/vhost-limits/{vhost}") == [limits]
    assert api.get(f"parameters/vhost-limits/{vhost}/limits") == limits
    assert limits in api.get("parameters")
    (policy,) = api.get(f"parameters/operator_policy/{vhost}")
    assert (policy["name"], policy["value"]["definition"]) == ("p", {"max-length": 5})
    assert api.error(404, "GET", f"parameters/operator_policy/{vhost}/q") == NOT_FOUND


def test_parameters_that_cannot_be_set(api: Api, vhost: str) -> None:
    error = api.error(400, "PUT", f"parameters/nocomp/{vhost}/x", {"value": 1})
    assert error == bad_request("Validation failed\n\ncomponent nocomp not found\n")
    policy = api.error(400, "PUT", f"parameters/policy/{vhost}/x", {"value": LENGTH})
    assert policy == bad_request("policies may not be set using this method")
    assert api.get("parameters/nocomp") == []


def test_global_parameters(api: Api, name: str) -> None:
    path = f"global-parameters/{name}"
    assert api.error(404, "GET", path) == NOT_FOUND
    assert [api.put(path, {"value": value}) for value in ({"a": [1, "b"]}, "text")] == [201, 204]
    assert api.get(path) == {"name": name, "value": "text"}
    assert {"name": name, "value": "text"} in api.get("global-parameters")
    assert api.error(400, "PUT", path, {}) == bad_request("[{key_missing,value}]")
    api.delete(path)
    assert api.error(404, "DELETE", path) == NOT_FOUND
