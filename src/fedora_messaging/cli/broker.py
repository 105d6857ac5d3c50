"""``fedora-messaging broker``."""

import asyncio
import signal

import click

from ..exceptions import ConfigurationException


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
def broker(host: str, port: int, data: str | None) -> None:
    """Run the embedded AMQP broker, for laptops and tests.

    The user guest with password guest may log in from this machine.
    """
    from ..broker import AsyncBroker, BrokerError

    async def serve() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        async with AsyncBroker(host, port, data=data) as running:
            click.echo(f"AMQP ready on {running.amqp_url}")
            if data is None:
                click.echo("Everything is in memory: give --data DIR to keep durable queues over a restart.")
            await stop.wait()
        click.echo("The broker has stopped.")

    try:
        asyncio.run(serve())
    except (BrokerError, ConfigurationException) as error:
        raise click.ClickException(str(error)) from error
