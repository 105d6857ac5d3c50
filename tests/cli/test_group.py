"""What all commands have in common: where the configuration comes from, help, logging."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Queues
    from tests.support.processes import Processes

CALLBACKS = """
import time

def show(message):
    print("got", message.topic, flush=True)

def nothing():
    pass

def two(message, other):
    pass

class Nothing:
    def __call__(self):
        pass

def slow(message):
    print("began", flush=True)
    while not open("go").read():
        time.sleep(0.01)
    print("ended", flush=True)
"""


def write(processes: Processes, name: str, text: str) -> str:
    (processes.directory / name).write_text(text)
    return name


@pytest.mark.parametrize("option", ["-h", "--help"])
@pytest.mark.parametrize("command", [(), ("publish",), ("dlq",), ("dlq", "list"), ("outbox", "flush")])
def test_help(processes: Processes, command: tuple[str, ...], option: str) -> None:
    ended = processes.run(*command, option)
    assert (ended.status, ended.stderr) == (0, [])
    assert ended.stdout[0].startswith(f"Usage: {' '.join(('fedora-messaging', *command))} ")


def test_help_needs_no_sound_configuration(processes: Processes) -> None:
    write(processes, "bad.toml", "nonsense")
    assert processes.run("publish", "--help", FEDORA_MESSAGING_CONF="bad.toml").status == 0


def test_module(processes: Processes) -> None:
    ended = processes.python("-m", "fedora_messaging", "--version").end()
    assert ended.status == 0
    assert re.fullmatch(r"fedora-messaging, version [\d.]+", ended.stdout[0])


@pytest.mark.parametrize("command", [("publish", "--topic", "t"), ("doctor",), ("outbox", "status")])
def test_conf_behind_the_command(processes: Processes, command: tuple[str, ...]) -> None:
    write(processes, "bad.toml", "nonsense = 1")
    before = processes.run("--conf", "bad.toml", *command)
    behind = processes.run(*command, "--conf", "bad.toml")
    for ended in (before, behind):
        assert ended.status == 2
        assert "Unknown configuration key 'nonsense'" in ended.output


def test_conf_behind_the_command_wins(processes: Processes) -> None:
    for name in ("a", "b", "c"):
        write(processes, f"{name}.toml", f"callback = 'no_such_{name}:x'")
    ended = processes.run("--conf", "b.toml", "consume", "--conf", "c.toml", FEDORA_MESSAGING_CONF="a.toml")
    assert "no_such_c" in ended.one_error()


def test_conf_behind_the_command_wins_over_a_broken_one(processes: Processes) -> None:
    write(processes, "a.toml", "nonsense = 1")
    write(processes, "b.toml", "callback = 'no_such_b:x'")
    assert "no_such_b" in processes.run("consume", "--conf", "b.toml", FEDORA_MESSAGING_CONF="a.toml").output


@pytest.mark.parametrize("how", ["option", "setting"])
def test_timestamps(processes: Processes, embedded_queues: Queues, how: str) -> None:
    write(processes, "callbacks.py", CALLBACKS)
    write(processes, "conf.toml", "log_timestamps = true" if how == "setting" else "")
    options = ("--log-timestamps",) if how == "option" else ("--conf", "conf.toml")
    process = processes.fedora_messaging(
        *options, "consume", "--callback", "callbacks:show", FEDORA_MESSAGING_AMQP_URL=embedded_queues.url
    )
    process.wait_for(
        r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \[fedora_messaging.* INFO\] Successfully registered"
    )
    assert process.terminate().status == 0


def test_timestamps_must_be_true_or_false(processes: Processes) -> None:
    write(processes, "conf.toml", 'log_timestamps = "yes"')
    assert '"log_timestamps" must be true or false' in processes.run("--conf", "conf.toml", "doctor").output


@pytest.mark.parametrize("name", ["nothing", "two", "Nothing"])
def test_callback_that_takes_no_message(processes: Processes, silent_port: int, name: str) -> None:
    """It is refused before anything is connected."""
    write(processes, "callbacks.py", CALLBACKS)
    ended = processes.run(
        "consume",
        "--callback",
        f"callbacks:{name}",
        FEDORA_MESSAGING_AMQP_URL=f"amqp://127.0.0.1:{silent_port}",
    )
    assert "cannot be called with one argument, the message" in ended.usage_error()


def test_binding_for_a_queue_that_is_not_consumed(processes: Processes, embedded_queues: Queues) -> None:
    queue = embedded_queues.make()
    write(processes, "callbacks.py", CALLBACKS)
    write(
        processes,
        "conf.toml",
        f"""
amqp_url = "{embedded_queues.url.replace("amqp", "http")}"
[queues.{queue.replace(".", "-")}]
durable = false
exclusive = true
auto_delete = true
arguments = {{}}
[[bindings]]
exchange = "amq.topic"
queue = "misspelt"
routing_keys = ["#"]
""",
    )
    process = processes.fedora_messaging("--conf", "conf.toml", "consume", "--callback", "callbacks:show")
    process.wait_for("WARNING.* A binding is for the queue 'misspelt', which is not consumed")
    process.wait_for('WARNING.* "amqp_url" begins with http://, which is read as amqp://')
    process.wait_for("Successfully registered")
    assert process.terminate().status == 0


def test_first_interrupt_says_what_is_waited_for(processes: Processes, embedded_queues: Queues) -> None:
    queue = embedded_queues.make("group.slow")
    write(processes, "callbacks.py", CALLBACKS)
    go = processes.directory / "go"
    go.write_text("")
    process = processes.fedora_messaging(
        "consume",
        "--callback",
        "callbacks:slow",
        "--routing-key",
        "group.slow",
        "--queue-name",
        queue.replace("cli", "group"),
        FEDORA_MESSAGING_AMQP_URL=embedded_queues.url,
    )
    process.wait_for("Successfully registered")
    embedded_queues.channel.basic_publish("amq.topic", "group.slow", b"{}")
    process.wait_for("^began")
    process.signal(signal.SIGINT)
    process.wait_for("Stopping waits for the callback that processes a message of the queue group")
    go.write_text("yes")
    ended = process.end()
    assert ended.status == 0
    assert "ended" in ended.stdout


def test_no_error_is_told_twice(processes: Processes, embedded_queues: Queues) -> None:
    ended = processes.run(
        "publish", "--exchange", "no.such", "--topic", "t", FEDORA_MESSAGING_AMQP_URL=embedded_queues.url
    )
    assert ended.output.count("NOT_FOUND") == 1


def test_script_whose_callback_fails_logs_one_traceback(
    processes: Processes, embedded_queues: Queues
) -> None:
    write(
        processes,
        "script.py",
        """
import sys
from fedora_messaging import api, config

def fail(message):
    raise ValueError("the callback's mistake")

config.conf.setup_logging()
try:
    api.consume(fail)
except ValueError:
    sys.exit(7)
""",
    )
    process = processes.python("script.py", FEDORA_MESSAGING_AMQP_URL=embedded_queues.url)
    process.wait_for("Successfully registered")
    embedded_queues.channel.basic_publish("amq.topic", "t", b"{}")
    ended = process.end()
    assert ended.status == 7
    assert ended.output.count("Traceback") == 1
    assert "Consuming ended: ValueError: the callback's mistake" in ended.output


def test_configuration_file_that_is_missing_is_warned_of(processes: Processes) -> None:
    """A script in the wrong directory would otherwise run on the defaults, in silence."""
    (processes.directory / "script.py").write_text("from fedora_messaging import config; config.conf['qos']")
    ended = processes.python("script.py", FEDORA_MESSAGING_CONF="no-such.toml").end()
    assert ended.one_error() == "The configuration file, no-such.toml, does not exist."
    assert processes.python("script.py").end().stderr == []


def test_refused_login_is_told_once(processes: Processes, embedded_queues: Queues) -> None:
    write(processes, "callbacks.py", CALLBACKS)
    url = embedded_queues.url.replace("amqp://", "amqp://guest:canary-wrong@")
    ended = processes.run("consume", "--callback", "callbacks:show", FEDORA_MESSAGING_AMQP_URL=url)
    assert ended.status == 14
    assert ended.output.count("ACCESS_REFUSED") == 1
    assert "canary-wrong" not in ended.output
