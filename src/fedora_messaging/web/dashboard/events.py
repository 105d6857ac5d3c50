"""``/events``: messages as they pass, as server-sent events."""

from collections.abc import AsyncIterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import orjson
from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import SendTimeoutError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ...archive.archive import Archive
from ...archive.entry import Stored
from ...logs import REPEATABLE, logger
from .feed import Dropped, Feed
from .rendering import severity_name
from .selection import Selection
from .sessions import CHECK

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from .dashboard import Dashboard

_log = logger(__name__)

#: Seconds that a client may take to read what was sent before it is dropped.
_PATIENCE: Final = 10
#: Clients at once: further ones are told to come back later.
MOST_CLIENTS: Final = 1000


def outline_of(one: Stored) -> dict[str, Any]:
    """Return what a line about a message shows."""
    return {
        "id": one.id,
        "topic": one.topic,
        "sent": one.sent,
        "severity": severity_name(one.severity),
        "app": one.app,
        "agent": one.agent,
        "schema": one.schema,
        "summary": one.summary,
        "users": one.users,
        "packages": one.packages,
    }


def event_id(archive: Archive, seq: int) -> str:
    """Return the id of an event: whose place it is, and which."""
    return f"{archive.epoch:x}-{seq}"


def place_of(archive: Archive, id: str) -> int | None:
    """Return the place that an event's id tells; ``None`` if it is not one of this archive."""
    epoch, _, seq = id.partition("-")
    if epoch != f"{archive.epoch:x}" or not seq.isdecimal() or len(seq) > 18:
        return None
    return int(seq)


async def events(dashboard: "Dashboard", request: Request) -> Response:
    """Stream the messages that fit, from now on, or from the place in ``Last-Event-ID``."""
    try:
        selection = Selection.of(request.query_params.multi_items())
    except ValueError as error:
        return JSONResponse({"error": str(error)}, 400)
    if request.method == "HEAD":
        return Response(media_type="text/event-stream")
    feed = await dashboard.feed()
    if dashboard.streams >= MOST_CLIENTS:
        return JSONResponse(
            {"error": f"There are {MOST_CLIENTS} streams already: try again later"},
            503,
            {"retry-after": "10"},
        )
    given = request.headers.get("last-event-id") or request.query_params.get("last_event_id") or ""
    return _Stream(dashboard, _stream(feed, selection, given, _Permission(dashboard, request)))


class _Permission:
    """Whether the client of a stream may still look.

    Args:
        dashboard: Knows who may.
        request: The client's, which was let in just now.
    """

    def __init__(self, dashboard: "Dashboard", request: Request) -> None:
        self._dashboard = dashboard
        self._request = request
        self._clock = dashboard.sessions.clock
        self._checked_at = self._clock()

    async def check(self) -> None:
        """Make sure that the client may look, unless that was done a short time ago.

        Raises:
            Dropped: It may not.
        """
        if self._clock() - self._checked_at < CHECK:
            return
        if await self._dashboard.refusal(self._request) is not None:
            raise Dropped("you are not signed in any more")
        self._checked_at = self._clock()


class _Stream(EventSourceResponse):
    """A response that counts among the streams while it is sent."""

    def __init__(self, dashboard: "Dashboard", content: AsyncIterator[ServerSentEvent | bytes]) -> None:
        super().__init__(content, send_timeout=_PATIENCE, ping=15)
        self._dashboard = dashboard

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        # Nothing waits between the look at the count and this.
        self._dashboard.streams += 1
        try:
            await super().__call__(scope, receive, send)
        except* SendTimeoutError:  # old versions of Starlette wrap it
            # There is no room to tell the client. The server closes the connection: the answer has no end.
            _log.warning(
                "A client of /events is dropped: it has read nothing for %d seconds",
                _PATIENCE,
                extra=REPEATABLE,
            )
        finally:
            self._dashboard.streams -= 1


async def _stream(
    feed: Feed, selection: Selection, given: str, permission: _Permission
) -> AsyncIterator[ServerSentEvent | bytes]:
    try:
        place = place_of(feed.archive, given) if given else None
        if given and place is None:
            yield ServerSentEvent(
                event="gap",
                data=_text(
                    {"reason": "this place is not known here: messages since then are not sent again"}
                ),
            )
        # The browser then knows where to go on, even before the first message.
        newest = await feed.start()
        yield ServerSentEvent(
            event="ready",
            data="{}",
            id=event_id(feed.archive, newest if place is None else min(place, newest)),
        )
        async for some in feed.follow(place if place is not None else newest):
            wanted = [_event(event_id(feed.archive, one.seq), one) for one in some if selection.wants(one)]
            if wanted:
                await permission.check()
                yield b"".join(wanted)
    except Dropped as error:
        yield ServerSentEvent(event="dropped", data=_text({"reason": str(error)}))


# Many clients get the same.
@lru_cache(maxsize=500)
def _event(id: str, one: Stored) -> bytes:
    return ServerSentEvent(event="message", id=id, data=_text(outline_of(one))).encode()


def _text(value: Any) -> str:
    return orjson.dumps(value).decode()
