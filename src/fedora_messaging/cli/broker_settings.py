"""Reads the configuration file of ``fedora-messaging broker``: users, virtual hosts, policies, TLS."""

import ipaddress
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from msgspec import Struct

from ..exceptions import ConfigurationException
from ..printable import escaped
from ..settings.checks import typed
from ..settings.origins import named
from ..settings.types import Text
from ..transport.tls import ServerTLSOptions
from ..validation import json_body

if TYPE_CHECKING:
    from ..broker import Accounts

#: Keys of the file that command line options of the same name override.
_OPTIONS: Final = {
    "host",
    "port",
    "http_port",
    "data",
    "definitions",
    "memory_limit",
    "disk_limit",
    "bodies_in_memory",
    "consumer_timeout",
    "profile",
    "archive",
    "allow_changes",
}
#: Those of them that are texts.
_TEXTS: Final = {"host", "data", "definitions", "archive"}
_PERMISSIONS: Final = ("configure", "write", "read")
#: The virtual host that every broker has.
_VHOST: Final = "/"


class _Tls(Struct, kw_only=True, forbid_unknown_fields=True):
    """The table ``tls``."""

    certfile: Text | None = None
    keyfile: Text | None = None
    ca_cert: Text | None = None


class _Permissions(Struct, kw_only=True, forbid_unknown_fields=True):
    """What a user may do in a virtual host; an empty one allows nothing, and a missing one everything."""

    configure: str = ".*"
    write: str = ".*"
    read: str = ".*"


class _Vhost(Struct, kw_only=True, forbid_unknown_fields=True):
    """A table ``vhosts.NAME``."""

    description: str = ""
    tags: list[str] = []
    default_queue_type: str = "classic"
    max_connections: int | None = None
    max_queues: int | None = None


class _Policy(Struct, kw_only=True, forbid_unknown_fields=True, rename={"apply_to": "apply-to"}):
    """A table ``policies.NAME``."""

    pattern: str
    definition: dict[str, Any]
    vhost: str = _VHOST
    priority: float = 0
    apply_to: str = "all"
    operator: bool = False


class _User(Struct, kw_only=True, forbid_unknown_fields=True):
    """A table ``users.NAME``; an empty permission allows nothing, and a missing one everything."""

    password: Text | None = None
    password_hash: Text | None = None
    hashing_algorithm: Text = "rabbit_password_hashing_sha256"
    vhosts: dict[str, _Permissions] = {}
    max_connections: int | None = None
    max_channels: int | None = None
    tags: list[str] = []
    configure: str | None = None
    write: str | None = None
    read: str | None = None


def read_file(context: click.Context, _parameter: click.Parameter, path: str | None) -> Mapping[str, Any]:
    """Read the file that ``--config`` names; its values become the defaults of the options."""
    if path is None:
        return {}
    try:
        settings = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise click.BadParameter(f"{path} cannot be read: {error.strerror}") from error
    except RecursionError:
        raise click.BadParameter(f"{path} is not TOML: it is nested too deeply") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise click.BadParameter(escaped(f"{path} is not TOML: {error}")) from None
    known = {*_OPTIONS, "tls", "users", "vhosts", "policies"}
    if unknown := sorted(set(settings) - known):
        raise click.BadParameter(
            escaped(f"{path} does not know {', '.join(unknown)}; it knows {', '.join(sorted(known))}")
        )
    for key in _TEXTS & set(settings):
        if not isinstance(settings[key], str):
            raise click.BadParameter(f'"{key}" in {path} must be text, in quotes')
    context.default_map = {key: value for key, value in settings.items() if key in _OPTIONS}
    if "profile" in settings:
        # Click before 8.1 does not find a number among the texts to choose from.
        context.default_map["profile"] = str(settings["profile"])
    return settings


def tls_options(
    table: Any, certfile: str | None, keyfile: str | None, ca_cert: str | None
) -> ServerTLSOptions | None:
    """Return the TLS options of the listener; options win over the table ``tls`` of the file.

    Raises:
        ConfigurationException: Either the certificate or the key is missing.
    """
    file = typed(table, _Tls, "tls")
    certfile, keyfile = certfile or file.certfile, keyfile or file.keyfile
    ca_cert = ca_cert or file.ca_cert
    if certfile is None and keyfile is None and ca_cert is None:
        return None
    if certfile is None or keyfile is None:
        raise ConfigurationException(
            "TLS needs a certificate and its key: give both --tls-cert and --tls-key, or certfile and "
            "keyfile in [tls]"
        )
    return ServerTLSOptions(certfile, keyfile, ca_cert)


def accounts_of(
    table: Any,
    users: Sequence[str],
    tags: Sequence[tuple[str, str]],
    permissions: Sequence[tuple[str, str, str, str]],
    takes_certificates: bool,
) -> "Accounts | None":
    """Return the accounts that may log in; ``None`` if no user is given, so that guest remains.

    Args:
        table: The table ``users`` of the file.
        users: Values of ``--user``, "NAME:PASSWORD".
        tags: Values of ``--tag``.
        permissions: Values of ``--permissions``.
        takes_certificates: Users may log in with a certificate, and so need no password.

    Raises:
        ConfigurationException: Something is wrong with a user.
    """
    if not isinstance(table, dict):
        raise ConfigurationException('"users" must be a table; write it as [users.NAME]')
    if not table and not users:
        for option, values in (("--tag", tags), ("--permissions", permissions)):
            if values:
                raise ConfigurationException(f"{option} is for a user: add it with --user NAME:PASSWORD")
        return None
    # Imported here because the other commands do not need the broker.
    from ..broker import Accounts

    accounts = Accounts(guest=False)
    # If the operator gives a user guest, its password is not the well-known one.
    if any(name == "guest" for name in (*table, *(option.partition(":")[0] for option in users))):
        accounts.loopback_users.clear()
    for name, settings in table.items():
        user = typed(settings, _User, named("users", name))
        _add_from_file(accounts, name, user)
        if user.password is None and user.password_hash is None and not takes_certificates:
            raise ConfigurationException(
                f"[users.{name}] has no password, so nobody could log in as {name}: add one, or let "
                "certificates in with ca_cert in [tls]"
            )
    for option in users:
        name, colon, password = option.partition(":")
        if not name or not colon or not password:
            raise ConfigurationException("--user must be of the form NAME:PASSWORD")
        _add(accounts, name, password, ())
    for name, tag in tags:
        tagged = accounts.user(name)
        if tagged is None:
            raise _stranger("--tag", name)
        tagged.tags = (*tagged.tags, tag)
    for name, *patterns in permissions:
        _permit(accounts, name, dict(zip(_PERMISSIONS, patterns, strict=True)))
    return accounts


def _add_from_file(accounts: "Accounts", name: str, user: _User) -> None:
    from ..broker.passwords import PasswordHash

    if user.password is not None and user.password_hash is not None:
        raise ConfigurationException(f"[users.{name}] has both password and password_hash: remove one")
    _add(accounts, name, user.password, tuple(user.tags))
    if user.password_hash is not None:
        try:
            hashed = PasswordHash.parse(user.password_hash, user.hashing_algorithm)
        except ValueError as error:
            raise ConfigurationException(f"[users.{name}] has no usable password_hash: {error}") from error
        accounts.add_hashed_user(name, hashed, tuple(user.tags))
    given = {kind: getattr(user, kind) for kind in _PERMISSIONS}
    _permit(accounts, name, {kind: text for kind, text in given.items() if text is not None})
    for vhost, permissions in user.vhosts.items():
        allowed = {kind: getattr(permissions, kind) for kind in _PERMISSIONS}
        _permit(accounts, name, allowed, vhost)
    limits = {"max-connections": user.max_connections, "max-channels": user.max_channels}
    found = accounts.user(name)
    assert found is not None  # it was just added
    found.limits = {limit: number for limit, number in limits.items() if number is not None}


def definitions_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tables ``vhosts`` and ``policies`` of the file as definitions.

    Raises:
        ConfigurationException: Something in them is wrong.
    """
    vhosts, policies, parameters = [], [], []
    for name, table in _tables(settings, "vhosts"):
        vhost = typed(table, _Vhost, named("vhosts", name))
        limits = {"max-connections": vhost.max_connections, "max-queues": vhost.max_queues}
        vhosts.append(
            {
                "name": name,
                "description": vhost.description,
                "tags": vhost.tags,
                "default_queue_type": vhost.default_queue_type,
                "limits": {limit: number for limit, number in limits.items() if number is not None},
            }
        )
    for name, table in _tables(settings, "policies"):
        policy = typed(table, _Policy, named("policies", name))
        item = {
            "pattern": policy.pattern,
            "definition": policy.definition,
            "priority": policy.priority,
            "apply-to": policy.apply_to,
        }
        if policy.operator:
            parameters.append(
                {"component": "operator_policy", "vhost": policy.vhost, "name": name, "value": item}
            )
        else:
            policies.append({"vhost": policy.vhost, "name": name, **item})
    return {"vhosts": vhosts, "policies": policies, "parameters": parameters}


def _tables(settings: Mapping[str, Any], key: str) -> Iterable[tuple[str, Any]]:
    tables = settings.get(key, {})
    if not isinstance(tables, dict):
        raise ConfigurationException(f'"{key}" must be a table; write it as [{key}.NAME]')
    return tables.items()


def read_definitions(path: str | None) -> dict[str, Any]:
    """Read the file that ``--definitions`` names.

    Raises:
        ConfigurationException: It cannot be read, or is no JSON object.
    """
    if path is None:
        return {}
    try:
        document = json_body.decode_text(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationException(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigurationException(f"{path} is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise ConfigurationException(f"{path} holds no definitions: it must be a JSON object")
    return document


def merged(*documents: Mapping[str, Any]) -> dict[str, Any]:
    """Return definitions that hold the items of several ones."""
    result: dict[str, Any] = {}
    for document in documents:
        for section, items in document.items():
            known = result.get(section)
            result[section] = (
                [*known, *items] if isinstance(known, list) and isinstance(items, list) else items
            )
    return result


def _add(accounts: "Accounts", name: str, password: str | None, tags: tuple[str, ...]) -> None:
    accounts.add_user(name, password, tags)
    _permit(accounts, name, {})


def _permit(accounts: "Accounts", name: str, patterns: Mapping[str, str], vhost: str = _VHOST) -> None:
    from ..broker import Permissions

    for kind, pattern in patterns.items():
        try:
            re.compile(pattern)
        except re.error as error:
            raise ConfigurationException(
                f"what user {name} may {kind} is no regular expression, {pattern!r}: {error}"
            ) from error
    try:
        accounts.set_permissions(name, vhost, Permissions(**patterns))
    except KeyError:
        raise _stranger("--permissions", name) from None


def _stranger(option: str, name: str) -> ConfigurationException:
    return ConfigurationException(
        f"{option} names the user {name}, who is not there: add --user {name}:PASSWORD"
    )


def refuse_open_door(host: str, accounts: "Accounts | None", definitions: Mapping[str, Any]) -> None:
    """Refuse to listen on an address that other machines can reach if only guest may log in.

    Args:
        host: The address.
        accounts: The users who may log in, if any are given.
        definitions: The definitions, which may have users, too.

    Raises:
        ConfigurationException: Other machines can reach the address, and only guest may log in.
    """
    if accounts is None and not _is_loopback(host) and not definitions.get("users"):
        raise ConfigurationException(
            f"--host {host} lets other machines connect, but nobody may log in from them: the user guest, "
            "whose password everybody knows, may only do so from this machine. Add users with --user "
            "NAME:PASSWORD or in the file that --config names, or listen on 127.0.0.1"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
