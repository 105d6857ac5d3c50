"""Requests to a client that does not run: they wait for the start, or fail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.twisted.fired import error_of, result_of
from twisted.internet.defer import CancelledError, Deferred

from fedora_messaging.exceptions import ConnectionException
from fedora_messaging.frontends.publishing import prepare
from fedora_messaging.message import Message
from fedora_messaging.options import ConnectionOptions
from fedora_messaging.sync.service import Service
from fedora_messaging.twisted.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fedora_messaging.client.supervisor import Supervisor

OPTIONS = ConnectionOptions(host="127.0.0.1", port=1)
STOPPED = "the service is stopped"


async def never(_supervisor: Supervisor) -> None:
    raise AssertionError("the client does not run")


def published(engine: Engine) -> Deferred[None]:
    return engine.publish(prepare(Message(topic="x"), "amq.topic"))


@pytest.fixture
def service() -> Iterator[Service]:
    """A client that runs, and connects to nobody."""
    made = Service(OPTIONS)
    yield made
    made.close()


def test_before_the_start() -> None:
    engine = Engine(OPTIONS)
    waiting: list[Deferred[Any]] = [engine.run(never), published(engine), engine.run(never)]
    assert not any(deferred.called for deferred in waiting)
    assert engine.service is None
    assert engine.options is OPTIONS
    assert engine.backoff.keep_trying


def test_a_stop_before_the_start_fails_what_waits() -> None:
    engine = Engine(OPTIONS)
    waiting: list[Deferred[Any]] = [engine.run(never), published(engine), engine.run(never)]
    assert result_of(engine.stop()) is None
    for deferred in waiting:
        error = error_of(deferred, ConnectionException)
        assert (str(error), error.reason) == (STOPPED, STOPPED)


def test_after_the_stop_nothing_waits() -> None:
    engine = Engine(OPTIONS)
    assert result_of(engine.stop()) is None
    assert str(error_of(engine.run(never), ConnectionException)) == STOPPED
    assert str(error_of(published(engine), ConnectionException)) == STOPPED
    assert result_of(engine.stop()) is None


@pytest.mark.parametrize("request_", [lambda engine: engine.run(never), published], ids=["run", "publish"])
def test_a_request_that_was_cancelled_is_forgotten(request_: Callable[[Engine], Deferred[Any]]) -> None:
    engine = Engine(OPTIONS)
    cancelled, other = request_(engine), engine.run(never)
    cancelled.cancel()
    error_of(cancelled, CancelledError)
    assert not other.called
    assert result_of(engine.stop()) is None
    error_of(other, ConnectionException)


def test_a_cancelled_publish_fails_at_once() -> None:
    cancelled = published(Engine(OPTIONS))
    cancelled.cancel()
    error_of(cancelled, CancelledError)


def test_client_of_somebody_else(service: Service) -> None:
    """The engine uses it, and its delays, and starts none of its own."""
    engine = Engine(OPTIONS, service)
    assert engine.service is service
    assert engine.backoff is service.backoff
    assert engine.start() is service
    assert engine.service is service
