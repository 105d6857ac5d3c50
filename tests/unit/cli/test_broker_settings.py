"""What becomes of the users, permissions and files that an operator gives a broker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fedora_messaging.broker import Accounts, Permissions
from fedora_messaging.broker.accounts import LoginRefused
from fedora_messaging.cli.broker_settings import (
    accounts_of,
    definitions_of,
    merged,
    read_definitions,
    refuse_open_door,
    tls_options,
)
from fedora_messaging.exceptions import ConfigurationException
from fedora_messaging.transport.tls import ServerTLSOptions

if TYPE_CHECKING:
    from pathlib import Path

EVERYTHING = Permissions()
FILES = {"certfile": "file.crt", "keyfile": "file.key", "ca_cert": "file.ca"}


@pytest.mark.parametrize(
    ("table", "options", "expected"),
    [
        ({}, (None, None, None), None),
        (FILES, (None, None, None), ServerTLSOptions("file.crt", "file.key", "file.ca")),
        ({}, ("a.crt", "a.key", None), ServerTLSOptions("a.crt", "a.key", None)),
        (FILES, ("a.crt", "a.key", "a.ca"), ServerTLSOptions("a.crt", "a.key", "a.ca")),
        # Each option wins on its own.
        (FILES, (None, "a.key", None), ServerTLSOptions("file.crt", "a.key", "file.ca")),
        ({"keyfile": "file.key"}, ("a.crt", None, None), ServerTLSOptions("a.crt", "file.key", None)),
    ],
)
def test_tls(
    table: dict[str, str],
    options: tuple[str | None, str | None, str | None],
    expected: ServerTLSOptions | None,
) -> None:
    assert tls_options(table, *options) == expected


@pytest.mark.parametrize(
    "options", [("a.crt", None, None), (None, "a.key", None), (None, None, "a.ca"), ("a.crt", None, "a.ca")]
)
def test_tls_that_lacks_certificate_or_key(options: tuple[str | None, str | None, str | None]) -> None:
    with pytest.raises(ConfigurationException, match="TLS needs a certificate and its key"):
        tls_options({}, *options)


def accounts(
    table: Any = None,
    users: tuple[str, ...] = (),
    permissions: tuple[tuple[str, str, str, str], ...] = (),
    takes_certificates: bool = False,
    tags: tuple[tuple[str, str], ...] = (),
) -> Accounts:
    made = accounts_of(table or {}, users, tags, permissions, takes_certificates)
    assert made is not None
    return made


def permissions_of(made: Accounts, name: str) -> dict[str, Permissions]:
    user = made.user(name)
    assert user is not None
    return user.permissions


def refused(made: Accounts, name: str, password: str) -> str:
    with pytest.raises(LoginRefused) as caught:
        made.login(name, password, "127.0.0.1")
    return str(caught.value)


def test_without_users_guest_remains() -> None:
    assert accounts_of({}, (), (), (), takes_certificates=True) is None


def test_users_replace_guest() -> None:
    made = accounts(users=("alice:with:colons",))
    assert made.login("alice", "with:colons", "192.0.2.1").name == "alice"
    assert refused(made, "guest", "guest") == "there is no such user"
    assert permissions_of(made, "alice") == {"/": EVERYTHING}


def test_guest_of_the_operator_may_come_from_everywhere() -> None:
    made = accounts(users=("guest:another",))
    assert made.login("guest", "another", "192.0.2.1").tags == ()
    assert refused(made, "guest", "guest") == "the password is wrong"


def test_option_wins_over_the_table() -> None:
    made = accounts(
        {"alice": {"password": "old", "configure": "^a", "write": "", "read": ""}}, ("alice:new",)
    )
    assert made.login("alice", "new", "127.0.0.1").tags == ()
    assert refused(made, "alice", "old") == "the password is wrong"
    assert permissions_of(made, "alice") == {"/": EVERYTHING}


def test_tags() -> None:
    made = accounts({"alice": {"password": "a", "tags": ["administrator", "x"]}})
    assert made.login("alice", "a", None).tags == ("administrator", "x")


def test_permission_that_is_empty_and_one_that_is_missing() -> None:
    made = accounts({"bob": {"password": "b", "configure": "", "read": "^bob"}})
    assert permissions_of(made, "bob") == {"/": Permissions(configure="", write=".*", read="^bob")}


def test_tags_of_options_are_beside_those_of_the_file() -> None:
    given = (("alice", "monitoring"), ("bob", "administrator"))
    made = accounts({"alice": {"password": "x", "tags": ["policymaker"]}}, users=("bob:b",), tags=given)
    alice, bob = made.user("alice"), made.user("bob")
    assert alice is not None
    assert bob is not None
    assert (alice.tags, bob.tags) == (("policymaker", "monitoring"), ("administrator",))


def test_permissions_of_options() -> None:
    made = accounts({"bob": {"password": "b", "read": "^x"}}, ("al:a",), (("bob", "c", "w", "r"),))
    assert permissions_of(made, "bob") == {"/": Permissions("c", "w", "r")}
    assert permissions_of(made, "al") == {"/": EVERYTHING}


def test_user_without_a_password_who_has_a_certificate() -> None:
    made = accounts({"bob": {}}, takes_certificates=True)
    assert permissions_of(made, "bob") == {"/": EVERYTHING}
    assert "may only log in with a certificate" in refused(made, "bob", "")


def test_name_that_needs_quotes_is_told_as_it_is_written() -> None:
    with pytest.raises(ConfigurationException, match=r'"password" in \[users\."a b"\] must be text'):
        accounts({"a b": {"password": 5}})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost"])
def test_guest_alone_is_fine_on_this_machine(host: str) -> None:
    refuse_open_door(host, None, {})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "localhost.example", "::ffff:192.0.2.1"])
def test_guest_alone_is_refused_elsewhere(host: str) -> None:
    with pytest.raises(ConfigurationException, match=f"--host {host} lets other machines connect"):
        refuse_open_door(host, None, {"users": []})
    refuse_open_door(host, Accounts(guest=False), {})
    refuse_open_door(host, None, {"users": [{"name": "alice", "password": "x", "tags": []}]})


@pytest.mark.parametrize(("given", "from_elsewhere"), [(("alice:x",), False), (("guest:x",), True)])
def test_guest_of_definitions_may_come_from_this_machine_only(
    given: tuple[str, ...], from_elsewhere: bool
) -> None:
    """Unless the operator gives the user: everybody knows the password of another guest."""
    made = accounts(users=given)
    made.add_user("guest", "guest")
    if from_elsewhere:
        assert made.login("guest", "guest", "192.0.2.1").name == "guest"
    else:
        with pytest.raises(LoginRefused, match="only log in from the machine of the broker"):
            made.login("guest", "guest", "192.0.2.1")


# What becomes definitions


def test_no_tables_make_no_definitions() -> None:
    assert definitions_of({}) == {"vhosts": [], "policies": [], "parameters": []}


def test_tables_become_definitions() -> None:
    found = definitions_of(
        {
            "vhosts": {"plain": {}, "v": {"description": "d", "tags": ["t"], "max_queues": 0}},
            "policies": {
                "p": {"pattern": "^q", "definition": {"max-length": 1}},
                "o": {
                    "pattern": "",
                    "definition": {"expires": 1},
                    "vhost": "v",
                    "priority": -1.5,
                    "apply-to": "queues",
                    "operator": True,
                },
            },
        }
    )
    plain = {"description": "", "tags": [], "default_queue_type": "classic", "limits": {}}
    assert found == {
        "vhosts": [
            {"name": "plain", **plain},
            {"name": "v", **plain, "description": "d", "tags": ["t"], "limits": {"max-queues": 0}},
        ],
        "policies": [
            {
                "vhost": "/",
                "name": "p",
                "pattern": "^q",
                "definition": {"max-length": 1},
                "priority": 0,
                "apply-to": "all",
            }
        ],
        "parameters": [
            {
                "component": "operator_policy",
                "vhost": "v",
                "name": "o",
                "value": {
                    "pattern": "",
                    "definition": {"expires": 1},
                    "priority": -1.5,
                    "apply-to": "queues",
                },
            }
        ],
    }


def test_definitions_are_put_together() -> None:
    """Of two items for the same thing, the import takes the later one."""
    found = merged({"users": [1], "a": [2]}, {}, {"users": [3], "b": 4}, {"a": "not a list"})
    assert found == {"users": [1, 3], "a": "not a list", "b": 4}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"[]", "holds no definitions: it must be a JSON object"),
        (b"{", "is not JSON: Expecting property name"),
        (b"\xff", "is not JSON: 'utf-8' codec can't decode"),
        (b"[" * 100_000, "is not JSON: JSON nested deeper than"),
    ],
)
def test_files_that_hold_no_definitions(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "definitions.json"
    path.write_bytes(content)
    with pytest.raises(ConfigurationException) as caught:
        read_definitions(str(path))
    assert caught.value.message.startswith(f"{path} {complaint}")


def test_file_with_definitions(tmp_path: Path) -> None:
    path = tmp_path / "definitions.json"
    path.write_text('{"users": []}')
    assert read_definitions(str(path)) == {"users": []}
    assert read_definitions(None) == {}
    with pytest.raises(ConfigurationException, match="cannot be read: Is a directory"):
        read_definitions(str(tmp_path))
