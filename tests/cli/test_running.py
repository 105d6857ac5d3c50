"""How ``fedora-messaging consume`` ends as a process: exit codes and signals."""

from __future__ import annotations

import json
import signal
import socket
import time
from typing import TYPE_CHECKING

import pytest
from tests.cli.consuming import PASSWORD, PRINT, configure, consume, errors, start, subscribe, text

if TYPE_CHECKING:
    from tests.cli.conftest import Queues
    from tests.support.processes import Processes

# Each prints what it does at once, because its output is a pipe.
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
