"""Policies of one kind or the other, and parameters."""

from __future__ import annotations

import pytest
from tests.unit.web.management.support import new_call, new_server

from fedora_messaging.web.management import policies
from fedora_messaging.web.management.call import CREATED, NO_CONTENT
from fedora_messaging.web.management.errors import RequestError

_PATH = {"vhost": "/", "policy": "p"}
_POLICY = b'{"pattern": "^a", "definition": {"max-length": 1}}'


def test_operator_policies_are_apart_from_the_others() -> None:
    server = new_server()
    assert policies.put_policy(new_call(_POLICY, path=_PATH, server=server)) is CREATED
    assert policies.put_policy(new_call(_POLICY, path=_PATH, server=server)) is NO_CONTENT
    call = new_call(path=_PATH, server=server)
    assert [policy["name"] for policy in policies.list_policies(call)] == ["p"]
    assert policies.list_operator_policies(call) == []
    with pytest.raises(RequestError) as caught:
        policies.get_operator_policy(call)
    assert caught.value.status == 404
    policies.delete_policy(call)
    assert policies.list_policies(call) == []


def test_what_a_policy_lacks_is_told() -> None:
    with pytest.raises(RequestError) as caught:
        policies.put_policy(new_call(b"{}", path=_PATH))
    assert caught.value.body["reason"] == "[{key_missing,pattern},{key_missing,definition}]"


def test_parameters_are_listed_by_component() -> None:
    server = new_server()
    path = {"component": "vhost-limits", "vhost": "/", "name": "limits"}
    policies.put_parameter(new_call(b'{"value": {"max-queues": 5}}', path=path, server=server))

    def listed(**wanted: str) -> list[str]:
        return [item["name"] for item in policies.list_parameters(new_call(path=wanted, server=server))]

    assert (
        listed()
        == listed(component="vhost-limits")
        == listed(component="vhost-limits", vhost="/")
        == ["limits"]
    )
    assert listed(component="other") == []
