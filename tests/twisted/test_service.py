"""The Twisted service before its start: names, children, and what a forked child may do with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.twisted.fired import result_of
from twisted.application.service import IService

from fedora_messaging.exceptions import ConfigurationException
from fedora_messaging.twisted.service import FedoraMessagingServiceV2

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


def test_the_configuration_names_the_broker(settings: config.LazyConfig) -> None:
    settings["amqp_url"] = "amqp://configured.example:8"
    assert FedoraMessagingServiceV2()._service.name == "configured.example:8"


def test_a_service_that_does_not_run() -> None:
    service = FedoraMessagingServiceV2(NOBODY)
    assert IService.providedBy(service)  # type: ignore[no-untyped-call, unused-ignore]
    assert not service.running
    assert not service.consuming
    assert service.stats is service.factory.stats


def test_stopping_what_does_not_run() -> None:
    service = FedoraMessagingServiceV2(NOBODY)
    for _ in range(2):
        result_of(service.stopService())
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
