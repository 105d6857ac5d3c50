"""The page of promises names tests that exist, and every number that a test or the source cites."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "promises.md"

ENTRY = re.compile(r"^- \*\*(P\d\d)\*\* (.*?)(?=^- \*\*|^## |\Z)", re.MULTILINE | re.DOTALL)
CITED_TEST = re.compile(r"(tests/[\w/]+\.py)::(test_\w+)(\*?)")
#: In comments and docstrings P07; in the names of tests, and of their files, test_p07_.
CITED_NUMBER = re.compile(r"\bP\d\d\b|(?<=_)p\d\d(?=_)")

ENTRIES = ENTRY.findall(PAGE.read_text(encoding="utf-8"))
NUMBERS = [number for number, _text in ENTRIES]


def in_backticks(text: str) -> list[str]:
    """The names of tests in an entry, and what somebody meant to be one."""
    return [code for code in re.findall(r"`([^`]+)`", text) if "tests/" in code or "::" in code]


@cache
def collected(path: str) -> frozenset[str]:
    file = ROOT / path
    if not file.is_file():
        return frozenset()
    tree = ast.parse(file.read_text(encoding="utf-8"))
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(function.name for function in functions if function.name.startswith("test_"))


def exists(cited: str) -> bool:
    match = CITED_TEST.fullmatch(cited)
    if match is None:
        return False
    path, name, asterisk = match.groups()
    if asterisk:
        return any(found.startswith(name) for found in collected(path))
    return name in collected(path)


def numbers_cited() -> dict[str, str]:
    """Each number that a test or the source cites, and one of the files that do."""
    found: dict[str, str] = {}
    for folder in ("src", "tests"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            path = str(file.relative_to(ROOT))
            for number in CITED_NUMBER.findall(f"{path}\n" + file.read_text(encoding="utf-8")):
                found.setdefault(number.upper(), path)
    return found


def test_every_promise_has_its_own_number() -> None:
    assert len(set(NUMBERS)) == len(NUMBERS) > 0


@pytest.mark.parametrize(("number", "text"), ENTRIES, ids=NUMBERS)
def test_tests_of_a_promise_exist(number: str, text: str) -> None:
    tests = in_backticks(text)
    assert tests, f"{number} names no test"
    missing = [cited for cited in tests if not exists(cited)]
    assert not missing, f"{number} names tests that do not exist: write `tests/FILE.py::test_NAME`"


def test_every_number_that_is_cited_is_on_the_page() -> None:
    unknown = {number: path for number, path in numbers_cited().items() if number not in NUMBERS}
    assert not unknown, "these numbers have no entry in docs/explanation/promises.md"


@pytest.mark.parametrize(
    ("cited", "expected"),
    [
        ("tests/docs/test_promises.py::test_every_promise_has_its_own_number", True),
        ("tests/docs/test_promises.py::test_every_*", True),
        ("tests/docs/test_promises.py::test_every_", False),
        ("tests/docs/test_promises.py::test_nothing_*", False),
        ("tests/docs/test_promise.py::test_every_*", False),
        ("tests/docs/test_promises.py", False),
    ],
)
def test_tests_that_are_gone_are_found(cited: str, expected: bool) -> None:
    assert exists(cited) is expected
