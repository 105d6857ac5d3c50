"""Who a client is, by each mechanism."""

from __future__ import annotations

from typing import Any

import pytest

from fedora_messaging.broker.accounts import Accounts, LoginRefused
from fedora_messaging.broker.login import authenticate
from fedora_messaging.protocol.events import LoginRequested

LOOPBACK = "127.0.0.1"
ELSEWHERE = "192.0.2.7"


@pytest.fixture
def accounts() -> Accounts:
    """`guest` and the user of a program, who has a password and a certificate."""
    made = Accounts()
    made.add_user("bodhi", "secret")
    made.add_user("koji", None)
    return made


def login(
    accounts: Accounts,
    mechanism: str,
    response: bytes = b"",
    *,
    host: str | None = LOOPBACK,
    certificate: Any = None,
) -> str:
    """The name of the user who logs in."""
    event = LoginRequested(mechanism, response, {})
    return authenticate(accounts, event, host, lambda: certificate).name


def certificate_of(*parts: tuple[str, str]) -> dict[str, Any]:
    """A certificate as Python's ssl module tells it."""
    return {"subject": tuple((part,) for part in parts)}


def test_name_and_password(accounts: Accounts) -> None:
    assert login(accounts, "PLAIN", b"\0bodhi\0secret") == "bodhi"


@pytest.mark.parametrize("response", [b"", b"bodhi", b"\0bodhi"])
def test_response_without_name_and_password(accounts: Accounts, response: bytes) -> None:
    with pytest.raises(LoginRefused, match=r"^the client sent no name and password$"):
        login(accounts, "PLAIN", response)


@pytest.mark.parametrize(
    ("response", "why"),
    [
        (b"\0bodhi\0guess", r"^user bodhi: the password is wrong$"),
        (b"\0\x1b[2J\0secret", r"^user \\x1b\[2J: there is no such user$"),
        (b"\0koji\0", r"^user koji: the user has no password, and may only log in with a certificate$"),
    ],
)
def test_refusal_names_the_user(accounts: Accounts, response: bytes, why: str) -> None:
    with pytest.raises(LoginRefused, match=why):
        login(accounts, "PLAIN", response)


def test_anonymous_clients_are_guest_on_this_machine_only(accounts: Accounts) -> None:
    assert login(accounts, "ANONYMOUS") == "guest"
    assert login(accounts, "ANONYMOUS", host=None) == "guest"
    with pytest.raises(LoginRefused, match="only log in from the machine of the broker"):
        login(accounts, "ANONYMOUS", host=ELSEWHERE)


def test_certificate(accounts: Accounts) -> None:
    subject = certificate_of(("organizationName", "Fedora"), ("commonName", "koji"))
    assert login(accounts, "EXTERNAL", host=ELSEWHERE, certificate=subject) == "koji"


@pytest.mark.parametrize("certificate", [None, {}, certificate_of(("organizationName", "koji"))])
def test_certificate_that_names_nobody(accounts: Accounts, certificate: Any) -> None:
    with pytest.raises(LoginRefused, match="no certificate, or one without a common name"):
        login(accounts, "EXTERNAL", certificate=certificate)


def test_certificate_of_an_unknown_user(accounts: Accounts) -> None:
    why = r"^user stranger\\n, the common name of the certificate: there is no such user$"
    with pytest.raises(LoginRefused, match=why):
        login(accounts, "EXTERNAL", certificate=certificate_of(("commonName", "stranger\n")))


def test_certificate_of_a_user_who_may_log_in_from_this_machine_only(accounts: Accounts) -> None:
    certificate = certificate_of(("commonName", "guest"))
    assert login(accounts, "EXTERNAL", certificate=certificate) == "guest"
    assert login(accounts, "EXTERNAL", host=None, certificate=certificate) == "guest"
    with pytest.raises(LoginRefused, match="only log in from the machine of the broker"):
        login(accounts, "EXTERNAL", host=ELSEWHERE, certificate=certificate)
