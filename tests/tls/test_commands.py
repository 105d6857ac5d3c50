"""The commands over TLS: what they say, and their exit status (promise P24)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.tls.cases import HANDSHAKE, MISTAKES, PASSWORD, REFUSALS, assert_keeps_secrets, files, untold
from tests.tls.servers import MUTUAL

if TYPE_CHECKING:
    from tests.support.processes import Ended, Processes
    from tests.tls.pki import Pki
    from tests.tls.servers import TlsBroker

MESSAGE = '{"topic": "tls.test", "body": {}}'
CALLBACK = """
from fedora_messaging.exceptions import HaltConsumer

def callback(message):
    print("got", message.topic)
    raise HaltConsumer
"""
QUEUE = """
[queues.{0}]
durable = true
auto_delete = false
exclusive = false
arguments = {{}}

[[bindings]]
queue = "{0}"
exchange = "amq.topic"
routing_keys = ["tls.{0}"]
"""


def configure(processes: Processes, url: str, tls: dict[str, str], more: str = "") -> None:
    """Write config.toml and app.py."""
    table = "\n".join(f"{setting} = {json.dumps(path)}" for setting, path in tls.items())
    text = f'amqp_url = "{url}"\n[tls]\n{table}\n{more}'
    (processes.directory / "config.toml").write_text(text, encoding="utf-8")
    (processes.directory / "app.py").write_text(CALLBACK, encoding="utf-8")


def run_both(processes: Processes, text: str = MESSAGE) -> tuple[Ended, Ended]:
    """Run consume and publish, both at once, to their ends."""
    consuming = processes.fedora_messaging("--conf", "config.toml", "consume", "--callback=app:callback")
    publishing = processes.fedora_messaging("--conf", "config.toml", "publish", "-")
    publishing.say(text)
    publishing.end_input()
    return consuming.end(), publishing.end()


def assert_clean(ended: Ended, tls: dict[str, str]) -> None:
    assert "Traceback" not in ended.output
    assert_keeps_secrets(ended.output, tls)


@pytest.mark.parametrize(
    "name",
    [
        "authority of the broker",
        "host name",
        "expired client",
        "client certificate of nobody",
        "broker without TLS",
        "broker with TLS",
    ],
)
def test_p24_refusal(embedded_tls: TlsBroker, processes: Processes, pki: Pki, name: str) -> None:
    case = REFUSALS[name]
    port, tls = embedded_tls.ports[case.server], case.tls(pki)
    configure(processes, case.url(port), tls)
    consumed, published = run_both(processes)
    cause = (case.embedded or case.told).cause
    for ended, status in ((consumed, 14), (published, 1)):
        assert ended.status == status, ended.output
        assert_clean(ended, tls)
        assert f"{HANDSHAKE} with the broker at {case.address(port)} " in ended.output
        assert not untold(ended.output, cause, tls)
    assert consumed.stderr == []
    assert published.one_error().startswith("Error: ")


@pytest.mark.parametrize(
    "name",
    [
        "missing ca_cert",
        "text as ca_cert",
        "broken certfile",
        "key of another certificate",
        "key with a passphrase",
    ],
)
def test_p24_mistake_in_the_settings(processes: Processes, pki: Pki, name: str) -> None:
    """An error in the configuration, as any other: no exit status of a broker that refuses, no traceback."""
    mistake = MISTAKES[name]
    tls = mistake.tls(pki)
    configure(processes, f"amqps://app:{PASSWORD}@localhost:1", tls)
    for ended in run_both(processes):
        assert_clean(ended, tls)
        assert ended.status == 1, ended.output
        error = ended.one_error()
        assert (
            f'Configuration error: The "{mistake.setting}" setting in the "tls" section is invalid (' in error
        )
        assert not untold(error, mistake.told.cause, tls)


def test_p24_user_without_password(processes: Processes, pki: Pki) -> None:
    configure(processes, "amqps://app@localhost:1", {"ca_cert": pki.ca_cert})
    for ended in run_both(processes):
        assert ended.status == 1
        assert 'Configuration error: "amqp_url" is invalid: ' in ended.one_error()
        assert "user:password@" in ended.one_error()


def test_p24_client_certificate_is_the_login(broker: TlsBroker, processes: Processes, pki: Pki) -> None:
    tls = {"ca_cert": pki.ca_cert, **files(pki.clients["intermediate"])}
    port = broker.ports[MUTUAL]
    configure(processes, f"AMQPS://nobody:{PASSWORD}@localhost:{port}", tls, QUEUE.format("commands"))
    consuming = processes.fedora_messaging("--conf", "config.toml", "consume", "--callback=app:callback")
    consuming.wait_for("Successfully registered")
    publishing = processes.fedora_messaging("--conf", "config.toml", "publish", "-")
    publishing.say(MESSAGE.replace("tls.test", "tls.commands"))
    publishing.end_input()
    consumed, published = consuming.end(), publishing.end()
    assert (consumed.status, published.status) == (0, 0), f"{consumed.output}\n{published.output}"
    assert "got tls.commands" in consumed.stdout
    for ended in (consumed, published):
        assert_clean(ended, tls)
        # Which identity is used is no secret, and the first thing to look at when a login fails.
        assert tls["certfile"] in ended.output
