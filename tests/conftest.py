"""Fixtures shared by all tests."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest
from tests.support.admin import Admin, Names
from tests.support.alarms import Alarm
from tests.support.management import Management
from tests.support.postgresql import PostgresServer, find_postgresql
from tests.support.proxy import Proxy
from tests.support.rabbitmq import RabbitNode, available_plugins, find_rabbitmq
from tests.support.servers import require

from fedora_messaging import api, config, logs

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from fedora_messaging.broker import Broker, ResourceLimits


#: Fixtures, and values of parameters, that stand for a RabbitMQ.
_CLUSTERS: Final = frozenset({"cluster", "shared_cluster", "shared_parting_cluster"})
_RABBITMQ: Final = _CLUSTERS | {"rabbitmq", "other_rabbitmq", "shared_node", "rabbitmq_tls"}
#: Plugins of RabbitMQ with exchange types that the embedded broker has, too.
EXCHANGE_PLUGINS: Final = frozenset(
    {"rabbitmq_consistent_hash_exchange", "rabbitmq_random_exchange", "rabbitmq_sharding"}
)
#: The versions of RabbitMQ that the embedded broker imitates, by profile.
IMITATED: Final = {"4": (4, 3), "3": (3, 10)}


@dataclass(frozen=True)
class BrokerUnderTest:
    """A running broker that a behaviour test talks to.

    Attributes:
        kind: "embedded" or "rabbitmq".
        version: Major and minor version of the RabbitMQ, or of the one that the embedded broker imitates.
            A test whose expectation depends on it says what each version does.
        url: AMQP URL with user and password.
        management_url: Base URL of the management HTTP API with user and password, or None without one.
        embedded: The broker itself if it is the embedded one.
    """

    kind: str
    version: tuple[int, int]
    url: str
    management_url: str | None
    embedded: Broker | None = None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a RabbitMQ, so that `-m rabbitmq` runs it alone, on another version."""
    for item in items:
        if isinstance(item, pytest.Function):
            values = item.callspec.params.values() if hasattr(item, "callspec") else ()
            names = {*item.fixturenames, *(value for value in values if isinstance(value, str))}
            if names & _RABBITMQ or item.get_closest_marker("rabbitmq"):
                item.add_marker("rabbitmq")
                # For tools/test_table.py.
                kind = "cluster" if names & _CLUSTERS else "RabbitMQ"
                item.user_properties.append(("broker", kind))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Have all that was captured sent by a worker: what strangers write is not always valid Unicode."""
    report = yield
    report.sections = [
        (title, text.encode(errors="backslashreplace").decode()) for title, text in report.sections
    ]
    return report


@pytest.fixture(scope="session", autouse=True)
def private_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep every test out of the real home directory, for reading and for writing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        for kind in ("CACHE", "CONFIG", "DATA", "STATE"):
            patch.delenv(f"XDG_{kind}_HOME", raising=False)
        yield


@pytest.fixture(autouse=True)
def fresh_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have lines that one test repeats not be missing from the log of the next one."""
    monkeypatch.setattr(logs._guard, "_seconds", {})


@pytest.fixture(autouse=True)
def own_log_config() -> Iterator[None]:
    """Undo what a command that runs in the process of the tests has configured for the log."""
    loggers = [logging.getLogger(name) for name in (None, "fedora_messaging")]
    before = [(logger.level, logger.propagate, [*logger.handlers]) for logger in loggers]
    yield
    for logger, (level, propagate, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.propagate = propagate
        for handler in {*logger.handlers} - {*handlers}:
            logger.removeHandler(handler)
        for handler in handlers:
            logger.addHandler(handler)


@pytest.fixture(autouse=True)
def own_log(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leave out of a test's captured log what brokers of other tests say meanwhile in their threads."""
    if "caplog" not in request.fixturenames or any("broker" in name for name in request.fixturenames):
        yield
        return
    handler = request.getfixturevalue("caplog").handler
    others = {thread.ident for thread in threading.enumerate()} - {threading.get_ident()}

    def is_own(record: logging.LogRecord) -> bool:
        return record.thread not in others

    handler.addFilter(is_own)
    yield
    handler.removeFilter(is_own)


@pytest.fixture(scope="session", autouse=True)
def event_loop_implementation() -> Iterator[None]:
    """Run everything of this process on uvloop if `FM_TEST_LOOP=uvloop` says so."""
    if os.environ.get("FM_TEST_LOOP") != "uvloop":
        yield
        return
    import uvloop

    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    yield
    asyncio.set_event_loop_policy(None)


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """Have processes heed the signals that those ignore which a shell runs in the background."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitNode]:
    """A running RabbitMQ node, one for the whole session: tests use names of their own in it."""
    require(
        find_rabbitmq() is not None,
        "RabbitMQ",
        "install the package rabbitmq-server (its service need not run) with Erlang's erl on the path",
    )
    plugins = sorted(EXCHANGE_PLUGINS & available_plugins())
    with RabbitNode(tmp_path_factory.mktemp("rabbitmq"), plugins=plugins) as node:
        yield node


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresServer]:
    """A running PostgreSQL, one for the whole session."""
    require(find_postgresql() is not None, "PostgreSQL", "install the package postgresql (it need not run)")
    with PostgresServer() as server:
        yield server


def authenticated(broker: Broker) -> str | None:
    """Return the URL of an embedded broker's management API, with user and password."""
    url = broker.management_url
    return None if url is None else url.replace("://", "://guest:guest@")


@pytest.fixture(scope="module")
def embedded_broker() -> Iterator[Broker]:
    """A running embedded broker, one for each test module."""
    from fedora_messaging.broker import Broker

    with Broker(http_port=0) as broker:
        yield broker


@pytest.fixture(scope="module")
def resource_limits() -> ResourceLimits | None:
    """The limits of embedded brokers; a module that raises alarms has others."""
    return None


@pytest.fixture(scope="module")
def embedded_brokers(resource_limits: ResourceLimits | None) -> Iterator[dict[str, Broker]]:
    """A running embedded broker for each profile, for each test module."""
    from fedora_messaging.broker import Broker

    with ExitStack() as running:
        yield {
            profile: running.enter_context(Broker(profile=profile, http_port=0, resources=resource_limits))
            for profile in IMITATED
        }


def broker_of(request: pytest.FixtureRequest) -> BrokerUnderTest:
    """Return the broker that a fixture's parameter names: embedded, embedded-3, embedded-4 or rabbitmq."""
    # Asked for by name, so that the embedded tests run on a machine without RabbitMQ.
    if request.param == "rabbitmq":
        node: RabbitNode = request.getfixturevalue("rabbitmq")
        return BrokerUnderTest("rabbitmq", node.version, node.url, node.management_url)
    _, _, profile = request.param.partition("-")
    if profile:
        embedded: Broker = request.getfixturevalue("embedded_brokers")[profile]
    else:
        profile, embedded = "4", request.getfixturevalue("embedded_broker")
    return BrokerUnderTest(
        "embedded", IMITATED[profile], embedded.amqp_url, authenticated(embedded), embedded
    )


@pytest.fixture(params=["embedded", "rabbitmq"])
def broker(request: pytest.FixtureRequest) -> BrokerUnderTest:
    """The embedded broker, then RabbitMQ: a test with this fixture holds for both."""
    return broker_of(request)


@pytest.fixture
def names(broker: BrokerUnderTest) -> Iterator[Names]:
    """Makes as many unique names as a test needs; what bears them is deleted after it."""
    made = Names(broker.url)
    yield made
    made.delete_all()


@pytest.fixture
def name(names: Names) -> str:
    """A unique name, good for one queue and for one exchange."""
    return names()


@pytest.fixture
def admin(broker: BrokerUnderTest, names: Names) -> Iterator[Admin]:
    """An independent client."""
    made = Admin(broker.url)
    yield made
    made.close()


@pytest.fixture
def management(broker: BrokerUnderTest) -> Iterator[Management]:
    """An administrator; undoes what it has done."""
    assert broker.management_url is not None
    with Management(broker.management_url) as made:
        yield made


@pytest.fixture
def proxy(broker: BrokerUnderTest, names: Names) -> Iterator[Proxy]:
    """A proxy in front of the broker."""
    with Proxy(broker.url) as made:
        yield made


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> config.LazyConfig:
    """The defaults, in a configuration that the test may change."""
    for variable in (config.PATH_VARIABLE, config.URL_VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    fresh = config.LazyConfig()
    monkeypatch.setattr(config, "conf", fresh)
    return fresh


@pytest.fixture
def queue(admin: Admin, name: str) -> str:
    """A queue that is bound for its messages."""
    return admin.declare(name)


@pytest.fixture
def service(broker: BrokerUnderTest, names: Names, settings: config.LazyConfig) -> Iterator[None]:
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


@pytest.fixture
def alarm(broker: BrokerUnderTest, request: pytest.FixtureRequest) -> Iterator[Alarm]:
    """An alarm that a test raises; over at the latest at the end. The embedded broker needs little memory."""
    node = request.getfixturevalue("rabbitmq") if broker.kind == "rabbitmq" else None
    made = Alarm(broker, node)
    yield made
    made.end()
