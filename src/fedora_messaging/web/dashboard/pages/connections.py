"""Connections and consumers: who is there, and what she is doing."""

from typing import Any, Final

from starlette.responses import Response

from ..visit import Visit, paging

_PAGE: Final = 50


async def show_all(visit: Visit) -> Response:
    """List the connections."""
    found = await visit.management.get(
        "connections", page=paging(visit.query), page_size=_PAGE, name=visit.query.get("name") or None
    )
    return visit.page("connections.html", found=found, name=visit.query.get("name", ""))


async def show(visit: Visit) -> Response:
    """Show a connection with its channels."""
    name = visit.query.get("name", "")
    connection = await visit.management.get("connections", name)
    channels: list[dict[str, Any]] = await visit.answer("connections", name, "channels") or []
    return visit.page("connection.html", connection=connection, channels=channels)


async def show_consumers(visit: Visit) -> Response:
    """List the consumers, those that hold the most unacknowledged messages first."""
    consumers: list[dict[str, Any]] = await visit.management.get("consumers")
    page = paging(visit.query)
    consumers.sort(
        key=lambda one: -int((one.get("channel_details") or {}).get("messages_unacknowledged") or 0)
    )
    start = (page - 1) * _PAGE
    found = {
        "items": consumers[start : start + _PAGE],
        "page": page,
        "page_count": max(-(-len(consumers) // _PAGE), 1),
        "filtered_count": len(consumers),
        "total_count": len(consumers),
    }
    return visit.page("consumers.html", found=found, name="")


async def confirm(visit: Visit) -> Response:
    """Ask before a connection is closed."""
    name = visit.query.get("name", "")
    return visit.page(
        "confirm.html",
        question=f"Close the connection {name}?",
        effect="Its client is told that an operator has closed it. Most clients connect again at once.",
        action="/connection/close",
        fields={"name": name},
        button="Close it",
        back=("/connections", {}),
    )


async def close(visit: Visit) -> Response:
    """Close a connection."""
    await visit.management.send("DELETE", "connections", visit.field("name"))
    return visit.redirect("/connections", done="The connection is closed.")
