"""Telling clients that their publishes are not taken, and what a machine holds of contents."""

from __future__ import annotations

from tests.protocol.machines import Pair, server_in

from fedora_messaging.protocol.events import MethodReceived
from fedora_messaging.protocol.states import State
from fedora_messaging.wire import methods as m
from fedora_messaging.wire.frames import encode_method


def test_client_is_told() -> None:
    pair = Pair().opened(1)
    pair.server.block("low on memory")
    pair.server.unblock()
    told, _ = pair.take()
    methods = [event.method for event in told if isinstance(event, MethodReceived)]
    assert [type(method) for method in methods] == [m.ConnectionBlocked, m.ConnectionUnblocked]
    assert isinstance(methods[0], m.ConnectionBlocked)
    assert methods[0].reason == "low on memory"


def test_client_that_has_gone_is_not_told() -> None:
    for state in (State.CLOSING, State.CLOSED):
        machine = server_in(state)
        machine.data_to_send(0.0)
        machine.block("low on memory")
        machine.unblock()
        assert machine.data_to_send(0.0) == b""


def test_buffered_counts_what_has_come_and_what_is_to_go() -> None:
    pair = Pair().opened(1, 2)
    server = pair.server
    assert server.buffered == 0
    publish = encode_method(1, m.BasicPublish("", "q").encode())
    server.receive_data(publish, 0.0)
    assert server.buffered == 0
    properties = b"\x00\x00"
    header = b"\x00\x3c\x00\x00" + (1000).to_bytes(8, "big") + properties
    server.receive_data(b"\x02\x00\x01" + len(header).to_bytes(4, "big") + header + b"\xce", 0.0)
    body = b"x" * 300
    server.receive_data(b"\x03\x00\x01" + len(body).to_bytes(4, "big") + body + b"\xce", 0.0)
    assert server.buffered == len(properties) + 300
    server.send_content(2, m.BasicDeliver("c", 1).encode(), b"\x00\x00", b"y" * 50)
    assert server.buffered >= len(properties) + 350
    server.data_to_send(0.0)
    assert server.buffered == len(properties) + 300
