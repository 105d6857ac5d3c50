"""``fedora-messaging broker`` as a process."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
from typing import TYPE_CHECKING

import pika
import pytest
from pika.exceptions import ConnectionClosedByBroker
from tests.support.processes import FEDORA_MESSAGING, start_broker

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.processes import Processes

SIGNALS = [signal.SIGTERM, signal.SIGINT]


def connect(port: int) -> pika.BlockingConnection:
    return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port))


def test_ready_line_is_the_first_and_true(processes: Processes) -> None:
    """Whoever reads it through a pipe gets it at once, and may connect from then on."""
    broker, port = start_broker(processes)
    with connect(port) as connection:
        assert connection.is_open
    ended = broker.terminate()
    assert ended.status == 0
    assert ended.stdout[0] == f"AMQP ready on amqp://127.0.0.1:{port}"
    assert ended.stderr == []


def test_port_0_takes_free_ones(processes: Processes) -> None:
    _, first = start_broker(processes)
    _, second = start_broker(processes)
    assert len({0, 5672, first, second}) == 4


def test_a_given_port_is_used_again_at_once(processes: Processes) -> None:
    """Connections of the former broker that linger in the kernel do not block the port."""
    broker, port = start_broker(processes)
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"AMQP\x00\x00\x09\x01")
        assert client.recv(1) == b"\x01"
        broker.kill()
        _, again = start_broker(processes, port=port)
    assert again == port


@pytest.mark.parametrize("number", SIGNALS)
def test_signals_end_it_with_0(processes: Processes, number: signal.Signals) -> None:
    broker, _port = start_broker(processes)
    broker.signal(number)
    ended = broker.end(5.0)
    assert (ended.status, ended.stderr) == (0, [])


@pytest.mark.parametrize("number", SIGNALS)
def test_clients_are_told_of_the_end(processes: Processes, number: signal.Signals) -> None:
    broker, port = start_broker(processes)
    connection = connect(port)
    broker.signal(number)
    with pytest.raises(ConnectionClosedByBroker) as caught:
        connection.process_data_events(time_limit=10)
    assert caught.value.reply_code == 320
    ended = broker.end(5.0)
    assert (ended.status, ended.stderr) == (0, [])


@pytest.mark.parametrize("number", SIGNALS)
def test_deaf_clients_do_not_hold_up_the_end(processes: Processes, number: signal.Signals) -> None:
    broker, port = start_broker(processes)
    with socket.create_connection(("127.0.0.1", port)) as deaf:
        deaf.sendall(b"AMQP\x00\x00\x09\x01")
        assert deaf.recv(1) == b"\x01"
        broker.signal(number)
        assert broker.end(10.0).status == 0


def test_durable_data_survives_a_stop(processes: Processes) -> None:
    broker, port = start_broker(processes, "--data", "data")
    with connect(port) as connection:
        channel = connection.channel()
        channel.queue_declare("kept", durable=True)
        channel.confirm_delivery()
        channel.basic_publish("", "kept", b"x", pika.BasicProperties(delivery_mode=2))
    assert broker.terminate().status == 0
    _, port = start_broker(processes, "--data", "data")
    with connect(port) as connection:
        assert connection.channel().basic_get("kept")[2] == b"x"


def test_without_data_it_writes_nothing(processes: Processes) -> None:
    broker, _port = start_broker(processes)
    ended = broker.terminate()
    assert list(processes.directory.iterdir()) == []
    assert any("--data" in line for line in ended.stdout), "nobody is told that all is in memory"


def test_data_directory_is_made(processes: Processes) -> None:
    start_broker(processes, "--data", "deep/below/data")
    assert (processes.directory / "deep/below/data").is_dir()


# What keeps it from starting: one line on stderr, that says what and where, and a status other than 0


def test_port_in_use(processes: Processes) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        ended = processes.run("broker", "--port", str(port))
    assert ended.status == 1
    assert ended.stdout == []
    assert f"127.0.0.1:{port} is in use already" in ended.one_error()


def test_port_in_use_leaves_the_data_alone(processes: Processes) -> None:
    """The lock of the data directory is given back."""
    _, port = start_broker(processes)
    ended = processes.run("broker", "--port", str(port), "--data", "data")
    assert ended.status == 1
    assert "is in use already" in ended.one_error()
    start_broker(processes, "--data", "data")


@pytest.mark.parametrize("port", ["-1", "65536", "amqp"])
def test_no_port(processes: Processes, port: str) -> None:
    assert "--port" in processes.run("broker", f"--port={port}").usage_error()


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_host_that_is_not_here(processes: Processes, host: str) -> None:
    ended = processes.run("broker", "--user", "a:b", "--host", host, "--port", "0")
    assert ended.status == 1
    assert ended.one_error().startswith(f"Error: Cannot listen on {host}")


def test_data_is_a_file(processes: Processes) -> None:
    (processes.directory / "data").write_text("precious")
    ended = processes.run("broker", "--port", "0", "--data", "data")
    assert "'data' is a file" in ended.usage_error()
    assert (processes.directory / "data").read_text() == "precious"


def test_data_is_below_a_file(processes: Processes) -> None:
    (processes.directory / "file").write_text("precious")
    ended = processes.run("broker", "--port", "0", "--data", "file/data")
    assert ended.status == 1
    assert "The data directory file/data cannot be created" in ended.one_error()


def test_data_is_not_writable(processes: Processes) -> None:
    directory = processes.directory / "data"
    directory.mkdir(mode=0o500)
    if os.access(directory, os.W_OK):
        pytest.skip("nothing is denied to root")
    ended = processes.run("broker", "--port", "0", "--data", "data")
    assert ended.status == 1
    assert "data" in ended.one_error()


def test_data_of_another_broker(processes: Processes) -> None:
    first, port = start_broker(processes, "--data", "data")
    ended = processes.run("broker", "--port", "0", "--data", "data")
    assert ended.status == 1
    assert "The data directory data is in use by another broker" in ended.one_error()
    with connect(port) as connection:
        assert connection.is_open
    assert first.terminate().status == 0


def test_data_file_is_something_else(processes: Processes) -> None:
    write_data(processes.directory, b"this is not SQLite, and must not be overwritten " * 100)
    ended = processes.run("broker", "--port", "0", "--data", "data")
    assert ended.status == 1
    assert "no data file of a broker" in ended.one_error()
    assert (processes.directory / "data/broker.sqlite").read_bytes().startswith(b"this is not SQLite")


def test_data_of_a_newer_version(processes: Processes) -> None:
    start_broker(processes, "--data", "data")[0].terminate()
    with sqlite3.connect(processes.directory / "data/broker.sqlite") as file:
        file.execute("UPDATE meta SET value = 99 WHERE key = 'version'")
    file.close()
    ended = processes.run("broker", "--port", "0", "--data", "data")
    assert ended.status == 1
    assert "newer version" in ended.one_error()


def test_data_file_is_a_directory(processes: Processes) -> None:
    (processes.directory / "data/broker.sqlite").mkdir(parents=True)
    ended = processes.run("broker", "--port", "0", "--data", "data")
    assert ended.status == 1
    assert "data" in ended.one_error()


def write_data(directory: Path, content: bytes) -> None:
    (directory / "data").mkdir()
    (directory / "data/broker.sqlite").write_bytes(content)


def test_console_script_is_installed() -> None:
    assert os.access(FEDORA_MESSAGING, os.X_OK)


@pytest.mark.parametrize("size", ["abc", "-5", "5XB", "1.5GB", ""])
def test_sizes_that_are_none(processes: Processes, size: str) -> None:
    ended = processes.run("broker", "--port=0", f"--memory-limit={size}")
    assert "write a number of bytes, or one with a unit as in 500MB" in ended.usage_error()


def test_memory_limit(processes: Processes) -> None:
    """An alarm is told of, and the publisher is blocked until it is over."""
    process, port = start_broker(processes, "--memory-limit", "1MB", "--disk-limit=0")
    parameters = pika.ConnectionParameters("127.0.0.1", port, blocked_connection_timeout=15)
    publisher = pika.BlockingConnection(parameters)
    channel = publisher.channel()
    channel.queue_declare("q")
    channel.basic_publish("", "q", bytes(1_000_000))
    process.wait_for("Alarm: low on memory")
    with pika.BlockingConnection(parameters) as other:
        other.channel().queue_purge("q")
    process.wait_for("The memory alarm is over")
    channel.queue_declare("q", passive=True)
    publisher.close()
