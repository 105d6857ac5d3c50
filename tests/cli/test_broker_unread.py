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


def test_what_had_to_wait_is_acted_on_in_order(processes: Processes) -> None:
    """Also what ends the channel, and what was published before the client left without reading."""
    _, port = start_broker(processes)
    url = f"amqp://guest:guest@127.0.0.1:{port}/%2F"
    with Peer(url).login().open_channel() as innocent:
        for ending in (
            frame.marshal(commands.Queue.Declare(queue="missing", passive=True), 1),
            frame.marshal(commands.Connection.Close(200, "bye", 0, 0), 0),
        ):
            with Peer(url).login().open_channel() as peer:
                peer.call(commands.Queue.Declare(queue="q"), commands.Queue.DeclareOk)
                peer.publish(BODY, routing_key="q")
                peer.roundtrip()
                publish = frame.marshal(commands.Basic.Publish(routing_key="late"), 1)
                innocent.call(commands.Queue.Declare(queue="late"), commands.Queue.DeclareOk)
                late = publish + raw_frame(2, 1, content_header(2)) + raw_frame(3, 1, b"hi")
                peer.write(asked_again_and_again() + late + ending)
                if b"missing" in ending:
                    for _ in range(COUNT):
                        peer.expect(commands.Basic.GetOk)
                        peer.read_content()
                    with pytest.raises(ClosedByBrokerError) as caught:
                        peer.read_method()
                    assert caught.value.reply_code == 404
                else:
                    peer.read_until_closed()
                assert innocent.get("late").body == b"hi"
                innocent.call(commands.Queue.Delete(queue="q"), commands.Queue.DeleteOk)


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
