"""What the suites of foreign clients are expected to show."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: How many tests each suite has, at least.
TESTS: Final = {"amqp": 12, "kombu": 51, "amqpstorm": 71, "amqpstorm_management": 57, "go": 115, "java": 309}
#: Those that run on the embedded broker alone.
ONLY_EMBEDDED: Final = {"go": 1}


@dataclass(frozen=True)
class Difference:
    """Tests that fail for one reason.

    Attributes:
        suite: Name of the suite.
        tests: Names of the tests.
        brokers: Where they fail.
        reason: Why.
    """

    suite: str
    tests: tuple[str, ...]
    brokers: tuple[str, ...]
    reason: str


def differences() -> list[Difference]:
    """Read all known differences."""
    entries = tomllib.loads(Path(__file__).with_name("known.toml").read_text(encoding="utf-8"))["known"]
    return [
        Difference(one["suite"], tuple(one["tests"]), tuple(one["brokers"]), one["reason"]) for one in entries
    ]


def known(suite: str, broker: str) -> dict[str, str]:
    """Reasons of the failures that are expected, by test."""
    return {
        test: one.reason
        for one in differences()
        if one.suite == suite and broker in one.brokers
        for test in one.tests
    }


def number_of_tests(suite: str, broker: str) -> int:
    """How many tests run on a broker, at least."""
    return TESTS[suite] + (ONLY_EMBEDDED.get(suite, 0) if broker.startswith("embedded") else 0)
