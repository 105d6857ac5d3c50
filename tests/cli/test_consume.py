"""``fedora-messaging consume`` as a process: which queue it reads, and configurations that are wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from tests.cli.consuming import PASSWORD, PRINT, configure, consume, text

if TYPE_CHECKING:
    from tests.cli.conftest import Queues
    from tests.support.processes import Processes

# Which queue


def test_options_for_one_queue(processes: Processes, queues: Queues) -> None:
    """Without a configuration file: an exclusive queue with that name, bound as the options say."""
    name = queues.name()
    (processes.directory / "app.py").write_text(PRINT)
    process = processes.fedora_messaging(
        "consume",
        "--callback=app:callback",
        f"--queue-name={name}",
        "--exchange=amq.direct",
        "--routing-key=one",
        "--routing-key=two",
        "--app-name=tested",
        FEDORA_MESSAGING_AMQP_URL=queues.url,
    )
    process.wait_for(f"Successfully registered Consumer.*{name}")
    for key in ("one", "three", "two"):
        queues.channel.basic_publish("amq.direct", key, text(key).encode())
    assert [process.wait_for(r"^got (\w+)$")[1] for _ in range(2)] == ["one", "two"]
    assert process.terminate().status == 0


def test_queue_name_with_named_queues_only(processes: Processes, embedded_queues: Queues) -> None:
    """The settings are those of the library's default queue."""
    name = embedded_queues.name()
    configure(processes.directory, "another", url=embedded_queues.url)
    (processes.directory / "app.py").write_text(PRINT)
    process = processes.fedora_messaging(
        "--conf=config.toml", "consume", "--callback=app:callback", f"--queue-name={name}"
    )
    process.wait_for(f"Successfully registered Consumer.*{name}")
    assert process.terminate().status == 0


# Configurations that are wrong: one error with the file's name, no traceback, no password

URL_LINE = f'amqp_url = "amqp://guest:{PASSWORD}@localhost"\n'


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (f'amqp_url = "amqp://guest:{PASSWORD}@localhost" "', "Failed to parse config.toml: "),
        (f"amqp_url = amqp://guest:{PASSWORD}@localhost", "Failed to parse config.toml: "),
        (f"{URL_LINE}nonsense = 1", "Unknown configuration key 'nonsense'!"),
        (f'{URL_LINE}bindings = "all"', "bindings must be a list"),
        (f"{URL_LINE}[queues.q]\ndurable = true", "the q queue is missing the following keys"),
        (f'{URL_LINE}[client_properties]\nversion = "1"', "reserved"),
        (f"{URL_LINE}[[bindings]]\nexchange = 'e'", "a binding is missing the following keys"),
        (f'{URL_LINE}[monitoring]\naddress = "::1"', "port must be defined"),
    ],
)
def test_configuration_is_refused(processes: Processes, config: str, says: str) -> None:
    (processes.directory / "config.toml").write_text(config)
    (processes.directory / "app.py").write_text(PRINT)
    ended = processes.run("--conf", "config.toml", "consume", "--callback=app:callback")
    error = ended.usage_error()
    assert "Configuration error: " in error
    assert says in error
    assert PASSWORD not in ended.output


def test_configuration_is_not_utf_8(processes: Processes) -> None:
    (processes.directory / "config.toml").write_bytes(b'topic_prefix = "caf\xe9"\n')
    error = processes.run("--conf", "config.toml", "consume", "--callback=app:callback").usage_error()
    assert "config.toml" in error


@pytest.mark.parametrize("way", ["option", "variable"])
@pytest.mark.parametrize("path", ["missing.toml", "."])
def test_configuration_is_not_there(processes: Processes, way: str, path: str) -> None:
    if way == "option":
        ended = processes.run("--conf", path, "consume", "--callback=app:callback")
    else:
        ended = processes.run("consume", "--callback=app:callback", FEDORA_MESSAGING_CONF=path)
    assert f"{path} is not a file" in ended.usage_error()


@pytest.mark.parametrize(
    "lines",
    [
        "log_config = 1",
        "log_config = {}",
        '[log_config]\nversion = 1\nhandlers.h.class = "no.such.Handler"',
        '[log_config]\nversion = 1\nhandlers.h = {class = "logging.FileHandler", filename = "/no/such"}',
    ],
)
def test_log_configuration_does_not_work(processes: Processes, lines: str) -> None:
    (processes.directory / "config.toml").write_text(URL_LINE + lines)
    ended = processes.run("--conf", "config.toml", "consume", "--callback=app:callback")
    assert ended.status in (1, 2)
    assert "Traceback" not in ended.output
    assert "log_config" in ended.stderr[-1]
    assert PASSWORD not in ended.output


@pytest.mark.parametrize(
    "lines",
    ["[qos]\nprefetch_count = 70000", '[qos]\nprefetch_count = "ten"', "[qos]\nprefetch_count = -1"],
)
def test_prefetch_that_amqp_cannot_carry(processes: Processes, lines: str) -> None:
    (processes.directory / "config.toml").write_text(URL_LINE + lines)
    (processes.directory / "app.py").write_text(PRINT)
    ended = processes.run("--conf", "config.toml", "consume", "--callback=app:callback")
    assert ended.status in (1, 2)
    assert "prefetch_count" in ended.stderr[-1]
    assert "Traceback" not in ended.output


@pytest.mark.parametrize("way", ["file", "variable"])
@pytest.mark.parametrize(
    "url",
    [
        f"amqpx://guest:{PASSWORD}@localhost",
        f"amqp://guest:{PASSWORD}@localhost:port",
        f"amqp://guest:{PASSWORD}@localhost:99999",
        f"amqp://guest:{PASSWORD}@localhost?nonsense=1",
        f"amqp://guest:{PASSWORD}@localhost?heartbeat=often",
        f"amqp://{PASSWORD}@localhost",
        # Passwords with characters that should have been percent-encoded.
        f"amqp://guest:{PASSWORD}/@localhost",
        f"amqp://guest:{PASSWORD}?@localhost",
        f"amqp://guest:{PASSWORD}#@localhost",
        f"amqp://guest:{PASSWORD}[@localhost",
        f"amqp://guest:12?{PASSWORD}@localhost",
        f"amqp://guest:{PASSWORD}@loc\u2100lhost",
    ],
)
def test_bad_url(processes: Processes, url: str, way: str) -> None:
    (processes.directory / "app.py").write_text(PRINT)
    configure(processes.directory, "q", url=url if way == "file" else "amqp://")
    variables = {"FEDORA_MESSAGING_AMQP_URL": url} if way == "variable" else {}
    ended = processes.run("--conf=config.toml", "consume", "--callback=app:callback", **variables)
    assert ended.status in (1, 2)
    assert '"amqp_url" is invalid' in ended.stderr[-1]
    assert "Traceback" not in ended.output
    assert PASSWORD not in ended.output
    assert PASSWORD.lower() not in ended.output.lower()


@pytest.mark.parametrize("password", ["s3cret/with?signs#@:", "pâss wörd", "%41%42"])
def test_encoded_password_is_never_shown(
    processes: Processes, embedded_queues: Queues, password: str
) -> None:
    """Neither as it is nor as it stands in the URL."""
    encoded = quote(password, safe="")
    port = embedded_queues.url.rpartition(":")[2]
    ended = consume(processes, f"amqp://guest:{encoded}@127.0.0.1:{port}", embedded_queues.make())
    assert ended.status == 14
    assert password not in ended.output
    assert encoded not in ended.output
