"""`fedora-messaging broker` with users, virtual hosts, policies and definitions from files; HTTP; TLS."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import signal
import socket
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pika
import pika.exceptions
import pytest
from tests.support.processes import start_broker
from tests.support.waiting import WAIT
from tests.tls.pki import Authority

if TYPE_CHECKING:
    from tests.support.processes import Ended, Process, Processes

ALL = {"configure": ".*", "write": ".*", "read": ".*"}


def write(processes: Processes, text: str, name: str = "broker.toml") -> str:
    """Write a file where the broker runs; returns its name."""
    (processes.directory / name).write_text(text)
    return name


def hash_of(password: str, algorithm: str) -> str:
    """Hash a password as RabbitMQ does."""
    salt = b"salt"
    return base64.b64encode(salt + hashlib.new(algorithm, salt + password.encode()).digest()).decode()


def connect(port: int, user: str, password: str, vhost: str = "/") -> pika.BlockingConnection:
    credentials = pika.PlainCredentials(user, password)
    parameters = pika.ConnectionParameters("127.0.0.1", port, vhost, credentials=credentials)
    return pika.BlockingConnection(parameters)


def refusal(port: int, user: str, password: str, vhost: str = "/") -> str:
    """Return why a connection is refused."""
    with pytest.raises(pika.exceptions.AMQPConnectionError) as caught:
        connect(port, user, password, vhost)
    return str(caught.value)


def start(processes: Processes, *arguments: str) -> tuple[Process, int, httpx.Client]:
    """Start a broker with its management API; returns it, its port, and a client of the API."""
    broker, port = start_broker(processes, "--http-port", "0", *arguments)
    url = broker.wait_for(r"^HTTP ready on (http://127\.0\.0\.1:\d+)$")[1]
    return broker, port, httpx.Client(base_url=f"{url}/api/", auth=("guest", "guest"), timeout=WAIT)


def refused_start(processes: Processes, *arguments: str) -> Ended:
    """Start a broker that does not get ready."""
    ended = processes.run("broker", "--port", "0", *arguments)
    assert ended.stdout == []
    assert "Traceback" not in ended.output
    return ended


# What the file can say


def test_users_whose_passwords_are_hashed(processes: Processes) -> None:
    tables = [
        f"""
        [users.{name}]
        password_hash = "{hash_of(f"canary {name}", algorithm)}"
        hashing_algorithm = "rabbit_password_hashing_{algorithm}"
        """
        for name, algorithm in (("old", "md5"), ("new", "sha512"))
    ]
    tables.append(f'[users.usual]\npassword_hash = "{hash_of("canary usual", "sha256")}"')
    broker, port = start_broker(processes, "--config", write(processes, "\n".join(tables)))
    for name in ("old", "new", "usual"):
        connect(port, name, f"canary {name}").close()
        assert "ACCESS_REFUSED" in refusal(port, name, "canary")
    assert "ACCESS_REFUSED" in refusal(port, "guest", "guest")
    assert "canary" not in broker.terminate().output


def test_users_of_virtual_hosts_with_limits(processes: Processes) -> None:
    text = """
    [vhosts.orders]
    max_connections = 2
    max_queues = 1

    [users.alice]
    password = "a"
    configure = ""
    max_channels = 1
    vhosts.orders = {}

    [users.bob]
    password = "b"
    max_connections = 1
    vhosts.orders = { configure = "^bob", write = "" }
    """
    _broker, port = start_broker(processes, "--config", write(processes, text))
    with connect(port, "alice", "a", "orders") as alice:
        channel = alice.channel()
        channel.queue_declare("a")
        with pytest.raises(
            pika.exceptions.ChannelClosedByBroker, match=r"queue limit in vhost 'orders' \(1\)"
        ):
            channel.queue_declare("b")
        with connect(port, "bob", "b", "orders") as bob:
            with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="access to queue 'x'"):
                bob.channel().queue_declare("x")
            assert "connection limit (2) is reached" in refusal(port, "alice", "a", "orders")
            assert "user connection limit (1) is reached" in refusal(port, "bob", "b")
    with connect(port, "alice", "a") as alice:
        with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="access to queue 'x'"):
            alice.channel().queue_declare("x")
    alice = connect(port, "alice", "a")
    alice.channel()
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker, match="user limit of 1"):
        alice.channel().queue_declare("bob", passive=True)


def test_policies(processes: Processes) -> None:
    text = """
    [vhosts.v]
    description = "for tests"
    tags = ["a"]
    default_queue_type = "quorum"

    [policies.short]
    pattern = "^q"
    definition = { max-length = 3 }
    apply-to = "queues"
    priority = 2

    [policies.ceiling]
    operator = true
    vhost = "v"
    pattern = ""
    definition = { max-length = 5 }
    """
    _broker, port, http = start(processes, "--config", write(processes, text))
    with http:
        assert http.get("policies").json() == [
            {
                "vhost": "/",
                "name": "short",
                "pattern": "^q",
                "apply-to": "queues",
                "definition": {"max-length": 3},
                "priority": 2,
            }
        ]
        assert [policy["name"] for policy in http.get("operator-policies/v").json()] == ["ceiling"]
        vhost = http.get("vhosts/v").json()
        assert (vhost["description"], vhost["tags"], vhost["default_queue_type"]) == (
            "for tests",
            ["a"],
            "quorum",
        )
    with connect(port, "guest", "guest") as connection:
        channel = connection.channel()
        channel.queue_declare("q")
        for _ in range(5):
            channel.basic_publish("", "q", b"x")
        assert channel.queue_declare("q", passive=True).method.message_count == 3


def test_everything_at_once(processes: Processes) -> None:
    """Options and tables of the file, and the definitions in another one that it names."""
    definitions = {
        "users": [{"name": "bob", "password": "canary", "tags": "management"}],
        "permissions": [{"user": "bob", "vhost": "/", **ALL}],
        "queues": [{"name": "q", "vhost": "/", "durable": True, "arguments": {"x-max-length": 3}}],
        "bindings": [
            {
                "source": "amq.topic",
                "vhost": "/",
                "destination": "q",
                "destination_type": "queue",
                "routing_key": "a.#",
            }
        ],
    }
    write(processes, json.dumps(definitions), "definitions.json")
    text = """
    host = "127.0.0.1"
    port = 0
    http_port = 0
    data = "data"
    definitions = "definitions.json"
    profile = "3"
    memory_limit = "100MB"
    disk_limit = 0

    [users.alice]
    password = "canary"
    tags = ["administrator"]
    """
    broker = processes.fedora_messaging("broker", "--config", write(processes, text))
    port = int(broker.wait_for(r"^AMQP ready on amqp://127\.0\.0\.1:(\d+)$")[1])
    url = broker.wait_for(r"^HTTP ready on (.*)$")[1]
    with httpx.Client(base_url=f"{url}/api/", auth=("alice", "canary")) as http:
        assert http.get("overview").json()["rabbitmq_version"] == "3.10.8"
    with connect(port, "bob", "canary") as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish("amq.topic", "a.b", b"x", mandatory=True)
        assert channel.queue_declare("q", passive=True).method.message_count == 1
    ended = broker.terminate()
    assert (ended.status, ended.stderr) == (0, [])
    assert "canary" not in ended.output
    assert (processes.directory / "data/broker.sqlite").exists()


def test_users_of_the_command_line_win_over_definitions(processes: Processes) -> None:
    write(processes, json.dumps({"users": [{"name": "bob", "password": "theirs", "tags": []}]}), "d.json")
    _broker, port = start_broker(processes, "--definitions", "d.json", "--user", "bob:ours")
    assert "ACCESS_REFUSED" in refusal(port, "bob", "theirs")
    connect(port, "bob", "ours").close()


# Restarts


def test_definition_that_was_answered_survives_a_kill(processes: Processes) -> None:
    """The broker answers when it is on the disk."""
    policy = {"pattern": "", "definition": {"max-length": 1}}
    #: Each with a path where the next broker shows it, and a part of what is shown there.
    orders: list[tuple[str, str, Any, str, str]] = [
        ("PUT", "vhosts/v", {"description": "for tests"}, "vhosts/v", "for tests"),
        ("PUT", "users/bob", {"password": "secret", "tags": "monitoring"}, "users/bob", "monitoring"),
        ("PUT", "permissions/v/bob", {**ALL, "read": "^bob"}, "permissions/v/bob", "^bob"),
        (
            "PUT",
            "topic-permissions/v/bob",
            {"exchange": "amq.topic", "write": "^bob", "read": "r"},
            "topic-permissions/v/bob",
            "^bob",
        ),
        ("PUT", "policies/v/p", policy, "policies/v/p", "max-length"),
        ("PUT", "operator-policies/v/p", policy, "operator-policies/v/p", "max-length"),
        ("PUT", "vhost-limits/v/max-queues", {"value": 57}, "vhost-limits/v", "57"),
        ("PUT", "user-limits/bob/max-channels", {"value": 68}, "user-limits/bob", "68"),
        ("PUT", "global-parameters/mine", {"value": "it"}, "global-parameters/mine", "it"),
        ("PUT", "queues/v/q", {"durable": True}, "queues/v/q", "classic"),
        ("POST", "bindings/v/e/amq.topic/q/q", {"routing_key": "its.key"}, "queues/v/q/bindings", "its.key"),
        ("DELETE", "policies/v/p", None, "policies/v/p", "Object Not Found"),
        ("DELETE", "users/bob", None, "users/bob", "Object Not Found"),
        ("DELETE", "vhosts/v", None, "vhosts/v", "Object Not Found"),
    ]
    broker, _port, http = start(processes, "--data", "data")
    for method, path, body, where, expected in orders:
        assert expected not in http.get(where).text
        status = http.request(method, path, json=body).status_code
        broker.kill()
        http.close()
        assert status in (201, 204)
        broker, _port, http = start(processes, "--data", "data")
        assert expected in http.get(where).text, path
    http.close()


# Mistakes: one line that says what, where, and how to mend it


SECTION = "the section users of the definitions must be a list of objects"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("definitions = 5", '"definitions" in broker.toml must be text, in quotes'),
        ("data = ['a']", '"data" in broker.toml must be text, in quotes'),
        ("host = 5", '"host" in broker.toml must be text, in quotes'),
        ("http_port = 70000", "70000 is not in the range 0<=x<=65535"),
        ("policies = 5", '"policies" must be a table; write it as [policies.NAME]'),
        ("vhosts = []", '"vhosts" must be a table; write it as [vhosts.NAME]'),
        ("[policies.p]\npattern = 5\ndefinition = {}", '"pattern" in [policies.p] must be text, but is 5'),
        ("[policies.p]\npattern = ''", "[policies.p] lacks definition"),
        (
            "[policies.p]\npattern = ''\ndefinition = {}\npriority = 'high'",
            '"priority" in [policies.p] must be a number, but is text',
        ),
        (
            "[policies.p]\npattern = ''\ndefinition = {}\napplyto = 'all'",
            "[policies.p] does not know applyto; it knows apply-to, definition, operator, pattern, priority, "
            "vhost; did you mean apply-to?",
        ),
        (
            "[vhosts.v]\nmax_queues = 'many'",
            '"max_queues" in [vhosts.v] must be a whole number, but is text',
        ),
        (
            "[users.a]\npassword = 'canary'\npassword_hash = 'canary'",
            "[users.a] has both password and password_hash: remove one",
        ),
        (
            "[users.a]\npassword_hash = '!canary'",
            "[users.a] has no usable password_hash: Only base64 data is allowed",
        ),
        (
            "[users.a]\npassword_hash = 'canary=='\nhashing_algorithm = 'md5'",
            "[users.a] has no usable password_hash: unknown hashing algorithm 'md5'; known: "
            "rabbit_password_hashing_sha256, rabbit_password_hashing_sha512, rabbit_password_hashing_md5",
        ),
        (
            "[users.a]\npassword = 20261129",
            '"password" in [users.a] must be text that is not empty, but is a number',
        ),
        (
            "[users.a]\npassword = 'canary'\n[users.a.vhosts.v]\nraed = ''",
            "[users.a.vhosts.v] does not know raed; it knows configure, read, write; did you mean read?",
        ),
        (
            '[users."a\\u001b[1m"]\npassword = "canary"\nread = "("',
            r"what user a\x1b[1m may read is no regular expression, '('",
        ),
        ("x = [" + "[" * 5000, "broker.toml is not TOML: "),
    ],
)
def test_mistakes_in_the_file(processes: Processes, text: str, complaint: str) -> None:
    ended = refused_start(processes, "--config", write(processes, text))
    assert complaint in ended.usage_error()
    assert "canary" not in ended.output
    assert "20261129" not in ended.output


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "[policies.p]\npattern = '('\ndefinition = { foo = 1 }",
            'Validation failed [{<<"foo">>,1}] are not recognised policy settings pattern should be regular '
            'expression but is invalid: {"missing ), unterminated subpattern",0} '
            '(policies: vhost "/", name "p")',
        ),
        (
            "[policies.p]\npattern = ''\nvhost = 'v'\ndefinition = { max-length = 1 }",
            'Please create virtual host "v" prior to importing definitions. (policies: vhost "v", name "p")',
        ),
        ("[vhosts.v]\ndefault_queue_type = 'x'", 'x is not a valid queue type (vhosts: name "v")'),
    ],
)
def test_tables_that_the_broker_refuses(processes: Processes, text: str, complaint: str) -> None:
    ended = refused_start(processes, "--config", write(processes, text))
    assert ended.status == 1
    assert ended.one_error() == f"Error: The definitions are wrong: {complaint}"


@pytest.mark.parametrize(
    ("content", "status", "complaint"),
    [
        ("{", 2, "d.json is not JSON: Expecting property name"),
        ("[]", 2, "d.json holds no definitions: it must be a JSON object"),
        ("[" * 100_000, 2, "d.json is not JSON: "),
        ('{"users": {}}', 1, SECTION),
        ('{"users": [{"name": "bob", "password": "canary"}]}', 1, '"tags" is missing (users: name "bob")'),
        ('{"users": [{"name": "bob", "password": 5, "tags": []}]}', 1, '"password" must be a string'),
        (
            '{"users": [{"name": "b\\u001b", "password_hash": "!canary", "tags": []}]}',
            1,
            r'the password_hash cannot be used: Only base64 data is allowed (users: name "b\x1b")',
        ),
        ('{"queues": [{"name": "q", "vhost": "v"}]}', 1, 'Please create virtual host "v" prior'),
        (
            '{"parameters": [{"component": "shovel", "vhost": "/", "name": "s", "value": "canary"}]}',
            1,
            'component shovel not found (parameters: vhost "/", component "shovel", name "s")',
        ),
    ],
)
def test_definitions_that_are_wrong(processes: Processes, content: str, status: int, complaint: str) -> None:
    ended = refused_start(processes, "--definitions", write(processes, content, "d.json"))
    assert ended.status == status
    error = ended.usage_error() if status == 2 else ended.one_error()
    assert complaint in error
    assert "canary" not in ended.output


def test_definitions_that_are_missing(processes: Processes) -> None:
    error = refused_start(processes, "--definitions", "d.json").usage_error()
    assert error == "Error: d.json cannot be read: No such file or directory"
    assert "is a directory" in refused_start(processes, "--definitions", ".").usage_error()


# The management API


def test_http_port_in_use(processes: Processes) -> None:
    """The data directory is given back."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        ended = refused_start(processes, "--http-port", str(port), "--data", "data")
    assert ended.status == 1
    assert f"127.0.0.1:{port} is in use already" in ended.one_error()
    start_broker(processes, "--data", "data")


def test_management_api_without_its_packages(processes: Processes) -> None:
    """The broker needs them for nothing else."""
    shim = processes.directory / "shim" / "starlette"
    shim.mkdir(parents=True)
    (shim / "__init__.py").write_text(
        'raise ModuleNotFoundError("No module named \'starlette\'", name="starlette")\n'
    )
    path = str(shim.parent)
    process = processes.fedora_messaging("broker", "--port", "0", "--http-port", "0", PYTHONPATH=path)
    ended = process.end()
    assert ended.status == 1
    assert ended.one_error() == (
        "Error: The web pages and the management API need starlette: pip install 'fedora-messaging[web]'"
    )
    quiet = processes.fedora_messaging("broker", "--port", "0", PYTHONPATH=path)
    quiet.wait_for("^AMQP ready on ")


def test_clients_of_the_api_do_not_hold_up_the_end(processes: Processes) -> None:
    broker, _port, http = start(processes)
    with http:
        assert http.get("whoami").json()["name"] == "guest"
        assert broker.terminate(10.0).status == 0


# TLS files that are read again


class Tls:
    """A broker with TLS, whose files can be replaced."""

    def __init__(self, processes: Processes, authority: Authority) -> None:
        self._authority = authority
        self._directory = processes.directory
        self.install("one")
        text = 'port = 0\n[tls]\ncertfile = "server.crt"\nkeyfile = "server.key"\n'
        self.broker = processes.fedora_messaging("broker", "--config", write(processes, text))
        self.port = int(self.broker.wait_for(r"^AMQP ready on amqps://127\.0\.0\.1:(\d+)$")[1])

    def install(self, name: str) -> None:
        """Replace certificate and key."""
        identity = self._authority.issue(name, "127.0.0.1", f"{name}.example")
        shutil.copy(identity.certfile, self._directory / "server.crt")
        shutil.copy(identity.keyfile, self._directory / "server.key")

    @property
    def context(self) -> ssl.SSLContext:
        """What a client trusts."""
        return ssl.create_default_context(cafile=self._authority.ca_cert)

    @property
    def shown(self) -> str:
        """The name in the certificate that a new connection gets."""
        with (
            socket.create_connection(("127.0.0.1", self.port), WAIT) as plain,
            self.context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
        ):
            certificate: Any = secured.getpeercert()
        return str(certificate["subjectAltName"][1][1])


@pytest.fixture
def tls(processes: Processes, tmp_path_factory: pytest.TempPathFactory) -> Tls:
    """A broker whose certificate is for one.example."""
    return Tls(processes, Authority(tmp_path_factory.mktemp("pki") / "authority"))


def test_new_certificate_is_for_new_connections(tls: Tls) -> None:
    options = pika.SSLOptions(tls.context, "127.0.0.1")
    old = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", tls.port, ssl_options=options))
    assert tls.shown == "one.example"
    tls.install("two")
    assert tls.shown == "one.example"
    tls.broker.signal(signal.SIGHUP)
    tls.broker.wait_for(r"^The TLS files have been read again\.$")
    assert tls.shown == "two.example"
    old.channel().queue_declare("q")
    old.close()
    assert tls.broker.terminate().stderr == []


@pytest.mark.parametrize("damage", ["missing", "broken", "of another certificate"])
def test_wrong_file_leaves_the_old_certificate_in_use(tls: Tls, processes: Processes, damage: str) -> None:
    key = Path(processes.directory / "server.key")
    good = key.read_text()
    if damage == "missing":
        key.unlink()
    elif damage == "broken":
        key.write_text("canary")
    else:
        tls.install("two")
        key.write_text(good)
    tls.broker.signal(signal.SIGHUP)
    said = tls.broker.wait_for("^The TLS files are not read again: (.*)$")[1]
    assert "server.key" in said
    assert tls.shown == "one.example"
    # The next signal finds the mended files.
    tls.install("three")
    tls.broker.signal(signal.SIGHUP)
    tls.broker.wait_for(r"^The TLS files have been read again\.$")
    assert tls.shown == "three.example"
    ended = tls.broker.terminate()
    assert ended.status == 0
    assert "Traceback" not in ended.output
    assert "canary" not in ended.output


# Help


def test_help_names_every_option_and_the_command(processes: Processes) -> None:
    ended = processes.run("broker", "--help")
    assert (ended.status, ended.stderr) == (0, [])
    for word in (
        "--config, --settings FILE",
        "--http-port",
        "--definitions FILE",
        "--data",
        "--profile [3|4]",
    ):
        assert any(line.strip().startswith(word) for line in ended.stdout), word
    assert "  export  Print the definitions in a data directory as JSON." in ended.stdout
