"""Fixtures of the client's and the commands' tests, used here for both."""

from tests.cli.conftest import processes
from tests.client.conftest import (
    admin,
    light_heap,
    name,
    names,
    nothing_left,
    proxied_service,
    proxy,
    queue,
    service,
    settings,
)

__all__ = [
    "admin",
    "light_heap",
    "name",
    "names",
    "nothing_left",
    "processes",
    "proxied_service",
    "proxy",
    "queue",
    "service",
    "settings",
]
