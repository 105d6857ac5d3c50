"""Handshake, tuning, heartbeats and the end of connections."""

from __future__ import annotations

import re
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from pamqp import base, commands, constants
from tests.behaviour.peer import (
    PROTOCOL_HEADER,
    ClosedByBrokerError,
    Peer,
    amqplain,
    content_header,
    plain,
    raw_frame,
)
from tests.behaviour.support import (
    closes,
    let_exclusive_queues_go,
    send,
    since,
    smallest_frame,
    take,
    vanished,
)
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pamqp.common import FieldTable
    from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
    from tests.support.admin import Names
    from tests.support.brokers import Broker

CAPABLE: FieldTable = {"authentication_failure_close": True}
SASL_HEADER = b"AMQP\x03\x01\x00\x00"
"""Begins AMQP 1.0 with authentication, which RabbitMQ 4 speaks on the same port."""


@pytest.fixture(scope="module")
def idle_peers() -> Iterator[dict[str, tuple[Peer, float]]]:
    """Silent sockets by broker, opened by the module's first test so that its last need not wait long."""
    with ExitStack() as opened:
        found: dict[str, tuple[Peer, float]] = {}
        yield found
        for peer, _ in found.values():
            opened.push(peer)


@pytest.fixture(autouse=True)
def idle_peer(broker: Broker, idle_peers: dict[str, tuple[Peer, float]]) -> tuple[Peer, float]:
    """A socket on which nothing was ever sent, and when it was opened."""
    if broker.url not in idle_peers:
        idle_peers[broker.url] = (Peer(broker.url), time.monotonic())
    return idle_peers[broker.url]


@pytest.mark.parametrize(
    "greeting",
    [
        b"GET / HT",
        b"AMQP\x00\x00\x08\x00",
        b"AMQP\x01\x00\x09\x01",
        b"AMQP\x00\x01\x00\x00",
        b"AMQP\x02\x01\x00\x00",
        b"amqp\x00\x00\x09\x01",
    ],
)
def test_other_protocol_header_is_answered_with_the_best(
    broker: Broker, peers: Callable[[], Peer], greeting: bytes
) -> None:
    """The broker answers with its best protocol header, then closes the socket; ours speaks no AMQP 1.0."""
    peer = peers()
    peer.write(greeting)
    best = since(broker, (4, 0), SASL_HEADER, PROTOCOL_HEADER)
    assert peer.read(8) == (PROTOCOL_HEADER if broker.kind == "embedded" else best)
    assert peer.read_until_closed() == []


def test_protocol_header_of_another_revision(peers: Callable[[], Peer]) -> None:
    """The broker answers with the eight bytes of its own protocol header, then closes the socket."""
    peer = peers()
    peer.write(b"AMQP\x00\x00\x09\x02")
    assert peer.read(8) == PROTOCOL_HEADER
    assert peer.read_until_closed() == []


def test_protocol_header_of_amqp_1_0(broker: Broker, peers: Callable[[], Peer]) -> None:
    """RabbitMQ 4 goes on in that protocol, with a frame of mechanisms; others close the socket."""
    peer = peers()
    peer.write(SASL_HEADER)
    if broker.kind == "embedded" or broker.version < (4, 0):
        assert peer.read(8) == PROTOCOL_HEADER
        assert peer.read_until_closed() == []
    else:
        assert peer.read(8) == SASL_HEADER
        assert b"PLAIN" in peer.read(int.from_bytes(peer.read(4)) - 4)


def test_protocol_header_may_come_byte_by_byte(peers: Callable[[], Peer]) -> None:
    """The broker waits for all eight bytes of the protocol header."""
    peer = peers()
    for byte in PROTOCOL_HEADER:
        peer.write(bytes([byte]))
    peer.expect(commands.Connection.Start, 0)


def test_start_offers_version_mechanisms_and_locale(broker: Broker, peers: Callable[[], Peer]) -> None:
    """The broker offers version 0-9, PLAIN and AMQPLAIN, and the locale en_US.

    RabbitMQ 4 also lets clients in that give no name; ours does not.
    """
    start = peers().start()
    assert (start.version_major, start.version_minor) == (0, 9)
    newer = set() if broker.kind == "embedded" else since(broker, (4, 0), {"ANONYMOUS"}, set())
    assert set(start.mechanisms.split()) == {"PLAIN", "AMQPLAIN"} | newer
    assert start.locales.split() == ["en_US"]


@pytest.mark.parametrize(
    "capability",
    [
        "publisher_confirms",
        "exchange_exchange_bindings",
        "basic.nack",
        "consumer_cancel_notify",
        "connection.blocked",
        "consumer_priorities",
        "authentication_failure_close",
        "per_consumer_qos",
        "direct_reply_to",
    ],
)
def test_server_capability(peers: Callable[[], Peer], capability: str) -> None:
    """The broker announces each capability that clients look for."""
    properties = peers().start().server_properties
    assert properties is not None
    capabilities = properties["capabilities"]
    assert isinstance(capabilities, dict)
    assert capabilities[capability] is True


@pytest.mark.parametrize(
    "key", ["product", "version", "platform", "copyright", "information", "cluster_name"]
)
def test_server_property(peers: Callable[[], Peer], key: str) -> None:
    """The broker tells product, version and the other properties as texts that are not empty."""
    properties = peers().start().server_properties
    assert properties is not None
    value = properties[key]
    assert isinstance(value, str)
    assert value


def test_server_version_has_three_numbers(peers: Callable[[], Peer]) -> None:
    """The test suites of other clients parse the version."""
    properties = peers().start().server_properties
    assert properties is not None
    assert re.match(r"\d+\.\d+\.\d+", str(properties["version"]))


@pytest.mark.parametrize(("mechanism", "encode"), [("PLAIN", plain), ("AMQPLAIN", amqplain)])
def test_login(peers: Callable[[], Peer], mechanism: str, encode: Callable[[str, str], str]) -> None:
    """A client may log in by PLAIN and by AMQPLAIN."""
    peer = peers()
    peer.start()
    peer.authenticate(mechanism, encode(peer.user, peer.password))
    peer.expect(commands.Connection.Tune, 0)
    peer.tune()
    peer.open()


@pytest.mark.parametrize(
    ("mechanism", "response"),
    [
        ("PLAIN", plain("guest", "wrong")),
        ("PLAIN", plain("guest", "")),
        ("PLAIN", plain("no such user", "guest")),
        ("AMQPLAIN", amqplain("guest", "wrong")),
        ("AMQPLAIN", amqplain("no such user", "guest")),
    ],
)
def test_refused_login_is_told_to_a_capable_client(
    peers: Callable[[], Peer], mechanism: str, response: str
) -> None:
    """The broker closes the connection with 403, which closes only a channel in all other cases."""
    peer = peers()
    peer.start()
    peer.authenticate(mechanism, response, CAPABLE)
    text = (
        f"ACCESS_REFUSED - Login was refused using authentication mechanism {mechanism}. "
        "For details see the broker logfile."
    )
    with closes(403, text, on_channel=False):
        peer.expect(commands.Connection.Tune, 0)


def test_refused_login_blames_no_method(peers: Callable[[], Peer]) -> None:
    """In the close after a refused login the class and method ids are 0."""
    peer = peers()
    peer.start()
    peer.authenticate("PLAIN", plain("guest", "wrong"), CAPABLE)
    with pytest.raises(ClosedByBrokerError) as caught:
        peer.expect(commands.Connection.Tune, 0)
    assert caught.value.offender == (0, 0)


def test_refused_login_without_the_capability_is_silent(peers: Callable[[], Peer]) -> None:
    """The broker sends no frame; to an unknown mechanism it is silent even for a capable client."""
    refused = []
    attempts: list[tuple[str, str, FieldTable]] = [
        ("PLAIN", plain("guest", "wrong"), {}),
        ("AMQPLAIN", amqplain("guest", "wrong"), {}),
        ("PLAIN", plain("guest", "wrong"), {"authentication_failure_close": False}),
        ("X-UNKNOWN", plain("guest", "guest"), CAPABLE),
    ]
    for mechanism, response, capabilities in attempts:
        peer = peers()
        peer.start()
        peer.authenticate(mechanism, response, capabilities)
        refused.append(peer)
    for peer in refused:
        assert peer.read_until_closed() == []


def test_tune_proposal(peers: Callable[[], Peer]) -> None:
    """The broker proposes 2047 channels, frames of 131072 bytes and a heartbeat of 60 seconds."""
    peer = peers()
    peer.start()
    peer.authenticate()
    tune = peer.expect(commands.Connection.Tune, 0)
    assert (tune.channel_max, tune.frame_max, tune.heartbeat) == (2047, 131072, 60)


@pytest.mark.parametrize(
    ("channel_max", "frame_max", "heartbeat"),
    [(1, 131072, 60), (2047, 131072, 0), (2047, 131072, 580), (100, 8192, 5)],
)
def test_tune_ok_may_differ(
    peers: Callable[[], Peer], channel_max: int, frame_max: int, heartbeat: int
) -> None:
    """A client may lower the limits, and chooses any heartbeat."""
    peers().login(channel_max, frame_max, heartbeat).open_channel().roundtrip()


def test_smallest_frame_size(broker: Broker, peers: Callable[[], Peer]) -> None:
    """The smallest frame-max is taken; the broker refuses one byte less."""
    peers().login(frame_max=smallest_frame(broker)).open_channel().roundtrip()


TUNE_REFUSALS = {
    (0, 131072): "negotiated channel_max = 0 (no limit) is higher than the maximum allowed value (2047)",
    (2048, 131072): "negotiated channel_max = 2048 is higher than the maximum allowed value (2047)",
    (2047, 0): "negotiated frame_max = 0 is higher than the maximum allowed value (131072)",
    (2047, 131073): "negotiated frame_max = 131073 is higher than the maximum allowed value (131072)",
    (2047, 4095): "negotiated frame_max = 4095 is lower than the minimum allowed value (4096)",
    (2047, 8191): "negotiated frame_max = 8191 is lower than the minimum allowed value (8192)",
}


def test_tune_ok_out_of_limits(broker: Broker, peers: Callable[[], Peer]) -> None:
    """Our broker says why, with 530; RabbitMQ resets the socket without a word."""
    refused = []
    for limits in TUNE_REFUSALS:
        if 0 < limits[1] < 131072 and limits[1] != smallest_frame(broker) - 1:
            continue
        peer = peers()
        peer.start()
        peer.authenticate()
        peer.expect(commands.Connection.Tune, 0)
        peer.tune(*limits)
        peer.send(commands.Connection.Open(virtual_host=peer.vhost), channel=0)
        refused.append((peer, limits))
    for peer, limits in refused:
        if broker.kind == "embedded":
            with closes(530, TUNE_REFUSALS[limits]):
                peer.expect(commands.Connection.OpenOk, 0)
        else:
            assert peer.read_until_closed() == []


@dataclass(frozen=True)
class HeartbeatTrial:
    """What became of clients with different heartbeats, watched at the same time."""

    silence_borne: float
    said_to_silent: list[int]
    said_without: list[int]


HEARTBEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"


@pytest.fixture(scope="module")
def heartbeat_trials() -> dict[str, HeartbeatTrial]:
    """Trials by broker: one of three seconds serves several tests."""
    return {}


@pytest.fixture
def heartbeats(
    broker: Broker, peers: Callable[[], Peer], heartbeat_trials: dict[str, HeartbeatTrial]
) -> HeartbeatTrial:
    """Wait until the broker drops a silent client, while others, all with heartbeat 1, stay talking."""
    if broker.url not in heartbeat_trials:
        without = peers().login(heartbeat=0).open_channel()
        busy = peers().login(heartbeat=1).open_channel()
        idle = peers().login(heartbeat=1).open_channel()
        silent = peers().login(heartbeat=1)
        began = time.monotonic()
        said: list[int] = []
        while time.monotonic() < began + 15:
            busy.roundtrip()
            idle.write(HEARTBEAT)
            try:
                said.append(silent.read_frame(timeout=0.1).kind)
            except TimeoutError:
                continue
            except EOFError:
                break
        borne = time.monotonic() - began
        busy.roundtrip()
        idle.roundtrip()
        without.send(commands.Channel.Close(200, "", 0, 0))
        heartbeat_trials[broker.url] = HeartbeatTrial(borne, said, [without.read_frame().kind])
    return heartbeat_trials[broker.url]


def test_silent_client_is_dropped_after_two_intervals(heartbeats: HeartbeatTrial) -> None:
    """The broker drops the silent client, and keeps those that send only methods or only heartbeats."""
    assert 1.5 < heartbeats.silence_borne < 10


def test_silent_client_is_dropped_without_a_close_method(heartbeats: HeartbeatTrial) -> None:
    """The broker sends nothing but heartbeats before it closes the socket."""
    assert set(heartbeats.said_to_silent) == {constants.FRAME_HEARTBEAT}


def test_broker_sends_heartbeats(heartbeats: HeartbeatTrial) -> None:
    """The broker sends one after half an interval of silence, so at least one in each whole interval."""
    assert len(heartbeats.said_to_silent) >= int(heartbeats.silence_borne)


def test_heartbeat_zero_is_off(heartbeats: HeartbeatTrial) -> None:
    """The broker sends nothing to a client that tuned 0, and expects nothing from it."""
    assert heartbeats.said_without == [constants.FRAME_METHOD]


def test_heartbeat_on_a_channel(peer: Peer) -> None:
    """A heartbeat on another channel than 0 closes the connection with 505."""
    peer.write(b"\x08\x00\x01\x00\x00\x00\x00\xce")
    with closes(505):
        peer.roundtrip()


def test_unknown_vhost(peers: Callable[[], Peer]) -> None:
    """The broker closes the connection with 530."""
    peer = peers()
    peer.start()
    peer.authenticate()
    peer.expect(commands.Connection.Tune, 0)
    peer.tune()
    with closes(530, "NOT_ALLOWED - vhost nope not found"):
        peer.open("nope")


HEARTBEATS = raw_frame(constants.FRAME_HEARTBEAT, 0, b"") * 1000
"""What a client may send that has not read yet that the connection is over."""


def test_close_is_answered_and_the_client_closes_the_socket(peer: Peer) -> None:
    """The broker leaves the first step to the client, for up to 30 seconds."""
    close = commands.Connection.Close(reply_code=200, reply_text="bye", class_id=0, method_id=0)
    peer.call(close, commands.Connection.CloseOk, 0)
    for _ in range(5):
        peer.write_on(HEARTBEATS)
    peer.finish()
    assert peer.read_until_closed() == []


@pytest.mark.parametrize("mistake", ["no open channel", "no known frame", "no good method"])
def test_client_that_is_still_writing_reads_why_the_connection_ends(peer: Peer, mistake: str) -> None:
    peer.answer_close = False
    if mistake == "no open channel":
        peer.send(commands.Basic.Ack(1), channel=5)
    elif mistake == "no known frame":
        peer.write(raw_frame(9, 1, b"abc"))
    else:
        peer.send(commands.Basic.Qos(prefetch_size=1))
    for _ in range(200):
        peer.write_on(HEARTBEATS)
    with closes({"no open channel": 504, "no known frame": 501, "no good method": 540}[mistake]):
        peer.expect(commands.Basic.QosOk)
    # A client that waits for the end of the socket after its close-ok gets it.
    peer.send(commands.Connection.CloseOk(), channel=0)
    assert peer.read_until_closed() == []


def test_socket_closes_after_close_ok(peer: Peer) -> None:
    """The socket closes after the client's close-ok, too, when the broker began."""
    with closes(540):
        peer.call(commands.Basic.Qos(prefetch_size=1), commands.Basic.QosOk)
    assert peer.read_until_closed() == []


def test_nothing_is_answered_after_connection_close(peer: Peer) -> None:
    """After its own connection.close the broker discards all but close and close-ok."""
    peer.answer_close = False
    with closes(540):
        peer.call(commands.Basic.Qos(prefetch_size=1), commands.Basic.QosOk)
    peer.send(commands.Channel.Open(), channel=2)
    peer.send(commands.Connection.CloseOk(), channel=0)
    assert peer.read_until_closed() == []


def test_both_sides_close_the_connection(peer: Peer) -> None:
    """The broker answers close-ok although it has sent close itself."""
    peer.answer_close = False
    with closes(540):
        peer.call(commands.Basic.Qos(prefetch_size=1), commands.Basic.QosOk)
    close = commands.Connection.Close(reply_code=200, reply_text="bye", class_id=0, method_id=0)
    peer.call(close, commands.Connection.CloseOk, 0)


def test_exclusive_queues_are_gone_when_close_ok_comes(
    broker: Broker,
    connections: Callable[..., BlockingConnection],
    connection: BlockingConnection,
    names: Names,
) -> None:
    """Tests of other clients redeclare at once; for RabbitMQ 4.3 they may be too fast."""
    made = [names() for _ in range(20)]
    owner = connections()
    declaring = owner.channel()
    for queue in made:
        declaring.queue_declare(queue, exclusive=True)
    owner.close()
    let_exclusive_queues_go(broker, connection, *made)
    channel = connection.channel()
    for queue in made:
        channel.queue_declare(queue)


def test_unacked_messages_come_back_on_close(
    connections: Callable[..., BlockingConnection], channel: BlockingChannel, queue: str
) -> None:
    """The broker requeues the message, and marks it as redelivered."""
    holder = connections()
    send(channel, queue, b"held")
    take(holder.channel(), queue)
    holder.close()
    message = take(channel, queue)
    assert (message.body, message.redelivered) == (b"held", True)


def test_lost_socket_deletes_exclusive_queues(peer: Peer, connection: BlockingConnection, name: str) -> None:
    """After a lost socket the broker cleans up as after a close."""
    peer.call(commands.Queue.Declare(queue=name, exclusive=True), commands.Queue.DeclareOk)
    peer.drop()
    eventually(lambda: vanished(connection, name))


def test_lost_socket_requeues(peer: Peer, channel: BlockingChannel, queue: str) -> None:
    """The broker requeues the message, and marks it as redelivered."""
    send(channel, queue, b"held")
    assert peer.get(queue, no_ack=False).body == b"held"
    peer.drop()
    message = take(channel, queue)
    assert (message.body, message.redelivered) == (b"held", True)


def test_update_secret(connection: BlockingConnection) -> None:
    """The broker accepts the secret, and the connection goes on."""
    connection.update_secret("guest", "rotation")
    assert connection.is_open


@pytest.mark.parametrize("client_property", ["connection_name", "product", "version", "platform"])
def test_client_properties_are_taken(
    connections: Callable[..., BlockingConnection], client_property: str
) -> None:
    """The broker accepts each property by which clients describe themselves."""
    assert connections(client_properties={client_property: "behaviour"}).channel().is_open


def test_channel_before_the_handshake_ended(peers: Callable[[], Peer]) -> None:
    """No channel may be opened before connection.open: the broker closes the connection with 505."""
    peer = peers()
    peer.start()
    peer.authenticate()
    peer.expect(commands.Connection.Tune, 0)
    peer.tune()
    with closes(505):
        peer.call(commands.Channel.Open(), commands.Channel.OpenOk)


@pytest.mark.parametrize(
    "method",
    [
        commands.Connection.StartOk({}, "PLAIN", plain("guest", "guest"), "en_US"),
        commands.Connection.TuneOk(10, 8192, 0),
        commands.Connection.Open(virtual_host="/"),
        commands.Basic.Qos(prefetch_count=1),
        commands.Channel.Open(),
    ],
    ids=lambda method: method.name,
)
def test_method_out_of_place_on_channel_zero(peer: Peer, method: base.Frame) -> None:
    """Neither a second handshake nor the methods of channels belong on channel 0."""
    with closes(504):
        peer.call(method, commands.Connection.OpenOk, 0)


@pytest.mark.parametrize("kind", [constants.FRAME_HEADER, constants.FRAME_BODY])
def test_content_on_channel_zero(peer: Peer, kind: int) -> None:
    """Content on channel 0 closes the connection with 505."""
    peer.write(raw_frame(kind, 0, content_header(0)))
    with closes(505):
        peer.roundtrip()


def test_connection_method_on_a_channel(peer: Peer) -> None:
    """Methods of the connection belong on channel 0 only: the broker closes with 503."""
    close = commands.Connection.Close(reply_code=200, reply_text="bye", class_id=0, method_id=0)
    with closes(503):
        peer.call(close, commands.Connection.CloseOk)


def test_idle_client_is_dropped_before_login(idle_peer: tuple[Peer, float]) -> None:
    """The broker waits ten seconds. The test comes last, as its socket has waited since the first."""
    peer, opened = idle_peer
    assert peer.read_until_closed(timeout=20) == []
    assert time.monotonic() - opened > 5
