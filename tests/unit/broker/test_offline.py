"""Definitions that are read from a data directory while no broker serves it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from fedora_messaging.broker import AsyncBroker, BrokerError
from fedora_messaging.broker.core.declarations import QueueDeclaration
from fedora_messaging.broker.core.message import new_message
from fedora_messaging.broker.core.profile import RABBITMQ_3
from fedora_messaging.broker.definitions import export_definitions
from fedora_messaging.broker.offline import read_definitions
from fedora_messaging.broker.server import Server
from fedora_messaging.wire.properties import BasicProperties
from fedora_messaging.wire.property_codec import encode_properties

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def run(data: Path, use: Callable[[Server], Any], **options: Any) -> Any:
    """Start a broker on a data directory, without listening; returns what is made of it."""

    async def start() -> Any:
        server = Server(data=data, **options)
        server.open(asyncio.get_running_loop())
        try:
            return use(server)
        finally:
            await server.stop()

    return asyncio.run(start())


def read(data: Path, vhost: str | None = None, profile: str = "4") -> dict[str, Any]:
    return asyncio.run(read_definitions(str(data), vhost, profile))


def refusal(data: Path, vhost: str | None = None) -> str:
    with pytest.raises(BrokerError) as caught:
        read(data, vhost)
    return str(caught.value)


def fill(server: Server) -> dict[str, Any]:
    """Define things, and put an expired message into a queue; returns the definitions."""
    server.administration.set_user("bob", None, ["monitoring"])
    server.administration.set_vhost("v", "for tests")
    vhost = server.vhosts["v"]
    vhost.declare_queue(QueueDeclaration("q", durable=True), None)
    vhost.bind("amq.topic", vhost.queue("q"), "a.#", {})
    properties = encode_properties(BasicProperties(delivery_mode=2, expiration="0"))
    vhost.queue("q").enqueue(new_message("", "q", properties, b"x"))
    return export_definitions(server)


def test_definitions_are_those_of_the_broker(tmp_path: Path) -> None:
    """Except guest, who is not stored as long as nobody changes him."""
    served = run(tmp_path, fill)
    stored = read(tmp_path)
    without_guest = [user for user in served["users"] if user["name"] != "guest"]
    assert stored == {**served, "users": without_guest, "permissions": []}
    assert [user["name"] for user in stored["users"]] == ["bob"]
    # Reading changes nothing.
    again = run(tmp_path, export_definitions)
    del served["users"], again["users"]  # guest has a new hash at each start
    assert again == served


def test_permissions_of_guest_keep_nobody_from_reading(tmp_path: Path) -> None:
    def let_in(server: Server) -> None:
        server.administration.set_vhost("v")
        server.administration.set_permissions(
            "v", "guest", server.administration.user("guest").permissions["/"]
        )

    run(tmp_path, let_in)
    assert read(tmp_path)["permissions"] == []


def test_one_virtual_host(tmp_path: Path) -> None:
    served = run(tmp_path, lambda server: (fill(server), export_definitions(server, server.vhosts["v"]))[1])
    assert read(tmp_path, "v") == served
    assert refusal(tmp_path, "w") == "There is no virtual host 'w'; there are '/', 'v'"


def test_directory_without_data_stays_empty(tmp_path: Path) -> None:
    for data in (tmp_path, tmp_path / "missing"):
        assert refusal(data) == f"{data} is no data directory of a broker: it has no file broker.sqlite"
    assert list(tmp_path.iterdir()) == []


def test_directory_that_a_broker_uses(tmp_path: Path) -> None:
    async def start() -> str:
        async with AsyncBroker(data=tmp_path):
            with pytest.raises(BrokerError) as caught:
                await read_definitions(str(tmp_path))
            return str(caught.value)

    assert asyncio.run(start()) == (
        f"The data directory {tmp_path} is in use by another broker; stop that one or use another."
    )


def test_directory_of_another_profile(tmp_path: Path) -> None:
    old = QueueDeclaration("q", durable=True, arguments={"x-queue-version": 1})
    run(tmp_path, lambda server: server.vhosts["/"].declare_queue(old, None), profile=RABBITMQ_3)
    text = refusal(tmp_path)
    assert "the queue was declared with another profile than 4. Use that profile" in text
    assert [queue["name"] for queue in read(tmp_path, None, "3")["queues"]] == ["q"]
