"""``fedora-messaging reconsume``: a callback gets an archived message."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from fedora_messaging import cli

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.archives import Archive


CALLBACKS = """
import asyncio
from fedora_messaging.exceptions import Drop, HaltConsumer, Nack


def function(message):
    print("done", message.body["number"])


async def coroutine(message):
    await asyncio.sleep(0)
    function(message)


class Object:
    async def __call__(self, message):
        await coroutine(message)


def hidden(message):
    return coroutine(message)


def nack(message):
    raise Nack


async def drop(message):
    raise Drop


def halt(message):
    raise HaltConsumer(7, "canary")


async def halt_with_0(message):
    raise HaltConsumer


def error(message):
    raise ValueError("canary")


async def error_in_coroutine(message):
    raise ValueError("canary")


CONSTANT = 1


def takes_nothing():
    pass
"""


def reconsume(archive: Archive, tmp_path: Path, callback: str) -> Any:
    (tmp_path / "app.py").write_text(CALLBACKS)
    return CliRunner().invoke(
        cli.reconsume, [f"--callback-file={tmp_path}/app.py:{callback}", archive.option, str(uuid.uuid4())]
    )


@pytest.mark.parametrize("callback", ["function", "coroutine", "Object", "hidden"])
def test_reconsume_calls_every_form(archive: Archive, tmp_path: Path, callback: str) -> None:
    """The command awaits coroutines."""
    result = reconsume(archive, tmp_path, callback)
    assert (result.exit_code, result.output) == (0, "done 1\n")


@pytest.mark.parametrize("callback", ["nack", "drop", "halt", "error", "error_in_coroutine"])
def test_reconsume_with_a_callback_that_raises(archive: Archive, tmp_path: Path, callback: str) -> None:
    """The command tells the error in one line."""
    result = reconsume(archive, tmp_path, callback)
    assert isinstance(result.exception, SystemExit)
    assert result.exit_code == (7 if callback == "halt" else 1)
    assert len(result.output.splitlines()) == 1
    expected = {"nack": "Nack", "drop": "Drop"}.get(callback, "canary")
    assert expected in result.output


def test_reconsume_with_a_callback_that_halts_with_0(archive: Archive, tmp_path: Path) -> None:
    """The message was not processed, whatever the callback says."""
    result = reconsume(archive, tmp_path, "halt_with_0")
    assert result.exit_code == 1
    assert result.output.startswith("The callback asked to halt: ")


def test_reconsume_what_the_archive_does_not_have(archive: Archive, tmp_path: Path) -> None:
    archive.answer = {}
    result = reconsume(archive, tmp_path, "error")
    assert (result.exit_code, result.output) == (0, "")
    assert len(archive.paths) == 1


@pytest.mark.parametrize(
    ("callback", "says"),
    [
        ("CONSTANT", "Callback must be a class that implements __call__ or a function."),
        ("takes_nothing", "cannot be called with one argument, the message"),
    ],
)
def test_reconsume_with_what_is_no_callback(
    archive: Archive, tmp_path: Path, callback: str, says: str
) -> None:
    """It is told before the archive is asked."""
    result = reconsume(archive, tmp_path, callback)
    assert result.exit_code == 2
    assert says in result.output
    assert archive.paths == []


@pytest.mark.parametrize("identity", ["", "one", "../admin"])
def test_reconsume_wants_an_id_that_can_be_one(archive: Archive, identity: str) -> None:
    result = CliRunner().invoke(
        cli.reconsume, ["--callback=fedora_messaging.example:printer", archive.option, identity]
    )
    assert result.exit_code == 2
    assert "is not a valid UUID" in result.output
    assert archive.paths == []
