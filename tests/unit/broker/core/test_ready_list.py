"""The order in which messages wait."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.broker.core.support import message

from fedora_messaging.broker.core.message import Entry, new_entry
from fedora_messaging.broker.core.ready_list import (
    PriorityReadyList,
    ReadyList,
    ReturnsFirstList,
)

Ready = ReadyList | PriorityReadyList | ReturnsFirstList


def entries(*priorities: int) -> list[Entry]:
    """Make messages that come one after the other."""
    return [new_entry(message(), position, priority) for position, priority in enumerate(priorities, 1)]


def fill(ready: Ready, *priorities: int) -> list[Entry]:
    made = entries(*priorities)
    for entry in made:
        ready.append(entry)
    return made


def positions(ready: Ready) -> list[int]:
    """Take out everything."""
    return [ready.pop().position for _ in range(len(ready))]


@pytest.fixture(params=["plain", "priorities"])
def ready(request: pytest.FixtureRequest) -> Ready:
    return ReadyList() if request.param == "plain" else PriorityReadyList()


def test_first_in_first_out(ready: Ready) -> None:
    first, *_others = fill(ready, 0, 0, 0)
    assert (len(ready), ready.peek()) == (3, first)
    assert positions(ready) == [1, 2, 3]
    assert (len(ready), ready.peek()) == (0, None)


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
def test_returned_messages_go_before_those_that_came_later(ready: Ready, order: list[int]) -> None:
    fill(ready, 0, 0, 0, 0)
    taken = [ready.pop() for _ in range(3)]
    for place in order:
        ready.give_back(taken[place])
    assert (len(ready), ready.peek()) == (4, taken[0])
    assert positions(ready) == [1, 2, 3, 4]


def test_returned_message_goes_behind_those_that_came_earlier(ready: Ready) -> None:
    late = new_entry(message(), 3)
    for entry in entries(0, 0):
        ready.append(entry)
    ready.give_back(late)
    assert positions(ready) == [1, 2, 3]


def test_only_returned_messages_wait(ready: Ready) -> None:
    [only] = fill(ready, 0)
    assert ready.pop() is only
    ready.give_back(only)
    assert (len(ready), ready.peek(), ready.pop()) == (1, only, only)


def test_empty_list_has_nothing_to_take(ready: Ready) -> None:
    with pytest.raises(IndexError):
        ready.pop()
    assert len(ready) == 0


@given(st.lists(st.sampled_from(["append", "pop", "give back"]) | st.integers(0, 3), max_size=60))
def test_the_best_of_what_waits_comes_first(steps: list[str | int]) -> None:
    """Both lists, against one that looks at everything each time; a number is the priority from there on."""
    for ready in (ReadyList(), PriorityReadyList()):
        model: list[Entry] = []
        out: list[Entry] = []
        priority, position = 0, 0
        for step in steps:
            if isinstance(step, int):
                priority = step
            elif step == "append":
                position += 1
                entry = new_entry(
                    message(), position, priority if isinstance(ready, PriorityReadyList) else 0
                )
                ready.append(entry)
                model.append(entry)
            elif step == "give back" and out:
                back = out.pop(0)
                ready.give_back(back)
                model.append(back)
            elif step == "pop" and model:
                best = min(model, key=lambda one: (-one.priority, one.position))
                assert ready.peek() is best
                assert ready.pop() is best
                model.remove(best)
                out.append(best)
            assert len(ready) == len(model)


# Priorities


def test_higher_priority_comes_first() -> None:
    ready = PriorityReadyList()
    fill(ready, 0, 2, 1, 2, 0)
    assert positions(ready) == [2, 4, 3, 1, 5]


def test_returned_message_keeps_its_priority() -> None:
    ready = PriorityReadyList()
    _first, _second, urgent, _third = fill(ready, 0, 0, 1, 1)
    assert ready.pop() is urgent
    ready.give_back(urgent)
    assert positions(ready) == [3, 4, 1, 2]


def test_highest_priority_that_a_queue_can_have() -> None:
    ready = PriorityReadyList()
    fill(ready, 0, 255, 254)
    assert positions(ready) == [2, 3, 1]


# Quorum queues


def test_returned_messages_keep_the_order_of_their_return() -> None:
    ready = ReturnsFirstList()
    fresh = fill(ready, 0, 0, 0, 0)
    out = {ready.pop().position for _ in range(len(fresh))}
    assert (out, ready.peek()) == ({1, 2, 3, 4}, None)
    for position in (2, 4):
        ready.append(fresh[position - 1])
    for position in (3, 1):
        ready.give_back(fresh[position - 1])
    head = ready.peek()
    assert head is not None
    assert (len(ready), head.position) == (4, 3)
    assert positions(ready) == [3, 1, 2, 4]


def test_returned_message_comes_before_one_of_higher_priority() -> None:
    ready = ReturnsFirstList()
    fill(ready, 0)
    low = ready.pop()
    fill(ready, 0, 9)
    ready.give_back(low)
    assert [ready.pop().priority for _ in range(3)] == [0, 9, 0]
