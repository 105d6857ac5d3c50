"""`fedora-messaging broker` with users, permissions and TLS, from the command line and from a file."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pika
import pika.exceptions
import pytest
from tests.behaviour.peer import Peer
from tests.support.processes import start_broker
from tests.tls.pki import Authority

from fedora_messaging import aio, config
from fedora_messaging.message import Message

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.processes import Ended, Processes

FILE = """
port = 0
memory_limit = "100MB"

[users.alice]
password = "canary-alice"
tags = ["administrator"]

[users.bob]
password = "canary-bob"
configure = "^bob"
write = ""
read = "^bob|^shared"
"""


def connect(port: int, user: str, password: str) -> pika.BlockingConnection:
    credentials = pika.PlainCredentials(user, password)
    return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port, credentials=credentials))


def assert_refused(port: int, user: str, password: str) -> None:
    with pytest.raises(pika.exceptions.ProbableAuthenticationError):
        connect(port, user, password)


def refused_start(processes: Processes, *arguments: str) -> Ended:
    ended = processes.run("broker", "--port", "0", *arguments)
    assert ended.stdout == []
    return ended


def write(processes: Processes, text: str, name: str = "broker.toml") -> str:
    (processes.directory / name).write_text(text)
    return name


def test_users_replace_guest(processes: Processes) -> None:
    broker, port = start_broker(processes, "--user", "alice:with:colons", "--user", "bob:b")
    for user, password in (("alice", "with:colons"), ("bob", "b")):
        with connect(port, user, password) as connection:
            connection.channel().queue_declare(f"queue of {user}")
    assert_refused(port, "guest", "guest")
    broker.wait_for("Login from 127.0.0.1 by PLAIN refused: user guest: there is no such user")
    assert_refused(port, "alice", "canary-wrong")
    broker.wait_for("Login from 127.0.0.1 by PLAIN refused: user alice: the password is wrong")
    ended = broker.terminate()
    assert ended.status == 0
    assert "with:colons" not in ended.output
    assert "canary-wrong" not in ended.output


def test_names_are_harmless_in_the_log(processes: Processes) -> None:
    broker, port = start_broker(processes)
    assert_refused(port, "x\x1b[31m\ny", "z")
    broker.wait_for(r"refused: user x\\x1b\[31m\\ny: there is no such user")


def test_permissions(processes: Processes) -> None:
    _broker, port = start_broker(
        processes, "--user", "bob:b", "--permissions", "bob", "^bob", "^bob|^amq\\.default$", ".*"
    )
    with connect(port, "bob", "b") as connection:
        channel = connection.channel()
        channel.queue_declare("bob.1")
        with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="access to queue 'other'"):
            channel.queue_declare("other")


def test_a_tag_lets_a_user_use_http(processes: Processes) -> None:
    broker, _port = start_broker(
        processes, "--user", "ann:a", "--user", "bob:b", "--tag", "ann", "monitoring", "--http-port", "0"
    )
    url = broker.wait_for(r"^HTTP ready on (http://\S+)$")[1]
    statuses = {
        user: httpx.get(f"{url}/api/nodes", auth=user, trust_env=False).status_code
        for user in (("ann", "a"), ("bob", "b"))
    }
    assert statuses == {("ann", "a"): 200, ("bob", "b"): 401}


def test_web_pages_of_a_file(processes: Processes) -> None:
    """Visitors may change things, and see the archive, if the file says so."""
    file = write(processes, 'http_port = 0\nallow_changes = true\narchive = "archive.db"\n')
    broker, _port = start_broker(processes, "--settings", file)
    url = broker.wait_for(r"^HTTP ready on (http://\S+)$")[1]
    page = httpx.get(f"{url}/queues", trust_env=False).text
    assert "read only" not in page
    assert "Archive: archive.db" in page


def test_file(processes: Processes) -> None:
    broker, port = start_broker(processes, "--settings", write(processes, FILE))
    with connect(port, "alice", "canary-alice") as connection:
        connection.channel().queue_declare("shared")
    with connect(port, "bob", "canary-bob") as connection:
        channel = connection.channel()
        channel.queue_declare("bob.1")
        with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="access to queue 'x'"):
            channel.queue_declare("x")
    ended = broker.terminate()
    assert "canary" not in ended.output


def test_options_win_over_the_file(processes: Processes, silent_port: int) -> None:
    text = f'port = {silent_port}\ndata = "of-the-file"\n'
    name = write(processes, text)
    broker, port = start_broker(processes, "--settings", name, "--data", "of-the-option")
    assert port != silent_port
    assert broker.terminate().status == 0
    assert (processes.directory / "of-the-option").is_dir()
    assert not (processes.directory / "of-the-file").exists()


@pytest.mark.parametrize(
    ("text", "options", "version"),
    [
        ("", (), "4.3.6"),
        ('profile = "3"', (), "3.10.8"),
        ("profile = 3", (), "3.10.8"),
        ('profile = "3"', ("--profile", "4"), "4.3.6"),
    ],
)
def test_profile(processes: Processes, text: str, options: tuple[str, ...], version: str) -> None:
    _broker, port = start_broker(processes, "--settings", write(processes, text), *options)
    with Peer(f"amqp://guest:guest@127.0.0.1:{port}/%2F") as peer:
        assert peer.start().server_properties["version"] == version


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "some.where.example"])
def test_open_door_is_refused(processes: Processes, host: str) -> None:
    ended = refused_start(processes, "--host", host)
    error = ended.usage_error()
    assert error.startswith(
        f"Error: --host {host} lets other machines connect, but nobody may log in from them"
    )
    assert "--user NAME:PASSWORD" in error


def test_users_may_come_from_everywhere(processes: Processes) -> None:
    """With users of its own, even one named guest, the broker listens on any address."""
    _broker, port = start_broker(processes, "--host", "127.0.0.1", "--user", "guest:another")
    with connect(port, "guest", "another") as connection:
        assert connection.is_open


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--user", "alice"), "--user must be of the form NAME:PASSWORD"),
        (("--user", "alice:"), "--user must be of the form NAME:PASSWORD"),
        (("--user", ":x"), "--user must be of the form NAME:PASSWORD"),
        (("--tag", "bob", "management"), "--tag is for a user: add it with --user NAME:PASSWORD"),
        (
            ("--user", "a:b", "--tag", "bob", "management"),
            "--tag names the user bob, who is not there: add --user bob:PASSWORD",
        ),
        (("--permissions", "bob", "", "", ""), "--permissions is for a user: add it with --user"),
        (
            ("--user", "a:b", "--permissions", "bob", "", "", ""),
            "--permissions names the user bob, who is not there: add --user bob:PASSWORD",
        ),
        (
            ("--user", "a:b", "--permissions", "a", "(", "", ""),
            "what user a may configure is no regular expression, '('",
        ),
        (("--tls-cert", "x.pem"), "TLS needs a certificate and its key: give both --tls-cert and --tls-key"),
        (("--settings", "nowhere.toml"), "nowhere.toml cannot be read: No such file or directory"),
    ],
)
def test_mistakes(processes: Processes, arguments: tuple[str, ...], complaint: str) -> None:
    assert complaint in refused_start(processes, *arguments).usage_error()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("x", "broker.toml is not TOML"),
        ("prot = 5", "broker.toml does not know prot; it knows allow_changes, archive, bodies_in_memory"),
        ('profile = "5"', "'5' is not one of '3', '4'"),
        ("port = 70000", "70000 is not in the range 0<=x<=65535"),
        ("users = 5", '"users" must be a table'),
        ("[users]\nalice = 5", '"users.alice" must be a table'),
        (
            "[users.alice]\npasword = 'canary'",
            "[users.alice] does not know pasword; it knows configure, hashing_algorithm",
        ),
        ("[users.alice]\npassword = 5", '"password" in [users.alice] must be text'),
        ("[users.alice]\npassword = 'canary'\ntags = 'x'", '"tags" in [users.alice] must be a list of texts'),
        (
            "[users.alice]\npassword = 'canary'\nread = '['",
            "what user alice may read is no regular expression",
        ),
        ("[users.alice]\nread = 5", '"read" in [users.alice] must be text'),
        ("[users.alice]\n", "[users.alice] has no password, so nobody could log in as alice"),
        ("[tls]\ncertfile = 'x'", "TLS needs a certificate and its key"),
        ("[tls]\ncertificate = 'x'", "[tls] does not know certificate"),
    ],
)
def test_mistakes_in_the_file(processes: Processes, text: str, complaint: str) -> None:
    ended = processes.run("broker", "--settings", write(processes, text))
    assert complaint in ended.usage_error()
    assert "canary" not in ended.output


def test_tls(processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The listener speaks TLS, and lets in only who has a certificate."""
    authority = Authority(tmp_path / "authority")
    server = authority.issue("server", "127.0.0.1")
    client = authority.issue("client", common_name="app")
    options = ("--tls-cert", server.certfile, "--tls-key", server.keyfile, "--tls-ca", authority.ca_cert)
    process = processes.fedora_messaging(
        "broker", "--port", "0", "--settings", write(processes, "[users.app]\n"), *options
    )
    url = process.wait_for(r"^AMQP ready on (amqps://127\.0\.0\.1:\d+)$")[1]
    settings = config.LazyConfig()
    monkeypatch.setattr(config, "conf", settings)
    settings["tls"] = {
        "ca_cert": authority.ca_cert,
        "certfile": client.certfile,
        "keyfile": client.keyfile,
    }

    async def main() -> Any:
        async with aio.connect(url) as bus:
            await bus.publish(Message(topic="tls"))

    asyncio.run(main())
    assert process.terminate().status == 0


def test_tls_file_that_is_missing(processes: Processes) -> None:
    ended = refused_start(processes, "--tls-cert", "no.pem", "--tls-key", "no.key")
    assert ended.status == 1
    assert "no.pem: No such file or directory" in ended.one_error()
