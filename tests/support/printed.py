"""What a page of the documentation prints, block by block, so that tests run exactly that."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

_BLOCK = re.compile(r"^( *)```([^\n]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
#: Other ways to write code in Markdown, and fences without their counterpart.
_OTHER_CODE = re.compile(r"^(?: *(?:```|~~~|:::)| {4,}\S|\t).*", re.MULTILINE)
_FILE_NAME = re.compile(r"`([\w.-]+\.(?:py|toml))`")


@dataclass(frozen=True)
class Command:
    """A line that begins with `$`, and what is printed below it."""

    text: str
    output: str


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        language: What stands behind the opening fence.
        text: What is in it.
        before: The paragraph before it.
    """

    language: str
    text: str
    before: str

    @property
    def file_name(self) -> str | None:
        """The file it is to be put into: the first file name in the paragraph before."""
        found = _FILE_NAME.search(self.before)
        return found[1] if found and self.language in ("python", "toml") else None

    @property
    def commands(self) -> list[Command]:
        """The commands of a console session."""
        assert self.language == "console", self
        parts = re.split(r"^\$ ", self.text, flags=re.MULTILINE)
        assert not parts[0], f"a console block begins with a command, not with {parts[0]!r}"
        pairs = [part.partition("\n") for part in parts[1:]]
        return [Command(command, output) for command, _, output in pairs]


class Page:
    """The blocks of a page, to be taken in the order in which they are printed.

    A test names the block that it expects each time, and calls `finished()` when it expects no more. So a
    block that the test does not know makes it fail.

    Args:
        path: Of the page, from the root of the project.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        text = (ROOT / path).read_text(encoding="utf-8")
        self.blocks = []
        for found in _BLOCK.finditer(text):
            paragraph = text[: found.start()].rstrip().rpartition("\n\n")[2]
            self.blocks.append(Block(found[2], found[3], paragraph))
        prose = _BLOCK.sub("", text)
        hidden = _OTHER_CODE.search(prose)
        assert not hidden, f"{path} has code that is not between lines of three backticks: {hidden}"
        self._left = list(self.blocks)

    def console(self, *commands: str) -> list[Command]:
        """Take the next block, a console session of exactly these commands."""
        block = self._take("console")
        assert [one.text for one in block.commands] == list(commands), self._unknown(block)
        return block.commands

    def output(self) -> str:
        """Take the next block, output of a command that goes on."""
        return self._take("text").text

    def file(self, name: str) -> str:
        """Take the next block, which is to be put into this file."""
        assert self._left, f"{self.path} has no block for {name}"
        block = self._left.pop(0)
        assert block.file_name == name, self._unknown(block)
        return block.text

    def finished(self) -> None:
        """There is no block that the test does not know."""
        assert not self._left, self._unknown(self._left[0])

    def first_version(self, name: str) -> str:
        """What is first printed for a file."""
        return next(block.text for block in self.blocks if block.file_name == name)

    def _take(self, language: str) -> Block:
        assert self._left, f"{self.path} has no further block"
        block = self._left.pop(0)
        assert block.language == language, self._unknown(block)
        return block

    def _unknown(self, block: Block) -> str:
        return f"the test of {self.path} does not know this block, or not here:\n{block.text}"
