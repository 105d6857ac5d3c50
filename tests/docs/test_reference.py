"""The reference mentions every command and option, and every exception."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import click
import pytest

from fedora_messaging import cli, exceptions

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
