"""The dashboard as users start it: a real command, for the embedded broker or for RabbitMQ."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from tests.conftest import IMITATED, BrokerUnderTest
from tests.support.processes import start_broker

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest
    from tests.support.processes import Process, Processes
    from tests.support.rabbitmq import RabbitNode

KINDS: Final = ("embedded", "rabbitmq")
#: Milliseconds for RabbitMQ, whose numbers are up to five seconds old, and for a page to ask for them.
PATIENCE: Final = 30_000


@dataclass(frozen=True)
class Dashboard:
    """A running dashboard.

    Attributes:
        url: Its address, without a slash at the end.
        broker: The broker that it shows.
        process: The command that serves it: `fedora-messaging broker` or `fedora-messaging dashboard`.
    """

    url: str
    broker: BrokerUnderTest
    process: Process

    @property
    def amqp_url(self) -> str:
        """AMQP URL of the broker's virtual host `/`, with user and password."""
        return self.broker.url

    def amqp_url_of(self, vhost: str) -> str:
        """AMQP URL of another virtual host."""
        return self.broker.url.removesuffix("%2F") + quote(vhost, safe="")

    @property
    def management_url(self) -> str:
        """URL of the broker's management API, with user and password."""
        assert self.broker.management_url is not None
        return self.broker.management_url


def beside_broker(processes: Processes, *options: str) -> Dashboard:
    """Start an embedded broker, which serves the dashboard itself.

    Args:
        processes: Starts the command.
        *options: Of `fedora-messaging broker`.
    """
    process, port = start_broker(processes, "--http-port", "0", *options)
    url = process.wait_for(r"^HTTP ready on (http://127\.0\.0\.1:\d+)$")[1]
    broker = BrokerUnderTest(
        "embedded",
        IMITATED["4"],
        f"amqp://guest:guest@127.0.0.1:{port}/%2F",
        url.replace("://", "://guest:guest@"),
    )
    return Dashboard(url, broker, process)


def for_rabbitmq(processes: Processes, node: RabbitNode, *options: str) -> Dashboard:
    """Start a dashboard for a RabbitMQ.

    Args:
        processes: Starts the command.
        node: The RabbitMQ.
        *options: Of `fedora-messaging dashboard`.
    """
    process = processes.fedora_messaging(
        "dashboard", "--management-url", node.management_url, "--port", "0", *options
    )
    url = process.wait_for(r"^Dashboard on (http://127\.0\.0\.1:\d+)/$")[1]
    return Dashboard(url, BrokerUnderTest("rabbitmq", node.version, node.url, node.management_url), process)


@contextmanager
def dashboard_of(request: pytest.FixtureRequest, processes: Processes, *options: str) -> Iterator[Dashboard]:
    """Serve the dashboard of the broker that a fixture's parameter names, one of the `KINDS`.

    It ends as users end it: then it leaves no queue behind in RabbitMQ, which other tests share.

    Args:
        request: That of the fixture.
        processes: Starts the command.
        *options: Of the command.
    """
    if request.param == "rabbitmq":
        made = for_rabbitmq(processes, request.getfixturevalue("rabbitmq"), *options)
    else:
        made = beside_broker(processes, *options)
    yield made
    ended = made.process.terminate()
    assert ended.status == 0, ended.output
