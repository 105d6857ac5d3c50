"""Messages as they pass."""

import asyncio

from starlette.responses import Response

from ..events import outline_of
from ..feed import BusFeed
from ..selection import SEVERITIES, Selection
from ..visit import PageError, Visit

_SHOWN = 50


async def show(visit: Visit) -> Response:
    """Show the latest messages; the browser's script then adds those that pass."""
    try:
        selection = Selection.of(visit.request.query_params.multi_items())
    except ValueError as error:
        raise PageError(400, f"The filter is wrong: {error}.") from None
    feed = await visit.dashboard.feed()
    await feed.start()
    latest = await asyncio.to_thread(feed.archive.find, selection.query(limit=_SHOWN))
    return visit.page(
        "live.html",
        messages=[outline_of(one) for one in latest],
        selection=selection,
        severities=list(SEVERITIES),
        trouble=feed.trouble if isinstance(feed, BusFeed) else "",
        has_archive=visit.dashboard.archive is not None,
    )
