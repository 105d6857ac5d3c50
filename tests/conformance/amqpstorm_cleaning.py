"""A pytest plugin for amqpstorm's own tests: they clean up by AMQP, where they would by the HTTP API."""

import os
from collections.abc import Sequence

import pytest


def clean(names: Sequence[str], queue: bool = False, exchange: bool = False) -> None:
    """Delete queues and exchanges."""
    from amqpstorm import UriConnection

    if not queue and not exchange:
        return
    with UriConnection(os.environ["AMQP_URI"]) as connection, connection.channel() as channel:
        for name in names:
            if queue:
                channel.queue.delete(name)
            if exchange:
                channel.exchange.delete(name)


def pytest_configure(config: pytest.Config) -> None:
    from amqpstorm.tests.functional import utility

    utility.clean = clean
