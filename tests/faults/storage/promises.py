"""What a broker has promised at each moment: what a crash must leave, and what it must not."""

from __future__ import annotations

from bisect import bisect_right
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator


class Presence(Enum):
    """What a restart must find of an item."""

    ABSENT = "absent"
    MAYBE = "maybe"
    PRESENT = "present"


class Item(NamedTuple):
    """Something that a broker keeps.

    Attributes:
        kind: ``queue``, ``exchange``, ``binding``, ``policy``, ``message``, or ``somewhere`` for a message
            in any queue.
        name: Its name; of a message, its queue.
        number: Of a message.
    """

    kind: str
    name: str
    number: int = 0

    def __str__(self) -> str:
        return f"{self.kind} {self.name}" + (f" #{self.number}" if self.number else "")


class Promises:
    """Follows what clients ask for, and what they are told.

    A change that was asked for may be on the disk at once. It must be there once the broker has answered that
    it is, or has answered so for something that was asked for later on the same channel.

    Args:
        now: Returns how many operations the disk has carried out.
    """

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        # For each item, from which operation on it is how.
        self._history: dict[Item, tuple[list[int], list[Presence]]] = {}
        # Changes that are not answered: channel, number of the request, and what becomes of the item.
        self._open: dict[Item, tuple[int, int, Presence]] = {}
        # Deliveries: since when a kill, and since when a loss of power leaves the mark of them.
        self._delivered: dict[Item, tuple[int, int | None]] = {}
        self._unsettled: dict[Item, tuple[int, int]] = {}

    def change(self, item: Item, goal: Presence, channel: int, request: int) -> None:
        """Note that a change is asked for, before that is sent."""
        self._note(item, self._now(), Presence.MAYBE)
        self._open[item] = channel, request, goal

    def delivered(self, item: Item, at: int, channel: int, request: int) -> None:
        """Note that a message was delivered; ``request`` is the next one of the channel."""
        if item not in self._delivered:
            self._delivered[item] = at, None
            self._unsettled[item] = channel, request

    def answered(self, channel: int, request: int, at: int) -> None:
        """Note that everything up to a request is safe."""
        # The last request whose answer took a commit; an answer to one that changes nothing takes none.
        committed = 0
        for item, (on, number, goal) in list(self._open.items()):
            if on == channel and number <= request:
                del self._open[item]
                self._note(item, at, goal)
                if item.kind == "message" and goal is Presence.PRESENT:
                    committed = max(committed, number)
        for item, (on, number) in list(self._unsettled.items()):
            if on == channel and number <= committed:
                del self._unsettled[item]
                self._delivered[item] = self._delivered[item][0], at

    def _note(self, item: Item, at: int, presence: Presence) -> None:
        places, presences = self._history.setdefault(item, ([], []))
        places.append(at)
        presences.append(presence)

    def expected(self, item: Item, at: int) -> Presence:
        """Return what is promised of an item after some operations."""
        places, presences = self._history.get(item, ([], []))
        place = bisect_right(places, at)
        return presences[place - 1] if place else Presence.ABSENT

    def must_be_marked(self, item: Item, at: int, *, power_lost: bool) -> bool:
        """Whether a message must be marked as redelivered if it is there."""
        killed, lost = self._delivered.get(item, (None, None))
        since = lost if power_lost else killed
        return since is not None and since <= at

    def broken(self, found: Collection[Item], at: int) -> Iterator[str]:
        """Compare with what a restart has found; yields what is wrong."""
        for item in self._history:
            presence = self.expected(item, at)
            if presence is Presence.PRESENT and item not in found:
                yield f"lost: {item}"
        for item in found:
            if self.expected(item, at) is Presence.ABSENT:
                yield f"should not be there: {item}"
