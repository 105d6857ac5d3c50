"""Signing in as a user of the broker."""

import base64
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from ..management import Management, ManagementError
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
        tags = await _tags(visit.dashboard.management, name, password)
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
        await _tags(dashboard.management, name, password)
    except (ValueError, ManagementError):
        return False
    return True


async def _tags(management: Management, name: str, password: str) -> frozenset[str]:
    """Return the tags of a user.

    Raises:
        ManagementError: The broker does not let the user in.
    """
    if not name:
        raise ManagementError(401, "the name is empty")
    found = await management.as_user(name, password).get("whoami")
    tags = found.get("tags") if isinstance(found, dict) else None
    if isinstance(tags, str):  # before RabbitMQ 3.9
        tags = tags.split(",")
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise ManagementError(502, "the broker does not say which tags the user has")
    return frozenset(tags)


def _local(path: str) -> str:
    """Return a path of this site; anything else leads to the first page."""
    if not path.startswith("/") or path.startswith(("//", "/\\")) or not path.isprintable():
        return "/"
    return path
