"""What type checkers say to programs: a callback that takes no message is found before it runs."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING

import pytest
from mypy import api as mypy

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import Any, TypedDict

from fedora_messaging import aio, api
from fedora_messaging.api import Message
from fedora_messaging.config import CallbackType
from fedora_messaging.message import register


def plain(message: Message) -> None: ...
def answers(message: Message) -> int: return 5
def prefixed(prefix: str, message: Message) -> None: ...
async def coroutine(message: Message) -> None: ...
def nothing() -> None: ...
def two(message: Message, other: int) -> None: ...
def text(message: str) -> None: ...


class GreetingBody(TypedDict):
    name: str


class TypedGreeting(Message[GreetingBody]):
    pass


def typed(message: Message[GreetingBody]) -> None:
    print(message.body["name"])
    print(message.body["nam"])  # refused


class Saver:
    def __call__(self, message: Message) -> None: ...


class Async:
    async def __call__(self, message: Message) -> None: ...


class Mute:
    pass


@register("typed.greeting")
class Greeting(Message):
    pass


def old_style(callback: CallbackType) -> None:
    api.consume(callback)


api.consume(plain)
api.consume(answers)
api.consume(print)
api.consume(partial(prefixed, "x"))
api.consume(coroutine)
api.consume(Saver)
api.consume(Saver())
api.consume(Async)
api.consume(lambda message: print(message.topic))
api.consume(typed)
greeting: Greeting = Greeting(topic="x")
api.publish(greeting)
api.publish(TypedGreeting(body={"name": "x"}))
untyped = Message(body={"number": 1})
untyped.body["text"] = "x"
several = [Message(), TypedGreeting()]
name: int = TypedGreeting().body["name"]  # refused

api.consume(nothing)  # refused
api.consume(two)  # refused
api.consume(text)  # refused
api.consume(Mute)  # refused
api.consume(Mute())  # refused
api.consume("module:function")  # refused
api.publish("text")  # refused
api.publish({"topic": "x"})  # refused


async def main() -> None:
    async with aio.connect() as bus:
        await bus.consume(coroutine)
        await bus.consume(Saver)
        await bus.consume(nothing)  # refused
"""


@pytest.mark.timeout(300)
def test_callbacks_are_checked(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM))
    told, errors, _status = mypy.run(
        ["--strict", "--no-error-summary", f"--cache-dir={tmp_path / 'cache'}", str(program)]
    )
    assert errors == ""
    refused = {number for number, line in enumerate(PROGRAM.splitlines(), 1) if line.endswith("# refused")}
    complaints = {int(line) for line in re.findall(r"program\.py:(\d+): error:", told)}
    assert complaints == refused, told
