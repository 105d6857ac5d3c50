"""The object of a connection while there is no connection; scenarios try it on real ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.twisted.fired import error_of, result_of

from fedora_messaging.exceptions import ConnectionException
from fedora_messaging.message import Message
from fedora_messaging.options import ConnectionOptions
from fedora_messaging.twisted.protocol import BindingArgument, FedoraMessagingProtocolV2

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred

QUEUE = {"queue": "q", "durable": True, "auto_delete": False, "exclusive": False, "arguments": {}}
EXCHANGE = {"exchange": "e", "exchange_type": "topic", "durable": True, "auto_delete": False, "arguments": {}}

# All that needs a connection.
USES: dict[str, Callable[[FedoraMessagingProtocolV2], Deferred[Any]]] = {
    "publish": lambda protocol: protocol.publish(Message(topic="x"), "amq.topic"),
    "consume": lambda protocol: protocol.consume(print, "q"),
    "declare an exchange": lambda protocol: protocol.declare_exchanges([EXCHANGE]),
    "declare no exchange": lambda protocol: protocol.declare_exchanges([]),
    "declare a queue": lambda protocol: protocol.declare_queue(QUEUE),
    "declare no queue": lambda protocol: protocol.declare_queues([]),
    "bind": lambda protocol: protocol.bind_queues([{"queue": "q", "exchange": "e", "routing_key": "#"}]),
    "close the publisher's channel": lambda protocol: protocol._publish_channel.close(),
}


@pytest.fixture
def protocol() -> FedoraMessagingProtocolV2:
    """It has no factory either: nothing may ask for one."""
    return FedoraMessagingProtocolV2(ConnectionOptions())


def test_nothing_is_there_yet(protocol: FedoraMessagingProtocolV2) -> None:
    assert protocol.is_closed
    assert not protocol.ready.called


@pytest.mark.parametrize("use", USES)
def test_uses_fail_and_do_not_raise(protocol: FedoraMessagingProtocolV2, use: str) -> None:
    error = error_of(USES[use](protocol), ConnectionException)
    assert (str(error), error.reason) == ("the connection is closed", "the connection is closed")


@pytest.mark.parametrize("name", ["halt", "close"])
def test_ending_it_is_no_error(protocol: FedoraMessagingProtocolV2, name: str) -> None:
    for _ in range(2):
        assert result_of(getattr(protocol, name)()) is None


def test_an_invalid_message_is_not_looked_at(protocol: FedoraMessagingProtocolV2) -> None:
    invalid: Any = "no message"
    error_of(protocol.publish(invalid, "amq.topic"), ConnectionException)


def test_keys_of_a_binding() -> None:
    """Programs annotate their own tables with it; the queue's name is optional as in the configuration."""
    assert BindingArgument.__required_keys__ == {"exchange", "routing_key"}
    assert BindingArgument.__optional_keys__ == {"queue"}
