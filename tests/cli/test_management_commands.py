"""``fedora-messaging queues`` and its like, against the embedded broker and RabbitMQ."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from fedora_messaging import cli

if TYPE_CHECKING:
    from click.testing import Result
    from tests.cli.conftest import Queues
    from tests.conftest import BrokerUnderTest


@pytest.fixture
def url(broker: BrokerUnderTest) -> str:
    """URL of the management API, with user and password."""
    assert broker.management_url is not None
    return broker.management_url


def run(url: str, group: str, *arguments: str, typed: str = "") -> Result:
    """Run a command; the environment names the management API.

    It runs without `fedora-messaging` itself, which would have the broker of this process log to its output.
    """
    environment = {"FEDORA_MESSAGING_MANAGEMENT_URL": url}
    return CliRunner().invoke(cli.cli.commands[group], arguments, input=typed, env=environment)


def told(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.stdout


def rows(result: Result) -> list[list[str]]:
    """Return the cells of what was printed; Click before 8.2 adds the line about their number."""
    return [line.split("\t") for line in told(result).splitlines() if "\t" in line]


def test_queues_are_listed_and_shown(url: str, queues: Queues) -> None:
    name = queues.make()
    other = queues.make()
    assert [row[0] for row in rows(run(url, "queues", "list", "--name", name))] == [name]
    found = json.loads(told(run(url, "queues", "list", "--json", "--vhost", "/")))
    assert {name, other} <= {queue["name"] for queue in found}
    assert name in told(run(url, "queues"))
    assert json.loads(told(run(url, "queues", "show", "--json", name)))["name"] == name
    assert f"name: {name}" in told(run(url, "queues", "show", name)).splitlines()


def test_looking_takes_nothing(url: str, queues: Queues) -> None:
    name = queues.make()
    queues.put(name, '{"number": 1}', '{"number": 2}')
    queues.wait_until_ready(name, 2)
    shown = rows(run(url, "queues", "peek", "-n", "5", name))
    assert [row[-1] for row in shown] == ['{"number": 1}', '{"number": 2}']
    found = json.loads(told(run(url, "queues", "peek", "--json", "-n", "1", name)))
    assert [one["payload"] for one in found] == ['{"number": 1}']
    assert queues.take(name) == [b'{"number": 1}', b'{"number": 2}']


def test_deleting_asks_first(url: str, queues: Queues) -> None:
    name = queues.make()
    queues.put(name, "{}")
    queues.wait_until_ready(name, 1)
    refused = run(url, "queues", "purge", name, typed="n\n")
    assert refused.exit_code == 1
    assert f"Delete the messages of the queue {name} for good?" in refused.output
    assert queues.ready(name) == 1
    assert told(run(url, "queues", "purge", name, typed="y\n")).endswith(
        f"The messages of {name} are deleted.\n"
    )
    assert queues.ready(name) == 0
    assert told(run(url, "queues", "delete", "--yes", name)) == f"The queue {name} is deleted.\n"
    assert run(url, "queues", "show", name).exit_code == 1


def test_exchanges_bindings_and_connections(url: str, queues: Queues) -> None:
    queue = queues.make("some.#")
    assert "amq.topic\ttopic" in told(run(url, "exchanges", "list", "--name", "amq.topic"))
    assert json.loads(told(run(url, "exchanges", "show", "--json", "amq.topic")))["type"] == "topic"
    assert f"amq.topic\tsome.#\t{queue}\tqueue" in told(run(url, "bindings", "list", "--name", queue))
    assert run(url, "connections").exit_code == 0
    assert isinstance(json.loads(told(run(url, "connections", "list", "--json", "--vhost", "/"))), list)


@pytest.mark.parametrize(
    "arguments", [("queues", "show"), ("queues", "peek"), ("exchanges", "show"), ("connections", "show")]
)
def test_what_does_not_exist(url: str, arguments: tuple[str, ...]) -> None:
    result = run(url, *arguments, "no-such-name")
    assert result.exit_code == 1
    assert result.output.splitlines()[-1].startswith("Error: The broker says: ")


def test_wrong_addresses(silent_port: int) -> None:
    """None of them shows the password."""
    for wrong, said in (
        (f"http://guest:pAssw0rd@127.0.0.1:{silent_port}", "does not answer"),
        ("amqp://guest:pAssw0rd@127.0.0.1:5672", "must look like http://"),
        ("http://guest:pAss#w0rd@127.0.0.1:15672", "as %23"),
    ):
        result = run(wrong, "queues")
        assert result.exit_code in (1, 2)
        assert said in result.output
        assert "pAss" not in result.output
        assert "Traceback" not in result.output
