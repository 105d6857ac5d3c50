"""Users, their passwords and their permissions."""

from __future__ import annotations

import re

import pytest

from fedora_messaging.broker.accounts import (
    Accounts,
    LoginRefused,
    Permissions,
    TopicPermissions,
    User,
)
from fedora_messaging.broker.passwords import PasswordHash

WITHOUT_PASSWORD = "the user has no password, and may only log in with a certificate"
REMOTE = "the user may only log in from the machine of the broker"


def refusal(accounts: Accounts, name: str, password: str, peer: str | None = "192.0.2.1") -> str:
    with pytest.raises(LoginRefused) as caught:
        accounts.login(name, password, peer)
    return str(caught.value)


@pytest.fixture
def accounts() -> Accounts:
    """With the user me, and the user cert who has no password."""
    made = Accounts()
    made.add_user("me", "secret")
    made.add_user("cert", None)
    return made


# Logins


@pytest.mark.parametrize("password", ["secret", "żółw 🐢", "\udcff"])
def test_right_password(accounts: Accounts, password: str) -> None:
    accounts.add_user("other", password, tags=("monitoring",))
    user = accounts.login("other", password, "192.0.2.1")
    assert (user.name, set(user.tags), user.permissions) == ("other", {"monitoring"}, {})
    assert accounts.user("other") is user


@pytest.mark.parametrize(
    ("name", "password", "why"),
    [
        ("me", "Secret", "the password is wrong"),
        ("me", "", "the password is wrong"),
        ("Me", "secret", "there is no such user"),
        ("", "", "there is no such user"),
        ("cert", "", WITHOUT_PASSWORD),
        ("cert", "secret", WITHOUT_PASSWORD),
    ],
)
def test_refused_login(accounts: Accounts, name: str, password: str, why: str) -> None:
    assert refusal(accounts, name, password) == why


@pytest.mark.parametrize(
    "peer", [None, "127.0.0.1", "127.255.0.9", "::1", "::1%lo", "::ffff:127.0.0.1", "::ffff:127.0.0.1%lo"]
)
def test_guest_may_log_in_from_here(accounts: Accounts, peer: str | None) -> None:
    assert accounts.login("guest", "guest", peer).tags == ("administrator",)


@pytest.mark.parametrize(
    "peer", ["192.0.2.1", "::", "0.0.0.0", "fe80::1%lo", "::ffff:192.0.2.1", "localhost", "", "%127.0.0.1"]
)
def test_guest_may_not_log_in_from_elsewhere(accounts: Accounts, peer: str) -> None:
    assert refusal(accounts, "guest", "guest", peer) == REMOTE
    # Who does not know the password does not learn that.
    assert refusal(accounts, "guest", "wrong", peer) == "the password is wrong"
    accounts.loopback_users.clear()
    assert accounts.login("guest", "guest", peer).name == "guest"


def test_broker_without_guest() -> None:
    assert refusal(Accounts(guest=False), "guest", "guest", None) == "there is no such user"


def test_user_who_was_removed(accounts: Accounts) -> None:
    accounts.remove_user("me")
    accounts.remove_user("me")
    assert accounts.user("me") is None
    assert refusal(accounts, "me", "secret") == "there is no such user"


def test_removal_is_told_once(accounts: Accounts) -> None:
    told: list[str] = []
    accounts.on_removed.add(told.append)
    for name in ("me", "me", "nobody"):
        accounts.remove_user(name)
    assert told == ["me"]


def test_user_who_is_added_again_keeps_the_permissions(accounts: Accounts) -> None:
    """Only password and tags change, as with RabbitMQ; those who are logged in keep what they may do, too."""
    before = accounts.login("me", "secret", None)
    accounts.set_permissions("me", "/", Permissions(read="^a"))
    accounts.add_user("me", "other", tags=("monitoring",))
    assert refusal(accounts, "me", "secret") == "the password is wrong"
    after = accounts.login("me", "other", None)
    assert after.permissions == {"/": Permissions(read="^a")}
    assert after.tags == ("monitoring",)
    accounts.set_permissions("me", "/", Permissions(read="^b"))
    assert before.permissions == {"/": Permissions(read="^b")}


def test_password_is_neither_kept_nor_shown(accounts: Accounts) -> None:
    """Equal passwords cannot be told from what is kept."""
    accounts.add_user("twin", "secret")
    me, twin = accounts.user("me"), accounts.user("twin")
    assert me is not None
    assert twin is not None
    assert me.password != twin.password
    assert "secret" not in repr(me)
    assert "password" not in repr(me)


def test_user_whose_hash_is_known(accounts: Accounts) -> None:
    accounts.add_hashed_user("hashed", PasswordHash.of("secret"), ("monitoring",))
    assert accounts.login("hashed", "secret", "192.0.2.1").tags == ("monitoring",)
    assert refusal(accounts, "hashed", "Secret") == "the password is wrong"
    accounts.add_hashed_user("hashed", None)
    assert refusal(accounts, "hashed", "secret") == WITHOUT_PASSWORD


def test_empty_password_lets_nobody_in(accounts: Accounts) -> None:
    accounts.add_user("me", "")
    assert refusal(accounts, "me", "") == "the password is wrong"


def test_users_may_be_removed_while_they_are_listed(accounts: Accounts) -> None:
    for user in accounts:
        accounts.remove_user(user.name)
    assert list(accounts) == []


# Permissions


@pytest.mark.parametrize(
    ("pattern", "resource", "allowed"),
    [
        (".*", "q", True),
        ("", "q", False),
        ("", "", False),
        ("^$", "", False),
        ("own", "my.own.queue", True),
        ("^own", "my.own.queue", False),
        ("^own$", "own", True),
        ("^amq.default$", "", True),
        ("^amq.default$", "amq.default", True),
    ],
)
def test_pattern_is_searched_for(accounts: Accounts, pattern: str, resource: str, allowed: bool) -> None:
    accounts.set_permissions("me", "/", Permissions("^c$", pattern, "^r$"))
    me = accounts.user("me")
    assert me is not None
    assert accounts.allows(me, "/", "write", resource) is allowed


def test_permissions_are_apart(accounts: Accounts) -> None:
    accounts.set_permissions("me", "/", Permissions("^c$", "^w$", "^r$"))
    me = accounts.user("me")
    assert me is not None
    allowed = {
        permission: [name for name in ("c", "w", "r") if accounts.allows(me, "/", permission, name)]
        for permission in ("configure", "write", "read")
    }
    assert allowed == {"configure": ["c"], "write": ["w"], "read": ["r"]}
    assert not accounts.allows(me, "other", "read", "r")


def test_permissions_of_nobody(accounts: Accounts) -> None:
    with pytest.raises(KeyError, match="nobody"):
        accounts.set_permissions("nobody", "/", Permissions())


def test_permission_that_is_no_expression_changes_nothing() -> None:
    accounts = Accounts()
    with pytest.raises(re.error):
        accounts.set_permissions("guest", "/", Permissions(read="("))
    guest = accounts.user("guest")
    assert guest is not None
    assert accounts.allows(guest, "/", "read", "q")


def test_permission_that_takes_too_long_is_refused(
    accounts: Accounts, caplog: pytest.LogCaptureFixture
) -> None:
    """No engine at hand can decide it in bounded time."""
    costly = r"^(a+)+\N{DIGIT ONE}$"
    accounts.set_permissions("me", "/", Permissions(read=costly))
    me = user(accounts)
    assert accounts.allows(me, "/", "read", "aaa1")
    assert caplog.messages == []
    assert not accounts.allows(me, "/", "read", "a" * 60 + "1")
    assert caplog.messages == [
        f"The permission {costly} is refused for {'a' * 60}1: the search could take too long. Write it "
        "without repetitions inside repetitions"
    ]


# Permissions for topics


def user(accounts: Accounts) -> User:
    """Return the user me."""
    found = accounts.user("me")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("pattern", "key", "allowed"),
    [
        (".*", "a.b", True),
        ("a", "x.a.b", True),
        ("^a", "x.a.b", False),
        ("", "", True),
        ("", "a", False),
        ("^{username}\\.", "me.a", True),
        ("^{username}\\.", "you.a", False),
        ("^{username}\\.{vhost}$", "me./", True),
    ],
)
@pytest.mark.parametrize("permission", ["write", "read"])
def test_routing_keys(accounts: Accounts, permission: str, pattern: str, key: str, allowed: bool) -> None:
    """An empty expression allows the empty routing key only."""
    accounts.set_topic_permissions("me", "/", "e", TopicPermissions(**{permission: pattern}))
    me = user(accounts)
    assert accounts.allows_topic(me, "/", permission, "e", key) is allowed
    other = {"write": "read", "read": "write"}[permission]
    assert accounts.allows_topic(me, "/", other, "e", "anything")


def test_name_in_a_topic_permission_is_no_expression(accounts: Accounts) -> None:
    accounts.add_user("a.b", "x")
    accounts.set_topic_permissions("a.b", "/", "e", TopicPermissions("^{username}$"))
    found = accounts.user("a.b")
    assert found is not None
    assert accounts.allows_topic(found, "/", "write", "e", "a.b")
    assert not accounts.allows_topic(found, "/", "write", "e", "axb")


def test_topic_permissions_hold_for_one_exchange(accounts: Accounts) -> None:
    """Without an entry every routing key is allowed; the plain permission is another matter."""
    accounts.set_topic_permissions("me", "/", "e", TopicPermissions("^a", "^a"))
    me = user(accounts)
    allowed = [
        (vhost, exchange)
        for vhost in ("/", "v")
        for exchange in ("e", "f")
        if accounts.allows_topic(me, vhost, "write", exchange, "b")
    ]
    assert allowed == [("/", "f"), ("v", "e"), ("v", "f")]


def test_topic_permission_that_is_wrong_changes_nothing(accounts: Accounts) -> None:
    with pytest.raises(re.error):
        accounts.set_topic_permissions("me", "/", "e", TopicPermissions(read="("))
    with pytest.raises(KeyError, match="nobody"):
        accounts.set_topic_permissions("nobody", "/", "e", TopicPermissions())
    assert user(accounts).topic_permissions == {}


def test_virtual_host_that_is_forgotten(accounts: Accounts) -> None:
    for name in ("/", "v"):
        accounts.set_permissions("me", name, Permissions())
        accounts.set_topic_permissions("me", name, "e", TopicPermissions())
    accounts.forget_vhost("v")
    me = user(accounts)
    assert (list(me.permissions), list(me.topic_permissions)) == (["/"], [("/", "e")])
