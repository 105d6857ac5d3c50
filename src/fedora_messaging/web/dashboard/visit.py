"""One request for a page: who asks, and what she may do."""

import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, quote, urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from .management import Management, ManagementError
from .rendering import render

if TYPE_CHECKING:
    from .dashboard import Dashboard

#: Cookies: the session, and the token that forms repeat.
SESSION_COOKIE: Final = "fm_session"
CSRF_COOKIE: Final = "fm_csrf"
CSRF_FIELD: Final = "csrf"
#: Most bytes of a form, and most fields.
_LARGEST_FORM: Final = 4 * 1024 * 1024
_MOST_FIELDS: Final = 2000


class PageError(Exception):
    """A request that cannot be carried out.

    Attributes:
        status: HTTP status.
        text: Why, and what to do.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class Visit:
    """A request for a page.

    Attributes:
        request: The request.
        dashboard: The application.
        session: The user who has signed in, or ``None``.
        query: Parameters of the address; the last of each name.
        form: Fields of the form that was sent, each with its values.
    """

    def __init__(self, request: Request, dashboard: "Dashboard") -> None:
        self.request = request
        self.dashboard = dashboard
        self.session = dashboard.sessions.find(request.cookies.get(SESSION_COOKIE, ""))
        self.query: dict[str, str] = dict(_pairs(request.scope["query_string"]))
        self.form: dict[str, list[str]] = {}
        self._csrf = request.cookies.get(CSRF_COOKIE) or ""

    @property
    def may_look(self) -> bool:
        """Whether the visitor may see anything."""
        return self.session is not None or not self.dashboard.is_closed

    @property
    def may_change(self) -> bool:
        """Whether the visitor may change anything; the broker checks what."""
        if self.session is not None:
            return self.session.may_change
        return self.dashboard.settings.allow_changes and not self.dashboard.is_closed

    @property
    def management(self) -> Management:
        """The management API, as this visitor."""
        if self.session is None:
            return self.dashboard.management
        return self.dashboard.management.as_user(self.session.name, self.session.password)

    @property
    def csrf(self) -> str:
        """The token for the forms of this visitor."""
        if len(self._csrf) < 32:
            self._csrf = secrets.token_urlsafe(32)
        return self._csrf

    async def read_form(self) -> None:
        """Read the form, and check that one of our pages has sent it.

        Raises:
            PageError: It is too large, or its token is not the one of the cookie.
        """
        pieces = []
        size = 0
        async for piece in self.request.stream():
            size += len(piece)
            if size > _LARGEST_FORM:
                raise PageError(413, "The form is larger than 4 MB.")
            pieces.append(piece)
        for name, value in _pairs(b"".join(pieces)):
            self.form.setdefault(name, []).append(value)
        cookie = self.request.cookies.get(CSRF_COOKIE, "")
        token = self.request.headers.get("x-csrf-token") or self.field(CSRF_FIELD)
        if len(cookie) < 32 or not secrets.compare_digest(cookie.encode(), token.encode("utf-8", "replace")):
            raise PageError(
                403, "The form is not from a page of this site, or too old: load the page and try again."
            )

    def field(self, name: str, otherwise: str = "") -> str:
        """Return a field of the form."""
        return self.form.get(name, [otherwise])[-1]

    def page(self, template: str, *, status: int = 200, **context: Any) -> Response:
        """Return a page."""
        html = render(template, visit=self, **context)
        response = Response(html.encode("utf-8", "replace"), status, media_type="text/html")
        if self.request.cookies.get(CSRF_COOKIE) != self.csrf:
            self.set_cookie(response, CSRF_COOKIE, self.csrf)
        return response

    def set_cookie(self, response: Response, name: str, value: str) -> None:
        """Set a cookie that only this site's own requests bring, and no script reads."""
        response.set_cookie(
            name,
            value,
            httponly=True,
            samesite="strict",
            secure=self.dashboard.settings.is_encrypted,
            path="/",
        )

    def redirect(self, path: str, **query: str) -> Response:
        """Send the browser to another page of ours, after a change."""
        return RedirectResponse(address(path, **query), 303)

    def without(self, name: str) -> str:
        """Return the parameters of the address, but one, for a link."""
        pairs = [pair for pair in _pairs(self.request.scope["query_string"]) if pair[0] != name]
        return urlencode(pairs, errors="surrogateescape")

    async def has_ended(self) -> bool:
        """Whether the broker no longer lets in the user of the session, which then ends."""
        session = self.session
        if session is None or not self.dashboard.sessions.is_due(session):
            return False
        try:
            session.tags = await self.management.tags()
        except ManagementError as error:
            if error.status not in (401, 403):
                return False  # the broker may be away
            self.dashboard.sessions.end(self.request.cookies.get(SESSION_COOKIE, ""))
            self.session = None
            return True
        return False

    async def answer(self, *path: str, **query: Any) -> Any:
        """Return what the management API answers, or ``None`` where the user may not look."""
        try:
            return await self.management.get(*path, **query)
        except ManagementError as error:
            if error.status in (401, 403, 404):
                return None
            raise


def address(path: str, **query: Any) -> str:
    """Return the address of a page, with parameters that may have any characters.

    >>> address("/queue", vhost="/", name="a b")
    '/queue?vhost=%2F&name=a%20b'
    """
    pairs = [
        f"{quote(name)}={quote(str(value), safe='', errors='surrogateescape')}"
        for name, value in query.items()
        if value not in (None, "")
    ]
    return path + ("?" + "&".join(pairs) if pairs else "")


def _pairs(raw: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(
            raw.decode("latin-1"),
            keep_blank_values=True,
            errors="surrogateescape",
            max_num_fields=_MOST_FIELDS,
        )
    except ValueError:
        raise PageError(400, f"There are more than {_MOST_FIELDS} fields.") from None


def paging(query: Mapping[str, str]) -> int:
    """Return the number of the page that is asked for, from 1."""
    return number_in(query.get("page", ""), 1, 10**9)


def number_in(text: str, otherwise: int, most: int) -> int:
    """Return a number from 1 to a bound that somebody has written; anything else means ``otherwise``."""
    if not (text.isascii() and text.isdecimal() and len(text) < 19 and int(text)):
        return otherwise
    return min(int(text), most)
