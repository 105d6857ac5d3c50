"""``/events``: messages as they pass, as server-sent events."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

import orjson
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ...archive.archive import Archive
from ...archive.entry import Stored
from .feed import Dropped, Feed
from .rendering import severity_name
from .selection import Selection

if TYPE_CHECKING:
    from .dashboard import Dashboard

#: Seconds that a client may take to read what was sent before it is dropped.
_PATIENCE: Final = 10
#: Clients at once: further ones are told to come back later.
MOST_CLIENTS: Final = 1000
_TOO_MANY: Final = f"There are {MOST_CLIENTS} streams already: try again later"


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
    if dashboard.streams >= MOST_CLIENTS:
        return JSONResponse(
            {"error": f"There are {MOST_CLIENTS} streams already: try again later"},
            503,
            {"retry-after": "10"},
        )
    feed = await dashboard.feed()
    given = request.headers.get("last-event-id") or request.query_params.get("last_event_id") or ""
    return EventSourceResponse(_stream(dashboard, feed, selection, given), send_timeout=_PATIENCE, ping=15)


async def _stream(
    dashboard: "Dashboard", feed: Feed, selection: Selection, given: str
) -> AsyncIterator[ServerSentEvent]:
    if dashboard.streams >= MOST_CLIENTS:  # others have come since this one was let in
        yield ServerSentEvent(event="dropped", data=_text({"reason": _TOO_MANY}))
        return
    dashboard.streams += 1
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
        async for one in feed.follow(place if place is not None else newest):
            if one is not None and selection.wants(one):
                yield ServerSentEvent(
                    event="message", id=event_id(feed.archive, one.seq), data=_text(outline_of(one))
                )
    except Dropped as error:
        yield ServerSentEvent(event="dropped", data=_text({"reason": str(error)}))
    finally:
        dashboard.streams -= 1


def _text(value: Any) -> str:
    return orjson.dumps(value).decode()
