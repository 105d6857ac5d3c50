"""The factory before its start: its state, the knobs of Twisted's factories, and checks of arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from tests.client.support import queue_settings
from tests.twisted.fired import error_of, result_of

from fedora_messaging.exceptions import ConnectionException
from fedora_messaging.message import Message
from fedora_messaging.options import ConnectionOptions
from fedora_messaging.sync.service import Service
from fedora_messaging.twisted.factory import FedoraMessagingFactoryV2
from fedora_messaging.twisted.protocol import FedoraMessagingProtocolV2
from fedora_messaging.twisted.stats import ConsumerStatistics, FactoryStatistics

if TYPE_CHECKING:
    from collections.abc import Iterator

OPTIONS = ConnectionOptions(host="127.0.0.1", port=1, password="canary-password")


@pytest.fixture
def factory() -> FedoraMessagingFactoryV2:
    return FedoraMessagingFactoryV2(OPTIONS)


@pytest.fixture
def service() -> Iterator[Service]:
    """A client that runs, and has not connected yet."""
    made = Service(OPTIONS)
    yield made
    made.close()


# State


def test_nothing_has_happened(factory: FedoraMessagingFactoryV2) -> None:
    snapshot = factory.snapshot()
    assert (snapshot.connected, snapshot.consuming, snapshot.reason) == (False, False, "not started")
    assert (snapshot.published, snapshot.reconnects, snapshot.blocked) == (0, 0, None)
    assert snapshot.queues == ()
    assert not factory.consuming
    assert factory.stats == FactoryStatistics(0, ConsumerStatistics(0, 0, 0, 0, 0))
    assert factory._consumers == []


def test_a_stop_that_has_nothing_to_stop_changes_nothing(factory: FedoraMessagingFactoryV2) -> None:
    assert result_of(factory.stopFactory()) is None
    assert factory.snapshot().reason == "not started"


def test_state_of_a_client_that_runs_already(service: Service) -> None:
    factory = FedoraMessagingFactoryV2(OPTIONS, service=service)
    assert factory.snapshot().reason == "not connected"
    assert factory.stats == FactoryStatistics()
    factory.maxDelay = 7.0
    assert service.backoff.maximum == 7.0


def test_what_is_shown(factory: FedoraMessagingFactoryV2) -> None:
    assert repr(factory) == f"FedoraMessagingFactoryV2(parameters={OPTIONS!r}, confirms=True)"
    assert repr(FedoraMessagingFactoryV2(OPTIONS, False)).endswith(", confirms=False)")
    assert "canary-password" not in repr(factory)


# The attributes of Twisted's reconnecting factories


@pytest.mark.parametrize(
    ("name", "of_backoff", "value"),
    [
        ("maxRetries", "limit", 5),
        ("maxRetries", "limit", None),
        ("initialDelay", "initial", 0.25),
        ("delay", "ceiling", 0.75),
        ("maxDelay", "maximum", 90.0),
        ("factor", "factor", 1.5),
        ("continueTrying", "keep_trying", False),
    ],
)
def test_attributes_set_the_delays(
    factory: FedoraMessagingFactoryV2, name: str, of_backoff: str, value: Any
) -> None:
    setattr(factory, name, value)
    assert getattr(factory.engine.backoff, of_backoff) == value
    assert getattr(factory, name) == value
    other = FedoraMessagingFactoryV2(OPTIONS)
    assert getattr(other, name) == getattr(type(other.engine.backoff)(), of_backoff)


@pytest.mark.parametrize(("given", "taken"), [(0, False), (1, True)])
def test_twisteds_own_value_of_continue_trying_is_a_number(
    factory: FedoraMessagingFactoryV2, given: int, taken: bool
) -> None:
    factory.continueTrying = given
    assert factory.continueTrying is taken


def test_retries_are_counted_and_cannot_be_set(factory: FedoraMessagingFactoryV2) -> None:
    factory.engine.backoff.next()
    factory.engine.backoff.next()
    assert factory.retries == 2
    with pytest.raises(AttributeError):
        factory.retries = 0  # type: ignore[misc]
    assert factory.delay > factory.initialDelay
    factory.resetDelay()
    assert (factory.retries, factory.delay) == (0, factory.initialDelay)


def test_giving_up_before_the_start(factory: FedoraMessagingFactoryV2) -> None:
    factory.stopTrying()
    assert not factory.continueTrying


# Connections


def test_each_connection_has_an_object_of_the_factorys_class(factory: FedoraMessagingFactoryV2) -> None:
    class Protocol(FedoraMessagingProtocolV2):
        pass

    first, second = factory.buildProtocol(None), factory.buildProtocol(None)
    assert type(first) is FedoraMessagingProtocolV2
    assert first is not second
    assert first.factory is second.factory is factory
    assert first.is_closed
    factory.protocol = Protocol
    assert type(factory.buildProtocol(None)) is Protocol


def test_a_program_that_waits_for_the_connection_learns_of_the_stop(
    factory: FedoraMessagingFactoryV2,
) -> None:
    waiting = factory.when_connected()
    assert not waiting.called
    assert result_of(factory.stopFactory()) is None
    assert str(error_of(waiting, ConnectionException)) == "the service is stopped"


# Arguments


def test_an_invalid_message_fails_without_waiting_for_the_start(factory: FedoraMessagingFactoryV2) -> None:
    invalid = Message(topic="x")
    invalid._headers["fedora_messaging_severity"] = 42
    error = error_of(factory.publish(invalid), jsonschema.ValidationError)
    assert error.message == "42 is not one of [10, 20, 30, 40]"
    assert not factory.publish(Message(topic="x")).called


@pytest.mark.parametrize(
    ("bindings", "queues", "text"),
    [
        (5, {}, "bindings must be a list or tuple of dictionaries, but was a <class 'int'>"),
        (
            [{"exchange": "e"}],
            {},
            "a binding is missing the following keys from its settings value: ['routing_keys']",
        ),
        ([], 5, "'queues' must be a dictionary mapping queue names to settings."),
    ],
)
def test_wrong_bindings_and_queues_raise_at_once(
    factory: FedoraMessagingFactoryV2, bindings: Any, queues: Any, text: str
) -> None:
    with pytest.raises(ValueError) as caught:
        factory.consume(print, bindings, queues)
    assert str(caught.value) == text


def test_consuming_waits_for_the_start(factory: FedoraMessagingFactoryV2) -> None:
    waiting = factory.consume(print, [], {"q": queue_settings()})
    assert not waiting.called
    assert factory._consumers == []
    assert result_of(factory.stopFactory()) is None
    error_of(waiting, ConnectionException)


def test_cancelling_no_consumers(factory: FedoraMessagingFactoryV2) -> None:
    assert result_of(factory.cancel([])) is None
