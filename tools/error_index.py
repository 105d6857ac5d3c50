"""Writes ``docs/trouble/texts.md``: what the library and its commands say when something goes wrong."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs/trouble/texts.md"
SOURCE: Final = ROOT / "src/fedora_messaging"
#: Where exceptions are answers to other clients, or to requests over HTTP: these are RabbitMQ's texts.
_ANSWERS: Final = ("broker", "protocol", "web", "wire")
_LEVELS: Final = {"warning": "warning", "error": "error", "exception": "error, with a traceback"}
#: Shorter texts are a part of a longer one.
_FEWEST_WORDS: Final = 3
_PLACEHOLDER: Final = re.compile(r"%[-.\d]*[a-z]")
_HEAD: Final = """# Every text

What the library and its commands say when something goes wrong: what they log at the levels warning and
error, and the texts of exceptions, which the commands print after `Error:`. Where a text names something of
yours, there is `…` here. Most say themselves what to do; [When it breaks](index.md) says more about those
that people meet most.

Not here are the broker's answers to its clients and over HTTP, which are RabbitMQ's, texts of one or two
words, and texts that the code puts together from parts.

Search this page for some words of the text.
"""
_TABLES: Final = (("Exceptions", "Exception"), ("In the log", "Level"))


def written(source: Path = SOURCE) -> str:
    """Return the page as it belongs there now."""
    found: dict[str, set[tuple[str, str]]] = {heading: set() for heading, _ in _TABLES}
    for path in source.rglob("*.py"):
        package = path.relative_to(source).parts[0]
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Raise) and package not in _ANSWERS:
                found["Exceptions"].update(_raised(node))
            elif isinstance(node, ast.Call):
                found["In the log"].update(_logged(node))
    parts = [_HEAD]
    for heading, column in _TABLES:
        rows = sorted(found[heading], key=lambda row: (row[0].strip("…\"' ").lower(), row))
        parts += [f"\n## {heading}\n", f"| Text | {column} |", "| --- | --- |"]
        parts += [f"| {_as_code(text)} | {kind} |" for text, kind in rows]
    return "\n".join(parts) + "\n"


def _raised(node: ast.Raise) -> Iterator[tuple[str, str]]:
    if isinstance(node.exc, ast.Call):
        name = ast.unparse(node.exc.func).rpartition(".")[2]
        for argument in node.exc.args:
            text = _text(argument)
            if name[0].isupper() and _is_long(text):
                yield text, f"`{name}`"


def _logged(node: ast.Call) -> Iterator[tuple[str, str]]:
    called = ast.unparse(node.func)
    logger, _, level = called.rpartition(".")
    if logger == "_log" and level in _LEVELS and node.args:
        text = _PLACEHOLDER.sub("…", _text(node.args[0]))
        if _is_long(text):
            yield text, _LEVELS[level]


def _is_long(text: str) -> bool:
    return len(re.findall(r"\w+", text)) >= _FEWEST_WORDS


def _text(node: ast.expr) -> str:
    """Return a literal, with an ellipsis for each part that is known only later."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) if isinstance(part, ast.Constant) else "…" for part in node.values)
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "escaped":
        return _text(node.args[0])
    return ""


def _as_code(text: str) -> str:
    text = " ".join(text.split()).replace("|", "\\|")
    fence = "``" if "`" in text else "`"
    return f"{fence} {text} {fence}" if fence == "``" else f"`{text}`"


if __name__ == "__main__":
    PAGE.write_text(written(), encoding="utf-8")
