"""The command group: finds the configuration and sets up logging."""

import functools
from pathlib import Path
from typing import Any

import click

from .. import config
from .._version import __version__
from ..exceptions import ConfigurationException

_CONF_HELP = f"Configuration file to use instead of {config.DEFAULT_PATH}."


class _Group(click.Group):
    """Makes each command load the configuration before it runs, and take ``--conf`` after its name, too."""

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Add a command; it loads the configuration before it runs."""
        _read_configuration_first(cmd)
        super().add_command(cmd, name)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="fedora-messaging")
@click.option("--conf", envvar=config.PATH_VARIABLE, help=_CONF_HELP)
@click.option("--log-timestamps", is_flag=True, help="Start each log line with the time.")
@click.pass_context
def cli(context: click.Context, conf: str | None, log_timestamps: bool) -> None:
    """Publish, consume and look after messages on an AMQP topic bus."""
    context.obj = _Options(conf, log_timestamps)


class _Options:
    """The options given before the command's name; a ``--conf`` after the name wins."""

    def __init__(self, conf: str | None, log_timestamps: bool) -> None:
        self.conf = conf
        self.log_timestamps = log_timestamps


def _read_configuration_first(command: click.Command) -> None:
    if isinstance(command, click.Group):
        for each in command.commands.values():
            _read_configuration_first(each)
        if not command.invoke_without_command:
            return
    callback = command.callback
    assert callback is not None  # all our commands have one

    @functools.wraps(callback)
    def configured(*args: Any, conf: str | None = None, **kwargs: Any) -> Any:
        _configure(click.get_current_context(), conf)
        return callback(*args, **kwargs)

    command.callback = configured
    command.params.append(click.Option(["--conf"], help=_CONF_HELP))


def _configure(context: click.Context, conf: str | None) -> None:
    """Load the configuration and set up logging."""
    options = context.find_object(_Options)
    path = conf or (options.conf if options else None)
    if path:
        _load(path)
    if options is None:
        return  # a test runs the command without the group
    try:
        if options.log_timestamps:
            config.conf["log_timestamps"] = True
            config.conf.origins = {**config.conf.origins, "log_timestamps": "--log-timestamps"}
        config.conf.setup_logging()
    except ConfigurationException as error:
        where = "" if config.DEFAULT_PATH in str(error) else f" (in {config.DEFAULT_PATH})"
        raise click.ClickException(f"{error}{where}") from error
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
        where = "" if path in str(error) else f"\nThe configuration file is {path}"
        raise click.exceptions.BadParameter(f"{error}{where}") from error
    except OSError as error:
        raise click.exceptions.BadParameter(f"{path} cannot be read: {error.strerror}") from error
