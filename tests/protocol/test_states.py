"""Every state times every method, for both roles.

What may come is written down here a second time, by hand and by the specification file, because a
table that is compared with itself is always right.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.protocol.machines import (
    EVERY_STATE,
    PUBLISH,
    START,
    START_OK,
    STATES,
    TUNE,
    TUNE_OK,
    body,
    client_in,
    closing,
    cut,
    frame,
    header,
    machine_in,
    raw,
    with_channel,
)
from tests.support.servers import require

from fedora_messaging.protocol.events import (
    ChannelEnded,
    ChannelOpened,
    ConnectionEnded,
    ConnectionOpened,
    LoginRequested,
    MethodReceived,
    OpenRequested,
)
from fedora_messaging.protocol.states import (
    CHANNEL,
    CHANNEL_RECEIVES,
    CONNECTION,
    REPLIES,
    ChannelState,
    Role,
    State,
    Step,
)
from fedora_messaging.wire import frames as f
from fedora_messaging.wire import methods as m
from fedora_messaging.wire.methods import BY_KEY, Method

if TYPE_CHECKING:
    from fedora_messaging.protocol.connection import Machine

SPECIFICATION = Path("/usr/share/amqp/specs/0-9-1-rabbit/amqp0-9-1.stripped.extended.xml")

METHODS = list(BY_KEY.values())
EACH_METHOD = pytest.mark.parametrize("kind", METHODS, ids=[method.name for method in METHODS])
EACH_STATE = pytest.mark.parametrize(
    ("role", "state"), EVERY_STATE, ids=[f"{role.value}-{state.name}" for role, state in EVERY_STATE]
)
EACH_ROLE = pytest.mark.parametrize("role", list(Role), ids=lambda role: role.value)

# Methods with arguments that the other end can do something with.
SENSIBLE: dict[type[Method], Method] = {
    m.ConnectionStart: START,
    m.ConnectionStartOk: START_OK,
    m.ConnectionTune: TUNE,
    m.ConnectionTuneOk: TUNE_OK,
    m.ConnectionOpen: m.ConnectionOpen("/"),
    m.ConnectionClose: m.ConnectionClose(320, "CONNECTION_FORCED - test", 0, 0),
    m.ChannelClose: m.ChannelClose(404, "NOT_FOUND - test", 0, 0),
}

# Channel 0: what may come, and where it leads; None for an event alone.
MAY_COME: dict[tuple[Role, State], dict[type[Method], State | None]] = {
    (Role.CLIENT, State.EXPECT_START): {m.ConnectionStart: State.EXPECT_TUNE},
    (Role.CLIENT, State.EXPECT_TUNE): {m.ConnectionTune: State.EXPECT_OPEN_OK},
    (Role.CLIENT, State.EXPECT_OPEN_OK): {m.ConnectionOpenOk: State.OPEN},
    (Role.CLIENT, State.OPEN): {
        m.ConnectionBlocked: None,
        m.ConnectionUnblocked: None,
        m.ConnectionUpdateSecretOk: None,
    },
    (Role.SERVER, State.EXPECT_START_OK): {m.ConnectionStartOk: State.AUTHENTICATING},
    (Role.SERVER, State.EXPECT_TUNE_OK): {m.ConnectionTuneOk: State.EXPECT_OPEN},
    (Role.SERVER, State.EXPECT_OPEN): {m.ConnectionOpen: State.OPENING},
    (Role.SERVER, State.OPEN): {m.ConnectionUpdateSecret: None},
}
# States in which the other end may close.
MAY_CLOSE = {
    (Role.CLIENT, State.EXPECT_START),
    (Role.CLIENT, State.EXPECT_TUNE),
    (Role.CLIENT, State.EXPECT_OPEN_OK),
    (Role.CLIENT, State.OPEN),
    (Role.SERVER, State.EXPECT_TUNE_OK),
    (Role.SERVER, State.EXPECT_OPEN),
    (Role.SERVER, State.OPENING),
    (Role.SERVER, State.OPEN),
}
PROGRESS = {
    State.AUTHENTICATING: LoginRequested,
    State.OPENING: OpenRequested,
    State.OPEN: ConnectionOpened,
}


def example(kind: type[Method]) -> Method:
    return SENSIBLE.get(kind) or kind()


def refused(machine: Machine, codes: set[int], offender: type[Method] | None) -> None:
    """The machine has closed the connection with one of the codes, and says so on both sides."""
    end = closing(machine.events())
    assert end.reply_code in codes
    assert not end.by_peer
    assert machine.state is State.CLOSED
    data = machine.data_to_send(0)
    if not data:
        return
    ((_, channel, close, _),) = cut(data)
    assert channel == 0
    assert isinstance(close, m.ConnectionClose)
    assert (close.reply_code, close.reply_text) == (end.reply_code, end.reply_text)
    assert (close.class_id, close.method_id) == (offender.key if offender is not None else (0, 0))
    # Nothing more, whatever comes.
    machine.receive_data(frame(0, m.ConnectionCloseOk()), 0)
    machine.receive_data(b"garbage", 0)
    assert (machine.events(), machine.data_to_send(0)) == ([], b"")


def test_the_states_are_all_there() -> None:
    assert {state for states in STATES.values() for state in states} == set(State)
    assert {role: list(table) for role, table in CONNECTION.items()} == STATES
    assert {state for table in CHANNEL.values() for state in table} == set(ChannelState)


def test_the_table_of_connections_is_the_one_below() -> None:
    for role, table in CONNECTION.items():
        for state, row in table.items():
            methods = {what: to for what, to in row.items() if isinstance(what, type)}
            if state is State.CLOSING:
                assert methods == {m.ConnectionClose: state, m.ConnectionCloseOk: State.CLOSED}
                continue
            expected = {kind: to or state for kind, to in MAY_COME.get((role, state), {}).items()}
            expected |= {m.ConnectionClose: State.CLOSED} if (role, state) in MAY_CLOSE else {}
            # The test of the product wants a challenge refused: its handler does that.
            methods.pop(m.ConnectionSecure, None)
            assert methods == expected


def test_every_connection_that_is_not_over_may_end() -> None:
    for table in CONNECTION.values():
        for state, row in table.items():
            assert row.get(Step.END) is (None if state is State.CLOSED else State.CLOSED)


@EACH_METHOD
@EACH_STATE
def test_channel_0(role: Role, state: State, kind: type[Method]) -> None:
    machine = machine_in(role, state)
    machine.receive_data(frame(0, example(kind)), 0)
    if state is State.EXPECT_HEADER:
        # A frame is no protocol header: the right one comes back.
        assert closing(machine.events()).by_peer
        assert machine.data_to_send(0) == f.PROTOCOL_HEADER
    elif state is State.CLOSED:
        assert (machine.events(), machine.data_to_send(0)) == ([], b"")
    elif state is State.CLOSING:
        while_closing(machine, kind)
    elif kind is m.ConnectionClose and (role, state) in MAY_CLOSE:
        end = closing(machine.events())
        assert (end.reply_code, end.reply_text, end.by_peer) == (320, "CONNECTION_FORCED - test", True)
        assert [seen.method for seen in cut(machine.data_to_send(0))] == [m.ConnectionCloseOk()]
    elif kind in MAY_COME.get((role, state), {}):
        goes_on(machine, MAY_COME[role, state][kind], kind)
    else:
        # RabbitMQ answers 504 on an open connection, and 503 earlier.
        refused(machine, {504} if state is State.OPEN else {503, 502}, kind)


def while_closing(machine: Machine, kind: type[Method]) -> None:
    events = machine.events()
    answers = [seen.method for seen in cut(machine.data_to_send(0))]
    assert answers == ([m.ConnectionCloseOk()] if kind is m.ConnectionClose else [])
    if kind is m.ConnectionCloseOk:
        end = closing(events)
        assert (end.reply_code, end.by_peer) == (200, False)
        assert machine.is_closed
    else:
        assert events == []
        assert machine.state is State.CLOSING


def goes_on(machine: Machine, state: State | None, kind: type[Method]) -> None:
    event = next(iter(machine.events()), None)
    assert machine.state is (state or State.OPEN)
    if state is None:
        assert isinstance(event, MethodReceived)
        assert (event.channel, type(event.method)) == (0, kind)
    elif state in PROGRESS:
        assert isinstance(event, PROGRESS[state])
    else:
        assert event is None
    closes = [seen for seen in cut(machine.data_to_send(0)) if isinstance(seen.method, m.ConnectionClose)]
    assert closes == []


@EACH_METHOD
@EACH_STATE
def test_channel_1_without_a_channel(role: Role, state: State, kind: type[Method]) -> None:
    machine = machine_in(role, state)
    machine.receive_data(frame(1, example(kind)), 0)
    if state is State.EXPECT_HEADER:
        assert closing(machine.events()).by_peer
    elif state in (State.CLOSED, State.CLOSING):
        assert (machine.events(), machine.data_to_send(0)) == ([], b"")
        assert machine.state is state
    elif state is not State.OPEN:
        refused(machine, {503, 504, 505}, None)
    elif role is Role.SERVER and kind is m.ChannelOpen:
        (event,) = machine.events()
        assert isinstance(event, ChannelOpened)
        assert [seen[1:3] for seen in cut(machine.data_to_send(0))] == [(1, m.ChannelOpenOk())]
    else:
        refused(machine, {504}, kind)


NOT_METHODS = {
    "header": header(1, 0),
    "body": body(1, b"abc"),
    "header on 0": header(0, 0),
    "body on 0": body(0, b"abc"),
    "heartbeat on 1": raw(f.HEARTBEAT, 1, b""),
    "heartbeat with a payload": raw(f.HEARTBEAT, 0, b"a"),
}


@pytest.mark.parametrize("what", NOT_METHODS)
@EACH_STATE
def test_other_frames_than_methods(role: Role, state: State, what: str) -> None:
    machine = machine_in(role, state)
    machine.receive_data(NOT_METHODS[what], 0)
    if state is State.EXPECT_HEADER:
        assert closing(machine.events()).by_peer
    elif state is State.CLOSED or (state is State.CLOSING and "heartbeat" not in what):
        assert (machine.events(), machine.data_to_send(0)) == ([], b"")
        assert machine.state is state
    elif state is State.CLOSING:
        assert len([e for e in machine.events() if isinstance(e, ConnectionEnded)]) <= 1
    elif state is State.OPEN and what in ("header", "body"):
        refused(machine, {504}, None)
    else:
        refused(machine, {501, 503, 505}, None)


@EACH_STATE
def test_heartbeats_are_welcome_in_any_state(role: Role, state: State) -> None:
    machine = machine_in(role, state)
    machine.receive_data(f.HEARTBEAT_FRAME * 3, 0)
    if state is not State.EXPECT_HEADER:
        assert machine.state is state
        assert machine.events() == []


# Channels

SERVER_CHANNEL = set(REPLIES) - {m.ChannelOpen} | {
    m.ChannelClose,
    m.ChannelFlowOk,
    m.BasicPublish,
    m.BasicAck,
    m.BasicNack,
    m.BasicReject,
    m.BasicRecoverAsync,
    m.BasicCancelOk,
}
CLIENT_CHANNEL = {
    m.ChannelClose,
    m.ChannelFlow,
    m.BasicDeliver,
    m.BasicReturn,
    m.BasicAck,
    m.BasicNack,
    m.BasicCancel,
}


def accepted(machine: Machine, kind: type[Method]) -> None:
    """The method was taken on channel 1 of a machine that had it open."""
    events = machine.events()
    answers = [seen[1:3] for seen in cut(machine.data_to_send(0))]
    if kind is m.ChannelClose:
        (closed,) = events
        assert isinstance(closed, ChannelEnded)
        assert (closed.channel, closed.reply_code, closed.reply_text, closed.by_peer) == (
            1,
            404,
            "NOT_FOUND - test",
            True,
        )
        assert answers == [(1, m.ChannelCloseOk())]
        return
    assert answers == []
    if kind.has_content:
        assert events == []
        machine.receive_data(header(1, 0), 0)
        assert len(machine.events()) == 1
    else:
        (event,) = events
        assert isinstance(event, MethodReceived)
        assert (event.channel, event.method) == (1, example(kind))
    assert machine.state is State.OPEN


@EACH_METHOD
@EACH_ROLE
def test_open_channel(role: Role, kind: type[Method]) -> None:
    machine = with_channel(role)
    machine.receive_data(frame(1, example(kind)), 0)
    if kind in (SERVER_CHANNEL if role is Role.SERVER else CLIENT_CHANNEL):
        accepted(machine, kind)
    elif kind in (m.ChannelOpen, m.ChannelCloseOk):
        refused(machine, {504}, kind)
    else:
        refused(machine, {503, 504}, kind)


@EACH_METHOD
def test_channel_that_is_opening(kind: type[Method]) -> None:
    client = client_in(State.OPEN)
    client.open_channel(1)
    client.data_to_send(0)
    client.receive_data(frame(1, example(kind)), 0)
    if kind is m.ChannelOpenOk:
        (event,) = client.events()
        assert isinstance(event, ChannelOpened)
        assert event.channel == 1
    elif kind is m.ChannelClose:
        accepted(client, kind)
    else:
        refused(client, {503, 504}, kind)


@EACH_METHOD
@EACH_ROLE
def test_channel_that_is_closing(role: Role, kind: type[Method]) -> None:
    machine = with_channel(role)
    machine.close_channel(1)
    machine.data_to_send(0)
    machine.receive_data(frame(1, example(kind)), 0)
    events = machine.events()
    answers = [seen[1:3] for seen in cut(machine.data_to_send(0))]
    if kind is m.ChannelCloseOk:
        (event,) = events
        assert isinstance(event, ChannelEnded)
        assert not event.by_peer
    else:
        assert events == []
    assert answers == ([(1, m.ChannelCloseOk())] if kind is m.ChannelClose else [])
    assert machine.state is State.OPEN


@EACH_METHOD
@EACH_ROLE
def test_method_inside_of_a_content(role: Role, kind: type[Method]) -> None:
    carrier = PUBLISH if role is Role.SERVER else m.BasicDeliver("c", 1)
    for after in (b"", header(1, 5), header(1, 5) + body(1, b"abc")):
        machine = with_channel(role)
        machine.receive_data(frame(1, carrier) + after, 0)
        assert machine.events() == []
        machine.receive_data(frame(1, example(kind)), 0)
        refused(machine, {505}, type(carrier))


# Opening a channel has states of its own, above.
REQUESTS = [kind for kind in REPLIES if kind is not m.ChannelOpen]


@EACH_METHOD
def test_client_that_waits_for_an_answer(kind: type[Method]) -> None:
    for request in REQUESTS:
        client = with_channel(Role.CLIENT)
        client.send_method(1, request())
        client.data_to_send(0)
        client.receive_data(frame(1, example(kind)), 0)
        if kind in CLIENT_CHANNEL or kind in REPLIES[request]:
            accepted(client, kind)
        else:
            refused(client, {503, 504}, kind)


# The tables against the specification file


def chassis(peer: str) -> set[type[Method]]:
    """Methods that the specification wants ``peer`` to understand, connection methods left out."""
    require(SPECIFICATION.exists(), "The AMQP specification", "install the package amqp-specs")
    names = {
        f"{amqp_class.attrib['name']}.{method.attrib['name']}"
        for amqp_class in ElementTree.parse(SPECIFICATION).getroot().iter("class")
        for method in amqp_class.iter("method")
        if any(chassis.attrib["name"] == peer for chassis in method.iter("chassis"))
    }
    return {method for method in METHODS if method.name in names and method.key[0] != 10}


def test_what_a_server_receives_is_what_the_specification_wants() -> None:
    # The two answers of channel 0's rules have states of their own.
    assert CHANNEL_RECEIVES[Role.SERVER] | {m.ChannelClose} == SERVER_CHANNEL
    assert SERVER_CHANNEL | {m.ChannelOpen, m.ChannelCloseOk} == chassis("server")


def test_what_a_client_receives_is_what_the_specification_wants() -> None:
    replies = {reply for kinds in REPLIES.values() for reply in kinds}
    assert CHANNEL_RECEIVES[Role.CLIENT] | {m.ChannelClose} == CLIENT_CHANNEL
    assert CLIENT_CHANNEL | replies | {m.ChannelCloseOk} == chassis("client")


def test_the_answers_are_those_of_the_specification() -> None:
    require(SPECIFICATION.exists(), "The AMQP specification", "install the package amqp-specs")
    expected: dict[str, set[str]] = {}
    for amqp_class in ElementTree.parse(SPECIFICATION).getroot().iter("class"):
        prefix = amqp_class.attrib["name"]
        for method in amqp_class.iter("method"):
            responses = {f"{prefix}.{response.attrib['name']}" for response in method.iter("response")}
            if responses and prefix != "connection":
                expected[f"{prefix}.{method.attrib['name']}"] = responses
    # Closing has a state of its own; the answer to recover is missing in the file.
    del expected["channel.close"]
    expected["basic.recover"] = {"basic.recover-ok"}
    assert {kind.name: {reply.name for reply in replies} for kind, replies in REPLIES.items()} == expected
