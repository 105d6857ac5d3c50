"""Moving messages between queues: whatever fails, and whoever consumes meanwhile, none is lost."""

from __future__ import annotations

import asyncio
import copy
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedora_messaging.web.dashboard.management import Management, ManagementError
from fedora_messaging.web.dashboard.transfer import MOST_MOVED, Copy, TransferError, look, transfer

if TYPE_CHECKING:
    from collections.abc import Callable

    from fedora_messaging.web.dashboard.letters import Letter


def _nothing(_request: httpx.Request) -> httpx.Response:
    raise AssertionError


class Queues(Management):
    """The queues of a broker, and what its management API does with them.

    Args:
        fails_at: The number of the request that fails.
        is_done: Whether that request is carried out nevertheless, and only its answer is lost.
        meanwhile: Called before each request, as others who use the same queues.

    Attributes:
        requests: How many there were.
        lost: Ids of messages that were taken by a request whose answer was lost.
    """

    def __init__(
        self, *, fails_at: int = -1, is_done: bool = False, meanwhile: Callable[[Queues], None] | None = None
    ) -> None:
        super().__init__(httpx.AsyncClient(transport=httpx.MockTransport(_nothing)), "queues")
        self.queues: dict[str, list[dict[str, Any]]] = {"from": [], "to": []}
        self.requests = 0
        self.lost: set[str] = set()
        self._fails_at = fails_at
        self._is_done = is_done
        self._meanwhile = meanwhile

    def put(self, queue: str, *ids: str) -> None:
        for id in ids:
            properties = {"message_id": id, "delivery_mode": 2, "headers": {"h": 1}}
            self.queues[queue].append(
                {
                    "properties": properties,
                    "payload": f'"{id}"',
                    "payload_encoding": "string",
                    "routing_key": "k",
                }
            )

    def ids(self, queue: str) -> list[str]:
        return [one["properties"]["message_id"] for one in self.queues[queue]]

    async def send(self, method: str, *path: str, body: Any = None, **_query: Any) -> Any:
        if self._meanwhile is not None:
            self._meanwhile(self)
        number, self.requests = self.requests, self.requests + 1
        if number == self._fails_at and not self._is_done:
            raise ManagementError(0, "no answer")
        answer = self._carry_out(path, body)
        if number == self._fails_at:
            if body.get("ackmode") == "ack_requeue_false":
                self.lost |= {one["properties"]["message_id"] for one in answer}
            raise ManagementError(0, "no answer")
        return answer

    def _carry_out(self, path: tuple[str, ...], body: Any) -> Any:
        match path:
            case ("queues", "/", queue, "get"):
                taken = copy.deepcopy(self.queues[queue][: body["count"]])
                if body["ackmode"] == "ack_requeue_false":
                    del self.queues[queue][: body["count"]]
                return taken
            case ("exchanges", "/", "amq.default", "publish"):
                if body["routing_key"] not in self.queues:
                    return {"routed": False}
                self.queues[body["routing_key"]].append({**body, "routing_key": body["routing_key"]})
                return {"routed": True}
        raise AssertionError(path)


def to(queue: str) -> Callable[[Letter], Copy]:
    """Move a message as it is."""
    return lambda letter: Copy(queue, letter.properties, letter.payload, letter.encoding)


def move(queues: Queues, number: int = 100, decide: Callable[[Letter], Copy | None] | None = None) -> int:
    return asyncio.run(transfer(queues, "/", "from", number, decide or to("to")))


def test_all_are_moved_in_their_order() -> None:
    queues = Queues()
    queues.put("from", *"abc")
    before = copy.deepcopy(queues.queues["from"])
    assert move(queues) == 3
    assert queues.ids("from") == []
    assert queues.ids("to") == [*"abc"]
    assert [one["properties"] for one in queues.queues["to"]] == [one["properties"] for one in before]
    assert [one["payload"] for one in queues.queues["to"]] == [one["payload"] for one in before]


def test_some_are_moved_from_the_head() -> None:
    queues = Queues()
    queues.put("from", *"abc")
    assert move(queues, 2) == 2
    assert (queues.ids("from"), queues.ids("to")) == (["c"], ["a", "b"])


def test_one_request_moves_so_many_only() -> None:
    queues = Queues()
    queues.put("from", *(str(number) for number in range(MOST_MOVED + 5)))
    assert move(queues, 10**6) == MOST_MOVED
    assert len(queues.ids("from")) == 5


def test_those_that_are_not_wanted_stay() -> None:
    queues = Queues()
    queues.put("from", *"abcd")
    assert move(queues, 4, lambda letter: to("to")(letter) if letter.id in "bd" else None) == 2
    assert sorted(queues.ids("from")) == ["a", "c"]
    assert queues.ids("to") == ["b", "d"]


def test_a_message_that_has_nowhere_to_go_stays_where_it_is() -> None:
    queues = Queues()
    queues.put("from", *"ab")
    with pytest.raises(TransferError, match="no queue nowhere"):
        move(queues, 2, to("nowhere"))
    assert queues.ids("from") == [*"ab"]


def test_looking_takes_nothing() -> None:
    queues = Queues()
    queues.put("from", *"abc")
    found = asyncio.run(look(queues, "/", "from", 2))
    assert [letter.id for letter in found] == ["a", "b"]
    assert queues.ids("from") == [*"abc"]


# Failures

REQUESTS: Final = range(9)


@pytest.mark.parametrize("fails_at", REQUESTS)
def test_a_request_that_is_refused_loses_nothing(fails_at: int) -> None:
    queues = Queues(fails_at=fails_at)
    queues.put("from", *"abc")
    with pytest.raises(ManagementError):
        move(queues, 3)
    left, moved = queues.ids("from"), queues.ids("to")
    assert {*left, *moved} == {*"abc"}
    assert len(left) + len(moved) <= 4, "only the one that was on its way may be in both"
    # Who tries again has all, the one on its way twice at most.
    move(queues)
    assert queues.ids("from") == []
    assert {*queues.ids("to")} == {*"abc"}


@pytest.mark.parametrize("fails_at", REQUESTS)
def test_an_answer_that_is_lost_loses_nothing(fails_at: int) -> None:
    """The broker has done it, but the program does not know."""
    queues = Queues(fails_at=fails_at, is_done=True)
    queues.put("from", *"abc")
    with pytest.raises(ManagementError):
        move(queues, 3)
    assert {*queues.ids("from"), *queues.ids("to")} == {*"abc"}


# Others who use the queue

#: Before a request, a consumer takes so many messages, and a publisher adds so many.
OTHERS: Final = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=20)


@settings(max_examples=300, deadline=None)
@given(
    others=OTHERS,
    number=st.integers(0, 8),
    stays=st.sets(st.integers(0, 12)),
    fails_at=st.integers(-1, 20),
    is_done=st.booleans(),
)
def test_none_is_lost_whoever_consumes_and_publishes_meanwhile(
    others: list[tuple[int, int]], number: int, stays: set[int], fails_at: int, is_done: bool
) -> None:
    consumed: list[str] = []
    published = iter(range(100, 200))

    def meanwhile(queues: Queues) -> None:
        if others:
            takes, adds = others.pop()
            consumed.extend(queues.ids("from")[:takes])
            del queues.queues["from"][:takes]
            queues.put("from", *(str(next(published)) for _ in range(adds)))

    queues = Queues(fails_at=fails_at, is_done=is_done, meanwhile=meanwhile)
    queues.put("from", *map(str, range(number)))
    with suppress(ManagementError):
        move(queues, 10, lambda letter: None if int(letter.id) in stays else to("to")(letter))
    put = {*map(str, range(number)), *map(str, range(100, next(published)))}
    there = Counter([*queues.ids("from"), *queues.ids("to"), *consumed])
    assert {*there} <= put, "from nowhere"
    # With an answer a message is lost if it was not the one that was looked at: the management API has no way
    # to take one that is certain.
    assert put - {*there} <= queues.lost, "lost"


@pytest.mark.parametrize("where", ["before looking", "before publishing", "before taking"])
def test_a_consumer_that_is_quicker(where: str) -> None:
    """It takes the message that was looked at: the next one, which is removed in its place, is moved, too."""
    steps = ["before looking", "before publishing", "before taking"]
    consumed: list[str] = []

    def meanwhile(queues: Queues) -> None:
        if queues.requests == steps.index(where):
            consumed.append(queues.ids("from")[0])
            del queues.queues["from"][0]

    queues = Queues(meanwhile=meanwhile)
    queues.put("from", *"abc")
    move(queues, 1)
    assert {*consumed, *queues.ids("from"), *queues.ids("to")} == {*"abc"}


@pytest.mark.parametrize("reason", ["nowhere", "decide"])
def test_what_was_removed_in_its_place_is_put_back_if_it_cannot_be_moved(reason: str) -> None:
    def decide(letter: Letter) -> Copy | None:
        if letter.id == "b" and reason == "decide":
            raise ValueError(letter.id)
        return to("nowhere" if letter.id == "b" else "to")(letter)

    consumed: list[str] = []

    def meanwhile(queues: Queues) -> None:
        if queues.requests == 2:
            consumed.append(queues.ids("from")[0])
            del queues.queues["from"][0]

    queues = Queues(meanwhile=meanwhile)
    queues.put("from", *"abc")
    with pytest.raises((ValueError, TransferError)):
        move(queues, 1, decide)
    assert consumed == ["a"]
    assert sorted(queues.ids("from")) == ["b", "c"]
