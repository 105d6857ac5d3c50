"""`fedora-messaging doctor`: what is wrong, where, and how to mend it (P30)."""

from __future__ import annotations

import json
import socket
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from tests.behaviour.test_access_control import SECRET, EmbeddedAdmin, ManagementAdmin
from tests.tls.pki import Authority

from fedora_messaging.broker import Broker
from fedora_messaging.transport.tls import ServerTLSOptions

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Queues
    from tests.conftest import BrokerUnderTest
    from tests.support.processes import Ended, Processes


def examine(processes: Processes, text: str) -> Ended:
    (processes.directory / "config.toml").write_text(text)
    ended = processes.run("--conf", "config.toml", "doctor")
    assert ended.stderr == []
    return ended


def found(ended: Ended, kind: str) -> list[str]:
    return [line[len(kind) :].strip() for line in ended.stdout if line.startswith(f"{kind} ")]


def queue(name: str, durable: str = "true", exclusive: str = "false") -> str:
    settings = f"durable = {durable}\nauto_delete = false\nexclusive = {exclusive}\narguments = {{}}\n"
    return f'[queues."{name}"]\n{settings}'


def test_nothing_is_wrong(processes: Processes, queues: Queues) -> None:
    there, later = queues.make(), queues.name()
    queues.put(there, "{}")
    ended = examine(
        processes,
        f'amqp_url = "{queues.url}"\ncallback = "fedora_messaging.example:printer"\nbindings = []\n'
        + queue(there)
        + queue(later),
    )
    assert ended.status == 0, ended.output
    assert found(ended, "warning") == found(ended, "failure") == []
    fine = found(ended, "ok")
    assert f"the queue {there} is there, with 1 message" in fine
    assert f"the queue {later} is not there, and will be declared" in fine
    assert any(line.endswith("and lets us in") for line in fine)
    # It has changed nothing.
    with pytest.raises(Exception, match="no queue"):
        queues.channel.queue_declare(later, passive=True)
    queues.channel = queues.connection.channel()


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


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('callback = "no.such:thing"', "Failed to import the callback module"),
        ("[consumer.retry]\non = ['NoSuch']", "names 'NoSuch', which is no exception"),
        (
            "[queues.q]\ndurable = true\nauto_delete = false\nexclusive = false\narguments = {}\ncolour = 5",
            "colour",
        ),
        ('amqp_url = "amqp://host:port"', '"amqp_url" is invalid'),
    ],
)
def test_failures(processes: Processes, embedded_queues: Queues, text: str, complaint: str) -> None:
    url = "" if "amqp_url" in text else f'amqp_url = "{embedded_queues.url}"\n'
    ended = examine(processes, url + text)
    assert ended.status == 1, ended.output
    (failure,) = found(ended, "failure")
    assert complaint in failure


def test_every_node_is_tried(processes: Processes, embedded_queues: Queues, silent_port: int) -> None:
    urls = [
        embedded_queues.url,
        "amqp://127.0.0.1:1",
        embedded_queues.url.replace("://", "://guest:canary-wrong@"),
    ]
    ended = examine(processes, f"amqp_url = {urls}\n")
    assert ended.status == 1
    refused, denied = found(ended, "failure")
    assert refused.startswith("cannot connect to amqp://127.0.0.1:1: ")
    assert "ACCESS_REFUSED" in denied
    assert "canary-wrong" not in ended.output


def test_passive_queue_that_is_not_there(processes: Processes, queues: Queues) -> None:
    name = queues.name()
    ended = examine(
        processes, f'amqp_url = "{queues.url}"\nbindings = []\npassive_declares = true\n{queue(name)}'
    )
    assert ended.status == 1
    assert found(ended, "failure") == [f"the queue {name} is not there, and is not to be declared (passive)"]


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


def test_setting_of_a_wrong_type(processes: Processes) -> None:
    """It is told as every command tells it."""
    (processes.directory / "config.toml").write_text("topic_prefix = 5")
    ended = processes.run("--conf", "config.toml", "doctor")
    assert ended.status == 2
    assert '"topic_prefix" must be text, but is 5' in ended.stderr[-1]
    assert ended.stderr[-1].endswith("(in config.toml)")


def test_durable_and_exclusive(processes: Processes, embedded_queues: Queues) -> None:
    ended = examine(processes, f'amqp_url = "{embedded_queues.url}"\n{queue("q", exclusive="true")}')
    assert any("the queue 'q' is durable and exclusive" in text for text in found(ended, "warning"))


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


def test_exchanges(processes: Processes, queues: Queues) -> None:
    ended = examine(
        processes,
        f'''amqp_url = "{queues.url}"
publish_exchange = "no.such.one"
{queue(queues.make())}
[[bindings]]
queue = "{queues.name()}"
exchange = "never.used"
routing_keys = []
[queues.""]
durable = false
auto_delete = true
exclusive = true
arguments = {{}}
[[bindings]]
exchange = "no.such.other"
routing_keys = ["#"]
''',
    )
    assert ended.status == 1
    assert found(ended, "failure") == [
        "the exchange 'no.such.other' of a binding is not there: declare it, or correct its name",
        "\"publish_exchange\", 'no.such.one', is not there: declare it, or correct its name",
    ]


def test_queue_with_other_properties(processes: Processes, queues: Queues) -> None:
    name = queues.make(arguments={"x-max-length": 5})
    queues.put(name, "{}")
    ended = examine(processes, f'amqp_url = "{queues.url}"\nbindings = []\n{queue(name)}')
    assert ended.status == 1
    (failure,) = found(ended, "failure")
    assert failure.startswith(f"the queue {name} is there with other properties: ")
    assert "PRECONDITION_FAILED" in failure
    assert "x-max-length" in failure
    # Nobody who may not declare it is asked to.
    passive = f'amqp_url = "{queues.url}"\nbindings = []\npassive_declares = true\n{queue(name)}'
    assert examine(processes, passive).status == 0
    assert queues.ready(name) == 1


def policy(dead: str) -> str:
    return f'[consumer.retry]\nattempts = 2\n[consumer.dead_letter]\nqueue = "{dead}"\n'


def test_p40_dead_letter_queues(processes: Processes, queues: Queues) -> None:
    """One that is there may be declared in any way; nothing is declared or changed."""
    name, there, later = queues.make(), queues.make(arguments={"x-max-length": 5}), queues.name()
    queues.put(there, "{}")
    text = f'amqp_url = "{queues.url}"\nbindings = []\n{queue(name)}'
    ended = examine(processes, text + policy(there))
    assert (ended.status, found(ended, "warning")) == (0, []), ended.output
    assert f"the dead-letter queue {there} is there, with 1 message" in found(ended, "ok")
    ended = examine(processes, text + policy(later))
    assert f"the dead-letter queue {later} is not there, and will be declared" in found(ended, "ok")
    with pytest.raises(Exception, match="no queue"):
        queues.channel.queue_declare(later, passive=True)
    queues.channel = queues.connection.channel()


def test_p40_a_dead_letter_exchange_that_is_not_there(processes: Processes, queues: Queues) -> None:
    lost = {"x-dead-letter-exchange": "no.such.exchange"}
    kept = {"x-dead-letter-exchange": "amq.fanout"}
    first, second = queues.make(arguments=lost), queues.make(arguments=kept)
    text = f'amqp_url = "{queues.url}"\nbindings = []\n'
    for name, arguments in ((first, lost), (second, kept)):
        written = f'{{ x-dead-letter-exchange = "{arguments["x-dead-letter-exchange"]}" }}'
        text += queue(name).replace("arguments = {}", f"arguments = {written}")
    ended = examine(processes, text)
    assert ended.status == 0
    assert found(ended, "warning") == [
        f"the dead-letter exchange 'no.such.exchange' of {first} is not there: declare it, "
        "or correct its name"
    ]
    assert f"the dead-letter exchange 'amq.fanout' of {second} is there" in found(ended, "ok")


def test_p40_missing_permission_for_dead_letters(
    processes: Processes, broker: BrokerUnderTest, queues: Queues
) -> None:
    if broker.embedded is not None:
        users: EmbeddedAdmin | ManagementAdmin = EmbeddedAdmin(broker.embedded)
    else:
        assert broker.management_url is not None
        users = ManagementAdmin(broker.management_url)
    name, dead = queues.make(), queues.name()
    try:
        login = users.user(f"^{name}$", ".*", ".*")
        url = f"amqp://{login}:{SECRET}@127.0.0.1:{urlsplit(broker.url).port}/%2F"
        ended = examine(processes, f'amqp_url = "{url}"\nbindings = []\n{queue(name)}{policy(dead)}')
    finally:
        users.close()
    assert ended.status == 1
    retries, letters = found(ended, "failure")
    assert f"messages of the queue {name} cannot be tried again" in retries
    assert f"the dead-letter queue {dead} is not there, and we may not declare it" in letters


def test_missing_permission_to_declare(processes: Processes, broker: BrokerUnderTest, queues: Queues) -> None:
    if broker.embedded is not None:
        users: EmbeddedAdmin | ManagementAdmin = EmbeddedAdmin(broker.embedded)
    else:
        assert broker.management_url is not None
        users = ManagementAdmin(broker.management_url)
    name = queues.name()
    try:
        login = users.user("", ".*", ".*")
        url = f"amqp://{login}:{SECRET}@127.0.0.1:{urlsplit(broker.url).port}/%2F"
        ended = examine(processes, f'amqp_url = "{url}"\nbindings = []\n{queue(name)}')
    finally:
        users.close()
    assert ended.status == 1
    (failure,) = found(ended, "failure")
    # RabbitMQ 4.3 does not even tell such a user whether the queue is there.
    assert "permission" in failure or "403" in failure
    assert name in failure


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


def test_json(processes: Processes, embedded_queues: Queues, silent_port: int) -> None:
    ended = processes.run("doctor", "--json", FEDORA_MESSAGING_AMQP_URL=embedded_queues.url)
    assert ended.status == 0
    told = json.loads(ended.stdout[0])
    assert told["result"] == "ok"
    assert {finding["result"] for finding in told["findings"]} == {"ok"}
    ended = processes.run("doctor", "--json", FEDORA_MESSAGING_AMQP_URL=f"amqp://127.0.0.1:{silent_port}")
    assert ended.status == 1
    told = json.loads(ended.stdout[0])
    assert told["result"] == "failure"
    assert "Connection refused" in told["findings"][-1]["text"]


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
