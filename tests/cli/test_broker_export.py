"""`fedora-messaging broker export`: the definitions in a data directory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pika
import pytest
from tests.support.processes import start_broker

if TYPE_CHECKING:
    from tests.support.processes import Processes

TOPOLOGY = {
    "users": [{"name": "bob", "password": "canary", "tags": ["monitoring"]}],
    "vhosts": [{"name": "v", "metadata": {"description": "for tests", "tags": []}}],
    "permissions": [{"user": "bob", "vhost": "v", "configure": ".*", "write": ".*", "read": ".*"}],
    "policies": [{"vhost": "v", "name": "p", "pattern": "", "definition": {"max-length": 5}}],
    "exchanges": [{"name": "e", "vhost": "v", "type": "topic", "durable": True}],
    "queues": [{"name": "żółw", "vhost": "v", "durable": True}],
    "bindings": [
        {
            "source": "e",
            "vhost": "v",
            "destination": "żółw",
            "destination_type": "queue",
            "routing_key": "a.#",
        }
    ],
}


def fill(processes: Processes) -> None:
    """Make a data directory with definitions and a message."""
    (processes.directory / "topology.json").write_text(json.dumps(TOPOLOGY))
    broker, port = start_broker(processes, "--data", "data", "--definitions", "topology.json")
    credentials = pika.PlainCredentials("bob", "canary")
    parameters = pika.ConnectionParameters("127.0.0.1", port, "v", credentials=credentials)
    with pika.BlockingConnection(parameters) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish("e", "a.b", b"a message", pika.BasicProperties(delivery_mode=2))
    assert broker.terminate().status == 0


def export(processes: Processes, *arguments: str) -> dict[str, Any]:
    """Return what is exported."""
    ended = processes.run("broker", "export", "--data", "data", *arguments)
    assert (ended.status, ended.stderr) == (0, [])
    found: dict[str, Any] = json.loads("\n".join(ended.stdout))
    return found


def test_export_is_fit_for_another_broker(processes: Processes) -> None:
    """Passwords and messages stay behind; hashes go along."""
    fill(processes)
    exported = export(processes)
    assert "canary" not in json.dumps(exported)
    assert [user["name"] for user in exported["users"]] == ["bob"]
    assert {section: len(exported[section]) for section in TOPOLOGY} == {
        **dict.fromkeys(TOPOLOGY, 1),
        "vhosts": 2,
    }
    (processes.directory / "moved.json").write_text(json.dumps(exported))
    broker, port = start_broker(processes, "--data", "other", "--definitions", "moved.json")
    parameters = pika.ConnectionParameters(
        "127.0.0.1", port, "v", credentials=pika.PlainCredentials("bob", "canary")
    )
    with pika.BlockingConnection(parameters) as connection:
        channel = connection.channel()
        assert channel.queue_declare("żółw", passive=True).method.message_count == 0
        channel.basic_publish("e", "a.b", b"x", mandatory=True)
    broker.terminate()
    (processes.directory / "data").rename(processes.directory / "first")
    (processes.directory / "other").rename(processes.directory / "data")
    assert export(processes) == exported


def test_export_leaves_the_messages(processes: Processes) -> None:
    fill(processes)
    export(processes)
    _broker, port = start_broker(processes, "--data", "data")
    parameters = pika.ConnectionParameters(
        "127.0.0.1", port, "v", credentials=pika.PlainCredentials("bob", "canary")
    )
    with pika.BlockingConnection(parameters) as connection:
        assert connection.channel().basic_get("żółw")[2] == b"a message"


def test_one_virtual_host(processes: Processes) -> None:
    fill(processes)
    exported = export(processes, "--vhost", "v")
    assert exported["original_vhost_name"] == "v"
    assert "users" not in exported
    assert [queue["name"] for queue in exported["queues"]] == ["żółw"]
    ended = processes.run("broker", "export", "--data", "data", "--vhost", "w")
    assert ended.status == 1
    assert ended.one_error() == "Error: There is no virtual host 'w'; there are '/', 'v'"


def test_directory_is_needed(processes: Processes) -> None:
    assert "Missing option '--data'" in processes.run("broker", "export").usage_error()
    error = processes.run("broker", "export", "--data", "none").usage_error()
    assert "Directory 'none' does not exist" in error


def test_directory_without_data(processes: Processes) -> None:
    (processes.directory / "data").mkdir()
    ended = processes.run("broker", "export", "--data", "data")
    assert ended.status == 1
    assert ended.one_error() == "Error: data is no data directory of a broker: it has no file broker.sqlite"
    assert list((processes.directory / "data").iterdir()) == []


def test_file_that_is_something_else(processes: Processes) -> None:
    (processes.directory / "data").mkdir()
    (processes.directory / "data/broker.sqlite").write_bytes(b"this is not SQLite, and stays as it is " * 100)
    ended = processes.run("broker", "export", "--data", "data")
    assert ended.status == 1
    assert "data/broker.sqlite is damaged, or no data file of a broker" in ended.one_error()


def test_broker_that_runs(processes: Processes) -> None:
    broker, _port = start_broker(processes, "--data", "data")
    ended = processes.run("broker", "export", "--data", "data")
    assert ended.status == 1
    assert "The data directory data is in use by another broker" in ended.one_error()
    assert broker.terminate().status == 0


@pytest.mark.parametrize("profile", ["3", "4"])
def test_profile(processes: Processes, profile: str) -> None:
    broker, port = start_broker(processes, "--data", "data", "--profile", "3")
    with pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port)) as connection:
        connection.channel().queue_declare("q", durable=True, arguments={"x-queue-version": 1})
    broker.terminate()
    ended = processes.run("broker", "export", "--data", "data", "--profile", profile)
    if profile == "3":
        assert json.loads("\n".join(ended.stdout))["rabbit_version"] == "3.10.8"
    else:
        assert ended.status == 1
        assert "was declared with another profile than 4. Use that profile" in ended.one_error()


def test_help(processes: Processes) -> None:
    ended = processes.run("broker", "export", "--help")
    assert (ended.status, ended.stderr) == (0, [])
    assert all(any(option in line for line in ended.stdout) for option in ("--data", "--vhost", "--profile"))
