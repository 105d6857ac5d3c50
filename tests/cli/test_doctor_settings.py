"""What `fedora-messaging doctor` finds without a broker: in settings, files, ports and imports (P30)."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from tests.cli.examining import examine, found, queue
from tests.tls.pki import Authority

from fedora_messaging.broker import Broker
from fedora_messaging.transport.tls import ServerTLSOptions

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Queues
    from tests.support.processes import Processes


def test_p30_what_newer_rabbitmqs_refuse(processes: Processes, embedded_queues: Queues) -> None:
    ended = examine(
        processes,
        f'amqp_url = "{embedded_queues.url}"\nbindings = []\n'
        + queue("old", durable="false")
        + queue("lazy").replace("arguments = {}", 'arguments = { x-queue-mode = "lazy" }')
        + queue("private", durable="false", exclusive="true"),
    )
    assert ended.status == 0, ended.output
    warnings = found(ended, "warning")
    assert len(warnings) == 2
    assert warnings[0].startswith(
        "the queue 'old' is neither durable nor exclusive, which RabbitMQ 4 deprecates"
    )
    assert (
        warnings[1]
        == "the queue 'lazy' has the argument x-queue-mode, which RabbitMQ 4 ignores or refuses: remove it"
    )


def test_defaults_are_fit_for_newer_rabbitmqs(processes: Processes, embedded_queues: Queues) -> None:
    ended = examine(processes, f'amqp_url = "{embedded_queues.url}"\n')
    assert ended.status == 0
    assert found(ended, "warning") == []


def test_durable_and_exclusive(processes: Processes, embedded_queues: Queues) -> None:
    ended = examine(processes, f'amqp_url = "{embedded_queues.url}"\n{queue("q", exclusive="true")}')
    assert any("the queue 'q' is durable and exclusive" in text for text in found(ended, "warning"))


def test_bindings_of_no_queue(processes: Processes, embedded_queues: Queues) -> None:
    binding = '[[bindings]]\nqueue = "other"\nexchange = "amq.topic"\nrouting_keys = ["#"]\n'
    ended = examine(
        processes, f'amqp_url = "{embedded_queues.url}"\n{queue(embedded_queues.name())}{binding}'
    )
    assert ended.status == 0
    assert found(ended, "warning") == [
        "a binding names the queue 'other', which [queues] does not: it has no effect"
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            queue("q", exclusive="true").replace("{}", '{ x-queue-type = "quorum" }'),
            "the queue 'q' is exclusive, which a quorum queue cannot be",
        ),
        ('[outbox]\npath = "no/such/outbox.db"', "cannot be written: there is no directory no/such"),
        ('[outbox]\npath = "."', "cannot be written: it is a directory; name a file in it"),
        ('amqp_url = "localhost:5672"', 'the amqp_url does not begin with "amqp://" or "amqps://"'),
    ],
)
def test_wrong_settings(processes: Processes, embedded_queues: Queues, text: str, complaint: str) -> None:
    url = "" if "amqp_url" in text else f'amqp_url = "{embedded_queues.url}"\n'
    ended = examine(processes, url + text)
    assert ended.status == 1, ended.output
    assert any(complaint in failure for failure in found(ended, "failure")), ended.output
    assert "Traceback" not in ended.output


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_http(processes: Processes, embedded_queues: Queues, scheme: str) -> None:
    ended = examine(processes, f'amqp_url = "{embedded_queues.url.replace("amqp", scheme)}"\n')
    assert f'the amqp_url begins with "{scheme}://"' in "".join(found(ended, "warning"))


def test_monitoring_port_in_use(processes: Processes, embedded_queues: Queues) -> None:
    text = f'amqp_url = "{embedded_queues.url}"\n[monitoring]\naddress = "127.0.0.1"\nport = '
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (failure,) = found(examine(processes, f"{text}{port}"), "failure")
    assert f"the monitoring address 127.0.0.1:{port} cannot be used: Address already in use" in failure
    assert f"the monitoring address 127.0.0.1:{port} is free" in found(
        examine(processes, f"{text}{port}"), "ok"
    )


@pytest.mark.parametrize(
    ("days", "kind", "words"),
    [(-1, "failure", "ended on"), (20, "warning", "ends on"), (100, "ok", "is good until")],
)
def test_ends_of_certificates(processes: Processes, tmp_path: Path, days: int, kind: str, words: str) -> None:
    authority = Authority(tmp_path / "authority")
    end = datetime.now(UTC) + timedelta(days=days, hours=1)
    client = authority.issue("client", common_name="app", not_before=end - timedelta(days=200), not_after=end)
    server = authority.issue("server", "127.0.0.1")
    with Broker(tls=ServerTLSOptions(server.certfile, server.keyfile)) as broker:
        ended = examine(
            processes,
            f'''amqp_url = "{broker.amqp_url.replace("amqps://", "amqps://guest:guest@")}"
[tls]
ca_cert = "{authority.ca_cert}"
certfile = "{client.certfile}"
keyfile = "{client.keyfile}"
''',
        )
    told = found(ended, kind)
    assert any(text.startswith(f"the client certificate {client.certfile} {words}") for text in told)
    fine = found(ended, "ok")
    assert any(text.startswith(f"a certificate in {authority.ca_cert} is good until") for text in fine)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [("app:nothing", "cannot be called with one argument"), ("app:missing", "Unable to import app:missing")],
)
def test_callback_option(processes: Processes, embedded_queues: Queues, name: str, complaint: str) -> None:
    (processes.directory / "app.py").write_text("def good(message): pass\ndef nothing(): pass\n")
    url = {"FEDORA_MESSAGING_AMQP_URL": embedded_queues.url}
    ended = processes.run("doctor", "--callback", name, **url)
    assert ended.status == 1
    assert complaint in "".join(found(ended, "failure"))
    ended = processes.run("doctor", "--callback", "app:good", **url)
    assert ended.status == 0
    assert "the callback app:good can be imported" in found(ended, "ok")


MISSING = "import sys\nfor name in ('pika', 'requests'):\n    sys.modules[name] = None\n"


def test_imports_that_version_3_9_met(processes: Processes, embedded_queues: Queues) -> None:
    """Wherever in the callback's package: here in a function of another module, which no import reaches."""
    package = processes.directory / "package"
    (package / "deep").mkdir(parents=True)
    (package / "__init__.py").write_text(MISSING)
    (package / "app.py").write_text("def good(message): pass\n")
    (package / "deep" / "later.py").write_text(
        "import json, click\ndef later():\n    from pika.spec import x\n"
    )
    (package / "broken.py").write_text("def (")
    url = {"FEDORA_MESSAGING_AMQP_URL": embedded_queues.url}
    ended = processes.run("doctor", "--callback", "package.app:good", **url)
    assert ended.status == 0, ended.output
    (warning,) = [one for one in found(ended, "warning") if "pika" in one]
    assert "later.py, line 3, imports pika" in warning
    assert "pip install 'pika'" in warning
    assert "requests" not in ended.output


def test_callback_that_fails_for_what_version_3_9_brought(
    processes: Processes, embedded_queues: Queues
) -> None:
    (processes.directory / "app.py").write_text(f"{MISSING}import requests\n")
    ended = processes.run("doctor", "--callback", "app:good", FEDORA_MESSAGING_AMQP_URL=embedded_queues.url)
    assert ended.status == 1
    assert "pip install 'requests'" in ended.output
