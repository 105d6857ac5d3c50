"""What clients say reaches the broker's log harmless, and in measure."""

from __future__ import annotations

import logging

import pytest
from pamqp import commands
from tests.behaviour.peer import ClosedByBrokerError, Peer

from fedora_messaging.broker import Broker

EVIL = "\x1b[2J\r\nCRITICAL forged \x9b\u202e\x7f"


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.name.startswith("fedora_messaging")]


@pytest.mark.parametrize("what", ["virtual host", "consumer tag", "user", "mechanism", "close"])
def test_p22_names_in_the_log(what: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), Broker() as broker, Peer(broker.amqp_url) as peer:
        if what == "virtual host":
            peer.vhost = EVIL
        elif what == "user":
            peer.user = EVIL
        try:
            if what == "mechanism":
                peer.start()
                peer.authenticate(mechanism=EVIL)
                peer.read_method()
            peer.login().open_channel()
            if what == "consumer tag":
                peer.call(commands.Queue.Declare(queue="q"), commands.Queue.DeclareOk)
                consume = commands.Basic.Consume(queue="q", consumer_tag=EVIL)
                peer.call(consume, commands.Basic.ConsumeOk)
                peer.send(consume)
            else:
                peer.send(commands.Connection.Close(320, EVIL, 0, 0), channel=0)
            peer.read_method()
        except (ClosedByBrokerError, EOFError):
            pass
    assert all(line.isprintable() for line in logged(caplog))
    if what in {"virtual host", "consumer tag", "user"}:
        assert any("forged" in line for line in logged(caplog))


def test_p22_flood_of_refused_connections(caplog: pytest.LogCaptureFixture) -> None:
    """A client can come again as fast as it likes: not each time is a line."""
    times = 200
    with caplog.at_level(logging.WARNING), Broker() as broker:
        for _ in range(times):
            with Peer(broker.amqp_url) as peer:
                peer.vhost = "none"
                with pytest.raises((ClosedByBrokerError, EOFError)):
                    peer.login()
    told = [line for line in logged(caplog) if "vhost none" in line]
    assert 1 <= len(told) < times / 2
