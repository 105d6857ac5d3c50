"""The tour of the code names files, and in each of them names that are there and do what a message needs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from fedora_messaging.wire import methods

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "explanation" / "tour.md"
SOURCE: Final = ROOT / "src" / "fedora_messaging"

_DEFINITION: Final = re.compile(r"^\[([^]]+)\]: (\S+)$", re.MULTILINE)
#: A link to a file, or something in code.
_MENTION: Final = re.compile(r"\[([\w/]+\.py)\]|`([^`]+)`")
_NAME: Final = re.compile(r"[A-Za-z_]\w*(\.\w+)*")
_METHODS: Final = {
    method.name
    for method in vars(methods).values()
    if isinstance(method, type) and issubclass(method, methods.Method) and method is not methods.Method
}

#: A consumer gets one message, and halts at the next one. Prints each function of ours that was called.
TRIP: Final = """
import sys, tempfile, threading
from pathlib import Path
import fedora_messaging
from fedora_messaging import api, config
from fedora_messaging.broker import Broker
from fedora_messaging.exceptions import HaltConsumer

source = Path(fedora_messaging.__file__).parent
called = set()

def note(frame, event, _argument):
    if event == "call":
        called.add((frame.f_code.co_filename, frame.f_code.co_qualname))

first = threading.Event()

def callback(message):
    if message.body["number"]:
        raise HaltConsumer
    first.set()

def consume():
    try:
        api.consume(callback)
    except HaltConsumer:
        pass

def publish(number):
    api.publish(api.Message(topic="tour.step", body={"number": number}), timeout=60)

threading.setprofile(note)
sys.setprofile(note)
with tempfile.TemporaryDirectory() as directory, Broker(data=directory) as broker:
    settings = {"durable": True, "auto_delete": False, "exclusive": False, "arguments": {}}
    config.conf.load_config()
    config.conf.update(
        amqp_url=broker.amqp_url,
        queues={"tour": settings},
        bindings=[{"queue": "tour", "exchange": "amq.topic", "routing_keys": ["tour.#"]}],
    )
    declared = api.prepare_consumers(lambda message: None, None, None)
    declared.start()
    declared.request_stop()
    declared.wait()
    publish(0)
    consumer = threading.Thread(target=consume)
    consumer.start()
    first.wait(60)
    publish(1)
    consumer.join()
    api.close()
sys.setprofile(None)
for file, name in sorted(called):
    if Path(file).is_relative_to(source):
        print(Path(file).relative_to(source).as_posix(), name)
"""


class Mention(NamedTuple):
    """A name that the page gives in code behind the link to a file; ``file`` is empty without a link."""

    file: str
    name: str
    is_step: bool


def blocks() -> list[str]:
    """Paragraphs, headings and items of lists."""
    prose = _DEFINITION.sub("", PAGE.read_text(encoding="utf-8"))
    return [block for block in re.split(r"\n\s*\n|\n(?=- |\d+\. |#)", prose) if block.strip()]


def mentions() -> list[Mention]:
    found = []
    for block in blocks():
        file = ""
        for match in _MENTION.finditer(block):
            if match[1]:
                file = match[1]
            elif _NAME.fullmatch(match[2]) and match[2] not in _METHODS:
                found.append(Mention(file, match[2], bool(re.match(r"\d+\. ", block))))
    return found


MENTIONS: Final = mentions()


@cache
def tree(file: str) -> ast.Module:
    return ast.parse((SOURCE / file).read_text(encoding="utf-8"))


def find(file: str, name: str) -> ast.stmt | None:
    """Find where a module, or a class of it, defines a name."""
    found: ast.stmt | None = None
    body = tree(file).body
    for part in name.split("."):
        found = next((statement for statement in body if part in _defined_by(statement)), None)
        body = found.body if isinstance(found, ast.ClassDef) else []
    return found


def _defined_by(statement: ast.stmt) -> set[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    if isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    return {target.id for target in targets if isinstance(target, ast.Name)}


def test_files() -> None:
    """Each link is to the file that it names; each one that is defined is used."""
    text = PAGE.read_text(encoding="utf-8")
    defined = dict(_DEFINITION.findall(text))
    used = {match[1] for block in blocks() for match in _MENTION.finditer(block) if match[1]}
    assert len(used) > 50
    assert used == set(defined)
    for file, target in defined.items():
        assert (PAGE.parent / target).resolve() == SOURCE / file
        assert (SOURCE / file).is_file()


@pytest.mark.parametrize(
    "mention", MENTIONS, ids=lambda mention: f"{mention.file or 'no file'}:{mention.name}"
)
def test_names(mention: Mention) -> None:
    assert mention.file, f"`{mention.name}` stands behind no file in its paragraph"
    assert find(mention.file, mention.name) is not None


def test_calls_of_programs() -> None:
    """With parentheses the page writes what programs call."""
    calls = set(re.findall(r"`([\w.]+)\(\)`", PAGE.read_text(encoding="utf-8")))
    assert calls == {"publish", "consume"}
    assert all(find("api.py", name) for name in calls)


def test_a_message_takes_these_steps() -> None:
    """A real message calls each function that a numbered step names, and a method of each class."""
    printed = subprocess.run(
        [sys.executable, "-c", TRIP], check=True, capture_output=True, text=True, timeout=100
    ).stdout
    called = {tuple(line.split(" ", 1)) for line in printed.splitlines()}
    classes = {(file, name.rpartition(".")[0]) for file, name in called}
    steps = [mention for mention in MENTIONS if mention.is_step]
    assert len(steps) > 80
    missed = []
    for file, name, _is_step in steps:
        found = find(file, name)
        if isinstance(found, ast.ClassDef):
            is_called = (file, name) in classes
        elif isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef):
            is_called = (file, name) in called
        else:
            continue  # a table
        if not is_called:
            missed.append(f"{file}: {name}")
    assert not missed
