"""Hostile peers: a server against our client and a client against our server, before and after tuning.

They show these promises:

* P18: frames that are too large, too small, of no type or for channels beyond the limit
  (CVE-2026-79921, CVE-2026-77403, GHSA-5fp7-wg2f-hhgp).
* P19: tables nested without end, or with lengths outside of their frame (CVE-2026-69220, CVE-2026-69219).

Each runs under a ceiling on memory: being right and running out of memory is not enough.
"""

from __future__ import annotations

import struct
import tracemalloc
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from fuzz.fuzz_codec import CONVERSATIONS, fresh, talk
from hypothesis import given
from hypothesis import strategies as st
from tests.protocol.machines import (
    PUBLISH,
    body,
    client_in,
    cut,
    frame,
    header,
    machine_in,
    raw,
    server_in,
    with_channel,
)

from fedora_messaging.protocol import sasl
from fedora_messaging.protocol.connection import Limits, Machine
from fedora_messaging.protocol.events import ConnectionEnded, ContentReceived, Event
from fedora_messaging.protocol.states import Role, State
from fedora_messaging.wire import frames as f
from fedora_messaging.wire import methods as m

if TYPE_CHECKING:
    from collections.abc import Iterator

KB = 1024
MB = 1024 * KB

# States in which a peer's frames are read.
READING = [
    (Role.CLIENT, State.EXPECT_START),
    (Role.CLIENT, State.EXPECT_TUNE),
    (Role.CLIENT, State.EXPECT_OPEN_OK),
    (Role.CLIENT, State.OPEN),
    (Role.CLIENT, State.CLOSING),
    (Role.SERVER, State.EXPECT_START_OK),
    (Role.SERVER, State.AUTHENTICATING),
    (Role.SERVER, State.EXPECT_TUNE_OK),
    (Role.SERVER, State.EXPECT_OPEN),
    (Role.SERVER, State.OPENING),
    (Role.SERVER, State.OPEN),
    (Role.SERVER, State.CLOSING),
]
BEFORE_TUNE = {State.EXPECT_START_OK, State.AUTHENTICATING, State.EXPECT_TUNE_OK}
EACH_READING = pytest.mark.parametrize(
    ("role", "state"), READING, ids=[f"{role.value}-{state.name}" for role, state in READING]
)
EACH_ROLE = pytest.mark.parametrize("role", list(Role), ids=lambda role: role.value)


@contextmanager
def at_most(ceiling: int) -> Iterator[None]:
    """Fail when more memory than that is in use at any moment, on top of what was in use before."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= ceiling, f"{peak / KB:.0f} KB in use, at most {ceiling / KB:.0f} KB expected"


def frame_max_in(role: Role, state: State) -> int:
    """What a peer may send: the smallest before tuning when we are the server, what was agreed on later."""
    return 4096 if role is Role.SERVER and state in BEFORE_TUNE else 131072


def ended(machine: Machine, *codes: int) -> ConnectionEnded:
    """The connection is over, with one of the codes unless we were closing already, and stays silent."""
    events = machine.events()
    assert [type(event) for event in events] == [ConnectionEnded]
    (end,) = events
    assert isinstance(end, ConnectionEnded)
    assert machine.is_closed
    data = machine.data_to_send(0)
    for seen in cut(data):
        assert isinstance(seen.method, m.ConnectionClose)
        assert seen.method.reply_code == end.reply_code
    assert end.reply_code in codes or end.reply_code == 200
    machine.receive_data(bytes(1000), 0)
    assert (machine.events(), machine.data_to_send(0), machine.next_deadline()) == ([], b"", None)
    return end


# P18: too large


@EACH_READING
@pytest.mark.parametrize("size", ["one too many", 2**24, 2**31, 2**32 - 1])
def test_p18_cve_2026_79921_a_frame_is_refused_when_it_is_announced(
    role: Role, state: State, size: int | str
) -> None:
    machine = machine_in(role, state)
    announced = frame_max_in(role, state) + 1 if isinstance(size, str) else size
    with at_most(64 * KB):
        machine.receive_data(struct.pack(">BHI", f.BODY, 1, announced), 0)
        end = ended(machine, 501)
    if state is not State.CLOSING:
        assert "frame_too_large" in end.reply_text


@EACH_READING
def test_p18_cve_2026_79921_what_follows_an_oversized_frame_is_not_kept(role: Role, state: State) -> None:
    machine = machine_in(role, state)
    piece = bytes(64 * KB)
    with at_most(192 * KB):
        machine.receive_data(struct.pack(">BHI", f.METHOD, 0, 100 * MB), 0)
        for _ in range(1000):
            machine.receive_data(piece, 0)
        ended(machine, 501)


@EACH_READING
def test_p18_one_frame_that_never_ends_costs_one_frame(role: Role, state: State) -> None:
    machine = machine_in(role, state)
    size = frame_max_in(role, state) - f.OVERHEAD
    with at_most(2 * size + 64 * KB):
        machine.receive_data(struct.pack(">BHI", f.BODY, 1, size), 0)
        for _ in range(size // KB):
            machine.receive_data(bytes(KB), 0)
    assert machine.events() == []


@EACH_ROLE
def test_p18_a_frame_that_comes_in_crumbs_costs_a_bounded_multiple(role: Role) -> None:
    machine = machine_in(role, State.OPEN, Limits(channel_max=9, frame_max=32768))
    size = machine.frame_max - f.OVERHEAD
    crumbs = memoryview(b"ab" * 32)
    # Two bytes cost a small object each; better than that is welcome, but one frame is the bound.
    with at_most(80 * size):
        machine.receive_data(struct.pack(">BHI", f.BODY, 1, size), 0)
        for at in range(0, size, 2):
            machine.receive_data(bytes(crumbs[at % 64 : at % 64 + 2]), 0)
        machine.receive_data(b"\xce", 0)
    ended(machine, 504)


@EACH_ROLE
def test_p18_the_largest_frame_is_read(role: Role) -> None:
    machine = with_channel(role)
    method = PUBLISH if role is Role.SERVER else m.BasicDeliver("c", 1)
    size = machine.frame_max - f.OVERHEAD
    machine.receive_data(frame(1, method) + header(1, size) + body(1, bytes(size)), 0)
    (event,) = machine.events()
    assert isinstance(event, ContentReceived)
    assert event.body == bytes(size)


@pytest.mark.parametrize("frame_max", [0, 1, 7, 8, 9, 4095])
def test_p18_cve_2026_77403_tiny_frame_max_from_a_client(frame_max: int) -> None:
    server = server_in(State.EXPECT_TUNE_OK)
    server.receive_data(frame(0, m.ConnectionTuneOk(10, frame_max, 0)), 0)
    ended(server, 530)


@pytest.mark.parametrize("frame_max", [1, 7, 8, 9, 4095, 4096, 8191])
def test_p18_cve_2026_77403_tiny_frame_max_from_a_server(frame_max: int) -> None:
    client = client_in(State.EXPECT_TUNE)
    client.receive_data(frame(0, m.ConnectionTune(10, frame_max, 0)), 0)
    ended(client, 530)


def test_p18_a_client_may_not_use_the_frame_max_it_was_offered_before_it_has_agreed() -> None:
    server = server_in(State.EXPECT_TUNE_OK)
    assert server.frame_max == 131072
    server.receive_data(struct.pack(">BHI", f.METHOD, 0, 4097), 0)
    ended(server, 501)


def test_p18_a_lower_frame_max_holds_at_once() -> None:
    server = server_in(State.EXPECT_TUNE_OK)
    data = frame(0, m.ConnectionTuneOk(10, 4096, 0)) + frame(0, m.ConnectionOpen("/"))
    server.receive_data(data + struct.pack(">BHI", f.BODY, 1, 4097), 0)
    end = server.events()[-1]
    assert isinstance(end, ConnectionEnded)
    assert end.reply_code == 501


# P18: too small, and of no type


@EACH_READING
@pytest.mark.parametrize("size", range(4))
@pytest.mark.parametrize("kind", [f.METHOD, f.HEADER, f.BODY])
@pytest.mark.parametrize("channel", [0, 1, 65535])
def test_p18_undersized_frames(role: Role, state: State, size: int, kind: int, channel: int) -> None:
    machine = machine_in(role, state)
    with at_most(64 * KB):
        machine.receive_data(raw(kind, channel, b"\x00\x3c\x00"[:size]), 0)
        if machine.state is state is State.CLOSING:
            assert machine.events() == []
        else:
            ended(machine, 501, 502, 503, 504, 505)


@EACH_READING
def test_p18_unknown_frame_types(role: Role, state: State) -> None:
    for kind in set(range(256)) - {f.METHOD, f.HEADER, f.BODY, f.HEARTBEAT}:
        machine = machine_in(role, state)
        # Not even the whole frame has to come.
        machine.receive_data(bytes((kind, 0, 0, 0, 0, 0, 0)), 0)
        ended(machine, 501)


@EACH_READING
def test_p18_wrong_end_octets(role: Role, state: State) -> None:
    machine = machine_in(role, state)
    machine.receive_data(raw(f.HEARTBEAT, 0, b"", end=0), 0)
    ended(machine, 501)


# P18: channels beyond the limit


@EACH_ROLE
@pytest.mark.parametrize("data", ["open", "close-ok", "publish", "header", "body"])
def test_p18_ghsa_5fp7_a_channel_too_many_allocates_nothing(role: Role, data: str) -> None:
    """The server counts channels, whatever their numbers; the client opens all of its channels itself."""
    for channel in (11, 2048, 65535):
        machine = machine_in(role, State.OPEN, Limits(channel_max=10))
        if role is Role.SERVER:
            for number in range(1, 11):
                machine.receive_data(frame(number, m.ChannelOpen()), 0)
            machine.events()
            machine.data_to_send(0)
        frames = {
            "open": frame(channel, m.ChannelOpen()),
            "close-ok": frame(channel, m.ChannelCloseOk()),
            "publish": frame(channel, PUBLISH),
            "header": header(channel, 2**62),
            "body": body(channel, b"abc"),
        }
        with at_most(64 * KB):
            machine.receive_data(frames[data], 0)
            ended(machine, 504, 530)


@EACH_READING
def test_p18_ghsa_5fp7_frames_for_every_channel_number_allocate_nothing(role: Role, state: State) -> None:
    machine = machine_in(role, state)
    with at_most(64 * KB):
        for channel in range(1, 65536, 17):
            machine.receive_data(frame(channel, m.BasicAck(1)) + header(channel, 2**62), 0)
            machine.data_to_send(0)
        assert len(machine.events()) <= 1


def test_p18_opening_and_closing_channels_for_ever_keeps_nothing() -> None:
    server = server_in(State.OPEN)
    once = frame(7, m.ChannelOpen()) + frame(7, m.ChannelClose(200, "bye", 0, 0))
    with at_most(64 * KB):
        for _ in range(1000):
            server.receive_data(once, 0)
            server.events()
            server.data_to_send(0)
    assert server.state is State.OPEN


# P18: contents


@EACH_ROLE
def test_p18_a_body_that_is_only_announced_costs_nothing(role: Role) -> None:
    machine = with_channel(role, Limits(channel_max=2047))
    method = PUBLISH if role is Role.SERVER else m.BasicDeliver("c", 1)
    with at_most(64 * KB):
        machine.receive_data(frame(1, method) + header(1, 2**64 - 1), 0)
        assert machine.events() == []


def test_p18_a_body_above_the_limit_costs_nothing_however_much_comes() -> None:
    server = with_channel(Role.SERVER, Limits(channel_max=9, max_body=1000))
    piece = body(1, bytes(32 * KB))
    with at_most(256 * KB):
        server.receive_data(frame(1, PUBLISH) + header(1, 2**63), 0)
        for _ in range(1000):
            server.receive_data(piece, 0)
        assert server.events() == []


@pytest.mark.parametrize("announced", [10, 2**63])
def test_p18_empty_body_frames_without_end_cost_nothing(announced: int) -> None:
    server = with_channel(Role.SERVER)
    block = body(1, b"") * 500
    with at_most(64 * KB):
        server.receive_data(frame(1, PUBLISH) + header(1, announced), 0)
        for _ in range(30):
            server.receive_data(block, 0)
        assert server.events() == []


def test_p18_a_body_in_crumbs_costs_about_its_size() -> None:
    server = with_channel(Role.SERVER)
    block = body(1, b"ab") * 500
    with at_most(128 * KB):
        server.receive_data(frame(1, PUBLISH) + header(1, MB), 0)
        for _ in range(30):
            server.receive_data(block, 0)
        # 30 KB have come.
        assert server.events() == []


def test_p18_closing_a_channel_gives_back_what_came_of_a_content() -> None:
    server = with_channel(Role.SERVER)
    tracemalloc.start()
    try:
        server.receive_data(frame(1, PUBLISH) + header(1, MB), 0)
        for _ in range(8):
            server.receive_data(body(1, bytes(64 * KB)), 0)
        kept, _ = tracemalloc.get_traced_memory()
        # The client may never answer this.
        server.close_channel(1, 406, "PRECONDITION_FAILED - x")
        rest, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept >= 512 * KB
    assert rest <= 64 * KB


def test_p18_heartbeats_without_end_cost_nothing() -> None:
    server = server_in(State.OPEN)
    with at_most(64 * KB):
        for _ in range(20):
            server.receive_data(f.HEARTBEAT_FRAME * 500, 0)
        assert (server.events(), server.data_to_send(0)) == ([], b"")


# P19: tables


def nested(kind: bytes, levels: int, inner: bytes = b"") -> bytes:
    """The content of a table that holds tables or arrays, one in the other."""
    content = inner
    for _ in range(levels):
        content = (b"\x00" if kind == b"F" else b"") + kind + len(content).to_bytes(4, "big") + content
    return content if kind == b"F" else b"\x00" + content


def deepest(kind: bytes, room: int) -> bytes:
    """As many levels as fit into so many bytes."""
    return nested(kind, (room - 1) // (6 if kind == b"F" else 5))


def carrying(role: Role, state: State, content: bytes, length: int | None = None) -> bytes:
    """A frame that may come in this state and has such a table in it, perhaps with another length."""
    table = (len(content) if length is None else length).to_bytes(4, "big") + content
    payloads = {
        (Role.CLIENT, State.EXPECT_START): b"\x00\x0a\x00\x0a\x00\x09" + table + bytes(8),
        (Role.SERVER, State.EXPECT_START_OK): b"\x00\x0a\x00\x0b" + table + bytes(6),
        (Role.SERVER, State.OPEN): b"\x00\x32\x00\x0a\x00\x00\x01q\x00" + table,
    }
    return raw(f.METHOD, 1 if state is State.OPEN else 0, payloads[role, state])


CARRYING = pytest.mark.parametrize(
    ("role", "state"),
    [
        (Role.CLIENT, State.EXPECT_START),
        (Role.SERVER, State.EXPECT_START_OK),
        (Role.SERVER, State.OPEN),
    ],
    ids=["server-properties", "client-properties", "queue-arguments"],
)


def reading(role: Role, state: State) -> Machine:
    return with_channel(role) if state is State.OPEN else machine_in(role, state)


@CARRYING
@pytest.mark.parametrize("kind", [b"F", b"A"])
def test_p19_cve_2026_69220_tables_nested_as_deep_as_a_frame_allows(
    role: Role, state: State, kind: bytes
) -> None:
    machine = reading(role, state)
    content = deepest(kind, frame_max_in(role, state) - 100)
    levels = content.count(kind)
    assert levels > (600 if frame_max_in(role, state) == 4096 else 20_000)
    data = carrying(role, state, content)
    with at_most(MB):
        machine.receive_data(data, 0)
        end = ended(machine, 502)
    assert "nested deeper than 100 levels" in end.reply_text


@CARRYING
@pytest.mark.parametrize("kind", [b"F", b"A"])
def test_p19_tables_nested_sensibly_are_read(role: Role, state: State, kind: bytes) -> None:
    machine = reading(role, state)
    machine.receive_data(carrying(role, state, nested(kind, 50)), 0)
    ends = [event for event in machine.events() if isinstance(event, ConnectionEnded)]
    # Nobody finds a mechanism in those handshakes, but the table is not what ends them.
    expected = [] if state is State.OPEN else [530 if role is Role.CLIENT else 0]
    assert [end.reply_code for end in ends] == expected


LENGTHS = {
    "a string": b"\x00S\xff\xff\xff\xff",
    "bytes": b"\x00x\x7f\xff\xff\xffabc",
    "a table": b"\x00F\x00\x00\x40\x00",
    "an array": b"\x00A\xff\xff\xff\xfft\x01",
    "a name": b"\xffabc",
    "an inner table": b"\x00F\x00\x00\x00\x06\x00F\x00\x00\x00\x01",
    "a number": b"\x00l\x00\x00",
    "one byte of the next field of the method": b"\x00S\x00\x00\x00\x01",
}


@CARRYING
@pytest.mark.parametrize("what", LENGTHS)
def test_p19_cve_2026_69219_lengths_outside_of_their_table(role: Role, state: State, what: str) -> None:
    machine = reading(role, state)
    with at_most(256 * KB):
        machine.receive_data(carrying(role, state, LENGTHS[what]), 0)
        ended(machine, 502)


@CARRYING
@pytest.mark.parametrize("length", [9, 100, 2**31, 2**32 - 1])
def test_p19_cve_2026_69219_a_table_longer_than_its_frame(role: Role, state: State, length: int) -> None:
    machine = reading(role, state)
    data = carrying(role, state, b"", length)
    with at_most(64 * KB):
        machine.receive_data(data, 0)
        ended(machine, 502)


@CARRYING
@pytest.mark.parametrize("content", ["names", "voids", "empty tables"])
def test_p19_wide_tables_cost_a_bounded_multiple(role: Role, state: State, content: str) -> None:
    machine = reading(role, state)
    room = frame_max_in(role, state) - 100
    wide = {
        "names": b"".join(b"\x03" + number.to_bytes(3, "big") + b"V" for number in range(room // 5)),
        "voids": b"\x00A" + (room - 6).to_bytes(4, "big") + b"V" * (room - 6),
        "empty tables": b"\x00A" + (room // 5 * 5 - 10).to_bytes(4, "big") + b"F\0\0\0\0" * (room // 5 - 2),
    }[content]
    data = carrying(role, state, wide)
    with at_most(60 * room):
        machine.receive_data(data, 0)
        assert len(machine.events()) <= 1


@pytest.mark.parametrize("kind", [b"F", b"A"])
def test_p19_a_login_nested_as_deep_as_a_frame_allows(kind: bytes) -> None:
    with at_most(MB):
        assert sasl.parse_response(sasl.AMQPLAIN, deepest(kind, 4000)) is None
        assert sasl.parse_response(sasl.AMQPLAIN, deepest(kind, MB // 8)) is None


def test_p19_headers_of_a_message_are_not_looked_at() -> None:
    server = with_channel(Role.SERVER)
    content = deepest(b"F", 100_000)
    properties = b"\x20\x00" + len(content).to_bytes(4, "big") + content
    server.receive_data(frame(1, PUBLISH) + header(1, 0, properties), 0)
    (event,) = server.events()
    assert isinstance(event, ContentReceived)
    assert event.properties == properties


# Anything at all


@given(
    st.sampled_from(READING),
    st.lists(st.binary(max_size=200), max_size=5),
    st.integers(0, 2),
    st.integers(0, 9),
)
def test_p18_p19_arbitrary_bytes_never_raise(
    where: tuple[Role, State], chunks: list[bytes], kind: int, channel: int
) -> None:
    bare = machine_in(*where)
    framed = machine_in(*where)
    talk(bare, chunks)
    talk(framed, [raw(f.METHOD + kind, channel, chunk) for chunk in chunks])


@given(st.binary(max_size=200))
def test_p18_arbitrary_bytes_before_the_header_never_raise(data: bytes) -> None:
    talk(fresh(Role.SERVER), [data])
    talk(fresh(Role.SERVER), [f.PROTOCOL_HEADER + data])
    talk(fresh(Role.CLIENT), [data])


@st.composite
def spoilt(draw: st.DrawFn, role: Role) -> list[bytes]:
    """A valid conversation with some bytes changed, lost, doubled or moved, in pieces of any size."""
    steps = CONVERSATIONS[role]
    data = bytearray(b"".join(steps))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        end = min(len(data), at + draw(st.integers(0, 40)))
        way = draw(st.sampled_from(["change", "lose", "double", "flip", "other step"]))
        if way == "change":
            data[at:end] = draw(st.binary(max_size=40))
        elif way == "lose":
            del data[at:end]
        elif way == "double":
            data[at:at] = data[at:end]
        elif way == "flip" and at < len(data):
            data[at] ^= 1 << draw(st.integers(0, 7))
        else:
            data[at:at] = draw(st.sampled_from(steps))
    size = draw(st.sampled_from([1, 3, 50, 10_000]))
    return [bytes(data[at : at + size]) for at in range(0, len(data), size)]


@given(spoilt(Role.CLIENT))
def test_p18_p19_spoilt_conversations_with_a_client_never_raise(chunks: list[bytes]) -> None:
    talk(fresh(Role.CLIENT), chunks)


@given(spoilt(Role.SERVER))
def test_p18_p19_spoilt_conversations_with_a_server_never_raise(chunks: list[bytes]) -> None:
    talk(fresh(Role.SERVER), chunks)


@given(st.lists(st.sampled_from(CONVERSATIONS[Role.SERVER] + CONVERSATIONS[Role.CLIENT]), max_size=20))
def test_p18_frames_of_either_role_in_any_order_never_raise(steps: list[bytes]) -> None:
    for role in Role:
        talk(fresh(role), steps)


@EACH_READING
def test_p18_nothing_is_kept_after_the_end(role: Role, state: State) -> None:
    machine = machine_in(role, state)
    machine.peer_vanished("test")
    events: list[Event] = machine.events()
    assert len(events) == 1
    with at_most(64 * KB):
        for _ in range(1000):
            machine.receive_data(bytes(KB), 0)
        machine.receive_data(frame(0, m.ConnectionClose(200, "", 0, 0)), 0)
        assert (machine.events(), machine.data_to_send(0)) == ([], b"")
