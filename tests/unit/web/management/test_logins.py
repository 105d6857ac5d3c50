"""Who a client is, and how often clients have tried."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.web.management.support import new_call, new_server

from fedora_messaging.broker.core.profile import RABBITMQ_3
from fedora_messaging.web.management import logins
from fedora_messaging.web.management.call import Answer
from fedora_messaging.web.management.errors import RequestError

if TYPE_CHECKING:
    from fedora_messaging.broker.server import Server

_FORM = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}


def fill_in(raw: bytes, server: Server | None = None, headers: dict[str, str] = _FORM) -> Any:
    call = new_call(raw, tags=(), headers=headers, server=server)
    call.host = "127.0.0.1"
    return asyncio.run(logins.fill_in(call))


def test_letters_of_any_alphabet_log_in() -> None:
    server = new_server()
    server.accounts.add_user("zoë", "a&b=c", ("management",))
    shown = fill_in(b"username=zo%C3%AB&password=a%26b%3Dc", server)
    assert shown["user"]["name"] == "zoë"
    assert base64.b64decode(shown["token"]["value"]).decode() == "zoë:a&b=c"


def test_the_older_release_sets_a_cookie() -> None:
    answer = fill_in(b"username=guest&password=guest", new_server(RABBITMQ_3))
    assert isinstance(answer, Answer)
    assert (answer.status, answer.body) == (200, "ok")
    assert answer.headers["set-cookie"] == "auth=Z3Vlc3Q6Z3Vlc3Q=; Version=1"


@pytest.mark.parametrize(
    ("raw", "headers", "status"),
    [
        (b"username=guest&password=guest", {}, 415),
        (b"username=guest", _FORM, 401),
        (b"\xff=\xff", _FORM, 401),
        (b"", _FORM, 401),
    ],
)
def test_what_does_not_log_in(raw: bytes, headers: dict[str, str], status: int) -> None:
    with pytest.raises(RequestError) as caught:
        fill_in(raw, headers=headers)
    assert caught.value.status == status


def test_both_ends_of_a_login_are_counted() -> None:
    server = new_server()

    async def log_in(password: str) -> None:
        await logins.log_in(server, "guest", password, "127.0.0.1")

    asyncio.run(log_in("guest"))
    with pytest.raises(RequestError):
        asyncio.run(log_in("wrong"))
    call = new_call(path={"node": server.node}, server=server)
    counted = {"auth_attempts": 2, "auth_attempts_failed": 1, "auth_attempts_succeeded": 1}
    assert logins.attempts(call) == [{"protocol": "http", **counted}]
    logins.reset_attempts(call)
    assert logins.attempts(call) == []
