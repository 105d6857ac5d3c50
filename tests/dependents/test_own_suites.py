"""The tests in the schema packages' source distributions pass with this library."""

from __future__ import annotations

import re
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

import pytest
from tests.dependents.packages import PINNED
from tests.support.processes import Processes

if TYPE_CHECKING:
    from pathlib import Path

#: How many tests each of them has; one that ships no tests would stand here with 0.
TESTS: Final = {
    "anitya-schema": 103,
    "bodhi-messages": 30,
    "bugzilla2fedmsg-schema": 22,
    "copr-messaging": 40,
    "fedocal-messages": 52,
    "koji-fedoramessaging-messages": 30,
    "noggin-messages": 4,
    "pagure-messages": 199,
}


def test_every_package_is_in_the_table() -> None:
    assert {*TESTS} == {*PINNED}


@pytest.mark.parametrize("package", PINNED)
def test_the_installed_version_is_the_tested_one(package: str) -> None:
    """The entry points that its tests meet are those of the installed distribution."""
    assert version(package) == PINNED[package]


@pytest.mark.parametrize("package", PINNED)
def test_own_suite(package: str, sources: dict[str, Path]) -> None:
    source = sources[package]
    directories = [path for path in source.rglob("tests") if path.is_dir()]
    if TESTS[package] == 0:
        assert not directories
        return
    with Processes(source) as processes:
        ended = processes.python(
            "-m", "pytest", "-p", "no:cacheprovider", "--tb=short", "--rootdir", source, *directories
        ).end()
    assert ended.status == 0, ended.output
    passed = re.search(r"(?<!\S)(\d+) passed", ended.stdout[-1])
    assert passed, ended.output
    assert int(passed[1]) == TESTS[package], ended.output
