"""Certificates, and brokers that have them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.cli.conftest import processes
from tests.support.fixtures import fresh_settings, light_heap, nothing_left
from tests.support.rabbitmq import find_rabbitmq
from tests.support.servers import require
from tests.tls import servers
from tests.tls.pki import Pki

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.tls.servers import TlsBroker

__all__ = ["fresh_settings", "light_heap", "nothing_left", "processes"]


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """All certificates."""
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="session")
def embedded_tls(pki: Pki) -> Iterator[TlsBroker]:
    """The embedded broker."""
    with servers.embedded(pki) as running:
        yield running


@pytest.fixture(scope="session")
def rabbitmq_tls(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsBroker]:
    """RabbitMQ."""
    require(
        find_rabbitmq() is not None,
        "RabbitMQ",
        "install the package rabbitmq-server (its service need not run) with Erlang's erl on the path",
    )
    with servers.rabbitmq(pki, tmp_path_factory.mktemp("rabbitmq-tls")) as running:
        yield running


@pytest.fixture(params=["embedded", "rabbitmq"])
def broker(request: pytest.FixtureRequest) -> TlsBroker:
    """The embedded broker, then RabbitMQ."""
    running: TlsBroker = request.getfixturevalue(f"{request.param}_tls")
    return running
