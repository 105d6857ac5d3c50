"""``fedora-messaging config``: shows the settings in effect, and the schema of the configuration."""

import json
from pathlib import Path

import click

from .. import config
from ..printable import printable


@click.group(name="config")
def configuration() -> None:
    """Show the configuration and its schema."""


@configuration.command()
def show() -> None:
    """Print the settings in effect, and where each comes from.

    The output is TOML. Passwords are hidden.
    """
    from ..settings.effective import effective

    settings = config.conf.copy()
    exists = Path(config.conf.path).is_file()
    click.echo(
        f"# {printable(config.conf.path)}"
        if exists
        else "# There is no configuration file, so the defaults hold"
    )
    for line in effective(settings, config.conf.origins):
        click.echo(line)


@configuration.command()
def schema() -> None:
    """Print a JSON Schema of the configuration file, for editors."""
    from ..settings.reference import json_schema

    click.echo(json.dumps(json_schema(), indent=2))
