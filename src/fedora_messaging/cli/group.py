"""The command group: finds the configuration and sets up logging."""

from pathlib import Path

import click

from .. import config
from .._version import __version__
from ..exceptions import ConfigurationException


@click.group()
@click.version_option(__version__, prog_name="fedora-messaging")
@click.option(
    "--conf",
    envvar=config.PATH_VARIABLE,
    help=f"Configuration file to use instead of {config.DEFAULT_PATH}.",
)
def cli(conf: str | None) -> None:
    """Publish, consume and look after messages on an AMQP topic bus."""
    if conf:
        _load(conf)
    try:
        config.conf.setup_logging()
    except ConfigurationException as error:
        raise click.ClickException(f"{error} (in {config.DEFAULT_PATH})") from error
    except (ValueError, TypeError, AttributeError, ImportError, OSError) as error:
        cause = error.__cause__ or error
        raise click.ClickException(
            f"Configuration error: the log_config setting does not work: {error} ({cause})"
        ) from error


def _load(path: str) -> None:
    if not Path(path).is_file():
        raise click.exceptions.BadParameter(f"{path} is not a file")
    try:
        config.conf.load_config(config_path=path)
    except ConfigurationException as error:
        raise click.exceptions.BadParameter(f"{error}\nThe configuration file is {path}") from error
    except OSError as error:
        raise click.exceptions.BadParameter(f"{path} cannot be read: {error.strerror}") from error
