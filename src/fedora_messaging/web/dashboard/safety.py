"""What no page can do without: who may address the site, and what browsers may do with its pages."""

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse

from .settings import DashboardSettings

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
#: A look into a queue may cost a message there: another site must not even link to it.
_LOOK: Final = "/queue/messages"
#: These make a queue, which another site may have its visitors do only if they see the page.
_FEEDS: Final = frozenset({"/live", "/events"})
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Guard:
    """Refuses requests that another site makes a browser send, and limits what pages can do.

    A name that an attacker has bound to this address (DNS rebinding) is no host that we know. A change must
    come from one of our own pages: browsers say so in ``Origin`` and ``Sec-Fetch-Site``.
    """

    def __init__(self, app: "ASGIApp", settings: DashboardSettings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Serve a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = refusal_of(scope["method"], headers, self._settings)
        if _is_hidden_effect(scope["path"], headers):
            refusal = "Another site has sent you here. Open this page from the pages of this site."
        if refusal is not None:
            await PlainTextResponse(f"{refusal}\n", 403, _HEADERS)(scope, receive, send)
            return

        async def send_safely(message: "Message") -> None:
            if message["type"] == "http.response.start":
                sent = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    sent.setdefault(name, value)
                if not scope["path"].startswith("/static/"):
                    sent.setdefault("cache-control", "no-store")
            await send(message)

        await self._app(scope, receive, send_safely)


def _is_hidden_effect(path: str, headers: Headers) -> bool:
    """Whether another site has a browser do something at the broker, unseen."""
    if headers.get("sec-fetch-site") not in ("cross-site", "same-site"):
        return False
    return path == _LOOK or (path in _FEEDS and headers.get("sec-fetch-dest") != "document")


def refusal_of(method: str, headers: Headers, settings: DashboardSettings) -> str | None:
    """Return why a request is refused that another site has a browser send, or ``None``."""
    host = headers.get("host", "")
    if not settings.knows_host(host):
        return (
            "This site is not known by the name in your address. If the name is right, start it with "
            "--allowed-host and that name."
        )
    if method in _SAFE_METHODS:
        return None
    origin = headers.get("origin")
    # A page without a referrer has the origin "null", and none of ours is one.
    if origin is not None and not _is_ours(origin, host, settings):
        return "Another site has sent this request."
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return "Another site has sent this request."
    return None


def _is_ours(origin: str, host: str, settings: DashboardSettings) -> bool:
    try:
        there = urlsplit(origin)
    except ValueError:
        return False
    # A proxy may have put another name into the header Host.
    return there.netloc.lower() == host.lower() or (there.hostname or "") in settings.hosts
