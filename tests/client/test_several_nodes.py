"""Several URLs: the nodes of a cluster."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.client.support import Consuming, message, numbers, plan
from tests.support.waiting import eventually

from fedora_messaging import api
from fedora_messaging.broker import Broker
from fedora_messaging.exceptions import ConfigurationException, ConnectionException
from fedora_messaging.settings.to_options import connection_options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fedora_messaging.config import LazyConfig
    from fedora_messaging.message import Message


@pytest.fixture
def nobody() -> Iterator[str]:
    """The URL of a port that nobody listens on."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"amqp://127.0.0.1:{bound.getsockname()[1]}"


def test_a_node_that_is_down_is_passed_over(settings: LazyConfig, nobody: str) -> None:
    with Broker() as broker:
        settings["amqp_url"] = [nobody, broker.amqp_url, nobody]
        try:
            for _ in range(5):
                api.publish(message("nowhere"), timeout=15)
                api.close()
        finally:
            api.close()


@pytest.fixture
def dying() -> Iterator[str]:
    """The URL of a node that hangs up before it says anything."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    listener.accept()[0].close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"amqp://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_node_that_hangs_up_is_passed_over(settings: LazyConfig, dying: str) -> None:
    with Broker() as broker:
        settings["amqp_url"] = [dying, broker.amqp_url, dying]
        for _ in range(10):
            try:
                api.publish(message("nowhere"), timeout=15)
            finally:
                api.close()


def test_a_node_that_refuses_us_is_passed_over(settings: LazyConfig) -> None:
    """A node that has just started may not have the virtual host yet."""
    with Broker() as odd, Broker() as broker:
        settings["amqp_url"] = [f"{odd.amqp_url}/missing", broker.amqp_url]
        for _ in range(10):
            try:
                api.publish(message("nowhere"), timeout=15)
            finally:
                api.close()


def test_nodes_that_all_refuse_us_are_told_of(settings: LazyConfig, dying: str) -> None:
    settings["amqp_url"] = [dying, dying]
    try:
        with pytest.raises(ConnectionException):
            api.publish(message("nowhere"), timeout=15)
    finally:
        api.close()


def test_a_node_that_dies_is_replaced(settings: LazyConfig) -> None:
    """Consumers and publishers go on at another node."""
    received: list[Message] = []
    with Broker() as first, Broker() as second:
        settings["amqp_url"] = [first.amqp_url, second.amqp_url]
        try:
            with Consuming(received.append, **plan("q")):
                eventually(lambda: api._twisted_service and api._twisted_service.snapshot().consuming)
                api.publish(message("q", 1))
                eventually(lambda: numbers(received) == [1])
                used = first if api._twisted_service._supervisor.nodes.present.port == first.port else second
                port = used.port
                used.stop()
                supervisor = api._twisted_service._supervisor
                eventually(lambda: supervisor.nodes.present.port != port and supervisor.connected)
                api.publish(message("q", 2))
                eventually(lambda: numbers(received) == [1, 2])
        finally:
            api.close()


def test_clients_spread_over_the_nodes(settings: LazyConfig) -> None:
    with Broker() as first, Broker() as second:
        settings["amqp_url"] = [first.amqp_url, second.amqp_url]
        chosen = set()
        for _ in range(60):
            try:
                api.publish(message("nowhere"))
                chosen.add(api._twisted_service._supervisor.nodes.present.port)
            finally:
                api.close()
            if len(chosen) == 2:
                return
        pytest.fail("one node is never chosen")


def test_addresses_of_one_name_are_tried_in_random_order(
    settings: LazyConfig, monkeypatch: pytest.MonkeyPatch, nobody: str
) -> None:
    """A name that stands for all nodes of a cluster; those that are down are passed over."""
    resolve = socket.getaddrinfo
    with Broker() as first, Broker() as second:
        ports = [first.port, second.port, int(nobody.rpartition(":")[2])]

        def several(host: str, *arguments: Any, **more: Any) -> list[Any]:
            if host != "cluster.invalid":
                return resolve(host, *arguments, **more)
            kind = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
            return [(*kind, ("127.0.0.1", port)) for port in ports]

        monkeypatch.setattr(socket, "getaddrinfo", several)
        settings["amqp_url"] = "amqp://cluster.invalid"
        for broker in (first, second):
            for _ in range(100):
                try:
                    api.publish(message("nowhere"), timeout=15)
                    connected = bool(broker.close_connections("canary"))
                finally:
                    api.close()
                if connected:
                    break
            else:
                pytest.fail("one address is never chosen")


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ([], '"amqp_url" is an empty list; name one broker at least'),
        (["amqp://a", 5], '"amqp_url" must be text such as "amqp://localhost", or a list of such'),
        (["amqp://a", "amqp://b:port"], '"amqp_url" is invalid'),
    ],
)
def test_mistakes(url: object, complaint: str, settings: LazyConfig) -> None:
    settings["amqp_url"] = url
    with pytest.raises(ConfigurationException, match=complaint):
        api.publish(message("nowhere"))


def test_p23_passwords_of_none_are_shown(settings: LazyConfig) -> None:
    settings["amqp_url"] = ["amqp://u:canary@a", "amqp://u:canary@b"]
    assert "canary" not in repr(settings)
    assert "canary" not in repr(connection_options(settings))
