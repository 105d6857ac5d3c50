"""``fedora-messaging dashboard``: web pages about a RabbitMQ."""

import asyncio
import signal
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from ..printable import printable
from .archive_options import opened, other_archive_option

if TYPE_CHECKING:
    from ..archive.archive import Archive
    from ..web.dashboard.dashboard import Dashboard


@click.command()
@click.option(
    "--management-url",
    envvar="FEDORA_MESSAGING_MANAGEMENT_URL",
    required=True,
    help="The broker's management API, as http://user:password@host:15672. Other users of this machine can "
    "read command lines: $FEDORA_MESSAGING_MANAGEMENT_URL keeps the password from them.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="TCP port.")
@other_archive_option
@click.option("--allow-changes", is_flag=True, help="Let everybody who may look change things, too.")
@click.option("--sign-in", is_flag=True, help="Show nothing without signing in as a user of the broker.")
@click.option(
    "--allowed-host", "hosts", multiple=True, help="A name by which browsers know this site; may be repeated."
)
@click.option("--behind-proxy", is_flag=True, help="A proxy on another address serves this site over TLS.")
@click.option("--tls-cert", type=click.Path(), help="Serve over TLS, with this certificate chain (PEM).")
@click.option("--tls-key", type=click.Path(), help="The key of its first certificate (PEM).")
def dashboard(
    management_url: str,
    host: str,
    port: int,
    location: str | None,
    allow_changes: bool,
    sign_in: bool,
    hosts: Sequence[str],
    behind_proxy: bool,
    tls_cert: str | None,
    tls_key: str | None,
) -> None:
    """Serve web pages about a broker: queues, exchanges, messages as they pass, and an archive of them.

    On this machine anybody may look, as the user of --management-url. On another address visitors sign in as
    users of the broker, and come over TLS.
    """
    try:
        from ..web.dashboard.serving import for_url
        from ..web.dashboard.settings import DashboardSettings, is_loopback
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"The web pages need {error.name}: pip install 'fedora-messaging[web]'"
        ) from error
    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key belong together")
    is_open = not is_loopback(host)
    if is_open and tls_cert is None and not behind_proxy:
        raise click.UsageError(
            f"Passwords would cross the network to {host} unencrypted: give --tls-cert and --tls-key, or "
            "--behind-proxy if a proxy does that"
        )
    if is_open and allow_changes:
        raise click.UsageError("--allow-changes is for this machine only: elsewhere, users sign in")
    settings = DashboardSettings(
        allow_changes=allow_changes,
        sign_in=sign_in or is_open or behind_proxy,
        hosts=frozenset(name.lower() for name in hosts),
        is_encrypted=tls_cert is not None or behind_proxy,
        listens_on=host,
    )
    certificate = None if tls_cert is None or tls_key is None else (tls_cert, tls_key)

    def serve(archive: "Archive | None") -> None:
        try:
            site = for_url(management_url, settings, archive)
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        asyncio.run(_serve(site, host, port, certificate))

    if location is None:
        serve(None)
    else:
        with opened(location) as archive:
            serve(archive)


async def _serve(site: "Dashboard", host: str, port: int, certificate: tuple[str, str] | None) -> None:
    from ..web.server import HttpServer, HttpServerError

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = HttpServer(
        site.app, host, port, option="--port", certificate=certificate, before_stop=site.close
    )
    try:
        async with server:
            click.echo(f"Dashboard on {server.url}/")
            await stop.wait()
    except HttpServerError as error:
        raise click.ClickException(printable(error)) from error
