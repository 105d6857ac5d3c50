"""What a broker serves over HTTP: the management API, metrics, and the web application over both."""

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse

from ..archive.location import open_archive
from ..broker.accounts import Permissions, User
from .dashboard.dashboard import Dashboard
from .dashboard.safety import refusal_of
from .dashboard.serving import for_app
from .dashboard.settings import DashboardSettings, is_loopback
from .management.app import make_app, trusting
from .management.samples import Samples
from .server import HttpServer

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from ..archive.archive import Archive
    from ..broker.server import Server as BrokerServer

_NOT_HERE: Final = (
    "The broker shows its web pages to its own machine only. For others, run `fedora-messaging dashboard "
    "--management-url ...` with users and TLS."
)
_GUEST: Final = "guest"


class BrokerSite:
    """The HTTP side of a running broker: ``async with BrokerSite(broker.server)``.

    Args:
        broker: The broker.
        host: Address to listen on.
        port: TCP port; 0 takes a free one, see :attr:`url`.
        allow_changes: Whether visitors of the pages may change something without signing in.
        archive: Location of an archive to show.

    Raises:
        HttpServerError: On start: the port is in use.
        ArchiveError: On start: the archive cannot be opened.
    """

    def __init__(
        self,
        broker: "BrokerServer",
        host: str = "127.0.0.1",
        port: int = 0,
        allow_changes: bool = False,
        archive: str | None = None,
    ) -> None:
        self._broker = broker
        self._host = host
        self._port = port
        self._allow_changes = allow_changes
        self._location = archive
        self._archive: Archive | None = None
        self._dashboard: Dashboard | None = None
        self._server: HttpServer | None = None
        self._sampler: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Base URL, without a slash at the end."""
        return "" if self._server is None else self._server.url

    @property
    def port(self) -> int:
        """The TCP port in use."""
        return 0 if self._server is None else self._server.port

    async def __aenter__(self) -> Self:
        samples = Samples(self._broker)
        management = make_app(self._broker, samples)
        if self._location is not None:
            self._archive = open_archive(self._location)
        settings: DashboardSettings | None = None
        if is_loopback(self._host):
            settings = DashboardSettings(allow_changes=self._allow_changes, listens_on=self._host)
            self._dashboard = for_app(
                trusting(management, self._visitor),
                "this broker",
                settings,
                self._archive,
                # Users may change while the broker runs.
                closed=lambda: self._visitor() is None,
            )
        self._server = HttpServer(
            _together(management, self._dashboard, settings),
            self._host,
            self._port,
            before_stop=self._before_stop,
        )
        try:
            await self._server.__aenter__()
        except BaseException:
            await self._before_stop()
            raise
        self._broker.http_port = self._server.port
        self._sampler = asyncio.create_task(samples.run())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._server is not None:
            await self._server.__aexit__(*exc_info)
        self._broker.http_port = 0

    async def _before_stop(self) -> None:
        if self._sampler is not None:
            self._sampler.cancel()
            with suppress(asyncio.CancelledError):
                await self._sampler
        if self._dashboard is not None:
            await self._dashboard.close()
        if self._archive is not None:
            self._archive.close()

    def _visitor(self) -> User | None:
        """Return who looks without signing in: anybody while guest has the password that everybody knows."""
        guest = self._broker.accounts.user(_GUEST)
        if guest is None or guest.password is None or not guest.password.matches(_GUEST):
            return None
        return User("", None, ("administrator",), {name: Permissions() for name in self._broker.vhosts})


def _refusal(scope: "Scope", settings: DashboardSettings | None) -> str | None:
    """Return why a browser may not use the management API: another site has it do so.

    Other programs may call this machine what they like. A browser may not: the site of an attacker can get
    this address for its name, and guest's password is known.
    """
    headers = Headers(scope=scope)
    is_browser = any(name in headers for name in ("origin", "sec-fetch-site", "accept-language"))
    if settings is None or not is_browser:
        return None
    return refusal_of(scope["method"], headers, settings)


def _together(
    management: "ASGIApp", dashboard: Dashboard | None, settings: DashboardSettings | None
) -> "ASGIApp":
    """Serve the management API below ``/api``, metrics, and the pages everywhere else."""

    async def serve(scope: "Scope", receive: "Receive", send: "Send") -> None:
        path: str = scope.get("path", "")
        is_api = path.startswith(("/api/", "/metrics")) and not path.startswith("/api/v1/")
        # A path that is none, such as a whole URL, gets the answer of the management API, too.
        if is_api or path.startswith("//") or not path.startswith("/"):
            refusal = _refusal(scope, settings)
            if refusal is not None:
                await PlainTextResponse(f"{refusal}\n", 403)(scope, receive, send)
                return
            await management(scope, receive, send)
        elif dashboard is not None:
            await dashboard.app(scope, receive, send)
        else:
            await PlainTextResponse(f"{_NOT_HERE}\n", 403)(scope, receive, send)

    return serve
