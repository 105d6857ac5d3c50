"""RabbitMQ's command rabbitmqadmin, as releases before 4.0 bring it, works with the embedded broker."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pika.exceptions import ConnectionClosedByBroker
from tests.management.client import Api
from tests.support.admin import connect
from tests.support.rabbitmq import find_rabbitmq
from tests.support.servers import require

from fedora_messaging.broker import Broker as EmbeddedBroker

if TYPE_CHECKING:
    from collections.abc import Iterator


def find_script() -> Path | None:
    """Find the script on the path, or among the files of the plugin."""
    sbin = find_rabbitmq()
    served = (
        [] if sbin is None else sbin.parent.glob("plugins/rabbitmq_management-*/priv/www/cli/rabbitmqadmin")
    )
    on_path = shutil.which("rabbitmqadmin")
    candidates = [*([] if on_path is None else [Path(on_path)]), *served]
    return next((found for found in candidates if b"python" in found.read_bytes()[:30]), None)


class Command:
    """Runs the script.

    Args:
        script: The script.
        api: Client of the broker.
        home: Directory without settings.
    """

    def __init__(self, script: Path, api: Api, home: Path) -> None:
        self._script = script
        self._api = api
        self._home = home

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "ignore", str(self._script), "-H", "127.0.0.1", "-P"]
        return subprocess.run(
            [*command, str(self._api.url.port), *arguments],
            env={"HOME": str(self._home)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def __call__(self, *arguments: str) -> str:
        """Run the script, which must succeed; returns what it has printed."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def table(self, *arguments: str) -> list[list[str]]:
        """Return the cells of a table that the script prints."""
        lines = self("-f", "tsv", *arguments).splitlines()
        return [line.split("\t") for line in lines[1:]]


@pytest.fixture(params=["4", "3"])
def embedded(request: pytest.FixtureRequest) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(profile=request.param, http_port=0) as broker:
        yield broker


@pytest.fixture
def api(embedded: EmbeddedBroker) -> Iterator[Api]:
    assert embedded.management_url is not None
    with Api(embedded.management_url) as made:
        yield made


@pytest.fixture
def rabbitmqadmin(api: Api, tmp_path: Path) -> Command:
    script = find_script()
    require(
        script is not None,
        "rabbitmqadmin",
        "install RabbitMQ 3.x with its management plugin, for example Debian 12's package rabbitmq-server",
    )
    assert script is not None
    return Command(script, api, tmp_path)


def test_declaring_listing_and_deleting(rabbitmqadmin: Command, api: Api) -> None:
    declared = rabbitmqadmin("declare", "queue", "name=aq", "durable=true", 'arguments={"x-max-length":5}')
    assert declared == "queue declared\n"
    assert rabbitmqadmin.table("list", "queues", "name", "messages") == [["aq", "0"]]
    assert api.get("queues/%2F/aq")["arguments"]["x-max-length"] == 5
    assert rabbitmqadmin("declare", "exchange", "name=ax", "type=topic") == "exchange declared\n"
    assert ["ax", "topic"] in rabbitmqadmin.table("list", "exchanges", "name", "type")
    binding = ("declare", "binding", "source=ax", "destination=aq", "routing_key=a.b")
    assert rabbitmqadmin(*binding) == "binding declared\n"
    assert ["ax", "aq", "a.b"] in rabbitmqadmin.table(
        "list", "bindings", "source", "destination", "routing_key"
    )
    gone = (
        "delete",
        "binding",
        "source=ax",
        "destination_type=queue",
        "destination=aq",
        "properties_key=a.b",
    )
    assert rabbitmqadmin(*gone) == "binding deleted\n"
    assert rabbitmqadmin("delete", "exchange", "name=ax") == "exchange deleted\n"
    assert rabbitmqadmin("delete", "queue", "name=aq") == "queue deleted\n"
    assert rabbitmqadmin.table("list", "queues", "name") == []
    again = rabbitmqadmin.run("delete", "queue", "name=aq")
    assert (again.returncode, again.stderr.startswith("*** Not found: /api/queues/%2F/aq")) == (1, True)


def test_publishing_and_fetching(rabbitmqadmin: Command) -> None:
    rabbitmqadmin("declare", "queue", "name=messages", "durable=true")
    assert rabbitmqadmin("publish", "routing_key=messages", "payload=hello") == "Message published\n"
    unrouted = rabbitmqadmin("publish", "routing_key=nowhere", "payload=x")
    assert unrouted == "Message published but NOT routed\n"
    get = ("get", "queue=messages")
    cells = rabbitmqadmin.table(*get)[0]
    assert cells[:6] == ["messages", "", "0", "hello", "5", "string"]
    removed = rabbitmqadmin.table(*get, "count=2", "ackmode=ack_requeue_false")
    assert len(removed) == 1
    assert rabbitmqadmin("publish", "routing_key=messages", "payload=bye") == "Message published\n"
    assert rabbitmqadmin("purge", "queue", "name=messages") == "queue purged\n"
    assert rabbitmqadmin.table("list", "queues", "name", "messages") == [["messages", "0"]]
    rabbitmqadmin("delete", "queue", "name=messages")


def test_users_virtual_hosts_and_what_belongs_to_them(rabbitmqadmin: Command) -> None:
    rabbitmqadmin("declare", "vhost", "name=av")
    rabbitmqadmin("declare", "user", "name=au", "password=p", "tags=management")
    rabbitmqadmin("declare", "permission", "vhost=av", "user=au", "configure=.*", "write=.*", "read=.*")
    policy = ("name=ap", "pattern=^zz", 'definition={"max-length":5}')
    rabbitmqadmin("declare", "policy", *policy)
    rabbitmqadmin("declare", "operator_policy", *policy)
    rabbitmqadmin("declare", "vhost_limit", "vhost=av", "name=max-queues", "value=5")
    assert ["av"] in rabbitmqadmin.table("list", "vhosts", "name")
    assert ["au", "management"] in rabbitmqadmin.table("list", "users", "name", "tags")
    assert ["au", "av"] in rabbitmqadmin.table("list", "permissions", "user", "vhost")
    assert [["ap", "^zz"]] == rabbitmqadmin.table("list", "policies", "name", "pattern")
    assert [["ap"]] == rabbitmqadmin.table("list", "operator_policies", "name")
    assert [["av"]] == rabbitmqadmin.table("list", "vhost_limits", "vhost")
    assert ["operator_policy"] in rabbitmqadmin.table("list", "parameters", "component")
    rabbitmqadmin("delete", "policy", "name=ap")
    rabbitmqadmin("delete", "operator_policy", "name=ap")
    rabbitmqadmin("delete", "user", "name=au")
    rabbitmqadmin("delete", "vhost", "name=av")
    assert ["av"] not in rabbitmqadmin.table("list", "vhosts", "name")


def test_export_and_import(rabbitmqadmin: Command, api: Api, tmp_path: Path) -> None:
    rabbitmqadmin("declare", "queue", "name=exported", "durable=true")
    path = tmp_path / "definitions.json"
    assert rabbitmqadmin("export", str(path)).startswith("Exported definitions for 127.0.0.1 to ")
    assert "exported" in [item["name"] for item in json.loads(path.read_text())["queues"]]
    rabbitmqadmin("delete", "queue", "name=exported")
    assert rabbitmqadmin("import", str(path)).startswith("Uploaded definitions from ")
    assert rabbitmqadmin.table("list", "queues", "name") == [["exported"]]
    rabbitmqadmin("delete", "queue", "name=exported")


def test_connections(rabbitmqadmin: Command, embedded: EmbeddedBroker) -> None:
    connection = connect(embedded.amqp_url)
    channel = connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    tag = channel.basic_consume(queue, lambda *_: None)
    ((name, user, channels),) = rabbitmqadmin.table("list", "connections", "name", "user", "channels")
    assert (user, channels) == ("guest", "1")
    assert rabbitmqadmin.table("list", "channels", "name") == [[f"{name} (1)"]]
    assert rabbitmqadmin.table("list", "consumers", "consumer_tag") == [[tag]]
    assert rabbitmqadmin("close", "connection", f"name={name}") == "connection closed\n"
    with pytest.raises(ConnectionClosedByBroker):
        connection.process_data_events(time_limit=10)


def test_the_broker_at_a_glance(rabbitmqadmin: Command, api: Api) -> None:
    overview = api.get("overview")
    ((version, queues),) = rabbitmqadmin.table("show", "overview", "rabbitmq_version", "object_totals.queues")
    assert (version, queues) == (overview["rabbitmq_version"], "0")
    assert rabbitmqadmin.table("list", "nodes", "name", "type") == [[overview["node"], "disc"]]


def test_a_wrong_password_is_told(rabbitmqadmin: Command) -> None:
    done = rabbitmqadmin.run("-u", "guest", "-p", "wrong", "list", "queues")
    assert done.returncode == 1
    assert done.stderr.startswith("*** Access refused: /api/queues")
