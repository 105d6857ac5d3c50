"""Signing in as a user of the broker."""

import base64
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from ..management import ManagementError
from ..visit import SESSION_COOKIE, Visit

if TYPE_CHECKING:
    from ..dashboard import Dashboard


async def show(visit: Visit) -> Response:
    """Ask for name and password."""
    return visit.page("login.html", next=_local(visit.query.get("next", "/")), trouble="")


async def sign_in(visit: Visit) -> Response:
    """Begin a session, if the broker lets the user in."""
    name, password = visit.field("name"), visit.field("password")
    target = _local(visit.field("next", "/"))
    try:
        tags = await visit.dashboard.management.as_user(name, password).tags()
    except ManagementError as error:
        if error.status not in (401, 403):
            raise
        return visit.page(
            "login.html",
            status=403,
            next=target,
            trouble="The broker lets nobody in with this name and password, who may use its management API.",
        )
    response = visit.redirect(target)
    visit.set_cookie(response, SESSION_COOKIE, visit.dashboard.sessions.begin(name, password, tags))
    return response


async def sign_out(visit: Visit) -> Response:
    """End the session."""
    visit.dashboard.sessions.end(visit.request.cookies.get(SESSION_COOKIE, ""))
    response = visit.redirect("/")
    response.delete_cookie(SESSION_COOKIE)
    return response


async def has_credentials(dashboard: "Dashboard", request: Request) -> bool:
    """Whether a program has sent name and password of a user whom the broker lets in."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return False
    try:
        name, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        if not colon:
            return False
        await dashboard.management.as_user(name, password).tags()
    except (ValueError, ManagementError):
        return False
    return True


def _local(path: str) -> str:
    """Return a path of this site; anything else leads to the first page."""
    if not path.startswith("/") or path.startswith(("//", "/\\")) or not path.isprintable():
        return "/"
    return path
