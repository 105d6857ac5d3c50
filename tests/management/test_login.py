"""What strangers may ask for, logging in with a form, and how many logins there have been."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pika.exceptions
import pytest
from tests.behaviour.support import since
from tests.management.client import NOT_FOUND, Api, part, refused
from tests.support.admin import close_quietly, connect

from fedora_messaging.broker.passwords import PasswordHash

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx
    from tests.support.brokers import Broker


@pytest.fixture
def attempts(api: Api) -> str:
    """The path of the node's attempts."""
    return f"auth/attempts/{part(api.get('overview')['node'])}"


def test_the_version_is_no_secret(stranger: Api, api: Api, broker: Broker) -> None:
    if broker.version < (4, 0):
        assert stranger.error(404, "GET", "version") == NOT_FOUND
        return
    assert stranger.get("version") == api.get("overview")["rabbitmq_version"]


def test_how_a_user_interface_logs_in_is_no_secret(stranger: Api, broker: Broker) -> None:
    if broker.version >= (4, 0):
        assert stranger.error(404, "GET", "auth") == NOT_FOUND
        return
    assert stranger.get("auth") == {"enable_uaa": False, "uaa_client_id": "", "uaa_location": ""}


# The form


def log_in(api: Api, name: str, password: str) -> httpx.Response:
    return api.ask("POST", "login", data={"username": name, "password": password})


def test_a_form_logs_in(stranger: Api, broker: Broker) -> None:
    answer = log_in(stranger, "guest", "guest")
    assert answer.status_code == 200, answer.text
    token = base64.b64encode(b"guest:guest").decode()
    if broker.version < (4, 0):
        assert answer.json() == "ok"
        assert answer.headers["set-cookie"] == f"auth={token}; Version=1"
        return
    assert answer.json() == {
        "user": {"name": "guest", "tags": ["administrator"], "is_internal_user": True},
        "token": {"type": "basic", "value": token},
    }
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "form",
    [
        {"username": "guest", "password": "wrong"},
        {"username": "guest"},
        {"password": "guest"},
        {"other": "x"},
    ],
)
def test_a_form_that_is_wrong(stranger: Api, broker: Broker, form: dict[str, str]) -> None:
    reason = since(broker, (4, 0), "Not_Authorized", "Login failed")
    answer = stranger.ask("POST", "login", data=form)
    assert answer.status_code == 401, answer.text
    assert answer.json() == {"error": "not_authorized", "reason": reason}


def test_a_form_of_a_user_without_a_tag(stranger: Api, users: Callable[..., Api]) -> None:
    user = users("").user
    answer = log_in(stranger, user, f"pw-{user}")
    assert (answer.status_code, answer.json()) == (401, refused("Not management user"))


def test_only_a_form_logs_in(stranger: Api, broker: Broker) -> None:
    allowed = since(broker, (4, 0), "POST, DELETE, OPTIONS", "POST, OPTIONS")
    answer = stranger.ask("GET", "login")
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    text = stranger.ask("POST", "login", content="username=guest&password=guest")
    assert text.status_code == 415


# Hashes of passwords


@pytest.mark.parametrize("password", ["secret", "a/b c", "é"])
def test_a_password_is_hashed(api: Api, broker: Broker, password: str) -> None:
    path = f"auth/hash_password/{part(password)}"
    if broker.version < (4, 0):
        assert api.ask("GET", path).status_code in (400, 404)
        return
    (text,) = api.get(path).values()
    assert PasswordHash.parse(text).matches(password)
    assert not PasswordHash.parse(text).matches(f"{password}x")


def test_administrators_hash_passwords(users: Callable[..., Api], broker: Broker) -> None:
    user = users("monitoring")
    status = since(broker, (4, 0), 401, 404)
    answer = user.error(status, "GET", "auth/hash_password/x")
    assert answer == since(broker, (4, 0), refused("Not administrator user"), NOT_FOUND)


# Attempts


def counted(api: Api, path: str) -> dict[str, dict[str, Any]]:
    return {item.pop("protocol"): item for item in api.get(path)}


def test_logins_are_counted_by_protocol(api: Api, attempts: str, broker: Broker) -> None:
    api.delete(attempts)
    for _ in range(2):
        close_quietly(connect(broker.url))
    with pytest.raises(pika.exceptions.AMQPConnectionError):
        connect(broker.url.replace("guest:guest@", "").replace("//", "//guest:wrong@"))
    with Api(str(api.url), ("guest", "wrong")) as wrong:
        wrong.error(401, "GET", "whoami")
    with Api(str(api.url), None) as stranger:
        stranger.error(401, "GET", "whoami")  # has not tried
    assert counted(api, attempts) == {
        "amqp091": {"auth_attempts": 3, "auth_attempts_failed": 1, "auth_attempts_succeeded": 2},
        "http": {"auth_attempts": 2, "auth_attempts_failed": 1, "auth_attempts_succeeded": 1},
    }


def test_counting_begins_again_on_request(api: Api, attempts: str) -> None:
    api.get("whoami")
    api.delete(attempts)
    assert counted(api, attempts)["http"]["auth_attempts"] == 1  # this request itself
    api.delete(f"{attempts}/source")


def test_sources_are_not_counted_by_default(api: Api, attempts: str) -> None:
    assert api.get(f"{attempts}/source") == []


def test_attempts_of_a_node_that_does_not_exist(api: Api) -> None:
    for method in ("GET", "DELETE"):
        assert api.error(404, method, "auth/attempts/nope") == NOT_FOUND


def test_monitors_see_attempts_and_administrators_reset_them(
    users: Callable[..., Api], attempts: str, broker: Broker
) -> None:
    manager, monitor = users("management"), users("monitoring")
    assert manager.error(401, "GET", attempts) == refused("Not monitor user")
    assert monitor.ask("GET", attempts).status_code == 200
    assert monitor.ask("DELETE", attempts).status_code == since(broker, (4, 0), 401, 204)
