"""Fixtures of the client tests; what a test declares under its `name` is deleted after it."""

from __future__ import annotations

import faulthandler
import gc
import logging
import threading
from typing import TYPE_CHECKING

import pytest
from tests.behaviour.support import Names
from tests.client.support import Admin
from tests.support.proxy import Proxy
from tests.support.waiting import eventually

from fedora_messaging import api, config
from fedora_messaging.frontends import event_loop_guard

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.brokers import Broker


class _Complaints(logging.Handler):
    """Collects what asyncio can only log, such as errors of tasks that nobody awaited."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(self.format(record))


@pytest.fixture(scope="module", autouse=True)
def light_heap() -> Iterator[None]:
    """Let the collections between tests look at what the module's tests made only."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No error is lost in asyncio, no thread and no socket outlives its test."""
    complaints = _Complaints()
    logger = logging.getLogger("asyncio")
    logger.addHandler(complaints)
    before = {*threading.enumerate()}
    try:
        yield
        # Sockets, tasks and futures that were forgotten complain when they are collected.
        gc.collect()
    finally:
        logger.removeHandler(complaints)
    assert not complaints.found, "\n".join(complaints.found)

    # The embedded broker is started by the first test of a module and serves all of it.
    def left() -> list[threading.Thread]:
        return [t for t in threading.enumerate() if t not in before and t.name != "broker"]

    try:
        eventually(lambda: not left())
    except AssertionError:
        faulthandler.dump_traceback(all_threads=True)
        raise AssertionError(f"the test has left threads: {left()}") from None


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> config.LazyConfig:
    """The defaults, in a configuration that the test may change."""
    for variable in (config.PATH_VARIABLE, config.URL_VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    fresh = config.LazyConfig()
    monkeypatch.setattr(config, "conf", fresh)
    return fresh


@pytest.fixture
def nothing_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """No calling line has been warned yet that it blocks its event loop."""
    monkeypatch.setattr(event_loop_guard, "_told", {})


@pytest.fixture
def names(broker: Broker) -> Iterator[Names]:
    """Makes as many unique names as a test needs."""
    made = Names(broker.url)
    yield made
    made.delete_all()


@pytest.fixture
def name(names: Names) -> str:
    """A unique name of a queue and its messages."""
    return names()


@pytest.fixture
def admin(broker: Broker, names: Names) -> Iterator[Admin]:
    """An independent client."""
    made = Admin(broker.url)
    yield made
    made.close()


@pytest.fixture
def queue(admin: Admin, name: str) -> str:
    """A queue that is bound for its messages."""
    return admin.declare(name)


@pytest.fixture
def proxy(broker: Broker, names: Names) -> Iterator[Proxy]:
    """A proxy in front of the broker."""
    with Proxy(broker.url) as made:
        yield made


@pytest.fixture
def service(broker: Broker, names: Names, settings: config.LazyConfig) -> Iterator[None]:
    """`api` is set up for the broker, and closed afterwards."""
    settings["amqp_url"] = broker.url
    yield
    api.close()


@pytest.fixture
def proxied_service(proxy: Proxy, settings: config.LazyConfig) -> Iterator[None]:
    """`api` is set up to go by way of the proxy, and closed afterwards."""
    settings["amqp_url"] = proxy.url()
    yield
    api.close()
