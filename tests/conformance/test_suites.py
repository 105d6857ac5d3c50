"""The suites of foreign clients pass on both brokers, but for the differences in known.toml.

What fails beside those fails the test, and so does a known difference that is gone: it is to be removed from
the list.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from tests.conformance.suites import LIMIT, GoSuite, JavaSuite, Outcome, PythonSuites, Target
from tests.conftest import authenticated

from fedora_messaging.broker import Broker

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Names the variable that asks for all brokers.
_ALL: Final = "FM_TEST_CONFORMANCE_ALL"

pytestmark = pytest.mark.timeout(2 * LIMIT)

#: The brokers; CI tries the first one, and `make conformance` all.
BROKERS: Final = ("embedded-4", "embedded-3", "rabbitmq")[: None if os.environ.get(_ALL) else 1]

#: How many tests of each suite pass at least, so that none is lost unnoticed.
TESTS: Final = {"amqp": 12, "kombu": 51, "amqpstorm": 71, "amqpstorm_management": 55, "go": 115, "java": 309}


@pytest.fixture(params=BROKERS)
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    """A broker; the embedded one is new, for some suites use the same names."""
    if request.param == "rabbitmq":
        node = request.getfixturevalue("rabbitmq")
        yield Target(node.port, node.management_url)
    else:
        with Broker(profile=request.param.removeprefix("embedded-"), http_port=0) as broker:
            yield Target(broker.port, authenticated(broker))


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> str:
    """Name of the broker."""
    kind: str = request.node.callspec.params["target"]
    return kind


@pytest.fixture(scope="module")
def python_suites(tmp_path_factory: pytest.TempPathFactory) -> PythonSuites:
    return PythonSuites(tmp_path_factory.mktemp("python"))


@pytest.fixture(scope="module")
def go_suite(tmp_path_factory: pytest.TempPathFactory) -> GoSuite:
    return GoSuite(tmp_path_factory.mktemp("go"))


@pytest.fixture(scope="module")
def java_suite(tmp_path_factory: pytest.TempPathFactory) -> JavaSuite:
    return JavaSuite(tmp_path_factory.mktemp("java"))


def known(suite: str, broker: str) -> dict[str, str]:
    """Reasons of the known differences, by test; `embedded` stands for both profiles."""
    entries = tomllib.loads(Path(__file__).with_name("known.toml").read_text()).get("known", [])
    return {
        one["test"]: one["reason"]
        for one in entries
        if one["suite"] == suite and broker.startswith(one["broker"])
    }


def check(suite: str, broker: str, outcome: Outcome) -> None:
    """Compare an outcome with what is known."""
    differences = known(suite, broker)
    print(f"{suite} on {broker}: {len(outcome.passed)} passed, {len(outcome.failed)} failed")
    new = {name: text for name, text in outcome.failed.items() if name not in differences}
    texts = [f"--- {name}\n{text}" for name, text in sorted(new.items())]
    gone = sorted(outcome.passed & {*differences})
    texts += [f"--- {name} passes: remove it from known.toml ({differences[name]})" for name in gone]
    lost = sorted({*differences} - outcome.passed - {*outcome.failed})
    texts += [f"--- {name} is in known.toml, and the suite has no such test" for name in lost]
    if texts:
        print(outcome.output)
        pytest.fail("\n".join((f"{suite} on {broker}: {len(texts)} not as expected", *texts)), pytrace=False)
    assert len(outcome.passed) + len(differences) >= TESTS[suite], outcome.output


def test_py_amqp(python_suites: PythonSuites, target: Target, kind: str) -> None:
    check("amqp", kind, python_suites.amqp(target))


def test_kombu(python_suites: PythonSuites, target: Target, kind: str) -> None:
    check("kombu", kind, python_suites.kombu(target))


def test_amqpstorm(python_suites: PythonSuites, target: Target, kind: str) -> None:
    check("amqpstorm", kind, python_suites.amqpstorm(target))


def test_amqpstorm_on_the_http_api(python_suites: PythonSuites, target: Target, kind: str) -> None:
    check("amqpstorm_management", kind, python_suites.amqpstorm_management(target))


def test_amqp091_go(go_suite: GoSuite, target: Target, kind: str) -> None:
    check("go", kind, go_suite.run(target, kind))


def test_java_client(java_suite: JavaSuite, target: Target, kind: str) -> None:
    check("java", kind, java_suite.run(target))
