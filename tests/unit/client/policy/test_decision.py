"""What docs/how-to/failures.md says of messages whose callback failed, row by row."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedora_messaging.client.policy.decision import Decision, decide
from fedora_messaging.exceptions import Drop, HaltConsumer, Nack
from fedora_messaging.options import ConsumerOptions, RetryOptions

PAGE = Path(__file__).parents[4] / "docs/how-to/failures.md"

RETRY = RetryOptions(attempts=3, on=(OSError,))
SETTINGS = {
    "both": ConsumerOptions(retry=RETRY, dead_letter="dead"),
    "retry": ConsumerOptions(retry=RETRY),
    "dead_letter": ConsumerOptions(dead_letter="dead"),
    "neither": ConsumerOptions(concurrency=2),
}

#: A row's first cell: the errors, how often the callback failed before, and what each setting makes of it.
ROWS: dict[str, list[tuple[list[BaseException], list[int], dict[str, Decision]]]] = {
    "raises something that `retry.on` names": [
        ([OSError(), ConnectionResetError()], [0, 1], {"both": Decision.RETRY, "retry": Decision.RETRY})
    ],
    "has failed `attempts` times": [
        ([OSError()], [2, 3, 1000], {"both": Decision.GIVE_UP, "retry": Decision.GIVE_UP})
    ],
    "raises something else": [
        (
            [ValueError(), ExceptionGroup("", [OSError()])],
            [0, 5],
            {
                "both": Decision.KEEP,
                "retry": Decision.AS_RAISED,
                "dead_letter": Decision.KEEP,
                "neither": Decision.AS_RAISED,
            },
        )
    ],
    "raises `Drop`": [([Drop()], [0, 9], dict.fromkeys(SETTINGS, Decision.AS_RAISED))],
    "raises `HaltConsumer`": [
        ([HaltConsumer(), HaltConsumer(requeue=True)], [0, 9], dict.fromkeys(SETTINGS, Decision.AS_RAISED))
    ],
}
#: What no decision is needed for.
_OTHER_ROWS = {"returns", "is never called, because the message is invalid"}
CASES = [
    pytest.param(error, attempts, SETTINGS[name], decision, id=f"{row}-{error!r}-{attempts}-{name}")
    for row, cases in ROWS.items()
    for errors, numbers, outcomes in cases
    for error in errors
    for attempts in numbers
    for name, decision in outcomes.items()
]


def test_every_row_is_shown() -> None:
    rows = [line.split("|")[1].strip() for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    assert {*rows} - {"The callback", "---"} == {*ROWS} | _OTHER_ROWS


@pytest.mark.parametrize(("error", "attempts", "options", "decision"), CASES)
def test_decision(error: BaseException, attempts: int, options: ConsumerOptions, decision: Decision) -> None:
    assert decide(error, attempts, options, stale=False) is decision


@pytest.mark.parametrize(("error", "attempts", "options", "decision"), CASES)
def test_of_a_message_that_the_broker_has_taken_back(
    error: BaseException, attempts: int, options: ConsumerOptions, decision: Decision
) -> None:
    """No copy is made of it, but what the callback asks for of itself is done."""
    of_itself = isinstance(error, HaltConsumer | Drop)
    expected = decision if of_itself else Decision.LEAVE
    assert decide(error, attempts, options, stale=True) is expected


@pytest.mark.parametrize("options", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1), GeneratorExit()], ids=repr)
def test_what_ends_programs_is_no_failure(error: BaseException, options: ConsumerOptions) -> None:
    assert decide(error, 0, options, stale=False) is Decision.AS_RAISED


def test_nack_goes_back_unless_it_is_to_be_tried_again() -> None:
    assert decide(Nack(), 0, SETTINGS["neither"], stale=False) is Decision.AS_RAISED
    assert decide(Nack(), 0, SETTINGS["dead_letter"], stale=False) is Decision.AS_RAISED
    again = ConsumerOptions(retry=RetryOptions(), dead_letter="dead")
    assert decide(Nack(), 0, again, stale=False) is Decision.RETRY
