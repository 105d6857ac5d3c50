"""A client that asks and does not read: the broker owes it little, and all of that comes in the end."""

from __future__ import annotations

import re
import resource
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pamqp import commands, frame
from tests.behaviour.peer import ClosedByBrokerError, Peer, content_header, raw_frame
from tests.support.processes import start_broker

if TYPE_CHECKING:
    from tests.support.processes import Processes

BODY = bytes(100_000)
COUNT = 5000
#: By how many bytes the broker's process may grow.
ROOM = 150_000_000


def size_of(pid: int) -> int:
    """The address space of a process, in bytes."""
    found = re.search(r"^VmSize:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) * 1024


def asked_again_and_again() -> bytes:
    """Requests of one message, which is put back each time: some bytes ask for many."""
    get = frame.marshal(commands.Basic.Get(queue="q"), 1)
    nacks = (commands.Basic.Nack(delivery_tag=tag, requeue=True) for tag in range(1, COUNT + 1))
    return b"".join(get + frame.marshal(nack, 1) for nack in nacks)


def test_publish_behind_unread_answers_is_taken(processes: Processes) -> None:
    """Although the client leaves without reading them."""
    _, port = start_broker(processes)
    url = f"amqp://guest:guest@127.0.0.1:{port}/%2F"
    with Peer(url).login().open_channel() as peer, Peer(url).login().open_channel() as innocent:
        for queue in ("q", "late"):
            peer.call(commands.Queue.Declare(queue=queue), commands.Queue.DeclareOk)
        peer.publish(BODY, routing_key="q")
        publish = frame.marshal(commands.Basic.Publish(routing_key="late"), 1)
        late = publish + raw_frame(2, 1, content_header(2)) + raw_frame(3, 1, b"hi")
        farewell = frame.marshal(commands.Connection.Close(200, "bye", 0, 0), 0)
        peer.write(asked_again_and_again() + late + farewell)
        while peer.read_frame().channel:
            pass  # an answer; the frame on channel 0 confirms the end
        assert innocent.get("late").body == b"hi"


def test_error_that_had_to_wait_is_told(processes: Processes) -> None:
    """The client is sent nothing else when it has read what it was owed."""
    _, port = start_broker(processes)
    with Peer(f"amqp://guest:guest@127.0.0.1:{port}/%2F").login().open_channel() as peer:
        peer.call(commands.Queue.Declare(queue="q"), commands.Queue.DeclareOk)
        big = [bytes(100_000)] * 160
        peer.publish(big, routing_key="q")
        peer.roundtrip()
        get = commands.Basic.Get(queue="q")
        peer.send(get, commands.Basic.Nack(delivery_tag=1, requeue=True), get)
        peer.send(commands.Queue.Declare(queue="missing", passive=True))
        for _ in range(2):
            peer.expect(commands.Basic.GetOk)
            assert len(peer.read_content().body) == 16_000_000
        with pytest.raises(ClosedByBrokerError) as caught:
            peer.read_method()
        assert caught.value.reply_code == 404


@pytest.mark.timeout(90)
def test_p18_client_that_does_not_read(processes: Processes) -> None:
    broker, port = start_broker(processes)
    url = f"amqp://guest:guest@127.0.0.1:{port}/%2F"
    with Peer(url).login().open_channel() as peer, Peer(url).login().open_channel() as innocent:
        peer.call(commands.Queue.Declare(queue="q"), commands.Queue.DeclareOk)
        peer.publish(BODY, routing_key="q")
        peer.roundtrip()
        limit = size_of(broker.pid) + ROOM
        resource.prlimit(broker.pid, resource.RLIMIT_AS, (limit, limit))
        peer.write(asked_again_and_again())
        innocent.roundtrip()
        for _ in range(COUNT):
            peer.expect(commands.Basic.GetOk)
            assert len(peer.read_content().body) == len(BODY)
        peer.roundtrip()
    broker.signal(signal.SIGTERM)
    assert broker.end().status == 0
