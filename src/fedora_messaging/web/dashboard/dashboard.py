"""The web application: which address leads where, and what all pages share."""

from collections.abc import Awaitable, Callable
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from ...archive.archive import Archive
from ...archive.database import ArchiveError
from ...logs import REPEATABLE, logger
from ...printable import printable
from . import api, datagrepper
from .events import events
from .feed import BusFeed, Feed
from .management import Management, ManagementError
from .pages import connections, exchanges, live, login, messages, overview, publish, queues, schemas
from .safety import Guard
from .sessions import Sessions
from .settings import DashboardSettings
from .visit import PageError, Visit, address

if TYPE_CHECKING:
    from starlette.types import ASGIApp

_log = logger(__name__)

Handler = Callable[[Visit], Awaitable[Response]]

_STATIC: Final = Path(__file__).parent / "static"

#: Pages that only show something; forms are sent to those below.
_PAGES: Final[dict[str, Handler]] = {
    "/": overview.show,
    "/waiting": overview.show_waiting,
    "/exchanges": exchanges.show_all,
    "/exchange": exchanges.show,
    "/queues": queues.show_all,
    "/queue": queues.show,
    "/queue/messages": queues.peek,
    "/queue/confirm": queues.confirm,
    "/connections": connections.show_all,
    "/connection": connections.show,
    "/connection/confirm": connections.confirm,
    "/consumers": connections.show_consumers,
    "/live": live.show,
    "/search": messages.search,
    "/message": messages.show,
    "/schemas": schemas.show_all,
    "/schema": schemas.show,
    "/publish": publish.show,
}
_CHANGES: Final[dict[str, Handler]] = {
    "/queue/purge": queues.purge,
    "/queue/delete": queues.delete,
    "/queue/move": queues.move,
    "/queue/redrive": queues.redrive,
    "/queue/get": queues.take,
    "/connection/close": connections.close,
    "/message/replay": messages.replay,
    "/publish": publish.publish,
}


class Need(Enum):
    """What a visitor must be allowed to do."""

    NOTHING = auto()
    LOOK = auto()
    CHANGE = auto()


class Dashboard:
    """The web application over one broker and, if there is one, over an archive.

    Args:
        management: The management API, as the user whom visitors without a session look as.
        settings: What it is allowed to do.
        archive: Where messages are kept; without one, pages show what passes while somebody looks.
        closed: Says whether nobody may look without signing in now, whatever the settings say.

    Attributes:
        sessions: Users who have signed in.
        streams: How many clients follow messages now.
    """

    def __init__(
        self,
        management: Management,
        settings: DashboardSettings,
        archive: Archive | None = None,
        closed: Callable[[], bool] = lambda: False,
    ) -> None:
        self.management = management
        self.settings = settings
        self.archive = archive
        self.sessions: Sessions = Sessions()
        self.streams = 0
        self._closed = closed
        self._feed: Feed | None = None
        self.app: ASGIApp = Guard(Starlette(routes=self._routes()), settings)

    @property
    def is_closed(self) -> bool:
        """Whether nobody may look without signing in."""
        return self.settings.sign_in or self._closed()

    async def feed(self) -> Feed:
        """Return the messages as they pass; they are looked for from the first call on."""
        if self._feed is None:
            self._feed = BusFeed(self.management) if self.archive is None else Feed(self.archive)
        return self._feed

    async def messages(self) -> Archive:
        """Return where messages are looked up: the archive, or what has passed of late."""
        return self.archive or (await self.feed()).archive

    async def archive_for(self, request: Request) -> Archive | Response:
        """Return where messages are looked up for a program, or the answer if it may not look."""
        return await self.refusal(request) or await self.messages()

    async def close(self) -> None:
        """End all streams."""
        if self._feed is not None:
            await self._feed.close()
        await self.management.close()

    def _routes(self) -> list[BaseRoute]:
        async def stream(request: Request) -> Response:
            return await self.refusal(request) or await events(self, request)

        async def icon(_request: Request) -> Response:
            return Response((_STATIC / "icon.svg").read_bytes(), media_type="image/svg+xml")

        return [
            *(Route(path, self._page(handler), methods=["GET"]) for path, handler in _PAGES.items()),
            *(Route(path, self._change(handler), methods=["POST"]) for path, handler in _CHANGES.items()),
            Route("/publish/check", self._change(publish.check, Need.LOOK), methods=["POST"]),
            Route("/login", self._page(login.show, Need.NOTHING), methods=["GET"]),
            Route("/login", self._change(login.sign_in, Need.NOTHING), methods=["POST"]),
            Route("/logout", self._change(login.sign_out, Need.NOTHING), methods=["POST"]),
            Route("/events", stream, methods=["GET"]),
            *datagrepper.routes(self.archive_for),
            *api.routes(self.archive_for),
            Route("/favicon.ico", icon),
            Mount("/static", StaticFiles(directory=_STATIC)),
            Route("/{path:path}", self._page(_not_found), methods=["GET"]),
        ]

    async def refusal(self, request: Request) -> Response | None:
        """Return the answer to a program that may not look, or ``None`` if it may."""
        try:
            visit = Visit(request, self)
        except PageError as error:
            return JSONResponse({"error": error.text}, error.status)
        await visit.has_ended()
        if visit.may_look or await login.has_credentials(self, request):
            return None
        return JSONResponse(
            {"error": "Log in as a user of the broker"}, 401, {"www-authenticate": 'Basic realm="bus"'}
        )

    def _page(self, handler: Handler, need: Need = Need.LOOK) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            return await self._answer(request, handler, need, is_change=False)

        return answer

    def _change(self, handler: Handler, need: Need = Need.CHANGE) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            return await self._answer(request, handler, need, is_change=True)

        return answer

    async def _answer(self, request: Request, handler: Handler, need: Need, is_change: bool) -> Response:
        try:
            visit = Visit(request, self)
        except PageError as error:
            return PlainTextResponse(f"{error.text}\n", error.status)
        try:
            if is_change:
                await visit.read_form()
            await visit.has_ended()
            if need is not Need.NOTHING and not visit.may_look:
                return visit.redirect("/login", next=_here(request))
            if need is Need.CHANGE and not visit.may_change:
                raise PageError(403, _READ_ONLY)
            return await handler(visit)
        except PageError as error:
            return visit.page("error.html", status=error.status, text=error.text)
        except ManagementError as error:
            if error.status == 401 and visit.session is None and not is_change:
                # Whoever looks without signing in may not see this.
                return visit.redirect("/login", next=_here(request))
            if error.status == 401 and visit.session is not None:
                text = f"The broker refuses {visit.session.name}: {error.reason}"
                return visit.page("error.html", status=403, text=text)
            status = {0: 502, 401: 403}.get(error.status, error.status)
            return visit.page("error.html", status=status, text=f"The broker says: {error.reason}")
        except ArchiveError as error:
            return visit.page("error.html", status=503, text=str(error))
        except Exception:
            _log.exception("Internal error while answering %s", printable(request.url.path), extra=REPEATABLE)
            text = "The page has an error of its own; the log of this program has more."
            return visit.page("error.html", status=500, text=text)


_READ_ONLY: Final = (
    "You may look here, but not change anything. Sign in as a user of the broker who may, or start this site "
    "with --allow-changes."
)


def _here(request: Request) -> str:
    path = request.url.path
    return address(path, **dict(request.query_params)) if request.method == "GET" else "/"


async def _not_found(visit: Visit) -> Response:
    raise PageError(404, "There is no such page.")
