"""``fedora-messaging config``: shows the settings in effect, and the schema of the configuration."""

import json
import os
from pathlib import Path

import click

from .. import config
from ..printable import printable
from ..settings.validate import OUTBOX_URL_VARIABLE


@click.group(name="config")
def configuration() -> None:
    """Show the configuration and its schema."""


@configuration.command()
def show() -> None:
    """Print the settings in effect, and where each comes from.

    The output is TOML. Passwords are hidden.
    """
    from ..settings.effective import effective

    settings, origins = config.conf.copy(), dict(config.conf.origins)
    if "outbox" in settings and os.environ.get(OUTBOX_URL_VARIABLE):
        # The only setting that a variable overrides when it is used, and not when the file is read.
        settings["outbox"] = {**settings["outbox"], "url": os.environ[OUTBOX_URL_VARIABLE]}
        origins["outbox.url"] = OUTBOX_URL_VARIABLE
    exists = Path(config.conf.path).is_file()
    click.echo(
        f"# {printable(config.conf.path)}"
        if exists
        else "# There is no configuration file, so the defaults hold"
    )
    for line in effective(settings, origins):
        click.echo(line)


@configuration.command()
def schema() -> None:
    """Print a JSON Schema of the configuration file, for editors."""
    from ..settings.reference import json_schema

    click.echo(json.dumps(json_schema(), indent=2))
