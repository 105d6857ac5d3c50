"""The reference of the broker has the tests of other clients as `make conformance` expects them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest
from tests.conformance.expected import TESTS, Difference, differences, known, number_of_tests
from tests.support.packages import pinned

TESTS_OF_OTHERS: Final = Path(__file__).parents[1] / "conformance"
PAGE: Final = Path(__file__).parents[2] / "docs" / "reference" / "broker.md"
SECTION: Final = PAGE.read_text(encoding="utf-8").split("\n## Tests of other clients\n")[1].split("\n## ")[0]

#: The brokers, by the words for them on the page, in the order of the columns.
BROKERS: Final = {
    "RabbitMQ 3.10": "rabbitmq-3.10",
    "Profile `3`": "embedded-3",
    "RabbitMQ 4.3": "rabbitmq-4.3",
    "Profile `4`": "embedded-4",
}
WORDS: Final = {broker: word.replace("Profile", "profile") for word, broker in BROKERS.items()}


def rows(table: int) -> list[list[str]]:
    """The cells of one of the tables, without its head."""
    found = re.findall(r"(?:^\|.*\n)+", SECTION, re.MULTILINE)[table]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in found.splitlines()]


def names_of(one: Difference) -> str:
    return ", ".join(f"`{test.rpartition('.')[2]}`" for test in one.tests)


def test_numbers_are_those_that_are_expected() -> None:
    head, _line, *suites = rows(0)
    assert head[1:] == [*BROKERS]
    told = [row[1:] for row in suites]
    expected = []
    for suite in TESTS:
        all_tests = [(number_of_tests(suite, broker), broker) for broker in BROKERS.values()]
        expected.append([f"{n - len(known(suite, broker))} of {n}" for n, broker in all_tests])
    assert told == expected


@pytest.mark.parametrize(("client", "version"), pinned(TESTS_OF_OTHERS / "suites.txt").items())
def test_versions_are_those_of_the_suites(client: str, version: str) -> None:
    assert f"{'py-amqp' if client == 'amqp' else client} {version}" in SECTION.replace("Kombu", "kombu")


def test_all_differences_are_listed() -> None:
    _head, _line, *told = rows(1)
    assert told == [
        [names_of(one), ", ".join(WORDS[broker] for broker in one.brokers), one.reason.strip()]
        for one in differences()
    ]


def test_what_the_broker_loses_to_the_release_that_it_imitates() -> None:
    """Only a test that another test disturbs, which the page says."""
    for profile, release in (("embedded-3", "rabbitmq-3.10"), ("embedded-4", "rabbitmq-4.3")):
        lost = {(one.suite, test) for one in differences() if profile in one.brokers for test in one.tests}
        also = {(one.suite, test) for one in differences() if release in one.brokers for test in one.tests}
        names = {test.rpartition(".")[2] for _suite, test in lost - also}
        assert names <= {"declareQueueWithInvalidDeadLetterRoutingKeyArg"}
