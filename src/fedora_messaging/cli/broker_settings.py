"""Reads the users of ``fedora-messaging broker`` and its configuration file."""

import ipaddress
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from msgspec import Struct

from ..exceptions import ConfigurationException
from ..settings.checks import typed
from ..settings.origins import named
from ..settings.types import Text
from ..transport.tls import ServerTLSOptions

if TYPE_CHECKING:
    from ..broker import Accounts

#: Keys of the file that command line options of the same name override.
_OPTIONS: Final = {"host", "port", "data", "memory_limit", "disk_limit", "profile"}
_PERMISSIONS: Final = ("configure", "write", "read")
#: The broker's only virtual host.
_VHOST: Final = "/"


class _Tls(Struct, kw_only=True, forbid_unknown_fields=True):
    """The table ``tls``."""

    certfile: Text | None = None
    keyfile: Text | None = None
    ca_cert: Text | None = None


class _User(Struct, kw_only=True, forbid_unknown_fields=True):
    """A table ``users.NAME``; an empty permission allows nothing, and a missing one everything."""

    password: Text | None = None
    tags: list[str] = []
    configure: str | None = None
    write: str | None = None
    read: str | None = None


def read_file(context: click.Context, _parameter: click.Parameter, path: str | None) -> Mapping[str, Any]:
    """Read the file that ``--settings`` names; its values become the defaults of the options."""
    if path is None:
        return {}
    try:
        settings = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise click.BadParameter(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{path} is not TOML: {error}") from None
    known = {*_OPTIONS, "tls", "users"}
    if unknown := sorted(set(settings) - known):
        raise click.BadParameter(
            f"{path} does not know {', '.join(unknown)}; it knows {', '.join(sorted(known))}"
        )
    context.default_map = {key: value for key, value in settings.items() if key in _OPTIONS}
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
    permissions: Sequence[tuple[str, str, str, str]],
    takes_certificates: bool,
) -> "Accounts | None":
    """Return the accounts that may log in; ``None`` if no user is given, so that guest remains.

    Args:
        table: The table ``users`` of the file.
        users: Values of ``--user``, "NAME:PASSWORD".
        permissions: Values of ``--permissions``.
        takes_certificates: Users may log in with a certificate, and so need no password.

    Raises:
        ConfigurationException: Something is wrong with a user.
    """
    if not isinstance(table, dict):
        raise ConfigurationException('"users" must be a table; write it as [users.NAME]')
    if not table and not users:
        if permissions:
            raise ConfigurationException("--permissions is for a user: add it with --user NAME:PASSWORD")
        return None
    # Imported here because the other commands do not need the broker.
    from ..broker import Accounts

    accounts = Accounts(guest=False)
    # If the operator gives a user guest, its password is not the well-known one.
    accounts.loopback_users.clear()
    for name, settings in table.items():
        user = typed(settings, _User, named("users", name))
        _add(accounts, name, user.password, tuple(user.tags))
        given = {kind: getattr(user, kind) for kind in _PERMISSIONS}
        _permit(accounts, name, {kind: text for kind, text in given.items() if text is not None})
        if user.password is None and not takes_certificates:
            raise ConfigurationException(
                f"[users.{name}] has no password, so nobody could log in as {name}: add one, or let "
                "certificates "
                "in with ca_cert in [tls]"
            )
    for option in users:
        name, colon, password = option.partition(":")
        if not name or not colon or not password:
            raise ConfigurationException("--user must be of the form NAME:PASSWORD")
        _add(accounts, name, password, ())
    for name, *patterns in permissions:
        _permit(accounts, name, dict(zip(_PERMISSIONS, patterns, strict=True)))
    return accounts


def _add(accounts: "Accounts", name: str, password: str | None, tags: tuple[str, ...]) -> None:
    accounts.add_user(name, password, tags)
    _permit(accounts, name, {})


def _permit(accounts: "Accounts", name: str, patterns: Mapping[str, str]) -> None:
    from ..broker import Permissions

    for kind, pattern in patterns.items():
        try:
            re.compile(pattern)
        except re.error as error:
            raise ConfigurationException(
                f"what user {name} may {kind} is no regular expression, {pattern!r}: {error}"
            ) from error
    try:
        accounts.set_permissions(name, _VHOST, Permissions(**patterns))
    except KeyError:
        raise ConfigurationException(
            f"--permissions names the user {name}, who is not there: add --user {name}:PASSWORD"
        ) from None


def refuse_open_door(host: str, accounts: "Accounts | None") -> None:
    """Refuse to listen on an address that other machines can reach if only guest may log in.

    Raises:
        ConfigurationException: Other machines can reach the address, and only guest may log in.
    """
    if accounts is None and not _is_loopback(host):
        raise ConfigurationException(
            f"--host {host} lets other machines connect, but nobody may log in from them: the user guest, "
            "whose password everybody knows, may only do so from this machine. Add users with --user "
            "NAME:PASSWORD "
            "or in the file that --settings names, or listen on 127.0.0.1"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
