"""The suites of foreign clients pass on both brokers, but for the differences in known.toml.

What fails beside those fails the test, and so does a known difference that is gone: it is to be removed from
the list.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from tests.conformance.expected import known, number_of_tests
from tests.conformance.suites import LIMIT, GoSuite, JavaSuite, Outcome, PythonSuites, Target
from tests.conftest import authenticated
from tests.support.rabbitmq import RabbitNode

from fedora_messaging.broker import Broker

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Names of variables: one asks for all brokers, the other one says where the scripts of another RabbitMQ are.
_ALL: Final = "FM_TEST_CONFORMANCE_ALL"
_OTHER: Final = "FM_TEST_OTHER_RABBITMQ_SBIN"

pytestmark = pytest.mark.timeout(2 * LIMIT)

#: The brokers; CI tries the first one, and `make conformance` all.
BROKERS: Final = (
    *("embedded-4", "embedded-3", "rabbitmq"),
    *(["other_rabbitmq"] if os.environ.get(_OTHER) else []),
)[: None if os.environ.get(_ALL) else 1]


@pytest.fixture(scope="module")
def other_rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitNode]:
    """A running node of another release than `rabbitmq`."""
    with RabbitNode(tmp_path_factory.mktemp("other"), sbin=Path(os.environ[_OTHER])) as node:
        yield node


@pytest.fixture(params=BROKERS)
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    """A broker; the embedded one is new, for some suites use the same names."""
    if request.param.endswith("rabbitmq"):
        node: RabbitNode = request.getfixturevalue(request.param)
        major, minor = node.version
        yield Target(f"rabbitmq-{major}.{minor}", node.port, node.management_url)
    else:
        with Broker(profile=request.param.removeprefix("embedded-"), http_port=0) as broker:
            yield Target(request.param, broker.port, authenticated(broker))


@pytest.fixture(scope="module")
def python_suites(tmp_path_factory: pytest.TempPathFactory) -> PythonSuites:
    return PythonSuites(tmp_path_factory.mktemp("python"))


@pytest.fixture(scope="module")
def go_suite(tmp_path_factory: pytest.TempPathFactory) -> GoSuite:
    return GoSuite(tmp_path_factory.mktemp("go"))


@pytest.fixture(scope="module")
def java_suite(tmp_path_factory: pytest.TempPathFactory) -> JavaSuite:
    return JavaSuite(tmp_path_factory.mktemp("java"))


def check(suite: str, target: Target, outcome: Outcome) -> None:
    """Compare an outcome with what is known."""
    differences = known(suite, target.name)
    print(f"{suite} on {target.name}: {len(outcome.passed)} passed, {len(outcome.failed)} failed")
    new = {name: text for name, text in outcome.failed.items() if name not in differences}
    texts = [f"--- {name}\n{text}" for name, text in sorted(new.items())]
    gone = sorted(outcome.passed & {*differences})
    texts += [f"--- {name} passes: remove it from known.toml ({differences[name]})" for name in gone]
    lost = sorted({*differences} - outcome.passed - {*outcome.failed})
    texts += [f"--- {name} is in known.toml, and the suite has no such test" for name in lost]
    if texts:
        print(outcome.output)
        pytest.fail(
            "\n".join((f"{suite} on {target.name}: {len(texts)} not as expected", *texts)), pytrace=False
        )
    # So that no test is lost unnoticed.
    assert len(outcome.passed) + len(differences) >= number_of_tests(suite, target.name), outcome.output


def test_py_amqp(python_suites: PythonSuites, target: Target) -> None:
    check("amqp", target, python_suites.amqp(target))


def test_kombu(python_suites: PythonSuites, target: Target) -> None:
    check("kombu", target, python_suites.kombu(target))


def test_amqpstorm(python_suites: PythonSuites, target: Target) -> None:
    check("amqpstorm", target, python_suites.amqpstorm(target))


def test_amqpstorm_on_the_http_api(python_suites: PythonSuites, target: Target) -> None:
    check("amqpstorm_management", target, python_suites.amqpstorm_management(target))


def test_amqp091_go(go_suite: GoSuite, target: Target) -> None:
    check("go", target, go_suite.run(target))


def test_java_client(java_suite: JavaSuite, target: Target) -> None:
    check("java", target, java_suite.run(target))
