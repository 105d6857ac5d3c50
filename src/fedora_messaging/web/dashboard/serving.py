"""Making the web application for a broker: one in this process, or one that is reached by a URL."""

from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import httpx

from ...archive.archive import Archive
from .dashboard import Dashboard
from .management import Management
from .settings import DashboardSettings

if TYPE_CHECKING:
    from starlette.types import ASGIApp


def for_url(url: str, settings: DashboardSettings, archive: Archive | None = None) -> Dashboard:
    """Make the application for the management API at a URL, whose user and password nobody is shown.

    Raises:
        ValueError: The URL cannot be used; the text says why, without the password.
    """
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        raise ValueError("the port in the management URL is no port") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("the management URL must look like http://user:password@host:15672")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    name = f"{host}:{port}" if port else host
    base = f"{parts.scheme}://{name}{parts.path.removesuffix('/').removesuffix('/api')}/"
    auth = (unquote(parts.username or "guest"), unquote(parts.password or "guest"))
    client = httpx.AsyncClient(base_url=base, auth=auth, headers={"user-agent": "fedora-messaging dashboard"})
    return Dashboard(Management(client, name), settings, archive)


def for_app(
    app: "ASGIApp", name: str, settings: DashboardSettings, archive: Archive | None = None
) -> Dashboard:
    """Make the application for a management API in this process, which knows who looks without a session."""
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost/")
    return Dashboard(Management(client, name), settings, archive)
