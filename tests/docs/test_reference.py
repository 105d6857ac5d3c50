"""The reference mentions every command and option, and every exception."""

from __future__ import annotations

import asyncio
import inspect
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest

from fedora_messaging import cli, exceptions
from fedora_messaging.broker.definitions import import_definitions
from fedora_messaging.broker.server import Server
from fedora_messaging.cli import broker_settings

if TYPE_CHECKING:
    from fedora_messaging.broker import Accounts

DOCS = Path(__file__).parents[2] / "docs"
CONFIGURATION = (DOCS / "reference" / "configuration.md").read_text(encoding="utf-8")
COMMANDS = (DOCS / "reference" / "command-line.md").read_text(encoding="utf-8")

#: Options that every command has, or that say what they do by their name.
OBVIOUS = {"help", "version"}


def walk(command: click.Command, path: tuple[str, ...] = ()) -> list[tuple[str, click.Command]]:
    found = [(" ".join(path), command)] if path else []
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            found += walk(below, (*path, name))
    return found


@pytest.mark.parametrize(("name", "command"), walk(cli.cli), ids=[name for name, _ in walk(cli.cli)])
def test_commands(name: str, command: click.Command) -> None:
    first, *more = name.split()
    sections = re.findall(rf"^## [^\n]*\b{first}\b.*?(?=^## |\Z)", COMMANDS, re.MULTILINE | re.DOTALL)
    assert sections
    assert all(word in sections[0] for word in more)
    options = {
        option.lstrip("-")
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for option in parameter.opts
        if option.startswith("--")
    }
    # Those that several commands share are described with the first of them.
    missing = {option for option in options - OBVIOUS if f"--{option}" not in COMMANDS}
    assert not missing


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, one in vars(exceptions).items()
        if inspect.isclass(one) and one.__module__ == exceptions.__name__
    ],
)
def test_exceptions_explain_themselves(name: str) -> None:
    """They are in the reference by their docstrings."""
    assert name.startswith("_") or getattr(exceptions, name).__doc__


def test_file_of_the_broker_is_right() -> None:
    """All of it is used, and the broker takes it."""

    async def start(document: dict[str, Any], accounts: Accounts | None) -> None:
        server = Server(accounts=accounts)
        server.open(asyncio.get_running_loop())
        import_definitions(server, document, kept_users=server.users_of_program)
        assert set(server.vhosts) == {"/", "orders"}
        await server.stop()

    section = COMMANDS.split("\n## broker\n")[1].split("\n## ")[0]
    settings = tomllib.loads(re.findall(r"```toml\n(.*?)```", section, re.DOTALL)[0])
    options = {option.name for option in cli.cli.commands["broker"].params}
    tables = {"tls", "users", "vhosts", "policies"}
    assert tables < set(settings) <= tables | options
    document = broker_settings.definitions_of(settings)
    assert broker_settings.tls_options(settings["tls"], None, None, None) is not None
    accounts = broker_settings.accounts_of(settings["users"], (), (), (), takes_certificates=True)
    assert accounts is not None
    operator = accounts.user("operator")
    assert operator is not None
    assert operator.password is not None
    assert operator.password.matches("test12")
    asyncio.run(start(document, accounts))
