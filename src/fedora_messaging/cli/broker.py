"""``fedora-messaging broker``."""

import asyncio
import gc
import json
import signal
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from ..exceptions import ConfigurationException
from ..printable import escaped
from . import broker_settings, units

if TYPE_CHECKING:
    from ..broker import AsyncBroker


def _not_empty(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value == "":
        raise click.BadParameter("the name of a directory is needed")
    return value


@click.group(invoke_without_command=True)
@click.option(
    "--config",
    "--settings",
    "file",
    is_eager=True,
    type=click.Path(dir_okay=False),
    callback=broker_settings.read_file,
    help="TOML file with users, virtual hosts, policies, TLS and defaults of these options.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    default=5672,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="TCP port; 0 takes a free one.",
)
@click.option(
    "--http-port",
    type=click.IntRange(0, 65535),
    help="Serve web pages and RabbitMQ's management API on this TCP port, usually 15672; 0 takes a free one.",
)
@click.option("--allow-changes", is_flag=True, help="Let visitors of the web pages change things.")
@click.option(
    "--archive",
    metavar="LOCATION",
    help="The archive that the web pages show, which `fedora-messaging archive run` fills.",
)
@click.option(
    "--definitions",
    type=click.Path(dir_okay=False),
    help="JSON file with users, queues and so on that a RabbitMQ, or `broker export`, has exported.",
)
@click.option(
    "--data",
    type=click.Path(file_okay=False),
    callback=_not_empty,
    help="Directory for durable queues and persistent messages; without it everything is in memory.",
)
@click.option(
    "--memory-limit",
    metavar="SIZE",
    callback=units.size,
    help="Block publishers while messages take more memory than this, as in 500MB; 0 never blocks. "
    "By default 40 % of the machine's memory.",
)
@click.option(
    "--disk-limit",
    metavar="SIZE",
    callback=units.size,
    default="50MB",
    show_default=True,
    help="Block publishers while the disk of --data has less free space than this; 0 never blocks.",
)
@click.option(
    "--bodies-in-memory",
    metavar="SIZE",
    callback=units.size,
    default="64MB",
    show_default=True,
    help="Let the bodies of waiting messages wait in files when they take more memory than this.",
)
@click.option(
    "--consumer-timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=1800,
    show_default=True,
    help="Close the channel of a consumer that settles a message later than this; 0 never does. With profile "
    "4 only quorum queues have such a timeout.",
)
@click.option(
    "--profile",
    type=click.Choice(["3", "4"]),
    default="4",
    show_default=True,
    help="Which major version of RabbitMQ to imitate: 4 behaves like 4.3, and 3 like 3.10.",
)
@click.option(
    "--user",
    "users",
    multiple=True,
    metavar="NAME:PASSWORD",
    help="A user who may log in, from any machine, instead of guest; may be repeated. Other users of this "
    "machine can read command lines: put a password that matters into the file of --config.",
)
@click.option(
    "--tag",
    "tags",
    nargs=2,
    multiple=True,
    metavar="NAME TAG",
    help="What a user may do over HTTP: management (sign in to the web pages, see one's own things), "
    "policymaker, monitoring or administrator; by default nothing. May be repeated.",
)
@click.option(
    "--permissions",
    nargs=4,
    multiple=True,
    metavar="NAME CONFIGURE WRITE READ",
    help="What a user may do, as three regular expressions, which are searched for in names of queues and "
    "exchanges; by default everything.",
)
@click.option("--tls-cert", type=click.Path(), help="Speak TLS, with this certificate chain (PEM).")
@click.option("--tls-key", type=click.Path(), help="The key of its first certificate (PEM).")
@click.option(
    "--tls-ca", type=click.Path(), help="Accept only clients with a certificate signed by one of these (PEM)."
)
@click.pass_context
def broker(
    context: click.Context,
    file: Mapping[str, Any],
    host: str,
    port: int,
    http_port: int | None,
    allow_changes: bool,
    archive: str | None,
    definitions: str | None,
    data: str | None,
    memory_limit: int | None,
    bodies_in_memory: int,
    disk_limit: int,
    consumer_timeout: float,
    profile: str,
    users: tuple[str, ...],
    tags: tuple[tuple[str, str], ...],
    permissions: tuple[tuple[str, str, str, str], ...],
    tls_cert: str | None,
    tls_key: str | None,
    tls_ca: str | None,
) -> None:
    """Run the embedded AMQP broker, for laptops and tests.

    Unless users are given, the user guest with password guest may log in from this machine.
    """
    if context.invoked_subcommand is not None:
        return
    from ..broker import AsyncBroker, BrokerError, ResourceLimits

    try:
        wanted = broker_settings.merged(
            broker_settings.definitions_of(file), broker_settings.read_definitions(definitions)
        )
        tls = broker_settings.tls_options(file.get("tls", {}), tls_cert, tls_key, tls_ca)
        takes_certificates = tls is not None and tls.ca_cert is not None
        accounts = broker_settings.accounts_of(
            file.get("users", {}), users, tags, permissions, takes_certificates
        )
        broker_settings.refuse_open_door(host, accounts, wanted)
    except ConfigurationException as error:
        raise click.UsageError(escaped(error.message)) from error
    resources = ResourceLimits(memory_limit, disk_limit, bodies_in_memory)

    async def serve() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        async with AsyncBroker(
            host,
            port,
            data=data,
            accounts=accounts,
            tls=tls,
            resources=resources,
            profile=profile,
            http_port=http_port,
            consumer_timeout=consumer_timeout or None,
            definitions=wanted,
            allow_changes=allow_changes,
            archive=archive,
        ) as running:
            if tls is not None:
                loop.add_signal_handler(signal.SIGHUP, _reload, running)
            _collect_rarely()
            click.echo(f"AMQP ready on {running.amqp_url}")
            if running.management_url is not None:
                click.echo(f"HTTP ready on {running.management_url}")
            if data is None:
                click.echo("Everything is in memory: give --data DIR to keep durable queues over a restart.")
            ways_to_end = [asyncio.create_task(stop.wait()), asyncio.create_task(running.failed())]
            await asyncio.wait(ways_to_end, return_when=asyncio.FIRST_COMPLETED)
        click.echo("The broker has stopped.")

    try:
        asyncio.run(serve())
    except (BrokerError, ConfigurationException) as error:
        raise click.ClickException(escaped(str(error))) from error


def _collect_rarely() -> None:
    """Have Python look for cycles of garbage rarely: with many messages that takes as long as a second."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _reload(running: "AsyncBroker") -> None:
    try:
        running.reload_tls()
    except ConfigurationException as error:
        click.echo(f"The TLS files are not read again: {error}", err=True)
    else:
        click.echo("The TLS files have been read again.")


@broker.command(short_help="Print the definitions in a data directory as JSON.")
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False),
    required=True,
    help="Data directory of a broker that does not run.",
)
@click.option("--vhost", help="Export this virtual host only, for an import into any other.")
@click.option(
    "--profile", type=click.Choice(["3", "4"]), default="4", show_default=True, help="Profile of the broker."
)
def export(data: str, vhost: str | None, profile: str) -> None:
    """Print the definitions in a data directory as JSON, fit for a RabbitMQ and for --definitions.

    They hold users with the hashes of their passwords, permissions, virtual hosts, policies, exchanges,
    queues and bindings, but no messages. A broker that runs exports its own at /api/definitions.
    """
    from ..broker import BrokerError
    from ..broker.offline import read_definitions

    try:
        click.echo(json.dumps(asyncio.run(read_definitions(data, vhost, profile)), indent=2))
    except BrokerError as error:
        raise click.ClickException(escaped(str(error))) from error
