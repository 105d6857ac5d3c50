"""The Twisted service before its start: names, children, and what a forked child may do with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.twisted.fired import error_of, result_of
from twisted.application.service import MultiService

from fedora_messaging import api
from fedora_messaging.exceptions import ConfigurationException, ConnectionException
from fedora_messaging.message import Message
from fedora_messaging.twisted.factory import FedoraMessagingFactoryV2
from fedora_messaging.twisted.service import FedoraMessagingServiceV2
from fedora_messaging.twisted.stats import FactoryStatistics

if TYPE_CHECKING:
    from fedora_messaging import config

NOBODY = "amqp://127.0.0.1:1"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        (NOBODY, "127.0.0.1:1"),
        ("amqp://broker.example", "broker.example:5672"),
        ("amqps://broker.example", "ssl:broker.example:5671"),
        ("amqps://broker.example:7", "ssl:broker.example:7"),
        ("amqp+unix:///run/broker.sock", "/run/broker.sock"),
    ],
)
def test_name_of_the_connection(url: str, name: str) -> None:
    service = FedoraMessagingServiceV2(url)
    [child] = service.services
    assert child.name == name
    assert child is service._service
    assert child.parent is service


@pytest.mark.parametrize("url", ["ftp://broker.example", "amqp://broker.example?nonsense=1"])
def test_wrong_url(url: str) -> None:
    with pytest.raises(ConfigurationException):
        FedoraMessagingServiceV2(url)


@pytest.mark.parametrize("url", ["", None])
def test_the_configuration_names_the_broker(settings: config.LazyConfig, url: str | None) -> None:
    settings["amqp_url"] = "amqp://configured.example:8"
    [child] = FedoraMessagingServiceV2(url).services
    assert child.name == "configured.example:8"


def test_wrong_tls_settings(settings: config.LazyConfig) -> None:
    """Raised when the service is made, also when `api` makes it."""
    settings["tls"] = {"ca_cert": "/no/such/file", "certfile": None, "keyfile": None}
    with pytest.raises(ConfigurationException, match="/no/such/file"):
        FedoraMessagingServiceV2("amqps://localhost")
    settings["amqp_url"] = "amqps://localhost"
    with pytest.raises(ConfigurationException, match="/no/such/file"):
        api.twisted_consume(print, queues={})


def test_facts() -> None:
    """Names and attributes that programs know."""
    service: Any = FedoraMessagingServiceV2("amqp://me:canary-password@127.0.0.1:1/%2F")
    assert issubclass(FedoraMessagingServiceV2, MultiService)
    assert service.name == "fedora-messaging-servicev2"
    assert type(service.factory) is FedoraMessagingFactoryV2
    assert list(service) == [service._service]
    assert service._service.factory is service.factory
    assert service.getServiceNamed("127.0.0.1:1") is service._service
    assert service._confirms is True
    assert FedoraMessagingServiceV2(NOBODY, publish_confirms=False)._confirms is False
    assert service.stats == FactoryStatistics()
    assert not service.running
    assert service.consuming is False
    assert "canary-password" not in f"{service.factory!r} {service._parameters!r} {service!r}"


def test_stopping_what_does_not_run() -> None:
    """Fails what waits, and does no harm."""
    service = FedoraMessagingServiceV2(NOBODY)
    publishing = service.factory.publish(Message(topic="x"), "amq.topic")
    for _ in range(2):
        result_of(service.stopService())
    error_of(publishing, ConnectionException)
    assert not service.running
    assert service.survives_fork


def test_a_forked_child_can_use_it_until_the_start() -> None:
    """The start makes threads, which a fork does not copy."""
    service = FedoraMessagingServiceV2(NOBODY)
    assert service.survives_fork
    blocking = service.blocking_service()
    try:
        assert not service.survives_fork
    finally:
        blocking.close()


def test_blocking_calls_share_one_client() -> None:
    service = FedoraMessagingServiceV2(NOBODY)
    first = service.blocking_service()
    assert service.blocking_service() is first is service.factory.engine.service
    first.close()
    second = service.blocking_service()
    try:
        assert second is not first
        assert not second.closed
    finally:
        second.close()
