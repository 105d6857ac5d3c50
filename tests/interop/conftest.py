"""Our library beside a foreign client, and applications of others that have a broker for themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.conftest import IMITATED, BrokerUnderTest, authenticated

from fedora_messaging import api, config
from fedora_messaging.broker import Broker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.rabbitmq import RabbitNode


@pytest.fixture
def library(embedded_broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Has the library's process-wide connection go to the embedded broker, and closes it."""
    monkeypatch.setenv(config.PATH_VARIABLE, "")
    monkeypatch.setenv(config.URL_VARIABLE, embedded_broker.amqp_url)
    monkeypatch.setattr(config, "conf", config.LazyConfig())
    yield
    api.close()


@pytest.fixture(scope="module", params=["embedded-4", "embedded-3", "rabbitmq"])
def any_broker(request: pytest.FixtureRequest) -> Iterator[BrokerUnderTest]:
    """The embedded broker as each of its profiles, then RabbitMQ."""
    if request.param == "rabbitmq":
        node: RabbitNode = request.getfixturevalue("rabbitmq")
        yield BrokerUnderTest("rabbitmq", node.version, node.url, node.management_url)
        return
    profile = request.param.removeprefix("embedded-")
    with Broker(profile=profile, http_port=0) as broker:
        yield BrokerUnderTest("embedded", IMITATED[profile], broker.amqp_url, authenticated(broker), broker)
