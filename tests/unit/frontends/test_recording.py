"""Recording what is published: the innermost recorder gets it, and every recorder is removed."""

from __future__ import annotations

import threading

import pytest

from fedora_messaging.frontends.recording import is_recording, recorded, recording
from fedora_messaging.message import Message

FIRST, SECOND, THIRD = (Message(topic=topic) for topic in "abc")


def test_nothing_is_recorded_outside() -> None:
    assert not is_recording()
    assert not recorded(FIRST)


def test_innermost_recorder_gets_the_messages() -> None:
    outer: list[Message] = []
    inner: list[Message] = []
    with recording(outer.append):
        assert is_recording()
        assert recorded(FIRST)
        with recording(inner.append):
            assert recorded(SECOND)
        assert recorded(THIRD)
    assert not is_recording()
    assert not recorded(FIRST)
    assert (outer, inner) == ([FIRST, THIRD], [SECOND])


def test_other_threads_are_recorded_too() -> None:
    found: list[Message] = []
    with recording(found.append):
        thread = threading.Thread(target=recorded, args=(FIRST,))
        thread.start()
        thread.join()
    assert found == [FIRST]


def test_recorder_is_removed_when_the_block_fails() -> None:
    with pytest.raises(ValueError, match="canary"), recording(lambda _message: None):
        raise ValueError("canary")
    assert not is_recording()


def test_error_of_a_recorder_reaches_who_publishes() -> None:
    def refuse(_message: Message) -> None:
        raise AssertionError("no publish is expected")

    with recording(refuse), pytest.raises(AssertionError, match="no publish is expected"):
        recorded(FIRST)


def test_blocks_that_end_in_another_order() -> None:
    outer: list[Message] = []
    inner: list[Message] = []
    first, second = recording(outer.append), recording(inner.append)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert recorded(FIRST)
    second.__exit__(None, None, None)
    assert not is_recording()
    assert (outer, inner) == ([], [FIRST])
