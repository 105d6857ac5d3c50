"""Publishers and broker are killed at random points: what the outbox has accepted arrives, in order (P17)."""

from __future__ import annotations

import json
from collections import Counter
from random import SystemRandom
from typing import TYPE_CHECKING

import pytest
from tests.faults.brokers import BROKERS
from tests.faults.journal import read
from tests.faults.outbox import chaos
from tests.faults.outbox import journal as j
from tests.faults.outbox.checker import Findings, check
from tests.faults.outbox.load import Key, body_of, id_of, key_of
from tests.faults.outbox.report import Report
from tests.faults.outbox.run import DELETE, WAL, Settings, kill
from tests.support.rabbitmq import find_rabbitmq
from tests.support.servers import require

if TYPE_CHECKING:
    from pathlib import Path

PUBLISHERS = 3


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("kind", "kills", "journal_mode", "forks"),
    [
        ("embedded", 16, WAL, True),
        ("embedded", 12, DELETE, False),
        ("rabbitmq", 8, WAL, True),
    ],
)
def test_p17_kills(kind: str, kills: int, journal_mode: str, forks: bool, tmp_path: Path) -> None:
    """P17: all that was accepted arrives, each topic in order, and nothing that was rolled back."""
    require(
        kind == "embedded" or find_rabbitmq() is not None, "RabbitMQ", "install the package rabbitmq-server"
    )
    seed = SystemRandom().randrange(1_000_000)
    print(f"seed {seed}")
    settings = Settings(kills, seed, forks=forks, journal_mode=journal_mode)
    report = kill(settings, BROKERS[kind], tmp_path / "run")
    print(report)
    assert report.good, f"seed {seed}\n{report}"
    assert report.kills[chaos.PUBLISHERS] + report.kills[chaos.BROKER] == kills
    assert min(report.kills.values()) > 0
    # Several processes that send at the same time would send nearly everything several times.
    assert report.findings.duplicates < report.findings.accepted / 4


# The checker must be able to fail

#: Two messages of a thread, two of a transaction that was committed, one of another that was rolled back.
TOLD = """\
1.0 started 17
1.1 intent p/thread-0/p17.a/1
1.2 accepted p/thread-0/p17.a/1
1.3 intent p/thread-0/p17.a/2
1.4 accepted p/thread-0/p17.a/2
2.0 intent p/transactions/p17.a/1
2.0 intent p/transactions/p17.b/1
2.1 accepted p/transactions/p17.a/1
2.1 accepted p/transactions/p17.b/1
3.0 doomed p/transactions/p17.a/2
"""
COMMITTED = ("p/transactions/p17.a/1", "p/transactions/p17.b/1")
ARRIVED = ("p/thread-0/p17.a/1", "p/thread-0/p17.a/2", *COMMITTED)
DOOMED = "p/transactions/p17.a/2"


def checked(
    path: Path,
    told: str = TOLD,
    arrived: tuple[str, ...] = ARRIVED,
    committed: tuple[str, ...] = COMMITTED,
) -> Findings:
    """Check hand-made journals and arrivals."""
    path.write_text(told, encoding="utf-8")
    arrivals = [Key.parse(text) if text else None for text in arrived]
    return check(read(path, j.EVENTS), {*committed}, arrivals)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "publisher.journal"


def test_p17_everything_is_well(path: Path) -> None:
    found = checked(path)
    assert (found.accepted, found.arrived, found.duplicates) == (4, 4, 0)
    assert found.good


@pytest.mark.parametrize("gone", ARRIVED)
def test_p17_accepted_message_that_did_not_arrive_is_lost(path: Path, gone: str) -> None:
    found = checked(path, arrived=tuple(key for key in ARRIVED if key != gone))
    assert found.lost == (gone,)
    assert (found.accepted, found.arrived) == (4, 3)
    assert not found.good


def test_p17_committed_message_is_promised_though_nobody_lived_to_tell(path: Path) -> None:
    told = TOLD + "4.0 intent p/transactions/p17.a/3\n"
    key = "p/transactions/p17.a/3"
    found = checked(path, told, committed=(*COMMITTED, key))
    assert found.lost == (key,)
    assert checked(path, told, (*ARRIVED, key), (*COMMITTED, key)).good
    assert checked(path, told).good


@pytest.mark.parametrize("committed", [COMMITTED, (*COMMITTED, DOOMED)])
def test_p17_rolled_back_message_that_arrived_is_found(path: Path, committed: tuple[str, ...]) -> None:
    found = checked(path, arrived=(*ARRIVED, DOOMED), committed=committed)
    assert found.uncommitted == (DOOMED,)
    assert not found.good


def test_p17_message_of_a_transaction_that_was_not_committed_is_found(path: Path) -> None:
    """Its process was killed: half a transaction must not arrive."""
    told = TOLD + "4.0 intent p/transactions/p17.a/3\n"
    found = checked(path, told, (*ARRIVED, "p/transactions/p17.a/3"))
    assert found.uncommitted == ("p/transactions/p17.a/3",)
    assert not found.good


def test_p17_order_of_first_arrivals(path: Path) -> None:
    first, second, *others = ARRIVED
    found = checked(path, arrived=(second, first, *others))
    assert found.reordered == (first,)
    assert not found.good
    again = checked(path, arrived=(first, second, first, second, *others))
    assert (again.reordered, again.duplicates) == ((), 2)
    assert again.good


def test_p17_order_of_different_threads_and_topics_is_free(path: Path) -> None:
    assert checked(path, arrived=tuple(reversed(COMMITTED)) + ARRIVED[:2]).good


def test_p17_order_counts_what_was_not_accepted(path: Path) -> None:
    """Its process was killed, or told of a failure: if it arrives at all, it does so in its place."""
    key = "p/thread-0/p17.a/3"
    told = TOLD + f"4.0 intent {key}\n5.0 intent p/thread-0/p17.a/4\n5.1 accepted p/thread-0/p17.a/4\n"
    found = checked(path, told, (*ARRIVED, "p/thread-0/p17.a/4", key))
    assert found.reordered == (key,)
    assert (found.unknown_arrived, found.unknown_gone) == (1, 0)
    found = checked(path, told, (*ARRIVED, "p/thread-0/p17.a/4"))
    assert (found.unknown_arrived, found.unknown_gone) == (0, 1)
    assert found.good


@pytest.mark.parametrize("stranger", ["", "p/thread-0/p17.a/3"])
def test_p17_message_that_nobody_has_published_so(path: Path, stranger: str) -> None:
    found = checked(path, arrived=(*ARRIVED, stranger))
    assert len(found.strangers) == 1
    assert not found.good


def test_p17_number_that_is_used_twice(path: Path) -> None:
    found = checked(path, TOLD + "4.0 intent p/thread-0/p17.a/1\n")
    assert found.reused == ("p/thread-0/p17.a/1",)
    assert not found.good


def test_p17_failures_and_children_that_do_not_end(path: Path) -> None:
    lines = [
        "4.0 intent p/thread-0/p17.a/3",
        "4.1 failed p/thread-0/p17.a/3 OutboxError",
        "5.0 forking fork-1",
        "5.1 born fork-1 18",
        "5.2 done fork-1",
        "6.0 forking fork-2",
        "6.1 born fork-2 19",
    ]
    found = checked(path, TOLD + "\n".join(lines) + "\n")
    assert found.failures == {"OutboxError": 1}
    assert found.hanging == ("fork-2",)


def test_p17_bodies_and_ids_are_compared() -> None:
    key = Key("p", "thread-0", "p17.a", 97)
    whole = json.dumps(body_of(key)).encode()
    assert key_of(key.topic, id_of(key), whole) == key
    assert key_of("p17.b", id_of(key), whole) is None
    assert key_of(key.topic, id_of(key._replace(number=96)), whole) is None
    assert key_of(key.topic, None, whole) is None
    assert key_of(key.topic, id_of(key), whole[:-2] + b'x"}') is None
    assert key_of(key.topic, id_of(key), whole[:-1]) is None
    assert key_of(key.topic, id_of(key), b"[]") is None


@pytest.mark.parametrize("kills", [1, 2, 8, 12, 100])
def test_p17_schedule(kills: int) -> None:
    """It kills as many as it is asked to, the same for the same seed; short ones kill some of each kind."""
    for seed in range(50):
        rounds = [*chaos.schedule(seed, kills, PUBLISHERS)]
        assert rounds == [*chaos.schedule(seed, kills, PUBLISHERS)]
        assert sum(one.kills for one in rounds) == kills
        assert all(one.kills for one in rounds)
        kinds = Counter({"broker": sum(one.broker for one in rounds)})
        kinds["publisher"] = kills - kinds["broker"]
        assert kills < 8 or min(kinds.values()) >= 2


def test_p17_report(path: Path) -> None:
    """The last line, and what makes the exit status."""
    kills = {chaos.PUBLISHERS: 61, chaos.BROKER: 39}
    good = Report("embedded", 5, kills, checked(path, arrived=(*ARRIVED, ARRIVED[0])), 1.0)
    assert str(good).splitlines()[-1] == (
        "outbox embedded: 100 kills (61 publishers, 39 broker), accepted 4, arrived 4, lost 0, "
        "duplicates 1, out of order 0"
    )
    assert good.good
    bad = Report("embedded", 5, kills, checked(path, arrived=ARRIVED[1:]), 1.0)
    assert f"LOST: {ARRIVED[0]}" in str(bad)
    assert bad.line.endswith("accepted 4, arrived 3, lost 1, duplicates 0, out of order 0")
    assert not bad.good
    assert not Report("embedded", 5, kills, checked(path), 1.0, ["the outbox is damaged"]).good
