"""Clients of the management API; what a test makes under its names is deleted after it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from tests.conftest import BrokerUnderTest, broker_of
from tests.management.client import ROOT, Api, part
from tests.support.admin import close_quietly, connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
    from tests.support.admin import Names
    from tests.support.brokers import Broker


@pytest.fixture(params=["embedded-4", "embedded-3", "rabbitmq"])
def broker(request: pytest.FixtureRequest) -> BrokerUnderTest:
    """The embedded broker in both profiles, then RabbitMQ: a test with this fixture holds for all."""
    return broker_of(request)


@pytest.fixture
def api(broker: Broker, names: Names) -> Iterator[Api]:
    """Asks the broker as its administrator."""
    assert broker.management_url is not None
    with Api(broker.management_url) as made:
        yield made


@pytest.fixture
def stranger(api: Api) -> Iterator[Api]:
    """A client that does not log in."""
    with Api(str(api.url), None) as made:
        yield made


@pytest.fixture
def connections(broker: Broker, names: Names) -> Iterator[Callable[..., BlockingConnection]]:
    """Opens pika connections; takes attributes of `pika.ConnectionParameters`."""
    with ExitStack() as opened:

        def open_connection(**settings: Any) -> BlockingConnection:
            made = connect(broker.url, **settings)
            opened.callback(close_quietly, made)
            return made

        yield open_connection


@pytest.fixture
def channel(connections: Callable[..., BlockingConnection]) -> BlockingChannel:
    """A channel in confirm mode."""
    made = connections().channel()
    made.confirm_delivery()
    return made


@pytest.fixture
def queue(api: Api, name: str) -> str:
    """A durable queue."""
    api.put(f"queues/{ROOT}/{name}", {"durable": True})
    return name


@pytest.fixture
def vhost(api: Api, name: str) -> Iterator[str]:
    """A virtual host in which `guest` has all permissions."""
    vhost = f"vhost.{name}"
    api.put(f"vhosts/{vhost}")
    yield vhost
    api.ask("DELETE", f"vhosts/{vhost}")


@pytest.fixture
def users(api: Api, names: Names) -> Iterator[Callable[..., Api]]:
    """Makes users: returns a client for one with these tags, with all permissions in `/` by default."""
    with ExitStack() as opened:

        def add(tags: str = "", *, permissions: tuple[str, str, str] | None = (".*", ".*", ".*")) -> Api:
            user = f"user.{names()}"
            api.put(f"users/{user}", {"tags": tags, "password": f"pw-{user}"})
            opened.callback(api.ask, "DELETE", f"users/{user}")
            if permissions is not None:
                rights = dict(zip(("configure", "write", "read"), permissions, strict=True))
                api.put(f"permissions/{ROOT}/{part(user)}", rights)
            made = opened.enter_context(Api(str(api.url), (user, f"pw-{user}")))
            return made

        yield add
