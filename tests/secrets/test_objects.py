"""Objects that hold the password do not show it (P23)."""

from __future__ import annotations

import gc
import traceback
from pprint import pformat
from types import FrameType, FunctionType, ModuleType
from typing import TYPE_CHECKING

import pytest
from tests.client.support import run
from tests.secrets.canary import PASSWORD, QUOTED

from fedora_messaging import aio, api, config
from fedora_messaging.broker import AsyncBroker, Broker
from fedora_messaging.exceptions import ConnectionException
from fedora_messaging.message import Message
from fedora_messaging.protocol.connection import Machine
from fedora_messaging.settings.to_options import connection_options

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.secrets.canary import Outputs


@pytest.fixture
def url(bird_broker: Broker) -> str:
    return f"amqp://bird:{QUOTED}@127.0.0.1:{bird_broker.port}"


def ours(*roots: object) -> Iterator[object]:
    """All objects of the library's classes that others lead to."""
    known = {id(root) for root in roots}
    todo = [*roots]
    while todo:
        found = todo.pop()
        if type(found).__module__.startswith("fedora_messaging"):
            yield found
        for other in gc.get_referents(found):
            if id(other) not in known and not isinstance(other, (type, ModuleType, FunctionType, FrameType)):
                known.add(id(other))
                todo.append(other)


def test_p23_configuration(outputs: Outputs, settings: config.LazyConfig, url: str, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f'amqp_url = "{url}"\n')
    settings.load_config(str(path))
    assert settings["amqp_url"] == url
    outputs.add(settings, pformat(settings), [settings], {"conf": settings})
    options = connection_options(settings)
    assert options.password == PASSWORD
    outputs.add(options, [options], options.address, pformat(options))
    outputs.assert_clean()


def test_p23_url_from_a_file(outputs: Outputs, settings: config.LazyConfig, url: str, tmp_path: Path) -> None:
    path, url_file = tmp_path / "config.toml", tmp_path / "url"
    path.write_text(f'amqp_url_file = "{url_file}"\n')
    url_file.write_text(f"{url}\n")
    settings.load_config(str(path))
    assert connection_options(settings).password == PASSWORD
    outputs.add(settings, pformat(settings))
    outputs.assert_clean()


def test_p23_everything_of_a_connection(
    outputs: Outputs, settings: config.LazyConfig, bird_broker: Broker, url: str
) -> None:
    """Whatever object is shown while connections are open, of a client or of a broker."""
    settings["amqp_url"] = url

    async def main() -> None:
        async with aio.connect() as bus, bus.subscribe("secrets.#") as deliveries:
            await bus.publish(Message(topic="secrets.test"))
            outputs.add(bus, deliveries, await anext(deliveries))
            found = [*ours(bus, deliveries, api._twisted_service, bird_broker)]
            # Of both ends.
            assert sum(isinstance(one, Machine) for one in found) >= 4
            outputs.add(*found)

    try:
        api.publish(Message(topic="secrets.test"))
        run(main())
    finally:
        api.close()
    outputs.assert_clean()


def test_p23_brokers(outputs: Outputs, bird_broker: Broker) -> None:
    accounts = bird_broker.accounts
    outputs.add(
        bird_broker, bird_broker.amqp_url, accounts, accounts.user("bird"), AsyncBroker(accounts=accounts)
    )
    outputs.assert_clean()


def test_p23_twisted(outputs: Outputs, settings: config.LazyConfig, url: str) -> None:
    twisted = pytest.importorskip("fedora_messaging.twisted.service")
    settings["amqp_url"] = url
    for service in (twisted.FedoraMessagingServiceV2(), twisted.FedoraMessagingServiceV2(url)):
        assert service._parameters.password == PASSWORD
        outputs.add(service, service.factory, service._service, service._service.name, service._parameters)
        outputs.add(
            service.factory.buildProtocol(None), service.factory.engine, service.factory.engine.options
        )
    outputs.assert_clean()


def test_p23_errors_with_the_values_of_variables(
    outputs: Outputs, settings: config.LazyConfig, bird_broker: Broker
) -> None:
    """Collectors of errors show the variables of each frame; the objects among them do not tell."""
    settings["amqp_url"] = f"amqp://guest:{QUOTED}@127.0.0.1:{bird_broker.port}"
    with pytest.raises(ConnectionException) as caught:
        try:
            api.publish(Message(topic="secrets.test"))
        finally:
            api.close()
    outputs.add(
        "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    )
    outputs.assert_clean()
