"""``fedora-messaging consume`` as a process: callbacks, exit codes, signals."""

from __future__ import annotations

import json
import signal
import socket
import time
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Queues
    from tests.support.processes import Ended, Process, Processes

PASSWORD = "pAssw0rd"

# Each prints what it does at once, because its output is a pipe.
PRINT = "def callback(message):\n    print('got', message.body['text'], flush=True)\n"
HALT = """
from fedora_messaging.exceptions import HaltConsumer

def callback(message):
    raise HaltConsumer({})
"""
STUCK = """
import sys

def callback(message):
    print('begun', message.body['text'], flush=True)
    sys.stdin.readline()
    print('done', message.body['text'], flush=True)
"""
STUCK_COROUTINE = """
import asyncio, sys

async def callback(message):
    print('begun', message.body['text'], flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    print('done', message.body['text'], flush=True)
"""


def text(word: str) -> str:
    return json.dumps({"text": word})


def configure(directory: Path, *queues: str, url: str = "amqp://", extra: str = "") -> None:
    """Write config.toml with durable queues without bindings."""
    tables = (
        f'[queues."{queue}"]\ndurable = true\nauto_delete = false\nexclusive = false\narguments = {{}}\n'
        for queue in queues
    )
    lines = (f'amqp_url = "{url}"', "bindings = []", extra, *tables)
    (directory / "config.toml").write_text("\n".join(lines), encoding="utf-8")


def start(processes: Processes, url: str, *queues: str, callback: str = PRINT, extra: str = "") -> Process:
    """Start consuming with `callback` of app.py."""
    configure(processes.directory, *queues, url=url, extra=extra)
    (processes.directory / "app.py").write_text(callback)
    return processes.fedora_messaging("--conf", "config.toml", "consume", "--callback=app:callback")


def subscribe(processes: Processes, url: str, *queues: str, callback: str = PRINT) -> Process:
    """Start consuming, and wait until it does."""
    process = start(processes, url, *queues, callback=callback)
    for queue in queues:
        process.wait_for(rf"Successfully registered Consumer\(queue={queue},")
    return process


def consume(processes: Processes, url: str, *queues: str, callback: str = PRINT, extra: str = "") -> Ended:
    """Consume until it ends by itself."""
    ended = start(processes, url, *queues, callback=callback, extra=extra).end()
    assert PASSWORD not in ended.output
    return ended


def errors(ended: Ended) -> list[str]:
    """Lines logged at ERROR."""
    return [line for line in ended.stdout if " ERROR]" in line]


# How it ends by itself


def test_halt(processes: Processes, queues: Queues) -> None:
    """0; the message is acknowledged, what follows stays."""
    queue = queues.make()
    queues.put(queue, text("a"), text("b"))
    ended = consume(processes, queues.url, queue, callback=HALT.format(""))
    assert (ended.status, ended.stderr, errors(ended)) == (0, [], [])
    queues.wait_until_ready(queue, 1)
    assert json.loads(queues.channel.basic_get(queue)[2]) == {"text": "b"}


@pytest.mark.parametrize("code", [1, 7, 255])
def test_halt_with_a_code(processes: Processes, embedded_queues: Queues, code: int) -> None:
    queue = embedded_queues.make()
    embedded_queues.put(queue, text("a"))
    ended = consume(processes, embedded_queues.url, queue, callback=HALT.format(f"{code}, 'enough'"))
    assert ended.status == code
    (error,) = errors(ended)
    assert error.endswith(f"Consumer halted with non-zero exit code ({code}): enough")
    embedded_queues.wait_until_ready(queue, 0)


def test_halt_and_requeue(processes: Processes, embedded_queues: Queues) -> None:
    queue = embedded_queues.make()
    embedded_queues.put(queue, text("a"))
    assert consume(processes, embedded_queues.url, queue, callback=HALT.format("requeue=True")).status == 0
    embedded_queues.wait_until_ready(queue, 1)


def test_halt_of_one_stops_all(processes: Processes, embedded_queues: Queues) -> None:
    first, second = embedded_queues.make(), embedded_queues.make()
    embedded_queues.put(second, text("a"))
    ended = consume(processes, embedded_queues.url, first, second, callback=HALT.format("4"))
    assert ended.status == 4


def test_queue_that_is_declared_otherwise_ends_it_with_10(processes: Processes, queues: Queues) -> None:
    queue = queues.make(arguments={"x-max-length": 5})
    ended = consume(processes, queues.url, queue)
    assert (ended.status, ended.stderr) == (10, [])
    (error,) = errors(ended)
    assert "Unable to declare the queue object" in error
    assert "PRECONDITION_FAILED" in error


def test_queue_that_must_be_there_and_is_not_ends_it_with_10(processes: Processes, queues: Queues) -> None:
    ended = consume(processes, queues.url, queues.name(), extra="passive_declares = true")
    assert (ended.status, ended.stderr) == (10, [])
    assert "NOT_FOUND" in errors(ended)[0]


def test_binding_to_an_unknown_exchange_ends_it_with_10(processes: Processes, queues: Queues) -> None:
    binding = 'exchange = "no.such", routing_keys = ["#"]'
    queue = queues.make()
    configure(processes.directory, queue, url=queues.url)
    config = (processes.directory / "config.toml").read_text()
    config = config.replace("bindings = []", f'bindings = [{{queue = "{queue}", {binding}}}]')
    (processes.directory / "config.toml").write_text(config)
    (processes.directory / "app.py").write_text(PRINT)
    ended = processes.run("--conf", "config.toml", "consume", "--callback=app:callback")
    assert (ended.status, ended.stderr) == (10, [])
    assert "Unable to declare the binding object" in errors(ended)[0]
    assert "no.such" in errors(ended)[0]


def test_no_channel_for_a_queue_ends_it_with_11(processes: Processes, embedded_queues: Queues) -> None:
    url = f"{embedded_queues.url}?channel_max=1"
    ended = consume(processes, url, embedded_queues.make(), embedded_queues.make())
    assert (ended.status, ended.stderr) == (11, [])
    assert "while registering the consumer" in errors(ended)[0]


def test_deletion_of_the_queue_ends_it_with_12(processes: Processes, queues: Queues) -> None:
    queue = queues.make()
    process = subscribe(processes, queues.url, queue)
    queues.channel.queue_delete(queue)
    ended = process.end()
    assert (ended.status, ended.stderr) == (12, [])
    assert any("canceled" in error for error in errors(ended))


@pytest.mark.parametrize(
    "failure",
    [
        "raise ValueError('no good')",
        "raise StopIteration",
        "import sys; sys.exit(3)",
        "raise KeyboardInterrupt",
        "raise GeneratorExit",
        "import asyncio; raise asyncio.CancelledError",
    ],
)
@pytest.mark.parametrize("kind", ["def", "async def"])
def test_failure_of_the_callback_ends_it_with_13(
    processes: Processes, embedded_queues: Queues, kind: str, failure: str
) -> None:
    """The message, and what was sent ahead, goes back."""
    queue = embedded_queues.make()
    embedded_queues.put(queue, text("a"), text("b"))
    callback = f"{kind} callback(message):\n    {failure}\n"
    ended = start(processes, embedded_queues.url, queue, callback=callback).end(10.0)
    assert (ended.status, ended.stderr) == (13, [])
    assert any("Unexpected error occurred in consumer " in error for error in errors(ended))
    embedded_queues.wait_until_ready(queue, 2)


def test_wrong_password_ends_it_with_14(processes: Processes, queues: Queues) -> None:
    url = queues.url.replace("guest:guest@", "").replace("amqp://", f"amqp://guest:{PASSWORD}@")
    ended = consume(processes, url, queues.make())
    assert (ended.status, ended.stderr) == (14, [])
    assert "handshake" in errors(ended)[-1]
    assert "ACCESS_REFUSED" in errors(ended)[-1]


def test_unknown_virtual_host_ends_it_with_14(processes: Processes, queues: Queues) -> None:
    url = queues.url.removesuffix("/%2F") + "/no.such"
    ended = consume(processes, url, "irrelevant")
    assert (ended.status, ended.stderr) == (14, [])
    assert "no.such" in errors(ended)[-1]


def test_something_else_than_a_broker_ends_it_with_14(processes: Processes) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        process = start(processes, f"amqp://127.0.0.1:{other.getsockname()[1]}", "irrelevant")
        accepted, _ = other.accept()
        with accepted:
            accepted.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
            ended = process.end()
    assert (ended.status, ended.stderr) == (14, [])


def test_queue_in_exclusive_use_ends_it_with_15(processes: Processes, queues: Queues) -> None:
    queue = queues.make()
    queues.channel.basic_consume(queue, lambda *_: None, exclusive=True)
    ended = consume(processes, queues.url, queue)
    assert (ended.status, ended.stderr) == (15, [])
    assert queue in errors(ended)[-1]


# What goes on


def test_nack_and_drop(processes: Processes, queues: Queues) -> None:
    callback = """
from fedora_messaging.exceptions import Drop, HaltConsumer, Nack
seen = []
def callback(message):
    seen.append(message.body["text"])
    print("got", *seen, flush=True)
    if seen[-1] == "drop":
        raise Drop
    if seen.count("nack") == 1 and seen[-1] == "nack":
        raise Nack
    if seen.count("nack") == 2:
        raise HaltConsumer
"""
    queue = queues.make()
    queues.put(queue, text("drop"), text("nack"))
    ended = consume(processes, queues.url, queue, callback=callback)
    assert ended.status == 0
    assert "got drop nack nack" in ended.stdout
    queues.wait_until_ready(queue, 0)


@pytest.mark.parametrize("body", ["not JSON", "[1]", "{", "\ufeff{}"])
def test_message_that_is_not_valid_is_skipped(
    processes: Processes, embedded_queues: Queues, body: str
) -> None:
    queue = embedded_queues.make()
    embedded_queues.put(queue, body, text("good"))
    process = subscribe(processes, embedded_queues.url, queue)
    process.wait_for("^got good$")
    assert process.terminate().status == 0
    embedded_queues.wait_until_ready(queue, 0)


# Signals

GRACEFUL = [signal.SIGTERM, signal.SIGINT]


@pytest.mark.parametrize("number", GRACEFUL)
def test_signal_to_an_idle_consumer(
    processes: Processes, embedded_queues: Queues, number: signal.Signals
) -> None:
    process = subscribe(processes, embedded_queues.url, embedded_queues.make())
    process.signal(number)
    ended = process.end(5.0)
    assert (ended.status, ended.stderr, errors(ended)) == (0, [], [])


@pytest.mark.parametrize("number", GRACEFUL)
@pytest.mark.parametrize("callback", [STUCK, STUCK_COROUTINE], ids=["function", "coroutine"])
def test_signal_lets_the_callback_finish(
    processes: Processes, embedded_queues: Queues, callback: str, number: signal.Signals
) -> None:
    """And its message is acknowledged; the next one is another consumer's."""
    queue = embedded_queues.make()
    embedded_queues.put(queue, text("a"), text("b"))
    process = subscribe(processes, embedded_queues.url, queue, callback=callback)
    process.wait_for("^begun a$")
    process.signal(number)
    # A signal arrives when it arrives. Nothing tells from outside that it has, so that b may be begun too.
    process.say("go on")
    process.end_input()
    ended = process.end()
    assert (ended.status, ended.stderr, errors(ended)) == (0, [], [])
    begun, done = ([line for line in ended.stdout if line.startswith(word)] for word in ("begun", "done"))
    assert "done a" in done
    assert len(begun) == len(done)
    embedded_queues.wait_until_ready(queue, 2 - len(done))


@pytest.mark.parametrize("number", GRACEFUL)
def test_second_signal_ends_it_at_once(
    processes: Processes, embedded_queues: Queues, number: signal.Signals
) -> None:
    """The callback is not waited for, and its message comes again."""
    queue = embedded_queues.make()
    embedded_queues.put(queue, text("a"))
    process = subscribe(processes, embedded_queues.url, queue, callback=STUCK)
    process.wait_for("^begun a$")
    deadline = time.monotonic() + 10
    # Signals that are pending at the same time count as one, hence perhaps more than two.
    while process.running:
        assert time.monotonic() < deadline
        process.signal(number)
        time.sleep(0.1)
    ended = process.end()
    assert ended.status == 128 + number
    assert "Traceback" not in ended.output
    embedded_queues.wait_until_ready(queue, 1)


@pytest.mark.parametrize("number", GRACEFUL)
def test_signal_without_a_broker(processes: Processes, silent_port: int, number: signal.Signals) -> None:
    process = start(processes, f"amqp://guest:{PASSWORD}@127.0.0.1:{silent_port}", "irrelevant")
    process.wait_for(rf"127\.0\.0\.1:{silent_port}.*Connection refused.*trying again")
    process.signal(number)
    ended = process.end(5.0)
    assert (ended.status, ended.stderr) == (0, [])
    assert PASSWORD not in ended.output
    assert "Traceback" not in ended.output


@pytest.mark.parametrize("number", GRACEFUL)
def test_signal_when_the_broker_is_mute(processes: Processes, number: signal.Signals) -> None:
    """It accepts the connection and says nothing, as a broker does that hangs."""
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        process = start(processes, f"amqp://127.0.0.1:{mute.getsockname()[1]}", "irrelevant")
        accepted, _ = mute.accept()
        with accepted:
            accepted.recv(8)
            process.signal(number)
            ended = process.end(10.0)
    assert (ended.status, ended.stderr) == (0, [])
    assert "Traceback" not in ended.output


def test_broker_that_comes_later(processes: Processes, embedded_queues: Queues) -> None:
    """The address has nobody at first; then what listens there is the broker, through a relay."""
    queue = embedded_queues.make()
    embedded_queues.put(queue, text("late"))
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        process = start(processes, f"amqp://127.0.0.1:{port}", queue)
        process.wait_for("trying again")
    broker = processes.fedora_messaging("broker", "--port", str(port))
    broker.wait_for("^AMQP ready on ")
    process.wait_for("Successfully registered")
    assert process.terminate().status == 0


# Which callback


def run_callback(processes: Processes, *arguments: str, **variables: str) -> Ended:
    """Run `consume` for what is wrong before there is a connection."""
    ended = processes.run("consume", *arguments, **variables)
    assert "Traceback" not in ended.output
    return ended


def test_no_callback(processes: Processes) -> None:
    ended = run_callback(processes)
    assert ended.status == 1
    assert "--callback" in ended.one_error()


@pytest.mark.parametrize("path", ["app", "app:callback:more", ""])
def test_callback_path_is_malformed(processes: Processes, path: str) -> None:
    ended = run_callback(processes, f"--callback={path}")
    assert ended.status == 1
    assert "my_package.module:callable_object" in ended.one_error() or not path


@pytest.mark.parametrize(
    ("source", "path", "says"),
    [
        (None, "no_such_module:callback", "No module named 'no_such_module'"),
        ("", "app:callback", "has no attribute 'callback'"),
        ("import no_such_module", "app:callback", "No module named 'no_such_module'"),
        ("def (", "app:callback", "SyntaxError"),
        ("1 / 0", "app:callback", "ZeroDivisionError"),
    ],
)
def test_callback_cannot_be_imported(processes: Processes, source: str | None, path: str, says: str) -> None:
    if source is not None:
        (processes.directory / "app.py").write_text(source)
    ended = run_callback(processes, f"--callback={path}")
    assert ended.status == 1
    assert says in ended.one_error()


@pytest.mark.parametrize("option", ["--callback=app:callback", "--callback-file=app.py:callback"])
@pytest.mark.parametrize(
    ("helper", "line"),
    [
        ("1 / 0", 1),
        ("\ndef broken():\n    return {}['key']\nbroken()", 3),
        ("\nimport no_such_module", 2),
        ("\nraise ImportError('not today')", 2),
        ("\nimport sys; sys.exit(1)", 2),
        ("\n\ndef (", 3),
    ],
)
def test_callback_that_cannot_be_loaded_names_the_last_frame(
    processes: Processes, option: str, helper: str, line: int
) -> None:
    """It may be in another file than the callback; the log has the whole way at DEBUG."""
    (processes.directory / "helper.py").write_text(helper)
    (processes.directory / "app.py").write_text("import os\nimport helper\n")
    (processes.directory / "debug.toml").write_text(
        '[log_config]\nversion = 1\n[log_config.root]\nlevel = "DEBUG"\n'
        '[log_config.loggers.fedora_messaging]\nlevel = "DEBUG"\nhandlers = ["out"]\npropagate = false\n'
        '[log_config.handlers.out]\nclass = "logging.StreamHandler"\nstream = "ext://sys.stdout"\n'
    )
    processes.variables["PYTHONPATH"] = str(processes.directory)
    ended = run_callback(processes, option)
    assert ended.status == 1
    assert f"helper.py, line {line}" in ended.one_error()
    assert "Traceback" not in ended.output
    told = processes.run("--conf=debug.toml", "consume", option)
    assert "Traceback (most recent call last):" in told.output
    assert 'app.py", line 2' in told.output


@pytest.mark.parametrize("option", ["--callback=app:callback", "--callback-file=app.py:callback"])
def test_callback_needs_what_version_3_9_brought_along(processes: Processes, option: str) -> None:
    (processes.directory / "app.py").write_text("import sys\nsys.modules['pika'] = None\nimport pika.spec\n")
    error = run_callback(processes, option).one_error()
    assert "app.py, line 3" in error
    assert "pip install 'pika'" in error


@pytest.mark.parametrize("source", ["callback = 1", "class callback: pass"])
def test_callback_cannot_be_called(processes: Processes, source: str) -> None:
    (processes.directory / "app.py").write_text(source)
    error = run_callback(processes, "--callback=app:callback").usage_error()
    assert "Callback must be a class that implements __call__ or a function." in error


def test_class_that_cannot_be_made(processes: Processes) -> None:
    """The traceback of the application's own error is shown."""
    (processes.directory / "app.py").write_text(
        "class callback:\n"
        "    def __init__(self): raise RuntimeError('not today')\n"
        "    def __call__(self, message): pass\n"
    )
    ended = processes.run("consume", "--callback=app:callback")
    assert ended.status == 1
    assert "RuntimeError: not today" in ended.output


def test_installed_module_wins(processes: Processes, embedded_queues: Queues) -> None:
    installed = processes.directory / "installed"
    installed.mkdir()
    (installed / "app.py").write_text(PRINT.replace("'got'", "'installed'"))
    queue = embedded_queues.make()
    embedded_queues.put(queue, text("a"))
    processes.variables["PYTHONPATH"] = str(installed)
    process = start(processes, embedded_queues.url, queue)
    assert process.wait_for(r"^(\w+) a$")[1] == "installed"
    assert process.terminate().status == 0


def test_module_of_the_current_directory(processes: Processes, embedded_queues: Queues) -> None:
    queue = embedded_queues.make()
    embedded_queues.put(queue, text("a"))
    process = start(processes, embedded_queues.url, queue)
    process.wait_for("^got a$")
    assert process.terminate().status == 0


def test_callback_of_the_configuration(processes: Processes, embedded_queues: Queues) -> None:
    queue = embedded_queues.make()
    embedded_queues.put(queue, text("a"))
    configure(processes.directory, queue, url=embedded_queues.url, extra='callback = "app:callback"')
    (processes.directory / "app.py").write_text(PRINT)
    process = processes.fedora_messaging("consume", FEDORA_MESSAGING_CONF="config.toml")
    process.wait_for("^got a$")
    assert process.terminate().status == 0


def test_callback_file(processes: Processes, embedded_queues: Queues) -> None:
    """It wins over --callback."""
    queue = embedded_queues.make()
    embedded_queues.put(queue, text("a"))
    configure(processes.directory, queue, url=embedded_queues.url)
    (processes.directory / "my app.py").write_text(PRINT)
    process = processes.fedora_messaging(
        "--conf=config.toml", "consume", "--callback=no:such", "--callback-file=my app.py:callback"
    )
    process.wait_for("^got a$")
    assert process.terminate().status == 0


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (None, "An IO error occurred: "),
        ("", "The 'callback' object was not found in the 'app.py' file."),
        ("def (", "The app.py file raised the following exception during execution: "),
        ("raise ValueError('oh')", "The app.py file raised the following exception during execution: oh"),
        ("import sys; sys.exit(0)", "The app.py file raised the following exception during execution: "),
    ],
)
def test_callback_file_is_no_good(processes: Processes, source: str | None, says: str) -> None:
    if source is not None:
        (processes.directory / "app.py").write_text(source)
    ended = run_callback(processes, "--callback-file=app.py:callback")
    assert ended.status == 1
    assert says in ended.one_error()


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
