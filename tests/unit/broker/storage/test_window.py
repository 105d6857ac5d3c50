"""A window: what gathers between two commits, and what becomes of it when a commit fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.unit.broker.core.support import declare, new_vhost

from fedora_messaging.broker.core.message import Entry, new_entry, new_message
from fedora_messaging.broker.storage.window import Window, entry_key

if TYPE_CHECKING:
    from collections.abc import Callable


def entry(size: int = 0, position: int = 1) -> Entry:
    return new_entry(new_message("", "k", b"\0\0", b"x" * size), position)


def nothing() -> None:
    """Stand for a caller that waits for the commit."""


def test_new_window_is_empty() -> None:
    window = Window(1)
    assert (len(window), window.bytes, window.is_due) == (0, 0, False)


@pytest.mark.parametrize(
    ("change", "changes"),
    [
        (lambda window: window.statements.append(("DELETE FROM queue", ())), 1),
        (lambda window: window.add((1, 1), entry()), 1),
        (lambda window: window.removes.append((1, 1, None)), 1),
        (lambda window: window.deliveries.update({(1, 1): 2}), 0),
        (lambda window: window.callbacks.append(nothing), 0),
    ],
    ids=["statement", "message", "removal", "count of deliveries", "callback"],
)
def test_what_makes_a_commit_due(change: Callable[[Window], object], changes: int) -> None:
    window = Window(1)
    change(window)
    assert window.is_due
    assert len(window) == changes


def test_position_alone_waits_for_the_next_commit() -> None:
    window = Window(1)
    window.delivered[1] = 5
    assert not window.is_due


def test_bytes_are_those_of_the_messages_that_are_left() -> None:
    window = Window(1)
    window.add((1, 1), entry(1000))
    one = window.bytes
    assert one == 1000 + 2 + 200
    window.add((1, 2), entry(10))
    assert window.bytes == one + 212
    assert window.cancel((1, 1))
    assert (window.bytes, len(window)) == (212, 1)
    assert not window.cancel((1, 1))
    assert not window.cancel((2, 2))
    assert (window.bytes, len(window)) == (212, 1)


def test_deleted_queue_takes_its_messages_along() -> None:
    window = Window(1)
    kept = entry()
    window.add((1, 1), entry(5))
    window.add((2, 1), kept)
    window.add((1, 2), entry(5))
    window.remove_queue(1)
    assert window.adds == {(2, 1): kept}
    assert window.bytes == 202
    assert window.gone == {1}


def test_place_of_a_message() -> None:
    queue = declare(new_vhost(), "q")
    queue.stored_id = 7
    assert entry_key(queue, entry(position=3)) == (7, 3)


# After a failed commit


def test_merge_keeps_the_order() -> None:
    older, newer = Window(1), Window(3)
    called: list[str] = []
    for window, name in ((older, "older"), (newer, "newer")):
        window.statements.append((name, ()))
        window.callbacks.append(lambda name=name: called.append(name))  # type: ignore[misc]
        window.removes.append((9, len(name), None))
    newer.removes.append((9, 6, 1))
    older.add((1, 1), entry(1))
    newer.add((1, 2), entry(2))
    older.merge(newer)
    assert [statement for statement, _ in older.statements] == ["older", "newer"]
    assert older.removes == [(9, 5, None), (9, 5, None), (9, 6, 1)]
    assert list(older.adds) == [(1, 1), (1, 2)]
    assert older.bytes == 203 + 204
    for callback in older.callbacks:
        callback()
    assert called == ["older", "newer"]


def test_merge_takes_the_newest_numbers() -> None:
    older, newer = Window(1), Window(1)
    older.delivered.update({1: 5, 2: 5})
    newer.delivered.update({1: 6, 3: 1})
    older.deliveries.update({(1, 1): (1, 1), (1, 2): (0, 1)})
    newer.deliveries.update({(1, 1): (2, 2)})
    older.merge(newer)
    assert older.delivered == {1: 6, 2: 5, 3: 1}
    assert older.deliveries == {(1, 1): (2, 2), (1, 2): (0, 1)}


def test_merge_drops_messages_that_have_left_meanwhile() -> None:
    older, newer = Window(1), Window(4)
    for position in (1, 2):
        older.add((1, position), entry(10, position))
    older.add((2, 1), entry(10))
    newer.removes.append((1, 2, 2))
    older.merge(newer)
    assert list(older.adds) == [(1, 1), (2, 1)]
    assert older.bytes == 2 * 212


def test_merge_drops_messages_of_queues_that_are_gone_meanwhile() -> None:
    older, newer = Window(1), Window(4)
    older.add((1, 1), entry())
    older.add((2, 1), entry())
    newer.remove_queue(1)
    newer.add((3, 1), entry())
    older.merge(newer)
    assert list(older.adds) == [(2, 1), (3, 1)]
    assert older.gone == {1}
    # And once more, if the next commit fails, too.
    newest = Window(6)
    newest.remove_queue(2)
    older.merge(newest)
    assert list(older.adds) == [(3, 1)]
    assert older.gone == {1, 2}


def test_merged_window_still_knows_the_first_of_its_messages() -> None:
    """A message of the older window is not on the disk, whatever the newer one says."""
    older, newer = Window(10), Window(20)
    older.merge(newer)
    assert older.first_message == 10
