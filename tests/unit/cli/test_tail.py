"""What ``fedora-messaging tail`` shows of a message, and which messages it shows."""

from __future__ import annotations

import click
import pytest

from fedora_messaging import message
from fedora_messaging.cli.tail import Filter, terse
from fedora_messaging.message import ERROR, INFO, WARNING, Message


class Update(Message):
    """A message of a class that tells about itself."""

    @property
    def app_name(self) -> str:
        return "bodhi"

    @property
    def usernames(self) -> list[str]:
        return ["jdoe"]

    @property
    def packages(self) -> list[str]:
        return ["kernel", "jdoe"]

    @property
    def summary(self) -> str:
        return f"jdoe updates kernel {self.body['version']}"


class Broken(Message):
    """A message of a class that cannot tell anything about this message."""

    @property
    def app_name(self) -> str:
        raise LookupError("no\x1b[2J name")

    @property
    def usernames(self) -> list[str]:
        raise LookupError

    @property
    def packages(self) -> list[str]:
        raise LookupError

    @property
    def summary(self) -> str:
        raise LookupError


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    for cls in (Update, Broken):
        monkeypatch.setitem(message._class_to_schema_name, cls, f"tail.{cls.__name__}")


@pytest.fixture
def update(registered: None) -> Message:
    return Update(topic="org.update", body={"version": 6})


@pytest.mark.parametrize(
    ("wanted", "is_wanted"),
    [
        (Filter(), True),
        (Filter(severity=INFO), True),
        (Filter(severity=WARNING), False),
        (Filter(app="bodhi"), True),
        (Filter(app="koji"), False),
        (Filter(user="jdoe"), True),
        (Filter(user="nobody"), False),
        (Filter(package="kernel"), True),
        (Filter(package="kern"), False),
        (Filter(text="UPDATES KERNEL"), True),
        (Filter(text='"version": 6'), True),
        (Filter(text="org.upd"), True),
        (Filter(text="7"), False),
        (Filter(app="bodhi", user="jdoe", package="kernel", text="org"), True),
        (Filter(app="bodhi", user="nobody"), False),
    ],
)
def test_filter(update: Message, wanted: Filter, is_wanted: bool) -> None:
    assert wanted.wants(update) is is_wanted


def test_filter_of_a_message_that_tells_nothing() -> None:
    broken = Broken(topic="t", body={"text": "x"})
    assert Filter(text="x").wants(broken)
    for wanted in (Filter(app="a"), Filter(user="u"), Filter(package="p"), Filter(text="y")):
        assert not wanted.wants(broken)


def test_line_of_a_message(update: Message) -> None:
    """Whoever it is about comes at the end, each once."""
    parts = click.unstyle(terse(update)).split("  ")
    assert parts[1:] == ["org.update", "jdoe updates kernel 6", "bodhi jdoe kernel"]
    assert "\x1b[1morg.update\x1b[0m" in terse(update)


def test_line_of_a_message_that_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    line = click.unstyle(terse(Broken(topic="t\n", body={"a": 1}, severity=ERROR)))
    assert line.split("  ")[1:] == ["t\\n", "ERROR", '{"a": 1}']
    assert "\x1b" not in caplog.text


def test_time_is_that_of_the_message() -> None:
    one = Message(topic="t", headers={"sent-at": "2026-11-30T12:34:56+00:00"})
    other = Message(topic="t", headers={"sent-at": "2026-11-30T13:34:56+01:00"})
    assert terse(one) == terse(other)
    assert click.unstyle(terse(one))[2:3] == ":"
