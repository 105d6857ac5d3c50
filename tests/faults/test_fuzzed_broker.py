"""The fuzzer of a broker in memory, for as long as a test may take; and that it would find something."""

from __future__ import annotations

import pytest
from fuzz import fuzz_broker
from fuzz.memory_broker import Finding

from fedora_messaging.broker.core.memory import MemoryUse
from fedora_messaging.broker.core.queue import Queue
from fedora_messaging.wire import methods as m
from fedora_messaging.wire.fields import encode_table

SCRIPTS = 60
IN_MEMORY = fuzz_broker.Setting("4", memory=0, lag=0.0, is_small=False, stores=False)
STORED = fuzz_broker.Setting("4", memory=0, lag=0.0, is_small=False, stores=True)
#: A client declares a durable queue, publishes a persistent message to it and takes it out.
SCRIPT = [
    ("connect", 0, "guest", "/", 131072, 0, encode_table({})),
    ("method", 0, 1, m.QueueDeclare("q", durable=True).encode()),
    ("publish", 0, 1, m.BasicPublish("", "q").encode(), b"\x10\x00\x02", b"body"),
    ("drain",),
    ("method", 0, 1, m.BasicGet("q").encode()),
    ("drain",),
]


def requeue(*_arguments: object) -> None:
    """Stand for a method that does nothing."""


def test_nothing_is_found() -> None:
    assert fuzz_broker.run(scripts=SCRIPTS, seed=1) == SCRIPTS


def test_script_is_the_same_each_time() -> None:
    assert fuzz_broker.write(1, 2) == fuzz_broker.write(1, 2)


def test_memory_that_is_not_given_back_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryUse, "release", lambda *_arguments: None)
    with pytest.raises(Finding, match="bytes of messages"):
        fuzz_broker.play(IN_MEMORY, SCRIPT)


def test_message_that_does_not_go_back_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Queue, "requeue", requeue)
    with pytest.raises(Finding, match="1 out, but 0 on channels"):
        fuzz_broker.play(IN_MEMORY, SCRIPT)


def test_message_that_a_restart_loses_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Queue, "restore", lambda *_arguments: True)
    with pytest.raises(Finding, match="after a restart: messages of / q: lost"):
        fuzz_broker.play(STORED, SCRIPT)


def test_finding_is_shrunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Queue, "requeue", requeue)
    with pytest.raises(Finding) as caught:
        fuzz_broker.play(IN_MEMORY, SCRIPT)
    longer = [*SCRIPT, *[("advance", 1.0), ("watch",)] * 5]
    assert fuzz_broker.shrink(IN_MEMORY, longer, fuzz_broker.sign(caught.value)) == [
        step for step in SCRIPT if step != ("drain",)
    ]
