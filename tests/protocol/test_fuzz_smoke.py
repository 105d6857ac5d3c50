"""The fuzzer's plain loop, for as long as a test may take."""

from __future__ import annotations

import pytest
from fuzz import fuzz_codec

from fedora_messaging.protocol.events import ConnectionEnded, ContentReceived
from fedora_messaging.protocol.states import Role

ITERATIONS = 3000


def test_p19_nothing_is_found() -> None:
    assert fuzz_codec.run(iterations=ITERATIONS, seed=1) == ITERATIONS


def test_it_ends_in_time() -> None:
    assert fuzz_codec.run(seconds=0.0) == 0


@pytest.mark.parametrize("role", list(Role))
def test_what_it_mutates_is_a_whole_conversation(role: Role) -> None:
    events = fuzz_codec.talk(fuzz_codec.fresh(role), fuzz_codec.CONVERSATIONS[role])
    assert isinstance(events[-1], ConnectionEnded)
    assert events[-1].reply_code in (200, 320)
    bodies = [event.body for event in events if isinstance(event, ContentReceived)]
    # One is above the limit, and thrown away.
    assert bodies[:2] == [b"first", b"second" * 10]
    assert None in bodies


def test_a_finding_names_its_input(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(data: bytes) -> None:
        raise KeyError(data)

    monkeypatch.setattr(fuzz_codec, "TARGETS", (broken,))
    with pytest.raises(KeyError) as caught:
        fuzz_codec.attempt(b"\x00abc")
    assert caught.value.__notes__ == ["input: bytes.fromhex('00616263')"]


def test_expectations_are_checked() -> None:
    with pytest.raises(fuzz_codec.Finding, match="what"):
        fuzz_codec.expect(False, "what")
