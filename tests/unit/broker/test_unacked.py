"""Deliveries that are out, by their tags."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.broker.core.support import declare, message, new_vhost

from fedora_messaging.broker.core.message import new_entry
from fedora_messaging.broker.unacked import UnackedDeliveries
from fedora_messaging.protocol.errors import ChannelError

if TYPE_CHECKING:
    from fedora_messaging.broker.core.queue import Queue


@pytest.fixture
def queue() -> Queue:
    return declare(new_vhost(), "q")


def filled(queue: Queue, count: int) -> UnackedDeliveries:
    """Make a channel on which so many messages are out, with tags from 1."""
    unacked = UnackedDeliveries()
    for tag in range(1, count + 1):
        unacked.add(tag, new_entry(message(), tag), queue, None)
    return unacked


def refused(unacked: UnackedDeliveries, tag: int, multiple: bool) -> str:
    with pytest.raises(ChannelError) as caught:
        unacked.take(tag, multiple)
    return caught.value.reply_text


def test_one(queue: Queue) -> None:
    unacked = filled(queue, 3)
    [(tag, taken)] = unacked.take(2, multiple=False).items()
    assert (tag, taken.entry.position, taken.queue, taken.consumer) == (2, 2, queue, None)
    assert refused(unacked, 2, multiple=False) == "PRECONDITION_FAILED - unknown delivery tag 2"
    assert list(unacked.take_all()) == [1, 3]


def test_all_up_to_one(queue: Queue) -> None:
    unacked = filled(queue, 5)
    unacked.take(2, multiple=False)
    assert list(unacked.take(4, multiple=True)) == [1, 3, 4]
    assert list(unacked.take(5, multiple=True)) == [5]


@pytest.mark.parametrize("multiple", [False, True])
@pytest.mark.parametrize("tag", [4, 2**64 - 1])
def test_tag_that_is_not_out(queue: Queue, tag: int, multiple: bool) -> None:
    unacked = filled(queue, 3)
    assert refused(unacked, tag, multiple) == f"PRECONDITION_FAILED - unknown delivery tag {tag}"
    assert list(unacked.take_all()) == [1, 2, 3]


def test_all_up_to_one_that_was_taken(queue: Queue) -> None:
    unacked = filled(queue, 3)
    unacked.take(2, multiple=False)
    assert refused(unacked, 2, multiple=True) == "PRECONDITION_FAILED - unknown delivery tag 2"
    assert list(unacked.take_all()) == [1, 3]


def test_tag_0_means_all_if_there_may_be_several(queue: Queue) -> None:
    unacked = filled(queue, 3)
    assert refused(unacked, 0, multiple=False) == "PRECONDITION_FAILED - unknown delivery tag 0"
    assert list(unacked.take(0, multiple=True)) == [1, 2, 3]
    # Nothing is out, and that is no mistake.
    assert unacked.take(0, multiple=True) == {}


def test_taking_is_undone_in_order(queue: Queue) -> None:
    unacked = filled(queue, 5)
    taken = unacked.take(1, multiple=False) | unacked.take(4, multiple=True)
    unacked.give_back(taken)
    assert list(unacked.take(3, multiple=True)) == [1, 2, 3]
    assert list(unacked.take_all()) == [4, 5]


@given(
    st.lists(
        st.just("add") | st.just("undo") | st.tuples(st.integers(0, 12), st.booleans()),
        max_size=40,
    )
)
def test_any_order(steps: list[str | tuple[int, bool]]) -> None:
    """Against a plain set of tags."""
    queue = declare(new_vhost(), "q")
    unacked, model = UnackedDeliveries(), set[int]()
    highest, last = 0, unacked.take_all()
    for step in steps:
        if step == "add":
            highest += 1
            unacked.add(highest, new_entry(message(), highest), queue, None)
            model.add(highest)
        elif step == "undo":
            unacked.give_back(last)
            model |= set(last)
            last = {}
        else:
            assert isinstance(step, tuple)
            tag, multiple = step
            if tag in model or (multiple and tag == 0):
                expected = {one for one in model if not tag or one <= tag} if multiple else {tag}
                last = unacked.take(tag, multiple)
                assert list(last) == sorted(expected)
                model -= expected
            else:
                assert f"unknown delivery tag {tag}" in refused(unacked, tag, multiple)
    assert list(unacked.take_all()) == sorted(model)
