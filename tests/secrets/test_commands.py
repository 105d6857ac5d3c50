"""The commands: what they write and serve, and the list of processes, do not tell the password (P23)."""

from __future__ import annotations

import json
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.secrets.canary import ESCAPED, PIECES, QUOTED, leaks
from tests.support.http import ask
from tests.support.processes import start_broker
from tests.support.rabbitmq import free_ports
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.processes import Ended, Process, Processes
    from tests.tls.pki import Pki

    from fedora_messaging.broker import Broker

MESSAGE_ID = "2f3f6a0e-6d0a-4a4c-8a5e-0f4f3f3d7d11"
MESSAGE = {"topic": "secrets.test", "body": {}, "id": MESSAGE_ID}
CALLBACK = """
def callback(message):
    print("got", message.topic, flush=True)
"""
#: Everything, of everybody.
LOG = """
[log_config]
version = 1
disable_existing_loggers = false
root = {level = "DEBUG", handlers = ["all"]}
handlers.all = {class = "logging.StreamHandler", formatter = "all", stream = "ext://sys.stdout"}
formatters.all = {format = "[%(name)s %(levelname)s] %(message)s %(args)r"}
"""
QUEUE = """
[queues.{0}]
durable = false
auto_delete = true
exclusive = false
arguments = {{}}

[[bindings]]
queue = "{0}"
exchange = "amq.topic"
routing_keys = ["secrets.#"]
"""
CLIENT_PROPERTIES = f"client_properties=%7B%27app%27:%27test%27,%27token%27:%27{QUOTED}%27%7D"

#: All that look at the configuration, with an id in place of {id}.
COMMANDS = {
    "consume": ("consume", "--callback=app:callback"),
    "publish": ("publish", "messages.jsonl"),
    "record": ("record", "recorded.jsonl"),
    "replay": ("replay", "{id}", "--datagrepper-url={archive}"),
}


def configure(processes: Processes, url: str | None, more: str = "") -> None:
    """Write config.toml, app.py and messages.jsonl."""
    setting = "" if url is None else f"amqp_url = {json.dumps(url)}\n"
    directory = processes.directory
    (directory / "config.toml").write_text(f"{setting}{more}\n{LOG}", encoding="utf-8")
    (directory / "app.py").write_text(CALLBACK, encoding="utf-8")
    (directory / "messages.jsonl").write_text(json.dumps(MESSAGE) + "\n", encoding="utf-8")


class _Archive(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps(MESSAGE).encode() if "refuse" not in self.path else b""
        self.send_response(200 if body else 500)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def archive() -> Iterator[str]:
    """A server that archives messages; its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Archive) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def start_all(processes: Processes, archive: str) -> dict[str, Process]:
    """Start all commands, with everything that Python can tell about itself."""
    return {
        name: processes.fedora_messaging(
            "--conf",
            "config.toml",
            *(argument.format(id=MESSAGE_ID, archive=archive) for argument in command),
            PYTHONDEVMODE="1",
            PYTHONWARNINGS="default",
        )
        for name, command in COMMANDS.items()
    }


def assert_clean(*endings: Ended) -> None:
    for ended in endings:
        found = leaks(ended.output)
        assert not found, "the canary is told:\n" + "\n".join(found)


def children(pid: int) -> list[int]:
    """All processes below a process, with itself."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    below = [int(child) for task in tasks for child in task.read_text().split()]
    return [pid, *(found for child in below for found in children(child))]


def assert_clean_in_the_list_of_processes(process: Process) -> None:
    for pid in children(process.pid):
        for name in ("cmdline", "comm", "status"):
            text = Path(f"/proc/{pid}/{name}").read_bytes().decode(errors="replace")
            assert text
            assert not leaks(text)


# In vain


def test_p23_refused(processes: Processes, archive: str) -> None:
    """Both ends: what the clients say, and what the broker's log says about them."""
    configure(processes, None)
    processes.variables = {"FEDORA_MESSAGING_CONF": "config.toml", "PYTHONASYNCIODEBUG": "1"}
    broker, port = start_broker(processes)
    login = f"amqp://guest:{{}}@127.0.0.1:{port}/%2F?{CLIENT_PROPERTIES}"
    configure(processes, login.format(QUOTED))
    ended = {name: process.end() for name, process in start_all(processes, archive).items()}
    assert {name: one.status for name, one in ended.items()} == {
        "consume": 14,
        "publish": 1,
        "record": 14,
        "replay": 1,
    }
    ended["environment"] = processes.run(
        "publish", "messages.jsonl", FEDORA_MESSAGING_AMQP_URL=login.format(ESCAPED)
    )
    for one in ended.values():
        assert "ACCESS_REFUSED" in one.output
    assert_clean(*ended.values())
    assert_clean_in_the_list_of_processes(broker)
    said = broker.terminate()
    assert sum("Login from 127.0.0.1 by PLAIN refused" in line for line in said.stdout) >= len(ended)
    assert_clean(said)


@pytest.mark.parametrize(
    "url",
    [
        f"amqp://bird:{PIECES[0]}/{PIECES[1]}@127.0.0.1:1",
        f"amqp://127.0.0.1:1?password={QUOTED}",
    ],
    ids=["slash", "parameter"],
)
def test_p23_malformed_url(processes: Processes, archive: str, url: str) -> None:
    configure(processes, url)
    ended = [process.end() for process in start_all(processes, archive).values()]
    for one in ended:
        assert one.status == 1, one.output
        assert "Traceback" not in one.output
        assert '"amqp_url" is invalid: ' in one.output
    assert_clean(*ended)


@pytest.mark.parametrize(
    "content",
    [
        f'amqp_url = "amqp://bird:{QUOTED}@host',
        f"amqp_url = amqp://bird:{QUOTED}@host",
        f'amqp_ulr = "amqp://bird:{QUOTED}@host"',
        f'amqp_url_file = "amqp://bird:{QUOTED}@host"',
    ],
    ids=["string without end", "no string", "unknown key", "URL for a path"],
)
def test_p23_configuration_with_a_mistake(processes: Processes, content: str) -> None:
    (processes.directory / "config.toml").write_text(content)
    ended = processes.run("--conf", "config.toml", "publish", "-")
    assert "Configuration error" in ended.usage_error()
    assert_clean(ended)


def test_p23_secret_in_the_key_file(processes: Processes, archive: str, pki: Pki) -> None:
    key = pki.file("secret.key", "\n".join(PIECES).encode())
    certificate = pki.clients["good"].certfile
    url = f"amqps://bird:{QUOTED}@localhost:1"
    configure(processes, url, f'[tls]\ncertfile = "{certificate}"\nkeyfile = "{key}"\n')
    ended = [process.end() for process in start_all(processes, archive).values()]
    for one in ended:
        assert '"keyfile" setting' in one.output
    assert_clean(*ended)


@pytest.mark.parametrize("path", ["refuse", ""])
def test_p23_password_of_the_archive(processes: Processes, archive: str, path: str) -> None:
    """Whoever gives it on the command line has shown it there, but logs are kept for longer."""
    configure(processes, None)
    (port,) = free_ports(1)
    address = archive.removeprefix("http://") if path else f"127.0.0.1:{port}"
    url = f"http://bird:{QUOTED}@{address}/{path}"
    ended = processes.run("--conf", "config.toml", "replay", MESSAGE_ID, f"--datagrepper-url={url}")
    assert ended.status == 1
    assert "Failed to retrieve message from Datagrepper" in ended.output
    assert_clean(ended)


# With success


def test_p23_nothing_fails(processes: Processes, bird_broker: Broker, archive: str) -> None:
    (monitoring,) = free_ports(1)
    url = f"amqp://bird:{QUOTED}@127.0.0.1:{bird_broker.port}/%2F?{CLIENT_PROPERTIES}"
    more = f'{QUEUE.format(uuid.uuid4().hex)}\n[monitoring]\naddress = "127.0.0.1"\nport = {monitoring}\n'
    configure(processes, url, more)
    consuming = processes.fedora_messaging(
        "--conf", "config.toml", "consume", "--callback=app:callback", PYTHONDEVMODE="1"
    )
    consuming.wait_for("Successfully registered")
    configure(processes, url)
    reconsumed = processes.run(
        "--conf",
        "config.toml",
        "reconsume",
        "--callback=app:callback",
        f"--datagrepper-url={archive}",
        MESSAGE_ID,
    )
    started = start_all(processes, archive)
    published, replayed = started["publish"].end(), started["replay"].end()
    for name in ("consume", "record"):
        started[name].wait_for("Successfully registered")
    for _ in range(2):
        consuming.wait_for("got secrets.test")
    answers = [ask(monitoring, path) for path in ("/live", "/ready", "/status", "/metrics", "/other")]
    for process in (consuming, started["consume"], started["record"]):
        assert_clean_in_the_list_of_processes(process)
    assert bird_broker.close_connections("for a test") >= 3
    eventually(lambda: ask(monitoring, "/ready").status == 200)
    others = [process.terminate() for process in (consuming, started["consume"], started["record"])]
    for answer in answers:
        assert answer.status in (200, 404)
        assert not leaks(answer.text)
    for one in (reconsumed, published, replayed, *others):
        assert one.status == 0, one.output
    assert_clean(reconsumed, published, replayed, *others)


def test_p23_not_connected(processes: Processes) -> None:
    """What is served and said while there is no broker."""
    port, monitoring = free_ports(2)
    url = f"amqp://bird:{QUOTED}@127.0.0.1:{port}"
    configure(processes, url, f'[monitoring]\naddress = "127.0.0.1"\nport = {monitoring}\n')
    consuming = processes.fedora_messaging("--conf", "config.toml", "consume", "--callback=app:callback")
    consuming.wait_for("trying again")
    for path, expected in (("/live", 200), ("/ready", 503), ("/status", 200)):
        answer = ask(monitoring, path)
        assert answer.status == expected
        assert not leaks(answer.text)
    assert_clean_in_the_list_of_processes(consuming)
    ended = consuming.terminate()
    assert ended.status == 0
    assert_clean(ended)


@pytest.mark.parametrize(
    "command",
    [
        ("--help",),
        ("consume", "--help"),
        ("broker", "--help"),
        ("demo", "--once", "--messages=3"),
        ("schema", "new", "my-app"),
    ],
    ids=" ".join,
)
def test_p23_commands_that_need_no_url(processes: Processes, command: tuple[str, ...]) -> None:
    configure(processes, f"amqp://bird:{QUOTED}@host")
    url = f"amqp://bird:{ESCAPED}@host"
    ended = processes.run("--conf", "config.toml", *command, FEDORA_MESSAGING_AMQP_URL=url)
    assert ended.status == 0, ended.output
    assert_clean(ended)
    for written in processes.directory.glob("my-app-messages/**/*"):
        assert written.is_dir() or not leaks(written.read_text(encoding="utf-8"))
