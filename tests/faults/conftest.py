"""Fixtures of the client's tests, used here too, and a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.fixtures import fresh_settings, light_heap, nothing_left
from tests.support.rabbitmq import RabbitCluster, find_rabbitmq
from tests.support.servers import require

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["fresh_settings", "light_heap", "nothing_left"]


def _require_rabbitmq() -> None:
    require(
        find_rabbitmq() is not None,
        "RabbitMQ",
        "install the package rabbitmq-server (its service need not run) with Erlang's erl on the path",
    )


@pytest.fixture(scope="session")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitCluster]:
    """Three RabbitMQ nodes that form a cluster, one for the whole session."""
    _require_rabbitmq()
    with RabbitCluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started


@pytest.fixture
def cluster(shared_cluster: RabbitCluster) -> Iterator[RabbitCluster]:
    """The cluster, whole; a test may do to its nodes what it likes."""
    yield shared_cluster
    shared_cluster.repair()


@pytest.fixture(scope="module", params=["pause_minority", "ignore"])
def shared_parting_cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RabbitCluster]:
    """The same with each way to handle partitions; its nodes soon give up one that does not answer."""
    _require_rabbitmq()
    directory = tmp_path_factory.mktemp("parting")
    with RabbitCluster(directory, partition_handling=request.param, tick=8) as started:
        yield started


@pytest.fixture
def parting_cluster(shared_parting_cluster: RabbitCluster) -> Iterator[RabbitCluster]:
    """The cluster, whole; a test may do to its nodes what it likes."""
    yield shared_parting_cluster
    shared_parting_cluster.repair()
