"""Users, their permissions and limits over the management API."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

import pytest
from tests.behaviour.support import since
from tests.management.client import NOT_FOUND, ROOT, Api, bad_request, part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.brokers import Broker

SALT = b"\x01\x02\x03\x04"
FULL = {"configure": ".*", "write": ".*", "read": ".*"}


@pytest.fixture
def user(api: Api, name: str) -> Iterator[str]:
    """The name of a user that a test makes."""
    yield f"user.{name}"
    api.ask("DELETE", f"users/user.{name}")


def logs_in(api: Api, user: str, password: str) -> bool:
    with Api(str(api.url), (user, password)) as made:
        return made.ask("GET", "whoami").status_code == 200


def test_a_user_is_shown_with_a_hash_of_the_password(api: Api, user: str) -> None:
    assert api.put(f"users/{user}", {"password": "secret", "tags": "management, own"}) == 201
    shown = api.get(f"users/{user}")
    salted = base64.b64decode(shown.pop("password_hash"))
    assert shown == {
        "name": user,
        "hashing_algorithm": "rabbit_password_hashing_sha256",
        "tags": ["management", "own"],
        "limits": {},
    }
    assert salted[4:] == hashlib.sha256(salted[:4] + b"secret").digest()
    assert user in [item["name"] for item in api.get("users")]
    assert logs_in(api, user, "secret")
    assert not logs_in(api, user, "other")


def test_password_and_tags_are_changed_together(api: Api, user: str) -> None:
    api.put(f"users/{user}", {"password": "old", "tags": "management"})
    assert api.put(f"users/{user}", {"password": "new", "tags": ["monitoring"]}) == 204
    assert api.get(f"users/{user}")["tags"] == ["monitoring"]
    assert (logs_in(api, user, "old"), logs_in(api, user, "new")) == (False, True)


def test_a_user_without_password_cannot_log_in_with_one(api: Api, user: str) -> None:
    api.put(f"users/{user}", {"password": "old", "tags": "management"})
    api.put(f"users/{user}", {"tags": "management"})
    assert api.get(f"users/{user}")["password_hash"] == ""
    assert not logs_in(api, user, "old")
    assert not logs_in(api, user, "")


def test_an_empty_password_is_never_right(api: Api, user: str) -> None:
    api.ask("PUT", f"users/{user}", {"password": "", "tags": "management"})
    assert not logs_in(api, user, "")


@pytest.mark.parametrize(
    ("algorithm", "function"),
    [
        (None, hashlib.sha256),
        ("rabbit_password_hashing_sha256", hashlib.sha256),
        ("rabbit_password_hashing_sha512", hashlib.sha512),
        ("rabbit_password_hashing_md5", hashlib.md5),
    ],
)
def test_hashes_of_passwords_are_taken(api: Api, user: str, algorithm: str | None, function: Any) -> None:
    hashed = base64.b64encode(SALT + function(SALT + "pässword".encode()).digest()).decode()
    named = {} if algorithm is None else {"hashing_algorithm": algorithm}
    api.put(f"users/{user}", {"password_hash": hashed, "tags": "management", **named})
    shown = api.get(f"users/{user}")
    assert (shown["password_hash"], shown["hashing_algorithm"]) == (
        hashed,
        algorithm or "rabbit_password_hashing_sha256",
    )
    with Api(str(api.url), None) as made:
        login = base64.b64encode(f"{user}:pässword".encode()).decode()
        answer = made.ask("GET", "whoami", headers={"authorization": f"Basic {login}"})
        assert answer.status_code == 200


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"password": "a"}, "tags_not_present"),
        (
            {"tags": "", "password": "a", "password_hash": "AAAA"},
            "both_password_and_password_hash_are_provided",
        ),
        ({"tags": "", "password_hash": "!!!"}, ["not_base64", "!!!"]),
    ],
)
def test_wrong_users_are_refused(api: Api, user: str, body: dict[str, Any], reason: Any) -> None:
    assert api.error(400, "PUT", f"users/{user}", body) == bad_request(reason)
    assert api.error(404, "GET", f"users/{user}") == NOT_FOUND


def test_deleting(api: Api, user: str) -> None:
    api.put(f"users/{user}", {"password": "secret", "tags": "management"})
    api.delete(f"users/{user}")
    assert api.error(404, "DELETE", f"users/{user}") == NOT_FOUND
    assert not logs_in(api, user, "secret")


def test_deleting_several(api: Api, user: str, broker: Broker) -> None:
    api.put(f"users/{user}", {"password": "secret", "tags": ""})
    unknown = api.ask("POST", "users/bulk-delete", {"users": ["nobody"]})
    assert unknown.status_code == since(broker, (4, 0), 204, 400)
    missing = bad_request("[{key_missing,users}]")
    assert api.error(400, "POST", "users/bulk-delete", {}) == missing
    assert api.ask("POST", "users/bulk-delete", {"users": [user]}).status_code == 204
    assert api.error(404, "GET", f"users/{user}") == NOT_FOUND


def test_users_without_permissions_are_arranged(api: Api, users: Callable[..., Api], broker: Broker) -> None:
    user = users("", permissions=None).user
    assert {"name": user} in api.get("users/without-permissions?columns=name")
    page = api.get(f"users/without-permissions?columns=name&page=1&name={user}")
    if broker.version < (4, 0):  # it has no pages there
        assert {"name": user} in page
    else:
        assert page["items"] == [{"name": user}]


def test_whoami(api: Api, users: Callable[..., Api], broker: Broker) -> None:
    user = users("management,own")
    shown = user.get("whoami")
    assert (shown["name"], shown["tags"]) == (user.user, ["management", "own"])
    assert shown.get("is_internal_user") is since(broker, (4, 0), True, None)


# Permissions


def test_permissions(api: Api, user: str) -> None:
    api.put(f"users/{user}", {"password": "secret", "tags": ""})
    assert user in [item["name"] for item in api.get("users/without-permissions")]
    path = f"permissions/{ROOT}/{user}"
    assert api.error(404, "GET", path) == NOT_FOUND
    limited = {"configure": "^q", "write": "", "read": ".*"}
    assert [api.put(path, limited) for _ in range(2)] == [201, 204]
    expected = {"user": user, "vhost": "/", **limited}
    assert api.get(path) == expected
    assert api.get(f"users/{user}/permissions") == [expected]
    assert expected in api.get("permissions")
    assert expected in api.get(f"vhosts/{ROOT}/permissions")
    assert user not in [item["name"] for item in api.get("users/without-permissions")]
    api.delete(path)
    assert api.error(404, "DELETE", path) == NOT_FOUND
    assert api.get(f"users/{user}/permissions") == []


def test_wrong_permissions(api: Api, user: str) -> None:
    api.put(f"users/{user}", {"password": "secret", "tags": ""})
    unknown = bad_request("vhost_or_user_not_found")
    assert api.error(400, "PUT", f"permissions/{ROOT}/nobody", FULL) == unknown
    assert api.error(400, "PUT", f"permissions/nov/{user}", FULL) == unknown
    missing = api.error(400, "PUT", f"permissions/{ROOT}/{user}", {"read": ""})
    assert missing == bad_request("[{key_missing,configure},{key_missing,write}]")
    error = api.error(400, "PUT", f"permissions/{ROOT}/{user}", {**FULL, "read": "*"})
    assert error["error"] == "bad_request"
    reason = error["reason"]
    assert (reason[0] if isinstance(reason, list) else reason.partition(":")[0]) == "invalid_regexp"


def test_topic_permissions(api: Api, user: str) -> None:
    api.put(f"users/{user}", {"password": "secret", "tags": ""})
    path = f"topic-permissions/{ROOT}/{user}"
    assert api.error(404, "GET", path) == NOT_FOUND
    rights = {"exchange": "amq.topic", "write": "^a", "read": "^b"}
    assert [api.put(path, rights) for _ in range(2)] == [201, 204]
    expected = {"user": user, "vhost": "/", **rights}
    assert api.get(path) == [expected]
    assert api.get(f"users/{user}/topic-permissions") == [expected]
    assert expected in api.get("topic-permissions")
    api.delete(path)
    assert api.error(404, "GET", path) == NOT_FOUND


def test_permissions_decide_what_a_user_may_do(api: Api, name: str, users: Callable[..., Api]) -> None:
    user = users("management", permissions=("^no", ".*", ".*"))
    assert user.error(401, "PUT", f"queues/{ROOT}/{name}", {"durable": True})["reason"] == "Access refused."
    api.put(f"queues/{ROOT}/{name}", {"durable": True})
    assert user.error(401, "DELETE", f"queues/{ROOT}/{name}")["reason"] == "Access refused."
    assert user.get(f"queues/{ROOT}/{name}")["name"] == name


# Limits


def test_limits(api: Api, user: str) -> None:
    api.put(f"users/{user}", {"password": "secret", "tags": ""})
    assert api.get(f"user-limits/{user}") == []
    api.put(f"user-limits/{user}/max-connections", {"value": 5})
    expected = {"user": user, "value": {"max-connections": 5}}
    assert api.get(f"user-limits/{user}") == [expected]
    assert expected in api.get("user-limits")
    assert api.get(f"users/{user}")["limits"] == {"max-connections": 5}
    api.delete(f"user-limits/{user}/max-connections")
    api.delete(f"user-limits/{user}/max-connections")
    assert api.get(f"user-limits/{user}") == []


def test_wrong_limits(api: Api, user: str, broker: Broker) -> None:
    nobody = api.error(400, "PUT", "user-limits/nobody/max-channels", {"value": 1})
    assert nobody == bad_request(["no_such_user", "nobody"])
    api.put(f"users/{user}", {"password": "secret", "tags": ""})
    error = api.error(400, "PUT", f"user-limits/{user}/max-foo", {"value": 10})
    text = 'Unrecognised terms [{<<"max-foo">>,10}] in user-limits'
    assert error["reason"].replace("&lt;", "<").replace("&gt;", ">") == text


def test_own_limits_are_shown_to_everybody(api: Api, users: Callable[..., Api]) -> None:
    user = users("management")
    api.put(f"user-limits/{part(user.user)}/max-channels", {"value": 3})
    assert user.get(f"user-limits/{part(user.user)}") == [{"user": user.user, "value": {"max-channels": 3}}]
