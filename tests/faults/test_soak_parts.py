"""Journals, the checker and the schedule of a soak: what it finds must be so, and it must be able to fail."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import pytest
from tests.faults.journal import Journal, JournalError, read
from tests.faults.soak import chaos
from tests.faults.soak import journal as j
from tests.faults.soak.checker import Findings, Watcher, check
from tests.faults.soak.journal import Key
from tests.faults.soak.publisher import last_numbers

if TYPE_CHECKING:
    from pathlib import Path

#: One message is published, confirmed, delivered and processed.
PUBLISHED = """\
10.0 started 1
10.1 ready
11.0 intent r/p/t/1
11.1 confirmed r/p/t/1
"""
CONSUMED = """\
10.0 started 2
10.1 ready
11.2 delivered r/p/t/1 -
11.3 acked r/p/t/1
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "worker.journal"


def findings(directory: Path, *texts: str) -> Findings:
    """Check hand-made journals."""
    paths = [directory / f"{number}.journal" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text, encoding="utf-8")
    return check(paths)


def test_everything_is_well(tmp_path: Path) -> None:
    found = findings(tmp_path, PUBLISHED, CONSUMED)
    assert (found.intents, found.confirmed, found.delivered, found.acked) == (1, 1, 1, 1)
    assert found.good
    assert found.lost == ()
    assert found.duplicates == found.reordered == found.retried == 0


def test_a_confirmed_message_that_never_came_is_lost(tmp_path: Path) -> None:
    published = PUBLISHED + "12.0 intent r/p/t/2\n12.1 confirmed r/p/t/2\n"
    found = findings(tmp_path, published, CONSUMED)
    assert found.lost == ("r/p/t/2",)
    assert not found.good


def test_a_message_whose_callback_never_ended_well_is_lost(tmp_path: Path) -> None:
    consumed = "11.2 delivered r/p/t/1 -\n11.3 raised r/p/t/1 Nack\n11.4 delivered r/p/t/1 -\n"
    found = findings(tmp_path, PUBLISHED, consumed)
    assert found.lost == ("r/p/t/1",)
    assert not found.good


def test_a_dead_letter_is_not_lost(tmp_path: Path) -> None:
    consumed = "11.2 delivered r/p/t/1 -\n11.3 raised r/p/t/1 FlakyError\n"
    found = findings(tmp_path, PUBLISHED, consumed, "12.0 dead r/p/t/1\n")
    assert found.lost == ()
    assert found.dead == 1


@pytest.mark.parametrize("end", ["", "12.1 failed r/p/t/2 PublishTimeout\n"])
def test_an_unknown_outcome_is_no_loss(tmp_path: Path, end: str) -> None:
    published = PUBLISHED + "12.0 intent r/p/t/2\n" + end
    found = findings(tmp_path, published, CONSUMED)
    assert (found.unknown_arrived, found.unknown_gone, found.lost) == (0, 1, ())
    found = findings(tmp_path, published, CONSUMED + "12.2 delivered r/p/t/2 -\n12.3 acked r/p/t/2\n")
    assert (found.unknown_arrived, found.unknown_gone, found.lost) == (1, 0, ())
    assert found.failures == ({"PublishTimeout": 1} if end else {})


def test_a_message_that_came_though_it_was_told_as_unsent_is_found(tmp_path: Path) -> None:
    published = PUBLISHED + "12.0 intent r/p/t/2\n12.1 unsent r/p/t/2 PublishTimeout\n"
    found = findings(tmp_path, published, CONSUMED)
    assert found.good
    assert (found.unknown_gone, found.failures) == (1, {"PublishTimeout": 1})
    found = findings(tmp_path, published, CONSUMED + "12.2 delivered r/p/t/2 -\n12.3 acked r/p/t/2\n")
    assert found.told_unsent == ("r/p/t/2",)
    assert not found.good


def test_what_came_and_was_neither_promised_nor_processed_is_counted(tmp_path: Path) -> None:
    published = PUBLISHED + "12.0 intent r/p/t/2\n"
    found = findings(tmp_path, published, CONSUMED + "12.2 delivered r/p/t/2 -\n")
    assert found.unsettled == 1
    assert found.good


@pytest.mark.parametrize(
    "stranger",
    [
        "12.0 delivered r/p/t/2 -\n12.1 acked r/p/t/2\n",
        "12.0 dead r/p/t/2\n",
        "11.2 corrupt r/p/t/1\n",
    ],
)
def test_what_nobody_sent_so_is_found(tmp_path: Path, stranger: str) -> None:
    found = findings(tmp_path, PUBLISHED, CONSUMED + stranger)
    assert len(found.strangers) == 1
    assert not found.good


def test_a_number_that_is_used_twice_is_found(tmp_path: Path) -> None:
    found = findings(tmp_path, PUBLISHED + "12.0 intent r/p/t/1\n", CONSUMED)
    assert found.reused == ("r/p/t/1",)
    assert not found.good


def test_deliveries_that_a_failure_explains_are_no_duplicates(tmp_path: Path) -> None:
    again = "12.0 delivered r/p/t/1 1\n"
    found = findings(tmp_path, PUBLISHED, CONSUMED + again + again)
    assert (found.duplicates, found.retried, found.redelivered) == (2, 0, 2)
    found = findings(tmp_path, PUBLISHED, "11.2 delivered r/p/t/1 0\n11.2 raised r/p/t/1 Nack\n" + again)
    assert (found.duplicates, found.retried, found.redelivered) == (0, 1, 1)


def test_order_is_that_of_first_deliveries(tmp_path: Path) -> None:
    intents = "".join(f"1{n}.0 intent r/{p}/{t}/{n}\n" for p in "pq" for t in "tu" for n in (1, 2, 3))
    found = findings(
        tmp_path,
        intents,
        "20.0 delivered r/p/t/1 -\n22.0 delivered r/p/t/2 -\n23.0 delivered r/p/t/1 -\n",
        # The third overtakes the second; other topics and publishers have their own order.
        "21.0 delivered r/p/t/3 -\n24.0 delivered r/p/u/1 -\n25.0 delivered r/q/t/1 -\n",
    )
    assert found.reordered == 1


def test_silence_is_the_longest_between_deliveries_of_all(tmp_path: Path) -> None:
    found = findings(
        tmp_path,
        "1.0 intent r/p/t/1\n90.0 intent r/p/t/2\n",
        "10.0 delivered r/p/t/1 -\n15.0 delivered r/p/t/1 -\n",
        "12.0 delivered r/p/t/1 -\n19.5 delivered r/p/t/1 -\n",
    )
    assert found.silence == 4.5


def test_a_torn_last_line_counts_as_not_written(tmp_path: Path) -> None:
    found = findings(tmp_path, PUBLISHED + "12.0 intent r/p/t/12\n12.1 confirmed r/p/t/1", CONSUMED)
    assert (found.intents, found.confirmed, found.unknown_gone) == (2, 1, 1)


def test_half_a_line_is_not_taken_for_a_whole_one_after_a_restart(path: Path) -> None:
    """Half of the number 12 is the number 1."""
    path.write_text("10.0 intent r/p/t/12\n10.1 confirmed r/p/t/1", encoding="utf-8")
    with Journal(path) as journal:
        journal.write(j.STARTED, 1)
    assert [event.name for event in read(path, j.EVENTS)] == [j.INTENT, j.STARTED]
    # The same once more: the mark itself may be torn.
    path.write_bytes(path.read_bytes() + b"12.0 acked r/p/t/1~")
    with Journal(path) as journal:
        journal.write(j.READY)
    assert [event.name for event in read(path, j.EVENTS)] == [j.INTENT, j.STARTED, j.READY]


@pytest.mark.parametrize(
    "line", ["", "12.0", "12.0 acked", "12.0 hears r/p/t/1", "noon acked r/p/t/1", "12.0  "]
)
def test_any_other_damage_is_an_error(tmp_path: Path, line: str) -> None:
    with pytest.raises(JournalError, match=r"1\.journal, line 5"):
        findings(tmp_path, PUBLISHED, f"{CONSUMED}{line}\n13.0 ready\n")


def test_a_journal_is_read_while_it_is_written(path: Path) -> None:
    watcher = Watcher([path])
    watcher.read()
    with Journal(path) as journal:
        journal.write(j.INTENT, Key("r", "p", "t", 1))
        journal.write(j.CONFIRMED, Key("r", "p", "t", 1))
        watcher.read()
        assert watcher.ledger.missing == {"r/p/t/1"}
        journal.write(j.DELIVERED, Key("r", "p", "t", 1), "-")
        journal.write(j.ACKED, Key("r", "p", "t", 1))
        watcher.read()
    assert watcher.ledger.missing == set()
    assert watcher.ledger.settled == 1
    assert watcher.ledger.findings().intents == 1


def test_a_publisher_goes_on_where_its_journal_ends(path: Path) -> None:
    assert last_numbers(path) == {}
    path.write_text(
        "1.0 intent r/p/t/9\n1.1 intent r/p/t/10\n1.2 intent r/p/u/3\n1.3 intent r/p/t/1", "utf-8"
    )
    assert last_numbers(path) == {"t": 10, "u": 3}


def test_the_schedule_follows_from_the_seed() -> None:
    faults = list(chaos.schedule(1, 600))
    assert faults == list(chaos.schedule(1, 600))
    assert faults != list(chaos.schedule(2, 600))
    assert {fault.kind for fault in faults} == set(chaos.KINDS)
    times = [fault.at for fault in faults]
    assert times == sorted(times)
    assert 0 < times[0] < times[-1] < 600


def test_only_faults_that_a_broker_supports_are_scheduled() -> None:
    faults = islice(chaos.schedule(1, 3600, {chaos.CONNECTIONS_CUT, chaos.BROKER_KILLED}), 50)
    assert {fault.kind for fault in faults} == {chaos.CONNECTIONS_CUT, chaos.BROKER_KILLED}
