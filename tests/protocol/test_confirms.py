"""Publisher confirms, both ends."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedora_messaging.protocol.confirms import AwaitedConfirms, OwedConfirms
from fedora_messaging.protocol.errors import COMMAND_INVALID, ConnectionError

if TYPE_CHECKING:
    from random import Random


def of(count: int) -> AwaitedConfirms[str]:
    awaited: AwaitedConfirms[str] = AwaitedConfirms()
    assert [awaited.sent(f"m{tag}") for tag in range(1, count + 1)] == list(range(1, count + 1))
    return awaited


# The publisher's end


def test_settles_one() -> None:
    awaited = of(3)
    assert awaited.take(2, False) == ["m2"]
    assert len(awaited) == 2
    assert list(awaited) == ["m1", "m3"]


def test_settles_all_up_to_a_tag() -> None:
    awaited = of(4)
    awaited.take(2, False)
    assert awaited.take(3, True) == ["m1", "m3"]
    assert list(awaited) == ["m4"]


def test_settles_further_and_further() -> None:
    awaited = of(6)
    assert awaited.take(1, True) == ["m1"]
    assert awaited.take(2, True) == ["m2"]
    assert awaited.take(4, True) == ["m3", "m4"]
    # What comes late takes nothing back.
    assert awaited.take(2, True) == []
    assert awaited.take(5, True) == ["m5"]
    assert awaited.take(6, False) == ["m6"]
    assert awaited.sent("m7") == 7
    assert awaited.take(7, True) == ["m7"]


def test_tag_0_settles_everything() -> None:
    awaited = of(3)
    assert awaited.take(0, True) == ["m1", "m2", "m3"]
    assert awaited.take(0, True) == []
    assert of(0).take(0, True) == []


def test_a_tag_settled_before_is_ignored() -> None:
    awaited = of(3)
    awaited.take(2, True)
    assert awaited.take(1, False) == []
    assert awaited.take(2, True) == []
    assert list(awaited) == ["m3"]


@pytest.mark.parametrize(
    ("tag", "multiple"), [(4, False), (4, True), (2**64 - 1, True), (0, False), (-1, False), (-1, True)]
)
def test_a_tag_never_sent_is_the_brokers_mistake(tag: int, multiple: bool) -> None:
    awaited = of(3)
    with pytest.raises(ConnectionError) as caught:
        awaited.take(tag, multiple)
    assert caught.value.reply_code == COMMAND_INVALID
    assert caught.value.reply_text == (
        f"COMMAND_INVALID - confirm of delivery tag {tag}, but the last one sent is 3"
    )
    assert len(awaited) == 3


def test_take_all() -> None:
    awaited = of(3)
    awaited.take(1, False)
    assert awaited.take_all() == ["m2", "m3"]
    assert len(awaited) == 0
    assert awaited.sent("next") == 4
    assert awaited.take(4, True) == ["next"]


def test_finds_in_the_order_of_sending() -> None:
    """To find all of them takes one walk."""
    awaited = of(5)
    awaited.take(1, False)
    looked_at: list[str] = []

    def is_odd(item: str) -> bool:
        looked_at.append(item)
        return item in ("m1", "m3", "m5")

    assert [awaited.find(is_odd), awaited.find(is_odd)] == ["m3", "m5"]
    assert looked_at == ["m2", "m3", "m4", "m5"]


def test_finds_what_was_passed_over() -> None:
    awaited = of(3)
    assert awaited.find(lambda item: item == "m3") == "m3"
    assert awaited.find(lambda item: item == "m1") == "m1"
    assert awaited.find(lambda item: item == "m4") is None
    awaited.take_all()
    assert awaited.find(lambda _item: True) is None


def test_an_item_may_be_anything() -> None:
    awaited: AwaitedConfirms[None] = AwaitedConfirms()
    awaited.sent(None)
    assert awaited.take(1, False) == [None]


class NaiveAwaitedConfirms:
    def __init__(self) -> None:
        self.items: list[tuple[int, str]] = []
        self.last = 0

    def sent(self, item: str) -> int:
        self.last += 1
        self.items.append((self.last, item))
        return self.last

    def take(self, tag: int, multiple: bool) -> list[str] | None:
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
    awaited: AwaitedConfirms[str] = AwaitedConfirms()
    model = NaiveAwaitedConfirms()
    for step in [None] * first + rest:
        if step is None:
            item = f"m{model.last + 1}"
            assert awaited.sent(item) == model.sent(item)
            continue
        expected = model.take(*step)
        if expected is None:
            with pytest.raises(ConnectionError):
                awaited.take(*step)
        else:
            assert awaited.take(*step) == expected
        assert list(awaited) == [item for _, item in model.items]
        assert len(awaited) == len(model.items)
    assert awaited.take_all() == [item for _, item in model.items]


# The broker's end


def received(count: int) -> OwedConfirms:
    owed = OwedConfirms()
    assert [owed.received() for _ in range(count)] == list(range(1, count + 1))
    return owed


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
    owed = received(5)
    for tag in confirmed:
        owed.confirm(tag)
    assert owed.flush() == answers
    assert owed.flush() == []


def test_confirmed_alone_is_not_in_the_way_of_merging() -> None:
    owed = received(3)
    owed.confirm(2)
    assert owed.flush() == [(2, False)]
    owed.confirm(1)
    owed.confirm(3)
    assert owed.flush() == [(3, True)]


def test_rejected_is_not_in_the_way_of_merging() -> None:
    owed = received(4)
    owed.reject(2)
    owed.confirm(1)
    owed.confirm(3)
    assert owed.flush() == [(3, True)]
    owed.reject(4)
    assert owed.flush() == []


@pytest.mark.parametrize("second", ["confirm", "reject"])
@pytest.mark.parametrize("flushed", [False, True])
def test_deciding_twice_changes_nothing(second: str, flushed: bool) -> None:
    owed = received(2)
    owed.confirm(1)
    first = owed.flush() if flushed else []
    getattr(owed, second)(1)
    assert [*first, *owed.flush()] in ([(1, False)], [] if second == "reject" else [(1, False)])
    owed.confirm(2)
    assert owed.flush() == [(2, False)]


def test_confirms_that_are_owed_are_counted() -> None:
    owed = received(4)
    assert len(owed) == 4
    owed.confirm(2)
    owed.reject(3)
    assert len(owed) == 3
    owed.flush()
    assert len(owed) == 2
    owed.confirm(1)
    owed.confirm(4)
    owed.flush()
    assert len(owed) == 0
    assert len(OwedConfirms()) == 0


class NaiveOwedConfirms:
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
    owed, model = OwedConfirms(), NaiveOwedConfirms()
    publisher: AwaitedConfirms[int] = AwaitedConfirms()
    decided: set[int] = set()
    answered: list[int] = []
    for step in [*steps, "flush"]:
        undecided = sorted(model.open - model.confirmed)
        if step == "received":
            model.last += 1
            model.open.add(model.last)
            assert owed.received() == publisher.sent(model.last) == model.last
        elif step == "flush":
            answers = owed.flush()
            assert answers == model.flush()
            # The publisher hears of exactly those that were decided, each once.
            for answer in answers:
                answered += publisher.take(*answer)
            assert len(set(answered)) == len(answered)
            assert set(answered) == decided
            assert set(publisher) == model.open
        elif undecided:
            tag = random.choice(undecided)
            decided.add(tag)
            if step == "confirm":
                owed.confirm(tag)
                model.confirmed.add(tag)
            else:
                # Its own basic.nack leaves at once.
                owed.reject(tag)
                model.open.discard(tag)
                answered += publisher.take(tag, False)


# Cost


@pytest.mark.parametrize("end", ["publisher, one answer", "publisher, many answers", "broker"])
def test_the_cost_grows_with_what_is_settled_not_with_its_square(end: str) -> None:
    count = 60_000
    awaited = of(count)
    owed = received(count)
    for tag in range(1, count + 1):
        owed.confirm(tag)
    begin = time.process_time()
    if end == "publisher, one answer":
        assert len(awaited.take(count, True)) == count
    elif end == "publisher, many answers":
        for tag in range(1, count + 1):
            awaited.take(tag, True)
    else:
        assert owed.flush() == [(count, True)]
    assert time.process_time() - begin < 0.6
