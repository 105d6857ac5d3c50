"""The fuzzer of sessions, for as long as a test may take; and that it would find something."""

from __future__ import annotations

import random

import pytest
from fuzz import fuzz_sessions, typed_values

from fedora_messaging.broker import methods as broker_methods
from fedora_messaging.broker.core import dead_letters
from fedora_messaging.wire import methods as m
from fedora_messaging.wire.fields import decode_table

#: Two rounds: one broker keeps everything in memory, the other stores and starts again.
SESSIONS = 2 * fuzz_sessions.ROUND


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_is_found(seed: int) -> None:
    assert fuzz_sessions.run(SESSIONS, seed=seed) == SESSIONS


@pytest.mark.parametrize("first", [0, fuzz_sessions.ROUND], ids=["memory", "stored"])
def test_lost_message_is_found(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = b"good %d" % first
    monkeypatch.setattr(dead_letters, "is_cycle", lambda message, _queue: message.body == lost)
    monkeypatch.setattr(fuzz_sessions, "ARRIVAL", 1.0)
    with pytest.raises(
        fuzz_sessions.Finding, match=f"confirmed messages are lost.*{lost.decode()}"
    ) as caught:
        fuzz_sessions.run(1, first=first)
    assert caught.value.__notes__[-1] == f"run it again by: --seed 0 --first {first} --sessions 1"


def test_failure_of_the_broker_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> None:
        raise RuntimeError("on purpose")

    monkeypatch.setitem(broker_methods.HANDLERS, m.QueueBind, fail)
    with pytest.raises(fuzz_sessions.Finding, match="Internal error"):
        fuzz_sessions.run(1)


def test_every_type_is_tried() -> None:
    """Tables of any values are well-formed, and have all types in them."""
    chance = random.Random(1)
    types = set()
    for _ in range(3000):
        value = typed_values.any_value(chance)
        types.add(value[:1])
        encoded = b"\1k" + value
        table, end = decode_table(len(encoded).to_bytes(4, "big") + encoded)
        assert list(table) == ["k"]
        assert end == 4 + len(encoded)
    assert b"".join(sorted(types)) == bytes(sorted(b"tbBsuIilLfdDSxAFTV"))
