"""Channels: opened, used, closed by either side or by both at once, and used again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.protocol.machines import (
    PUBLISH,
    Pair,
    body,
    client_in,
    closing,
    cut,
    drained,
    frame,
    header,
    open_channel,
    raw,
    sent,
    server_in,
    with_channel,
)

if TYPE_CHECKING:
    from fedora_messaging.wire.methods import Method

from fedora_messaging.exceptions import EncodingError
from fedora_messaging.protocol.connection import Limits, Machine
from fedora_messaging.protocol.events import (
    ChannelEnded,
    ChannelOpened,
    ConnectionEnded,
    ContentReceived,
    Event,
    MethodReceived,
)
from fedora_messaging.protocol.states import Role, State
from fedora_messaging.wire import methods as m
from fedora_messaging.wire.frames import HEARTBEAT_FRAME


def opened(channel: int) -> str:
    return repr(ChannelOpened(channel))


def closed(channel: int, code: int = 200, text: str = "", by_peer: bool = False) -> str:
    return repr(ChannelEnded(channel, code, text, by_peer))


def shown(events: list[Event]) -> list[str]:
    return [repr(event) for event in events]


def test_open_and_close_by_the_client() -> None:
    pair = Pair().opened()
    pair.client.open_channel(1)
    client, server = pair.take()
    assert shown(client) == shown(server) == [opened(1)]
    pair.client.close_channel(1)
    client, server = pair.take()
    assert shown(client) == [closed(1)]
    assert shown(server) == [closed(1, by_peer=True)]


def test_close_by_the_server_names_the_offender() -> None:
    pair = Pair().opened(1)
    pair.client.send_method(1, m.QueueDeclare("q", passive=True))
    pair.take()
    pair.server.close_channel(1, 404, "NOT_FOUND - no queue 'q' in vhost '/'", m.QueueDeclare)
    close = pair.server.data_to_send(0)
    assert [seen[1:3] for seen in cut(close)] == [
        (1, m.ChannelClose(404, "NOT_FOUND - no queue 'q' in vhost '/'", 50, 10))
    ]
    pair.client.receive_data(close, 0)
    client, server = pair.take()
    assert shown(client) == [closed(1, 404, "NOT_FOUND - no queue 'q' in vhost '/'", by_peer=True)]
    assert len(server) == 1


def test_our_own_close_comes_back_with_its_reason_as_that_of_a_connection_does() -> None:
    pair = Pair().opened(1)
    pair.server.close_channel(1, 404, "NOT_FOUND - x")
    _, server = pair.take()
    assert shown(server) == [closed(1, 404, "NOT_FOUND - x")]


def test_both_close_at_once() -> None:
    pair = Pair().opened(1)
    pair.client.close_channel(1)
    pair.server.close_channel(1, 406, "PRECONDITION_FAILED - x")
    from_client, from_server = pair.client.data_to_send(0), pair.server.data_to_send(0)
    pair.client.receive_data(from_server, 0)
    pair.server.receive_data(from_client, 0)
    # Each has answered the other, and waits for the other's answer.
    assert sent(pair.client) == sent(pair.server) == [(1, m.ChannelCloseOk())]
    assert pair.client.events() == pair.server.events() == []
    pair.client.receive_data(frame(1, m.ChannelCloseOk()), 0)
    pair.server.receive_data(frame(1, m.ChannelCloseOk()), 0)
    assert shown(pair.client.events()) == [closed(1)]
    assert len(pair.server.events()) == 1
    # The number is free for both.
    pair.client.open_channel(1)
    client, server = pair.take()
    assert shown(client) == shown(server) == [opened(1)]


@pytest.mark.parametrize("by_client", [True, False])
def test_a_number_is_free_after_its_close(by_client: bool) -> None:
    pair = Pair().opened(1, 2)
    for _ in range(3):
        (pair.client if by_client else pair.server).close_channel(1)
        pair.take()
        assert pair.client.free_channel() == 1
        pair.client.open_channel(1)
        client, server = pair.take()
        assert shown(client) == shown(server) == [opened(1)]
    assert pair.client.free_channel() == 3


def test_a_number_is_not_free_before_its_close_is_answered() -> None:
    client = client_in(State.OPEN)
    open_channel(client)
    client.close_channel(1)
    assert client.free_channel() == 2
    with pytest.raises(RuntimeError, match="channel 1 is not free"):
        client.open_channel(1)


def test_numbers_end_at_channel_max() -> None:
    client = client_in(State.OPEN, Limits(channel_max=3))
    for number in (1, 2, 3):
        assert client.free_channel() == number
        client.open_channel(number)
    assert client.free_channel() is None


@pytest.mark.parametrize("number", [0, -1, 4, 65536])
def test_numbers_that_no_channel_has(number: int) -> None:
    client = client_in(State.OPEN, Limits(channel_max=3))
    with pytest.raises(RuntimeError, match="is not free"):
        client.open_channel(number)


def test_channels_need_an_open_connection() -> None:
    client = client_in(State.EXPECT_OPEN_OK)
    with pytest.raises(RuntimeError, match="not in state OPEN"):
        client.open_channel(1)


@pytest.mark.parametrize("state", [State.CLOSING, State.CLOSED])
def test_opening_a_channel_does_nothing_when_the_connection_ended_meanwhile(state: State) -> None:
    client = client_in(state)
    client.open_channel(1)
    assert (client.events(), client.data_to_send(0)) == ([], b"")


def test_channels_have_nothing_to_do_with_each_other() -> None:
    pair = Pair().opened(1, 2, 3)
    pair.client.send_method(2, m.BasicAck(1))
    pair.client.close_channel(1)
    pair.client.send_method(3, m.BasicAck(2))
    _, server = pair.take()
    assert shown(server) == [
        repr(MethodReceived(2, m.BasicAck(1))),
        closed(1, by_peer=True),
        repr(MethodReceived(3, m.BasicAck(2))),
    ]


# Everything on a channel that we have closed is thrown away


@pytest.mark.parametrize("role", list(Role))
def test_what_still_comes_after_our_close_is_thrown_away(role: Role) -> None:
    machine = with_channel(role)
    machine.close_channel(1, 404, "NOT_FOUND - x")
    machine.data_to_send(0)
    kind = PUBLISH if role is Role.SERVER else m.BasicDeliver("c", 1)
    machine.receive_data(frame(1, kind) + header(1, 3) + body(1, b"abc") + frame(1, m.BasicAck(1)), 0)
    machine.receive_data(frame(1, m.ChannelOpen()) + frame(1, m.QueueDeclare()), 0)
    assert (machine.events(), machine.data_to_send(0)) == ([], b"")
    machine.receive_data(frame(1, m.ChannelCloseOk()), 0)
    (event,) = machine.events()
    assert isinstance(event, ChannelEnded)


def test_closing_in_the_middle_of_a_content_forgets_it() -> None:
    server = with_channel(Role.SERVER)
    server.receive_data(frame(1, PUBLISH) + header(1, 6) + body(1, b"abc"), 0)
    server.close_channel(1)
    server.receive_data(body(1, b"def"), 0)
    assert server.events() == []
    server.receive_data(frame(1, m.ChannelCloseOk()), 0)
    open_channel(server)
    server.receive_data(frame(1, m.BasicAck(1)), 0)
    assert shown(server.events()) == [repr(MethodReceived(1, m.BasicAck(1)))]


def test_answers_that_were_waited_for_are_forgotten_with_the_channel() -> None:
    client = with_channel(Role.CLIENT)
    client.send_method(1, m.QueueDeclare("q"))
    client.close_channel(1)
    client.receive_data(frame(1, m.QueueDeclareOk("q")) + frame(1, m.ChannelCloseOk()), 0)
    assert shown(client.events()) == [closed(1)]
    open_channel(client)
    client.send_method(1, m.QueueBind("q", "e"))
    client.receive_data(frame(1, m.QueueBindOk()), 0)
    assert shown(client.events()) == [repr(MethodReceived(1, m.QueueBindOk()))]


# Sending on a channel that is not there does nothing


@pytest.mark.parametrize(
    "state", ["never opened", "opening", "closing", "closed by the peer", "connection over"]
)
def test_sending_where_no_channel_is_open_does_nothing(state: str) -> None:
    client = client_in(State.OPEN)
    if state != "never opened":
        client.open_channel(1)
    if state not in ("never opened", "opening"):
        client.receive_data(frame(1, m.ChannelOpenOk()), 0)
    if state == "closing":
        client.close_channel(1)
    elif state == "closed by the peer":
        client.receive_data(frame(1, m.ChannelClose(320, "x", 0, 0)), 0)
    elif state == "connection over":
        client.peer_vanished("gone")
    drained(client)
    client.send_method(1, m.QueueDeclare("q"))
    client.send_content(1, PUBLISH.encode(), b"\0\0", b"body")
    client.send_frames(1, frame(1, m.BasicAck(1)))
    client.close_channel(1)
    assert (client.data_to_send(0), client.unsent, client.events()) == (b"", 0, [])


def test_unsent_counts_contents_until_they_are_fetched() -> None:
    client = with_channel(Role.CLIENT)
    client.send_method(1, m.QueueDeclare("q"))
    assert client.unsent == 0
    client.send_content(1, PUBLISH.encode(), b"\0\0", b"body")
    one = client.unsent
    assert one > 4
    client.send_frames(1, b"\0" * 10)
    assert client.unsent == one + 10
    assert len(client.data_to_send(0)) > client.unsent == 0


def test_a_single_piece_is_sent_as_it_is() -> None:
    client = with_channel(Role.CLIENT)
    data = frame(1, m.BasicAck(1))
    client.send_frames(1, data)
    assert client.data_to_send(0) is data


# Answers come in turn


def test_answers_in_turn() -> None:
    client = with_channel(Role.CLIENT)
    for request in (m.QueueDeclare("q"), m.BasicGet("q"), m.BasicGet("q"), m.BasicConsume("q")):
        client.send_method(1, request)
    client.receive_data(
        frame(1, m.QueueDeclareOk("q", 1, 0))
        + frame(1, m.BasicGetOk(1))
        + header(1, 1)
        + body(1, b"a")
        + frame(1, m.BasicGetEmpty())
        + frame(1, m.BasicConsumeOk("c")),
        0,
    )
    assert [type(event) for event in client.events()] == [
        MethodReceived,
        ContentReceived,
        MethodReceived,
        MethodReceived,
    ]
    assert client.state is State.OPEN


def test_deliveries_and_confirms_come_between() -> None:
    client = with_channel(Role.CLIENT)
    client.send_method(1, m.QueueDeclare("q"))
    client.receive_data(
        frame(1, m.BasicDeliver("c", 1))
        + header(1, 0)
        + frame(1, m.BasicAck(1))
        + frame(1, m.BasicCancel("c", True))
        + frame(1, m.QueueDeclareOk("q")),
        0,
    )
    assert len(client.events()) == 4
    assert client.state is State.OPEN


def test_an_answer_out_of_turn_ends_the_connection() -> None:
    client = with_channel(Role.CLIENT)
    client.send_method(1, m.QueueDeclare("q"))
    client.send_method(1, m.QueueBind("q", "e"))
    client.receive_data(frame(1, m.QueueBindOk()), 0)
    end = closing(client.events())
    assert end.reply_code == 503
    assert "queue.bind-ok" in end.reply_text


def test_no_wait_asks_for_no_answer() -> None:
    client = with_channel(Role.CLIENT)
    client.send_method(1, m.QueueDeclare("q", no_wait=True))
    client.send_method(1, m.QueueBind("q", "e"))
    client.receive_data(frame(1, m.QueueBindOk()), 0)
    assert shown(client.events()) == [repr(MethodReceived(1, m.QueueBindOk()))]


def test_servers_do_not_wait_for_answers() -> None:
    pair = Pair().opened(1)
    pair.server.send_method(1, m.ChannelFlow(False))
    pair.server.send_method(1, m.BasicCancel("c", True))
    client, _ = pair.take()
    assert shown(client) == [
        repr(MethodReceived(1, m.ChannelFlow(False))),
        repr(MethodReceived(1, m.BasicCancel("c", True))),
    ]
    pair.client.send_method(1, m.ChannelFlowOk(False))
    _, server = pair.take()
    assert shown(server) == [repr(MethodReceived(1, m.ChannelFlowOk(False)))]


@pytest.mark.parametrize(
    "bad",
    [
        m.BasicQos(prefetch_count=65536),
        m.QueueDeclare("q" * 256),
        m.QueueDeclare("q", arguments={"n": object()}),
    ],
    ids=["number", "name", "table"],
)
def test_a_request_that_cannot_be_written_is_not_waited_for(bad: Method) -> None:
    client = with_channel(Role.CLIENT)
    with pytest.raises(EncodingError):
        client.send_method(1, bad)
    assert client.data_to_send(0) == b""
    client.send_method(1, m.ExchangeDeclare("e"))
    client.receive_data(frame(1, m.ExchangeDeclareOk()), 0)
    assert shown(client.events()) == [repr(MethodReceived(1, m.ExchangeDeclareOk()))]


@pytest.mark.parametrize("text", ["x" * 300, "ä" * 200])
def test_a_long_explanation_of_a_close_is_cut(text: str) -> None:
    pair = Pair().opened(1)
    pair.server.close_channel(1, 406, f"PRECONDITION_FAILED - {text}")
    client, _ = pair.take()
    (event,) = client
    assert isinstance(event, ChannelEnded)
    assert event.reply_text.startswith("PRECONDITION_FAILED - ")
    assert len(event.reply_text.encode()) <= 255
    pair.client.close(200, text)
    _, server = pair.take()
    assert len(closing(server).reply_text.encode()) <= 255


# Mistakes that end the connection


def ends(machine: Machine, data: bytes) -> tuple[ConnectionEnded, m.ConnectionClose]:
    machine.receive_data(data, 0)
    end = closing(machine.events())
    ((channel, close),) = sent(machine)
    assert channel == 0
    assert isinstance(close, m.ConnectionClose)
    assert (close.reply_code, close.reply_text) == (end.reply_code, end.reply_text)
    assert not end.by_peer
    return end, close


def test_504_method_on_a_channel_that_is_not_open() -> None:
    end, close = ends(server_in(State.OPEN), frame(1, m.QueueDeclare("q")))
    assert (end.reply_code, end.reply_text) == (504, "CHANNEL_ERROR - expected 'channel.open'")
    assert (close.class_id, close.method_id) == m.QueueDeclare.key


def test_504_second_open() -> None:
    end, close = ends(with_channel(Role.SERVER), frame(1, m.ChannelOpen()))
    assert (end.reply_code, end.reply_text) == (504, "CHANNEL_ERROR - second 'channel.open' seen")
    assert (close.class_id, close.method_id) == m.ChannelOpen.key


def test_504_close_ok_without_a_close() -> None:
    end, _ = ends(with_channel(Role.SERVER), frame(1, m.ChannelCloseOk()))
    assert end.reply_code == 504


def test_505_content_without_a_method() -> None:
    end, _ = ends(with_channel(Role.SERVER), header(1, 0))
    assert (end.reply_code, end.reply_text) == (
        505,
        "UNEXPECTED_FRAME - expected method frame, got non method frame instead",
    )


def test_503_method_for_the_other_role() -> None:
    end, close = ends(with_channel(Role.SERVER), frame(1, m.BasicConsumeOk("c")))
    assert end.reply_code == 503
    assert (close.class_id, close.method_id) == m.BasicConsumeOk.key


@pytest.mark.parametrize("number", [1, 4, 65535])
def test_p18_530_one_channel_too_many(number: int) -> None:
    server = server_in(State.OPEN, Limits(channel_max=3))
    for used in (2, 3, 60_000):
        server.receive_data(frame(used, m.ChannelOpen()), 0)
    assert shown(server.events()) == [opened(2), opened(3), opened(60_000)]
    server.data_to_send(0)
    end, close = ends(server, frame(number, m.ChannelOpen()))
    assert (end.reply_code, end.reply_text) == (
        530,
        "NOT_ALLOWED - number of channels opened (3) has reached the negotiated channel_max (3)",
    )
    assert (close.class_id, close.method_id) == m.ChannelOpen.key


def test_p18_channels_that_the_server_has_closed_do_not_count() -> None:
    """The client has not confirmed their end yet; but there may be no more of them than of open ones."""
    server = server_in(State.OPEN, Limits(channel_max=2))
    for number in (1, 2):
        server.receive_data(frame(number, m.ChannelOpen()), 0)
        server.close_channel(number, 404, "no queue")
    for number in (3, 4):
        server.receive_data(frame(number, m.ChannelOpen()), 0)
    assert shown(server.events())[-2:] == [opened(3), opened(4)]
    server.close_channel(4, 404, "no queue")
    server.data_to_send(0)
    end, _close = ends(server, frame(5, m.ChannelOpen()))
    assert (end.reply_code, "(1)" in end.reply_text) == (530, True)


def test_the_highest_number_can_be_used() -> None:
    server = server_in(State.OPEN)
    server.receive_data(frame(65535, m.ChannelOpen()), 0)
    assert shown(server.events()) == [opened(65535)]


@pytest.mark.parametrize("code", [540, 502, 501])
def test_broken_methods_on_a_channel(code: int) -> None:
    payload = {540: b"\x00\x3c\xff\xff", 502: b"\x00\x3c\x00\x50\x00", 501: b"\x00\x3c"}[code]
    end, _ = ends(with_channel(Role.SERVER), raw(1, 1, payload))
    assert end.reply_code == code


# The connection's own close


def test_orderly_close() -> None:
    pair = Pair().opened(1)
    pair.client.close(200, "bye")
    assert pair.client.state is State.CLOSING
    assert not pair.client.is_closed
    client, server = pair.take()
    assert shown(client) == [repr(ConnectionEnded(200, "bye", False))]
    assert shown(server) == [repr(ConnectionEnded(200, "bye", True))]


def test_close_by_the_server_with_a_reason() -> None:
    pair = Pair().opened(1)
    pair.server.close(320, "shutdown")
    client, server = pair.take()
    assert shown(client) == [repr(ConnectionEnded(320, "CONNECTION_FORCED - shutdown", True))]
    assert shown(server) == [repr(ConnectionEnded(320, "CONNECTION_FORCED - shutdown", False))]


def test_both_ends_close_the_connection_at_once() -> None:
    pair = Pair().opened(1)
    pair.client.close(200, "bye")
    pair.server.close(320, "shutdown")
    from_client, from_server = pair.client.data_to_send(0), pair.server.data_to_send(0)
    pair.client.receive_data(from_server, 0)
    pair.server.receive_data(from_client, 0)
    assert pair.client.state is pair.server.state is State.CLOSING
    client, server = pair.take()
    assert shown(client) == [repr(ConnectionEnded(200, "bye", False))]
    assert shown(server) == [repr(ConnectionEnded(320, "CONNECTION_FORCED - shutdown", False))]


def test_closing_twice_is_closing_once() -> None:
    pair = Pair().opened()
    pair.client.close(200, "first")
    pair.client.close(320, "second")
    assert len(sent(pair.client)) == 1
    pair.client.peer_vanished("reset")
    assert shown(pair.client.events()) == [repr(ConnectionEnded(200, "first", False))]
    pair.client.close()
    pair.client.peer_vanished("again")
    assert (pair.client.events(), pair.client.data_to_send(0)) == ([], b"")


def test_the_network_ends_before_close_ok() -> None:
    client = client_in(State.CLOSING)
    client.peer_vanished("reset")
    assert shown(client.events()) == [repr(ConnectionEnded(200, "", False))]


def test_the_network_ends() -> None:
    client = with_channel(Role.CLIENT)
    client.peer_vanished("reset")
    assert shown(client.events()) == [repr(ConnectionEnded(0, "reset", False))]
    assert client.is_closed


@pytest.mark.parametrize(
    "garbage", [b"\xff" * 8, frame(1, m.BasicAck(1))[:-1] + b"\0", b"\x01\x00\x00\xff\xff\xff\xff"]
)
def test_garbage_instead_of_close_ok_is_not_worth_a_complaint(garbage: bytes) -> None:
    client = client_in(State.CLOSING)
    client.receive_data(garbage, 0)
    assert shown(client.events()) == [repr(ConnectionEnded(200, "", False))]
    assert client.data_to_send(0) == b""


@pytest.mark.parametrize("role", list(Role))
def test_channels_are_over_as_soon_as_their_connection_closes(role: Role) -> None:
    machine = with_channel(role)
    machine.close(320, "shutdown")
    machine.data_to_send(0)
    content = PUBLISH if role is Role.SERVER else m.BasicDeliver("c", 1)
    machine.receive_data(frame(1, content) + header(1, 1) + body(1, b"a") + frame(1, m.BasicAck(1)), 0)
    machine.receive_data(frame(1, m.ChannelClose(200, "", 0, 0)), 0)
    machine.send_method(1, m.BasicAck(1))
    machine.send_frames(1, frame(1, m.BasicAck(1)))
    assert (machine.events(), machine.data_to_send(0)) == ([], b"")


def test_frames_while_closing_are_thrown_away() -> None:
    client = client_in(State.CLOSING)
    data: list[Any] = [header(0, 1), body(0, b"a"), body(1, b"a"), frame(0, m.ConnectionBlocked("x"))]
    client.receive_data(b"".join(data) + HEARTBEAT_FRAME, 0)
    assert (client.events(), client.data_to_send(0)) == ([], b"")
    client.receive_data(frame(0, m.ConnectionCloseOk()), 0)
    assert shown(client.events()) == [repr(ConnectionEnded(200, "", False))]
