"""``fedora-messaging consume``."""

from collections.abc import Callable, Sequence
from typing import Any

import click

from .. import config
from .callbacks import load_callback
from .reactor import reactor_provided
from .running import consume_until_stopped
from .seams import seam

Command = Callable[..., Any]


def queue_options(command: Command) -> Command:
    """Add the options that choose queues and bindings."""
    for option in (
        click.option("--exchange", help="Bind to this exchange, instead of the configured ones."),
        click.option(
            "--queue-name",
            help="Consume this queue, with its configured settings or those of the default queue.",
        ),
        click.option(
            "--routing-key",
            multiple=True,
            help="Bind with this topic pattern, instead of the configured ones; may be repeated.",
        ),
    ):
        command = option(command)
    return command


def apply_queue_options(
    exchange: str | None, queue_name: str | None, routing_key: Sequence[str], app_name: str | None
) -> None:
    """Change the configuration according to the options.

    Raises:
        click.ClickException: The configuration has no bindings to change.
    """
    conf = config.conf
    if app_name:
        conf["client_properties"]["app"] = app_name
    if queue_name:
        _choose_queue(conf, queue_name)
    for binding in conf["bindings"]:
        if exchange:
            binding["exchange"] = exchange
        if queue_name:
            binding["queue"] = queue_name
        if routing_key:
            binding["routing_keys"] = tuple(routing_key)


def _choose_queue(conf: Any, name: str) -> None:
    """Keep this queue only, with its configured settings or those of the default queue."""
    queues = conf["queues"]
    if name in queues:
        settings = queues[name]
        # A configured queue keeps its own bindings and must not get the patterns of other queues.
        own = [binding for binding in conf["bindings"] if binding.get("queue") == name]
        conf["bindings"] = own or conf["bindings"]
    else:
        settings = queues.get("", config.DEFAULTS["queues"][""])
    conf["queues"] = {name: settings}


def consume_as_told(
    exchange: str | None,
    queue_name: str | None,
    routing_key: Sequence[str],
    callback: Any,
    app_name: str | None,
) -> None:
    """Apply the options, consume, and exit with a status that tells why consuming ended.

    Raises:
        click.ClickException: A setting is wrong.
    """
    apply_queue_options(exchange, queue_name, routing_key, app_name)
    consume_until_stopped(callback, config.conf["bindings"], config.conf["queues"])


@click.command()
@click.option("--app-name", help="Name of the application, shown by the broker.")
@click.option("--callback", help='What to call with each message: "my_package.module:callable_object".')
@click.option(
    "--callback-file", help='The same from a file: "path/to/file.py:callable_object". Wins over --callback.'
)
@queue_options
def consume(
    app_name: str | None,
    callback: str | None,
    callback_file: str | None,
    routing_key: Sequence[str],
    queue_name: str | None,
    exchange: str | None,
) -> None:
    """Call a callback with each message, until it asks to stop or a signal comes.

    Without options this consumes the queues of the configuration. If the callback's module is not
    installed, it is looked for in the current directory.
    """
    with reactor_provided():
        loaded = load_callback(callback, callback_file)
        seam("_consume")(exchange, queue_name, routing_key, loaded, app_name)
