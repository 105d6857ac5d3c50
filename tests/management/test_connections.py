"""Connections, channels and consumers over the management API: list, show, close."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pika.exceptions import ConnectionClosedByBroker
from tests.behaviour.support import since
from tests.management.client import NOT_FOUND, ROOT, Api, part
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from pika.adapters.blocking_connection import BlockingConnection
    from tests.support.brokers import Broker


def find(api: Api, path: str, provided: str) -> Any:
    """Wait for a connection in a list, which RabbitMQ shows some seconds late."""

    def look() -> Any:
        return next(
            (
                item
                for item in api.get(path)
                if item.get("client_properties", {}).get("connection_name") == provided
            ),
            None,
        )

    return eventually(look)


@pytest.fixture
def connection(connections: Callable[..., BlockingConnection], name: str) -> BlockingConnection:
    return connections(client_properties={"connection_name": name, "custom": "é"}, heartbeat=60)


def test_a_connection_shows_who_is_connected(api: Api, connection: BlockingConnection, name: str) -> None:
    connection.channel()
    shown = eventually(
        lambda: found if (found := find(api, "connections", name)).get("channels") == 1 else None
    )
    expected = {
        "user": "guest",
        "user_who_performed_action": "guest",
        "user_provided_name": name,
        "vhost": "/",
        "protocol": "AMQP 0-9-1",
        "auth_mechanism": "PLAIN",
        "type": "network",
        "timeout": 60,
        "channel_max": 2047,
        "frame_max": 131072,
        "peer_host": "127.0.0.1",
        "host": "127.0.0.1",
        "ssl": False,
        "state": "running",
        "channels": 1,
    }
    assert {key: shown.get(key) for key in expected} == expected
    assert shown["name"] == f"127.0.0.1:{shown['peer_port']} -> 127.0.0.1:{shown['port']}"
    assert shown["client_properties"]["custom"] == "é"
    assert shown["recv_oct"] > 0
    assert shown["send_oct"] > 0
    assert set(shown["recv_oct_details"]) == {"rate"}
    assert shown["connected_at"] > 1_700_000_000_000  # milliseconds

    one = api.get(f"connections/{part(shown['name'])}")
    assert {key: one.get(key) for key in expected} == expected
    in_vhost = api.get(f"vhosts/{ROOT}/connections")
    assert shown["name"] in [item["name"] for item in in_vhost]
    of_user = api.get("connections/username/guest")
    assert shown["name"] in [item["name"] for item in of_user]
    assert api.get("connections/username/nobody") == []


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ({}, "CONNECTION_FORCED - Closed via management plugin"),
        ({"X-Reason": "for a test"}, "CONNECTION_FORCED - for a test"),
    ],
)
def test_closing_a_connection_tells_the_client_why(
    api: Api, connection: BlockingConnection, name: str, headers: dict[str, str], text: str
) -> None:
    shown = find(api, "connections", name)
    path = f"connections/{part(shown['name'])}"
    assert api.ask("DELETE", path, headers=headers).status_code == 204
    with pytest.raises(ConnectionClosedByBroker) as caught:
        connection.process_data_events(time_limit=10)
    assert (caught.value.reply_code, caught.value.reply_text) == (320, text)
    eventually(lambda: api.ask("GET", path).status_code == 404)
    assert api.error(404, "DELETE", path) == NOT_FOUND


def test_closing_the_connections_of_a_user(
    api: Api, users: Callable[..., Api], connections: Callable[..., BlockingConnection]
) -> None:
    import pika

    user = users("management")
    other = connections()
    own = connections(credentials=pika.PlainCredentials(user.user, f"pw-{user.user}"))
    path = f"connections/username/{part(user.user)}"
    eventually(lambda: api.get(path))
    api.delete(path)
    with pytest.raises(ConnectionClosedByBroker):
        own.process_data_events(time_limit=10)
    other.process_data_events(time_limit=0)
    assert other.is_open
    api.delete("connections/username/nobody")


def test_a_channel_shows_its_settings_and_its_use(
    api: Api, connection: BlockingConnection, queue: str, name: str
) -> None:
    channel = connection.channel()
    channel.confirm_delivery()
    channel.basic_qos(prefetch_count=7)
    for _ in range(3):
        channel.basic_publish("", queue, b"a")
    tag = channel.basic_consume(queue, lambda *_: None)
    shown = find(api, "connections", name)
    path = f"channels/{part(shown['name'] + ' (1)')}"

    def used() -> Any:
        answer = api.ask("GET", path)
        found = answer.json() if answer.status_code == 200 else {}
        stats = found.get("message_stats", {})
        # RabbitMQ tells the settings and the use of a channel at different times.
        was_used = stats.get("deliver") == 3 and stats.get("publish") == 3
        is_shown = found.get("confirm") and found.get("consumer_count") and found.get("consumer_details")
        return found if was_used and is_shown else None

    found = eventually(used)
    expected = {
        "name": f"{shown['name']} (1)",
        "number": 1,
        "user": "guest",
        "vhost": "/",
        "confirm": True,
        "transactional": False,
        "prefetch_count": 7,
        "consumer_count": 1,
        "messages_unacknowledged": 3,
        "state": "running",
    }
    assert {key: found.get(key) for key in expected} == expected
    stats = found["message_stats"]
    kinds = ("publish", "confirm", "return_unroutable", "drop_unroutable", "deliver", "deliver_get", "ack")
    assert [stats[kind] for kind in kinds] == [3, 3, 0, 0, 3, 3, 0]
    details = found["connection_details"]
    assert details == {
        "name": shown["name"],
        "peer_host": "127.0.0.1",
        "peer_port": shown["peer_port"],
    }
    (consumer,) = found["consumer_details"]
    assert (consumer["consumer_tag"], consumer["queue"]) == (tag, {"name": queue, "vhost": "/"})
    assert api.error(404, "GET", "channels/nope") == NOT_FOUND
    (of_connection,) = api.get(f"connections/{part(shown['name'])}/channels")
    assert of_connection["name"] == expected["name"]
    for listed in ("channels", f"vhosts/{ROOT}/channels"):
        assert expected["name"] in [item["name"] for item in api.get(listed)]


def test_a_consumer_shows_its_settings(
    api: Api, connection: BlockingConnection, queue: str, broker: Broker
) -> None:
    channel = connection.channel()
    channel.basic_qos(prefetch_count=5)
    tag = channel.basic_consume(queue, lambda *_: None, auto_ack=False, arguments={"x-priority": 3})

    def listed() -> Any:
        found = (item for item in api.get(f"consumers/{ROOT}") if item["consumer_tag"] == tag)
        return next((item for item in found if item["channel_details"]), None)

    shown = eventually(listed)
    details = shown.pop("channel_details")
    assert (details["number"], details["user"], details["peer_host"]) == (1, "guest", "127.0.0.1")
    assert details["name"] == f"{details['connection_name']} (1)"
    shown.pop("consumer_timeout", None)
    assert shown == {
        "arguments": {"x-priority": 3},
        "ack_required": True,
        "active": True,
        "activity_status": "up",
        "consumer_tag": tag,
        "exclusive": False,
        "prefetch_count": 5,
        "queue": {"name": queue, "vhost": "/"},
    }
    assert tag in [item["consumer_tag"] for item in api.get("consumers")]
    whole = eventually(lambda: api.get(f"queues/{ROOT}/{queue}")["consumer_details"])
    assert [item["consumer_tag"] for item in whole] == [tag]


def test_of_consumers_of_a_queue_with_a_single_active_one_the_others_wait(
    api: Api, connection: BlockingConnection, name: str
) -> None:
    arguments = {"x-single-active-consumer": True}
    api.put(f"queues/{ROOT}/{name}", {"durable": True, "arguments": arguments})
    channel = connection.channel()
    first, second = (channel.basic_consume(name, lambda *_: None) for _ in range(2))

    def both() -> Any:
        found = {item["consumer_tag"]: item for item in api.get(f"consumers/{ROOT}")}
        return found if {first, second} <= set(found) else None

    shown = eventually(both)
    assert [(shown[tag]["active"], shown[tag]["activity_status"]) for tag in (first, second)] == [
        (True, "single_active"),
        (False, "waiting"),
    ]


def test_missing_connections(api: Api, broker: Broker) -> None:
    assert api.error(404, "GET", "connections/nope") == NOT_FOUND
    assert api.error(404, "DELETE", "connections/nope") == NOT_FOUND
    assert api.error(404, "GET", "vhosts/nov/connections") == NOT_FOUND
    assert api.error(404, "GET", "vhosts/nov/channels") == NOT_FOUND


def test_users_see_their_own_connections(
    api: Api, users: Callable[..., Api], connections: Callable[..., BlockingConnection], broker: Broker
) -> None:
    import pika

    user, monitor = users("management"), users("monitoring")
    connections(credentials=pika.PlainCredentials(user.user, f"pw-{user.user}"))
    connections()
    own = eventually(lambda: user.get("connections"))
    assert {item["user"] for item in own} == {user.user}
    seen = eventually(
        lambda: found if "guest" in (found := {i["user"] for i in monitor.get("connections")}) else None
    )
    assert user.user in seen
    foreign = next(item["name"] for item in monitor.get("connections") if item["user"] == "guest")
    error = user.error(401, "GET", f"connections/{part(foreign)}")
    assert error == {"error": "not_authorised", "reason": "User not authorised to access object"}
    assert user.ask("DELETE", f"connections/{part(foreign)}").status_code == 401
    of_guest = user.ask("GET", "connections/username/guest").status_code
    # An error of 3.10's own that need not be imitated.
    assert of_guest in since(broker, (4, 0), {401}, {401, 500})
    assert [item["name"] for item in user.get(f"vhosts/{ROOT}/connections")] == [own[0]["name"]]
