"""Making the web application for a broker: one in this process, or one that is reached by a URL."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import httpx

from ...archive.archive import Archive
from .dashboard import Dashboard
from .management import Management, connect
from .settings import DashboardSettings

if TYPE_CHECKING:
    from starlette.types import ASGIApp


def for_url(url: str, settings: DashboardSettings, archive: Archive | None = None) -> Dashboard:
    """Make the application for the management API at a URL, whose user and password nobody is shown.

    Raises:
        ValueError: The URL cannot be used; the text says why, without the password.
    """
    return Dashboard(connect(url), settings, archive)


def for_app(
    app: "ASGIApp",
    name: str,
    settings: DashboardSettings,
    archive: Archive | None = None,
    closed: Callable[[], bool] = lambda: False,
) -> Dashboard:
    """Make the application for a management API in this process, which knows who looks without a session."""
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost/")
    return Dashboard(Management(client, name), settings, archive, closed)
