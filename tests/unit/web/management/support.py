"""A call of the management API without a server that listens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.unit.broker.core.support import new_vhost

from fedora_messaging.broker.accounts import User
from fedora_messaging.broker.core.profile import RABBITMQ_4
from fedora_messaging.broker.server import Server
from fedora_messaging.web.management.call import Call
from fedora_messaging.web.management.rates import Rates

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fedora_messaging.broker.core.profile import Profile


def new_server(profile: Profile = RABBITMQ_4) -> Server:
    """A broker that has not started, with the default virtual host."""
    server = Server(profile=profile)
    server.vhosts["/"] = new_vhost(profile)
    return server


def new_call(
    raw: bytes = b"",
    *,
    tags: tuple[str, ...] = ("administrator",),
    path: Mapping[str, str] | None = None,
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    server: Server | None = None,
) -> Call:
    if server is None:
        server = new_server()
    return Call(
        server, User("u", None, tags), path or {}, query or {}, headers or {}, raw, Rates(lambda: 0.0)
    )
