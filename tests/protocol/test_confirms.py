"""Publisher confirms, both ends."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedora_messaging.protocol.confirms import Unconfirmed, Unsettled
from fedora_messaging.protocol.errors import COMMAND_INVALID, ConnectionError

if TYPE_CHECKING:
    from random import Random


def of(count: int) -> Unsettled[str]:
    unsettled: Unsettled[str] = Unsettled()
    assert [unsettled.sent(f"m{tag}") for tag in range(1, count + 1)] == list(range(1, count + 1))
    return unsettled


# The publisher's end


def test_settles_one() -> None:
    unsettled = of(3)
    assert unsettled.settle(2, False) == ["m2"]
    assert len(unsettled) == 2
    assert list(unsettled) == ["m1", "m3"]


def test_settles_all_up_to_a_tag() -> None:
    unsettled = of(4)
    unsettled.settle(2, False)
    assert unsettled.settle(3, True) == ["m1", "m3"]
    assert list(unsettled) == ["m4"]


def test_settles_further_and_further() -> None:
    unsettled = of(6)
    assert unsettled.settle(1, True) == ["m1"]
    assert unsettled.settle(2, True) == ["m2"]
    assert unsettled.settle(4, True) == ["m3", "m4"]
    # What comes late takes nothing back.
    assert unsettled.settle(2, True) == []
    assert unsettled.settle(5, True) == ["m5"]
    assert unsettled.settle(6, False) == ["m6"]
    assert unsettled.sent("m7") == 7
    assert unsettled.settle(7, True) == ["m7"]


def test_tag_0_settles_everything() -> None:
    unsettled = of(3)
    assert unsettled.settle(0, True) == ["m1", "m2", "m3"]
    assert unsettled.settle(0, True) == []
    assert of(0).settle(0, True) == []


def test_a_tag_settled_before_is_ignored() -> None:
    unsettled = of(3)
    unsettled.settle(2, True)
    assert unsettled.settle(1, False) == []
    assert unsettled.settle(2, True) == []
    assert list(unsettled) == ["m3"]


@pytest.mark.parametrize(
    ("tag", "multiple"), [(4, False), (4, True), (2**64 - 1, True), (0, False), (-1, False), (-1, True)]
)
def test_a_tag_never_sent_is_the_brokers_mistake(tag: int, multiple: bool) -> None:
    unsettled = of(3)
    with pytest.raises(ConnectionError) as caught:
        unsettled.settle(tag, multiple)
    assert caught.value.reply_code == COMMAND_INVALID
    assert caught.value.reply_text == (
        f"COMMAND_INVALID - confirm of delivery tag {tag}, but the last one sent is 3"
    )
    assert len(unsettled) == 3


def test_take_all() -> None:
    unsettled = of(3)
    unsettled.settle(1, False)
    assert unsettled.take_all() == ["m2", "m3"]
    assert len(unsettled) == 0
    assert unsettled.sent("next") == 4
    assert unsettled.settle(4, True) == ["next"]


def test_finds_in_the_order_of_sending() -> None:
    """To find all of them takes one walk."""
    unsettled = of(5)
    unsettled.settle(1, False)
    looked_at: list[str] = []

    def is_odd(item: str) -> bool:
        looked_at.append(item)
        return item in ("m1", "m3", "m5")

    assert [unsettled.find(is_odd), unsettled.find(is_odd)] == ["m3", "m5"]
    assert looked_at == ["m2", "m3", "m4", "m5"]


def test_finds_what_was_passed_over() -> None:
    unsettled = of(3)
    assert unsettled.find(lambda item: item == "m3") == "m3"
    assert unsettled.find(lambda item: item == "m1") == "m1"
    assert unsettled.find(lambda item: item == "m4") is None
    unsettled.take_all()
    assert unsettled.find(lambda _item: True) is None


def test_an_item_may_be_anything() -> None:
    unsettled: Unsettled[None] = Unsettled()
    unsettled.sent(None)
    assert unsettled.settle(1, False) == [None]


class NaiveUnsettled:
    def __init__(self) -> None:
        self.items: list[tuple[int, str]] = []
        self.last = 0

    def sent(self, item: str) -> int:
        self.last += 1
        self.items.append((self.last, item))
        return self.last

    def settle(self, tag: int, multiple: bool) -> list[str] | None:
        if tag > self.last or (tag < 1 and not (tag == 0 and multiple)):
            return None

        def answered(other: int) -> bool:
            return (tag == 0 or other <= tag) if multiple else other == tag

        settled = [item for other, item in self.items if answered(other)]
        self.items = [(other, item) for other, item in self.items if not answered(other)]
        return settled


# Sent mostly, so that most tags mean something; None sends.
ANSWERS = st.tuples(st.integers(0, 12), st.booleans())


@given(st.integers(0, 10), st.lists(st.none() | ANSWERS, max_size=40))
def test_unsettled_as_a_naive_model(first: int, rest: list[tuple[int, bool] | None]) -> None:
    unsettled: Unsettled[str] = Unsettled()
    model = NaiveUnsettled()
    for step in [None] * first + rest:
        if step is None:
            item = f"m{model.last + 1}"
            assert unsettled.sent(item) == model.sent(item)
            continue
        expected = model.settle(*step)
        if expected is None:
            with pytest.raises(ConnectionError):
                unsettled.settle(*step)
        else:
            assert unsettled.settle(*step) == expected
        assert list(unsettled) == [item for _, item in model.items]
        assert len(unsettled) == len(model.items)
    assert unsettled.take_all() == [item for _, item in model.items]


# The broker's end


def received(count: int) -> Unconfirmed:
    unconfirmed = Unconfirmed()
    assert [unconfirmed.received() for _ in range(count)] == list(range(1, count + 1))
    return unconfirmed


def test_nothing_is_due_at_first() -> None:
    assert received(0).flush() == []
    assert received(3).flush() == []


@pytest.mark.parametrize(
    ("confirmed", "answers"),
    [
        ([1], [(1, False)]),
        ([1, 2, 3], [(3, True)]),
        ([3, 1, 2], [(3, True)]),
        ([2, 3], [(2, False), (3, False)]),
        ([1, 2, 4], [(2, True), (4, False)]),
        ([1, 3, 5], [(1, False), (3, False), (5, False)]),
        ([5], [(5, False)]),
        ([1, 2, 3, 4, 5], [(5, True)]),
    ],
)
def test_confirms_are_merged(confirmed: list[int], answers: list[tuple[int, bool]]) -> None:
    unconfirmed = received(5)
    for tag in confirmed:
        unconfirmed.confirm(tag)
    assert unconfirmed.flush() == answers
    assert unconfirmed.flush() == []


def test_confirmed_alone_is_not_in_the_way_of_merging() -> None:
    unconfirmed = received(3)
    unconfirmed.confirm(2)
    assert unconfirmed.flush() == [(2, False)]
    unconfirmed.confirm(1)
    unconfirmed.confirm(3)
    assert unconfirmed.flush() == [(3, True)]


def test_rejected_is_not_in_the_way_of_merging() -> None:
    unconfirmed = received(4)
    unconfirmed.reject(2)
    unconfirmed.confirm(1)
    unconfirmed.confirm(3)
    assert unconfirmed.flush() == [(3, True)]
    unconfirmed.reject(4)
    assert unconfirmed.flush() == []


@pytest.mark.parametrize("second", ["confirm", "reject"])
@pytest.mark.parametrize("flushed", [False, True])
def test_deciding_twice_changes_nothing(second: str, flushed: bool) -> None:
    unconfirmed = received(2)
    unconfirmed.confirm(1)
    first = unconfirmed.flush() if flushed else []
    getattr(unconfirmed, second)(1)
    assert [*first, *unconfirmed.flush()] in ([(1, False)], [] if second == "reject" else [(1, False)])
    unconfirmed.confirm(2)
    assert unconfirmed.flush() == [(2, False)]


class NaiveUnconfirmed:
    """Answers due, worked out from scratch."""

    def __init__(self) -> None:
        self.last = 0
        self.open: set[int] = set()
        self.confirmed: set[int] = set()

    def flush(self) -> list[tuple[int, bool]]:
        undecided = self.open - self.confirmed
        oldest = min(undecided, default=self.last + 1)
        together = sorted(tag for tag in self.confirmed if tag < oldest)
        alone = sorted(tag for tag in self.confirmed if tag > oldest)
        self.open -= self.confirmed
        self.confirmed = set()
        merged = [(together[-1], len(together) > 1)] if together else []
        return merged + [(tag, False) for tag in alone]


STEPS = st.lists(st.sampled_from(["received", "confirm", "reject", "flush"]), max_size=80)


@given(STEPS, st.randoms(use_true_random=False))
def test_unconfirmed_as_a_naive_model_and_against_unsettled(steps: list[str], random: Random) -> None:
    unconfirmed, model = Unconfirmed(), NaiveUnconfirmed()
    publisher: Unsettled[int] = Unsettled()
    decided: set[int] = set()
    answered: list[int] = []
    for step in [*steps, "flush"]:
        undecided = sorted(model.open - model.confirmed)
        if step == "received":
            model.last += 1
            model.open.add(model.last)
            assert unconfirmed.received() == publisher.sent(model.last) == model.last
        elif step == "flush":
            answers = unconfirmed.flush()
            assert answers == model.flush()
            # The publisher hears of exactly those that were decided, each once.
            for answer in answers:
                answered += publisher.settle(*answer)
            assert len(set(answered)) == len(answered)
            assert set(answered) == decided
            assert set(publisher) == model.open
        elif undecided:
            tag = random.choice(undecided)
            decided.add(tag)
            if step == "confirm":
                unconfirmed.confirm(tag)
                model.confirmed.add(tag)
            else:
                # Its own basic.nack leaves at once.
                unconfirmed.reject(tag)
                model.open.discard(tag)
                answered += publisher.settle(tag, False)


# Cost


@pytest.mark.parametrize("end", ["publisher, one answer", "publisher, many answers", "broker"])
def test_the_cost_grows_with_what_is_settled_not_with_its_square(end: str) -> None:
    count = 60_000
    unsettled = of(count)
    unconfirmed = received(count)
    for tag in range(1, count + 1):
        unconfirmed.confirm(tag)
    begin = time.process_time()
    if end == "publisher, one answer":
        assert len(unsettled.settle(count, True)) == count
    elif end == "publisher, many answers":
        for tag in range(1, count + 1):
            unsettled.settle(tag, True)
    else:
        assert unconfirmed.flush() == [(count, True)]
    assert time.process_time() - begin < 0.6
