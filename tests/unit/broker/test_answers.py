"""Answers keep their order, although some wait for the disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fedora_messaging.broker.answers import Answers
from fedora_messaging.broker.core.journal import NoJournal
from fedora_messaging.wire import methods as m

if TYPE_CHECKING:
    from collections.abc import Callable

    from fedora_messaging.wire.methods import Method


class Disk(NoJournal):
    """A journal whose disk writes when the test says so."""

    def __init__(self) -> None:
        self._waiting: list[Callable[[], None]] = []

    def when_durable(self, callback: Callable[[], None]) -> None:
        self._waiting.append(callback)

    def write(self) -> None:
        """The oldest write comes to its end."""
        self._waiting.pop(0)()


class Channel:
    """Where answers go.

    Attributes:
        told: Answers that were sent, and when it was told that none waits.
    """

    def __init__(self) -> None:
        self.told: list[Method | str] = []
        self.disk = Disk()
        self.answers = Answers(self.told.append, self.disk, lambda: self.told.append("caught up"))


@pytest.fixture
def channel() -> Channel:
    return Channel()


ACK, OTHER, LAST = m.BasicAck(1), m.QueueBindOk(), m.BasicAck(2)


def test_answer_that_waits_for_nothing_is_sent_at_once(channel: Channel) -> None:
    channel.answers.add(ACK)
    assert channel.told == [ACK]
    assert not channel.answers.waiting


def test_answers_wait_behind_one_that_waits(channel: Channel) -> None:
    channel.answers.add_when_durable(ACK)
    channel.answers.add(OTHER)
    assert (channel.told, channel.answers.waiting) == ([], True)
    channel.disk.write()
    assert (channel.told, channel.answers.waiting) == ([ACK, OTHER, "caught up"], False)
    channel.answers.add(LAST)
    assert channel.told[-1] is LAST


def test_all_wait_until_the_last_write(channel: Channel) -> None:
    channel.answers.add_when_durable(ACK)
    channel.answers.add(OTHER)
    channel.answers.add_when_durable(LAST)
    channel.disk.write()
    assert (channel.told, channel.answers.waiting) == ([], True)
    channel.disk.write()
    assert channel.told == [ACK, OTHER, LAST, "caught up"]


def test_write_without_an_answer_holds_back_what_follows(channel: Channel) -> None:
    channel.answers.add_when_durable(None)
    channel.answers.add(ACK)
    assert channel.told == []
    channel.disk.write()
    assert channel.told == [ACK, "caught up"]


def test_without_storage_nothing_waits() -> None:
    told: list[Method] = []
    answers = Answers(told.append, NoJournal(), lambda: None)
    answers.add_when_durable(ACK)
    answers.add(OTHER)
    assert told == [ACK, OTHER]
    assert not answers.waiting


def test_nobody_is_told_after_the_end(channel: Channel) -> None:
    channel.answers.add_when_durable(ACK)
    channel.answers.add(OTHER)
    channel.answers.close()
    channel.disk.write()
    assert channel.told == []


def test_answer_in_the_middle_of_catching_up_keeps_its_place() -> None:
    """Sending may make room for what is answered next."""
    disk = Disk()
    told: list[Method] = []

    def send(method: Method) -> None:
        told.append(method)
        if method is ACK:
            answers.add_when_durable(LAST)

    answers = Answers(send, disk, lambda: None)
    answers.add_when_durable(ACK)
    answers.add(OTHER)
    disk.write()
    assert told == [ACK, OTHER]
    disk.write()
    assert told == [ACK, OTHER, LAST]
