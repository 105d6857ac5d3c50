"""The profiles of the embedded broker: which release of RabbitMQ it imitates."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import pytest
from tests.behaviour.peer import Peer
from tests.client.support import Consuming
from tests.support.waiting import eventually

from fedora_messaging import api, config
from fedora_messaging.broker import Broker
from fedora_messaging.broker.core.profile import RABBITMQ_3, RABBITMQ_4, Profile
from fedora_messaging.message import Message

if TYPE_CHECKING:
    from tests.support.brokers import Broker as BrokerUnderTest


def test_clients_are_told_the_release(broker: BrokerUnderTest) -> None:
    """Clients that choose by product and version what they may ask for find those of RabbitMQ."""
    with Peer(broker.url) as peer:
        properties = peer.start().server_properties
    assert properties["product"] == "RabbitMQ"
    assert str(properties["version"]).startswith("{}.{}.".format(*broker.version))


def test_own_name_beside_the_product() -> None:
    """Whoever wants to know it finds out that this is no RabbitMQ."""
    with Broker() as broker, Peer(broker.amqp_url) as peer:
        assert str(peer.start().server_properties["platform"]).startswith("fedora-messaging ")


@pytest.mark.parametrize("rule", [rule.name for rule in fields(Profile)])
def test_rules_differ(rule: str) -> None:
    """A rule that is the same in both profiles is none."""
    assert getattr(RABBITMQ_3, rule) != getattr(RABBITMQ_4, rule)


def test_unknown_profile() -> None:
    with pytest.raises(ValueError, match="there is no profile '5'; choose one of 3, 4"):
        Broker(profile="5")


@pytest.mark.parametrize("profile", ["3", "4"])
def test_our_defaults_pass(profile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a program gets that configures nothing."""
    received: list[Message] = []
    with Broker(profile=profile) as broker:
        monkeypatch.setattr(config, "conf", config.LazyConfig())
        config.conf["amqp_url"] = broker.amqp_url
        try:
            with Consuming(received.append):
                eventually(
                    lambda: api._twisted_service is not None and api._twisted_service.snapshot().consuming
                )
                api.publish(Message(topic="t"))
                eventually(lambda: received)
        finally:
            api.close()
