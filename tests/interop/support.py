"""What tests of other people's applications share."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.support.management import Management, path
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import BrokerUnderTest


@contextmanager
def own_vhost(broker: BrokerUnderTest) -> Iterator[BrokerUnderTest]:
    """Make a virtual host for an application, which declares there what it likes; its URL leads there."""
    assert broker.management_url is not None
    with Management(broker.management_url) as management:
        vhost = management.vhost()
        yield replace(broker, url=urlsplit(broker.url)._replace(path=f"/{path(vhost)}").geturl())


def close_connections(broker: BrokerUnderTest, name: str) -> None:
    """Close all connections that bear this name, once the broker shows them."""
    assert broker.management_url is not None
    with Management(broker.management_url) as management:

        def found() -> list[str]:
            return [
                one["name"]
                for one in management.get("connections")
                if one.get("client_properties", {}).get("connection_name") == name
            ]

        for connection in eventually(found):
            answer = management.ask("DELETE", "connections", connection)
            # RabbitMQ shows some a little longer than they last.
            assert answer.status_code in (204, 404), answer.text
