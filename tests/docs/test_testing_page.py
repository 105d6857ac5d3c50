"""The example of docs/how-to/testing.md runs, and the page names every fault."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.support.printed import ROOT, Page
from tests.support.terminal import pattern_of

from fedora_messaging.broker import Faults

if TYPE_CHECKING:
    import pytest

PAGE = Page("docs/how-to/testing.md")
#: Methods that are no faults.
OTHERS = {"assert_all_used", "clear", "count", "pending", "take_login", "take_publish"}


def test_bad_days(pytester: pytest.Pytester) -> None:
    pytester.path.joinpath("test_bad_days.py").write_text(PAGE.first_version("test_bad_days.py"))
    result = pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider", "test_bad_days.py")
    (printed,) = [
        command for block in PAGE.blocks if block.language == "console" for command in block.commands
    ]
    assert printed.text == "pytest -q test_bad_days.py"
    assert re.fullmatch(pattern_of(printed.output), result.stdout.str() + "\n"), result.stdout.str()


def test_every_fault_is_named() -> None:
    (table,) = re.findall(
        r"^\| Fault .*?\n\n", (ROOT / PAGE.path).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    named = set(re.findall(r"^\| `(\w+)\(", table, re.MULTILINE))
    assert named == {name for name in vars(Faults) if not name.startswith("_")} - OTHERS
