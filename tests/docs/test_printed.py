"""A page cannot have code that its test does not run, and output is compared as it should be."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from tests.support.printed import Page
from tests.support.terminal import pattern_of

if TYPE_CHECKING:
    from pathlib import Path

PAGE = """# A page

Put this into `hello.py`:

```python
print("hello")
```

```console
$ python hello.py
hello
$ ls
```
"""


def page(directory: Path, text: str) -> Page:
    path = directory / "page.md"
    path.write_text(text, encoding="utf-8")
    return Page(str(path))


def test_all_blocks_are_taken(tmp_path: Path) -> None:
    printed = page(tmp_path, PAGE)
    assert printed.file("hello.py") == 'print("hello")\n'
    run, ls = printed.console("python hello.py", "ls")
    assert (run.output, ls.output) == ("hello\n", "")
    printed.finished()


@pytest.mark.parametrize("language", ["console", "python", "text", "{code-block}", ""])
def test_a_block_that_is_not_taken(language: str, tmp_path: Path) -> None:
    printed = page(tmp_path, f"{PAGE}\n```{language}\n$ ls\n```\n")
    printed.file("hello.py")
    printed.console("python hello.py", "ls")
    with pytest.raises(AssertionError, match="does not know this block"):
        printed.finished()


def test_a_command_that_is_not_expected(tmp_path: Path) -> None:
    printed = page(tmp_path, PAGE)
    printed.file("hello.py")
    with pytest.raises(AssertionError, match="does not know this block"):
        printed.console("python hello.py")


@pytest.mark.parametrize(
    "code",
    [
        "    $ ls\n",
        "\t$ ls\n",
        "~~~\n$ ls\n~~~\n",
        ":::{code-block}\n$ ls\n:::\n",
        "````\n$ ls\n````\n",
        "```\n",
    ],
)
def test_code_that_would_be_overlooked(code: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="not between lines of three backticks"):
        page(tmp_path, f"{PAGE}\n{code}")


@pytest.mark.parametrize(
    ("printed", "output", "matches"),
    [
        ("", "", True),
        ("", "one\n", False),
        ("one\n", "one\n", True),
        ("one\n", "one\ntwo\n", False),
        ("...\ntwo\n", "one\ntwo\n", True),
        ("one\n...\n", "one\n", True),
        ("id ... topic\n", "id   a topic\n", True),
        ("o...e\n", "o\ne\n", False),
        (".\n", "x\n", False),
    ],
)
def test_output(printed: str, output: str, matches: bool) -> None:
    assert bool(re.fullmatch(pattern_of(printed), output)) is matches
