"""``fedora-messaging broker``."""

import asyncio
import re
import signal
from typing import Final

import click

from ..exceptions import ConfigurationException

_UNITS: Final = {"": 1, "K": 1000, "M": 1000**2, "G": 1000**3}


def _size(_context: click.Context, _parameter: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    found = re.fullmatch(r"(\d+)\s*([KMG]?)B?", value.strip().upper())
    if found is None:
        raise click.BadParameter(
            f"{value!r} is no size; write a number of bytes, or one with a unit as in 500MB"
        )
    return int(found[1]) * _UNITS[found[2]]


def _not_empty(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value == "":
        raise click.BadParameter("the name of a directory is needed")
    return value


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    default=5672,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="TCP port; 0 takes a free one.",
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
    callback=_size,
    help="Block publishers while messages take more memory, as in 500MB; 0 never does. "
    "By default 40 % of the machine's memory.",
)
@click.option(
    "--disk-limit",
    metavar="SIZE",
    callback=_size,
    default="50MB",
    show_default=True,
    help="Block publishers while less is free where --data is; 0 never does.",
)
@click.option("--strict", is_flag=True, help="Refuse what RabbitMQ 4.3 refuses and older ones take.")
def broker(
    host: str, port: int, data: str | None, memory_limit: int | None, disk_limit: int, strict: bool
) -> None:
    """Run the embedded AMQP broker, for laptops and tests.

    The user guest with password guest may log in from this machine.
    """
    from ..broker import AsyncBroker, BrokerError, ResourceLimits

    resources = ResourceLimits(memory_limit, disk_limit)

    async def serve() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        async with AsyncBroker(host, port, data=data, resources=resources, strict=strict) as running:
            click.echo(f"AMQP ready on {running.amqp_url}")
            if data is None:
                click.echo("Everything is in memory: give --data DIR to keep durable queues over a restart.")
            await stop.wait()
        click.echo("The broker has stopped.")

    try:
        asyncio.run(serve())
    except (BrokerError, ConfigurationException) as error:
        raise click.ClickException(str(error)) from error
