"""RabbitMQ's command rabbitmqadmin of the second generation, which Debian's RabbitMQ 4.3 brings along.

`tests/management` has the first generation, a script that older releases bring.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

import pytest
from pika.exceptions import ConnectionClosedByBroker
from tests.interop.support import own_vhost
from tests.support.admin import Admin, connect
from tests.support.processes import environment
from tests.support.rabbitmq import SBIN_VARIABLE, find_rabbitmq
from tests.support.servers import require
from tests.support.waiting import WAIT, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import BrokerUnderTest

#: So that they run where there is a RabbitMQ that brings the command.
pytestmark = pytest.mark.rabbitmq

#: How the command says what went wrong.
UNAVAILABLE: Final = 69
FAILED: Final = 65


def ask(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [command, *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=2 * WAIT,
        check=False,
    )


@pytest.fixture(scope="module")
def command() -> str:
    """The command: it comes with the RabbitMQ that is named, or is on the path."""
    sbin = find_rabbitmq()
    beside = None if sbin is None else shutil.which("rabbitmqadmin", path=str(sbin))
    candidates = [found for found in (beside, shutil.which("rabbitmqadmin")) if found is not None]
    found = next((one for one in candidates if "RabbitMQ CLI" in ask(one, "--help").stdout), None)
    if found is None and SBIN_VARIABLE not in os.environ:
        pytest.skip("this RabbitMQ brings no rabbitmqadmin of the second generation")
    require(found is not None, "rabbitmqadmin", "install Debian's package rabbitmqadmin-ng")
    assert found is not None
    return found


class Rabbitmqadmin:
    """Runs the command.

    Attributes:
        broker: Where it works, in a virtual host of its own.
    """

    def __init__(self, command: str, broker: BrokerUnderTest) -> None:
        assert broker.management_url is not None
        url = urlsplit(broker.management_url)
        self.broker = broker
        self._command = (command, "--host", "127.0.0.1", "--port", str(url.port), "--non-interactive")
        self._vhost = unquote(urlsplit(broker.url).path[1:])

    def run(self, *arguments: str, password: str = "guest") -> subprocess.CompletedProcess[str]:
        login = ("--username", "guest", "--password", password, "--vhost", self._vhost)
        return ask(*self._command, *login, *arguments)

    def __call__(self, *arguments: str) -> str:
        """Run the command, which must succeed; returns what it has printed."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def rows(self, *arguments: str) -> list[list[str]]:
        """Return the cells of the lines that the command prints, but for empty ones."""
        return [re.split(" {2,}", line.strip()) for line in self(*arguments).splitlines() if line.strip()]

    def names(self, what: str) -> list[str]:
        """List what there is by its names, which are in the first column, or in the second of channels."""
        return [row[what == "channels"] for row in self.rows("list", what)]


@pytest.fixture(scope="module")
def rabbitmqadmin(command: str, any_broker: BrokerUnderTest) -> Iterator[Rabbitmqadmin]:
    with own_vhost(any_broker) as broker:
        yield Rabbitmqadmin(command, broker)


@pytest.fixture
def admin(rabbitmqadmin: Rabbitmqadmin) -> Iterator[Admin]:
    made = Admin(rabbitmqadmin.broker.url)
    yield made
    made.close()


def test_queues_exchanges_and_bindings(rabbitmqadmin: Rabbitmqadmin) -> None:
    for kind in ("classic", "quorum"):
        rabbitmqadmin("declare", "queue", "--name", f"a.{kind}", "--type", kind, "--durable", "true")
    rabbitmqadmin("declare", "stream", "--name", "a.stream", "--expiration", "1D")
    rows = {row[0]: row[2] for row in rabbitmqadmin.rows("list", "queues")}
    assert rows == {"a.classic": "classic", "a.quorum": "quorum", "a.stream": "stream"}
    rabbitmqadmin("declare", "exchange", "--name", "an.exchange", "--type", "topic")
    assert "an.exchange" in rabbitmqadmin.names("exchanges")
    binding = ("--source", "an.exchange", "--destination-type", "queue", "--destination", "a.quorum")
    rabbitmqadmin("declare", "binding", *binding, "--routing-key", "a.#")
    bound = [row for row in rabbitmqadmin.rows("list", "bindings") if "an.exchange" in row]
    assert [row[-2] for row in bound] == ["a.#"]
    rabbitmqadmin("delete", "binding", *binding, "--routing-key", "a.#")
    assert not [row for row in rabbitmqadmin.rows("list", "bindings") if "an.exchange" in row]
    rabbitmqadmin("delete", "exchange", "--name", "an.exchange")
    for queue in rows:
        rabbitmqadmin("delete", "queue", "--name", queue)
    assert rabbitmqadmin.names("queues") == []
    again = rabbitmqadmin.run("delete", "queue", "--name", "a.quorum")
    assert again.returncode == FAILED
    assert "404 Not Found" in again.stdout + again.stderr


def test_messages(rabbitmqadmin: Rabbitmqadmin, admin: Admin) -> None:
    """It publishes, looks at a message, and purges."""
    admin.channel.queue_declare("messages", durable=True)
    publish = ("publish", "message", "--payload", "hello", "--routing-key")
    assert "published and routed" in rabbitmqadmin(*publish, "messages")
    eventually(lambda: admin.ready("messages") == 1)
    get = ("get", "messages", "--queue", "messages", "--ack-mode")
    assert "hello" in rabbitmqadmin(*get, "ack_requeue_true")
    eventually(lambda: admin.ready("messages") == 1)
    assert "hello" in rabbitmqadmin(*get, "ack_requeue_false")
    assert admin.ready("messages") == 0
    assert "published and routed" in rabbitmqadmin(*publish, "messages")
    eventually(lambda: admin.ready("messages") == 1)
    rabbitmqadmin("purge", "queue", "--name", "messages")
    assert admin.ready("messages") == 0
    admin.delete("messages")


def test_users_policies_and_limits(rabbitmqadmin: Rabbitmqadmin) -> None:
    user = ("--user", "interop-user")
    rabbitmqadmin("declare", "user", "--name", "interop-user", "--password", "p", "--tags", "management")
    rabbitmqadmin("declare", "permissions", *user, "--configure", "c", "--write", "w", "--read", "r")
    assert ["c", "r", "w"] in [
        row[-3:] for row in rabbitmqadmin.rows("list", "permissions") if row[0] == "interop-user"
    ]
    policy = ("--name", "interop", "--pattern", "^zz", "--apply-to", "queues", "--priority", "1")
    for kind in ("policy", "operator_policy"):
        rabbitmqadmin("declare", kind, *policy, "--definition", '{"max-length": 5}')
    assert rabbitmqadmin.names("policies") == rabbitmqadmin.names("operator_policies") == ["interop"]
    rabbitmqadmin("declare", "vhost_limit", "--name", "max-queues", "--value", "5")
    assert "max-queues: 5" in rabbitmqadmin("list", "vhost_limits")
    rabbitmqadmin("declare", "user_limit", *user, "--name", "max-connections", "--value", "1")
    assert "max-connections: 1" in rabbitmqadmin("list", "user_limits", *user)
    rabbitmqadmin("delete", "vhost_limit", "--name", "max-queues")
    rabbitmqadmin("delete", "policy", "--name", "interop")
    rabbitmqadmin("delete", "operator_policy", "--name", "interop")
    rabbitmqadmin("delete", "user", "--name", "interop-user")
    assert "interop-user" not in rabbitmqadmin.names("users")


def test_definitions(rabbitmqadmin: Rabbitmqadmin, admin: Admin, tmp_path: Path) -> None:
    """What it has exported it imports."""
    admin.channel.queue_declare("exported", durable=True)
    path = str(tmp_path / "definitions.json")
    rabbitmqadmin("definitions", "export_from_vhost", "--file", path)
    exported: dict[str, Any] = json.loads((tmp_path / "definitions.json").read_text())
    assert "exported" in [queue["name"] for queue in exported["queues"]]
    admin.delete("exported")
    rabbitmqadmin("definitions", "import_into_vhost", "--file", path)
    assert "exported" in rabbitmqadmin.names("queues")
    admin.delete("exported")
    everything: dict[str, Any] = json.loads(rabbitmqadmin("definitions", "export", "--stdout"))
    assert {"users", "vhosts", "permissions"} <= everything.keys()


def test_connections(rabbitmqadmin: Rabbitmqadmin) -> None:
    """It shows channels and consumers, and closes a connection."""
    connection = connect(rabbitmqadmin.broker.url)
    channel = connection.channel()
    tag = channel.basic_consume(channel.queue_declare("", exclusive=True).method.queue, lambda *_: None)
    # No other test has one.
    (name,) = eventually(lambda: rabbitmqadmin.names("connections"))
    assert eventually(lambda: rabbitmqadmin.names("channels")) == [f"{name} (1)"]
    if rabbitmqadmin.broker.version >= (4, 0):
        # The command wants the consumer's timeout, of which older releases do not tell.
        assert tag in rabbitmqadmin("list", "consumers")
    rabbitmqadmin("close", "connection", "--name", name)
    with pytest.raises(ConnectionClosedByBroker):
        connection.process_data_events(time_limit=WAIT)


def test_nodes(rabbitmqadmin: Rabbitmqadmin) -> None:
    """It reads what a node tells about itself."""
    assert "Product version" in rabbitmqadmin("show", "overview")
    assert "Client connections opened" in rabbitmqadmin("show", "churn")
    if rabbitmqadmin.broker.version < (4, 0):
        # Older releases tell less than the command wants.
        return
    (node,) = rabbitmqadmin.names("nodes")
    assert "rabbitmq_management" in rabbitmqadmin("plugins", "list_all")
    assert "Total" in rabbitmqadmin("show", "memory_breakdown_in_bytes", "--node", node)
    rabbitmqadmin("auth_attempts", "stats", "--node", node)


def test_health_checks(rabbitmqadmin: Rabbitmqadmin) -> None:
    """A check that fails has another status."""
    port = str(urlsplit(rabbitmqadmin.broker.url).port)
    for check in (
        ("local_alarms",),
        ("cluster_wide_alarms",),
        ("node_is_quorum_critical",),
        ("port_listener", "--port", port),
        ("protocol_listener", "--protocol", "amqp"),
    ):
        assert "passed" in rabbitmqadmin("health_check", *check)
    assert rabbitmqadmin.run("health_check", "port_listener", "--port", "1").returncode == UNAVAILABLE


def test_wrong_password(rabbitmqadmin: Rabbitmqadmin) -> None:
    done = rabbitmqadmin.run("list", "queues", password="wrong")
    assert done.returncode == FAILED
    assert done.stderr
