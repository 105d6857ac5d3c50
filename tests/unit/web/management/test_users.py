"""What a request or definitions say of a user."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.web.management.support import new_call, new_server

from fedora_messaging.broker.core.profile import RABBITMQ_3
from fedora_messaging.broker.passwords import PasswordHash
from fedora_messaging.web.management import users
from fedora_messaging.web.management.errors import RequestError


def test_tags_are_a_list_or_a_text() -> None:
    for tags in (["a", "b"], "a, b,"):
        call = new_call()
        assert users.set_user(call, "u", {"tags": tags, "password": "p"})
        user = call.server.accounts.user("u")
        assert user is not None
        assert list(user.tags) == ["a", "b"]
        assert not users.set_user(call, "u", {"tags": tags, "password": "p"})


def test_a_hash_is_kept_as_it_is() -> None:
    call = new_call()
    hashed = PasswordHash.of("secret")
    users.set_user(call, "u", {"tags": "", "password_hash": hashed.text})
    user = call.server.accounts.user("u")
    assert user is not None
    assert user.password == hashed
    assert users.user_item(user)["password_hash"] == hashed.text


@pytest.mark.parametrize("item", [{}, {"password_hash": ""}, {"password_hash": None}])
def test_without_a_password_nobody_logs_in(item: dict[str, Any]) -> None:
    call = new_call()
    users.set_user(call, "u", {"tags": "", **item})
    user = call.server.accounts.user("u")
    assert user is not None
    assert users.user_item(user)["password_hash"] == ""


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ({"password": "p"}, "tags_not_present"),
        ({"tags": "", "password": "p", "password_hash": "x"}, "both_password_and_password_hash_are_provided"),
        ({"tags": "", "password": 1}, ["not_string", "password"]),
        ({"tags": "", "password_hash": "?"}, ["not_base64", "?"]),
        ({"tags": "", "password_hash": 1}, ["not_base64", 1]),
        ({"tags": [1]}, "tags must be a list of texts, or one text with commas"),
        ({"tags": None}, "tags must be a list of texts, or one text with commas"),
    ],
)
def test_what_is_no_user(item: dict[str, Any], reason: Any) -> None:
    call = new_call()
    with pytest.raises(RequestError) as caught:
        users.set_user(call, "u", item)
    assert (caught.value.status, caught.value.body["reason"]) == (400, reason)
    assert call.server.accounts.user("u") is None


def test_a_hash_function_that_is_not_known() -> None:
    item = {"tags": "", "password_hash": "AAAA", "hashing_algorithm": "rot13"}
    with pytest.raises(RequestError) as caught:
        users.set_user(new_call(), "u", item)
    assert "unknown hashing algorithm 'rot13'" in caught.value.body["reason"]


def test_names_that_do_not_exist_are_passed_over_in_the_newer_release() -> None:
    raw = b'{"users": ["nobody", "guest", 5]}'
    newer = new_call(raw)
    users.bulk_delete(newer)
    assert newer.server.accounts.user("guest") is None
    older = new_call(raw, server=new_server(RABBITMQ_3))
    with pytest.raises(RequestError) as caught:
        users.bulk_delete(older)
    assert caught.value.body["reason"] == ["no_such_user", "nobody"]
    assert older.server.accounts.user("guest") is not None
