"""The unit under a real systemd, set up as docs/how-to/deploy.md prints it, and by the Ansible role."""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest
from tests.support.admin import properties_of
from tests.support.printed import ROOT
from tests.support.rabbitmq import free_ports
from tests.support.waiting import eventually

from fedora_messaging.api import Message

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import BrokerUnderTest
    from tests.support.admin import Admin, Names
    from tests.support.machine import Machine

pytestmark = [
    pytest.mark.parametrize("broker", ["embedded"], indirect=True),
    # Debian's and Python's packages come from the network.
    pytest.mark.timeout(400),
]

PAGE = (ROOT / "docs/how-to/deploy.md").read_text("utf-8")
SERVICE = "fm-consumer@my-app"
#: The users that systemd makes up while a service runs.
DYNAMIC_USERS = range(61184, 65520)


@pytest.fixture
def answers(admin: Admin, names: Names) -> str:
    """A queue that gets what the application publishes."""
    name = names("answers")
    admin.channel.queue_declare(name, durable=True)
    admin.channel.queue_bind(name, "amq.topic", "answered")
    return name


@pytest.fixture
def port() -> int:
    """Where the service is monitored."""
    [port] = free_ports(1)
    return port


@pytest.fixture
def stopped_afterwards(machine: Machine) -> Iterator[None]:
    """The service ends with the test, and nothing of it is left."""
    yield
    machine.run("systemctl", "disable", "--now", SERVICE)
    machine.run("sh", "-c", f"rm -rf /etc/fedora-messaging/my-app.* /etc/systemd/system/{SERVICE}.service.d")
    machine.run("rm", "-rf", "/var/lib/private/fedora-messaging/my-app")
    machine.run("systemctl", "daemon-reload")


def property_of(machine: Machine, name: str) -> str:
    return machine.run("systemctl", "show", "--value", f"--property={name}", SERVICE).strip()


def journal(machine: Machine) -> str:
    return machine.run("journalctl", "--no-pager", "--unit", SERVICE)


def ask(admin: Admin, queue: str, answers: str) -> dict[str, Any]:
    """Send the application a message, and wait for the answer."""
    message = Message(topic="asked")
    admin.publish(queue, message._encoded_body, properties_of(message))
    [answer] = eventually(lambda: admin.take(answers))
    found: dict[str, Any] = json.loads(answer)
    assert found.pop("to") == message.id
    return found


def fetch(port: int, path: str) -> str:
    with urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as response:
        return str(response.read().decode())


def assert_confined(outcomes: dict[str, Any]) -> None:
    """Check that it could do what it has to, and nothing else."""
    assert outcomes.pop("user") in DYNAMIC_USERS
    allowed = {"write its state", "run a program"}
    assert {what for what, outcome in outcomes.items() if outcome == "done"} == allowed


def console(heading: str) -> list[str]:
    """The commands for root that a section of the page prints."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^# (.*)$", section, re.MULTILINE)


def override_on_the_page() -> str:
    [text] = re.findall(r"^ *```ini\n(.*?)^ *```$", PAGE, re.MULTILINE | re.DOTALL)
    return re.sub(r"^ +", "", text, flags=re.MULTILINE)


@pytest.mark.usefixtures("stopped_afterwards")
def test_the_page(
    machine: Machine,
    wheels: list[str],
    broker: BrokerUnderTest,
    admin: Admin,
    answers: str,
    name: str,
    port: int,
) -> None:
    """It consumes, publishes through an outbox and is monitored, under all of the unit's restrictions."""
    machine.run("python3", "-m", "venv", "/opt/by-hand")
    machine.run("/opt/by-hand/bin/pip", "install", "--quiet", f"{wheels[0]}[metrics]", wheels[1])
    # Where a package of a distribution has it.
    machine.run("ln", "-sf", "/opt/by-hand/bin/fedora-messaging", "/usr/bin/fedora-messaging")
    conf = "\n".join(
        [
            f'amqp_url_file = "/run/credentials/{SERVICE}.service/amqp_url"',
            'callback = "my_app.bus:on_message"',
            f"[queues.{json.dumps(name)}]",
            "durable = true",
            "auto_delete = false",
            "exclusive = false",
            "arguments = {}",
            "[[bindings]]",
            f"queue = {json.dumps(name)}",
            'exchange = "amq.topic"',
            'routing_keys = ["asked"]',
            "[consumer.dedupe]",
            'path = "/var/lib/fedora-messaging/my-app/seen.db"',
            "[outbox]",
            'path = "/var/lib/fedora-messaging/my-app/outbox.db"',
            "[monitoring]",
            f"port = {port}",
        ]
    )
    here = "/opt/by-hand/share/fedora-messaging"
    machine.path(f"{here}/my-app.toml").write_text(conf)
    *preparing, start = console("With systemd")
    for command in preparing:
        machine.run(*shlex.split(command), cwd=here)
    url = machine.path("/etc/fedora-messaging/my-app.url")
    url.write_text(broker.url)
    url.chmod(0o600)
    drop_in = machine.path(f"/etc/systemd/system/{SERVICE}.service.d")
    drop_in.mkdir()
    (drop_in / "override.conf").write_text(f"{override_on_the_page()}RestartSec=0\n")
    # It returns when the consumer says that it is connected.
    started = machine.call(*shlex.split(start))
    assert started.returncode == 0, journal(machine)
    assert (property_of(machine, "ActiveState"), property_of(machine, "SubState")) == ("active", "running")
    assert admin.consumers(name) == 1

    assert_confined(ask(admin, name, answers))
    assert "\nfedora_messaging_received_total 1.0\n" in fetch(port, "/metrics")
    assert fetch(port, "/ready")
    state = machine.path("/var/lib/private/fedora-messaging/my-app")
    assert {"outbox.db", "seen.db", "state"} <= {path.name for path in state.iterdir()}

    killed = property_of(machine, "MainPID")
    machine.run("kill", "-KILL", killed)
    eventually(lambda: property_of(machine, "NRestarts") == "1" and admin.consumers(name) == 1)
    assert_confined(ask(admin, name, answers))

    machine.run("systemctl", "stop", SERVICE)
    assert property_of(machine, "Result") == "success"
    assert admin.consumers(name) == 0
    told = journal(machine)
    assert "Traceback" not in told
    assert broker.url not in told


@pytest.mark.usefixtures("stopped_afterwards")
def test_ansible_role(
    machine: Machine, wheels: list[str], broker: BrokerUnderTest, admin: Admin, answers: str, port: int
) -> None:
    """The role, run twice: the service works, and the second run changes nothing."""
    roles = machine.path("/srv/roles")
    for path in (ROOT / "deploy/ansible/roles").rglob("*"):
        if path.is_file():
            target = roles / path.relative_to(ROOT / "deploy/ansible/roles")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    play = {
        "hosts": "localhost",
        "connection": "local",
        "roles": [
            {
                "role": "fedora_messaging_consumer",
                "vars": {
                    "fedora_messaging_name": "my-app",
                    "fedora_messaging_callback": "my_app.bus:on_message",
                    "fedora_messaging_amqp_url": broker.url,
                    "fedora_messaging_pip_packages": wheels[1:],
                    "fedora_messaging_pip_requirement": wheels[0],
                    "fedora_messaging_routing_keys": ["asked"],
                    "fedora_messaging_queue_arguments": "{}",
                    "fedora_messaging_monitoring_port": port,
                },
            }
        ],
    }
    machine.path("/srv/play.json").write_text(json.dumps([play]))
    machine.run("python3", "-m", "venv", "/opt/ansible")
    machine.run("/opt/ansible/bin/pip", "install", "--quiet", "ansible-core")
    playing = ["/opt/ansible/bin/ansible-playbook", "play.json"]
    machine.run(*playing, cwd="/srv")
    try:
        eventually(lambda: property_of(machine, "ActiveState") == "active")
        assert_confined(ask(admin, "my-app", answers))
        assert json.loads(fetch(port, "/status"))
        again = machine.run(*playing, cwd="/srv")
        assert re.search(r"changed=0 .*failed=0", again), again
        assert broker.url not in machine.path("/etc/fedora-messaging/my-app.toml").read_text()
        assert machine.path("/etc/fedora-messaging/my-app.url").stat().st_mode & 0o777 == 0o600
    finally:
        machine.run("systemctl", "stop", SERVICE)
        admin.delete("my-app")
