"""``fedora-messaging dlq``: looking at dead letters, putting them back, removing them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pika
import pytest

from fedora_messaging.client.consuming.history import HEADER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.conftest import Queues
    from tests.support.processes import Ended, Processes


class Letters:
    """A dead-letter queue, the queue its messages came from, and the command."""

    def __init__(self, processes: Processes, queues: Queues) -> None:
        self._processes = processes
        self._queues = queues
        self.origin = queues.make()
        self.dead = queues.make()

    def add(self, number: int, topic: str = "a.b.c", reason: str = "exhausted", **history: Any) -> str:
        """Put a message into the dead-letter queue as the library does; returns its id."""
        table = {
            "queue": self.origin,
            "exchange": "amq.topic",
            "topic": topic,
            "attempts": 5,
            "first": 1_700_000_000,
            "last": 1_700_000_060,
            "reason": reason,
            "error": "ZeroDivisionError: canary\x1b[31m",
            **history,
        }
        self.put(json.dumps({"number": number}).encode(), f"id-{number}", {HEADER: table, "mine": "kept"})
        return f"id-{number}"

    def put(self, body: bytes, message_id: str, headers: dict[str, Any]) -> None:
        properties = pika.BasicProperties(message_id=message_id, headers=headers, delivery_mode=2)
        self._queues.channel.basic_publish("", self.dead, body, properties)

    def ready(self, queue: str) -> int:
        count: int = self._queues.channel.queue_declare(queue, passive=True).method.message_count
        return count

    def take(self, queue: str) -> tuple[pika.BasicProperties, Any]:
        _method, properties, body = self._queues.channel.basic_get(queue, auto_ack=True)
        return properties, json.loads(body)

    def run(self, command: str, *options: str, queue: str | None = None) -> Ended:
        ended = self._processes.run(
            "dlq", command, queue or self.dead, *options, FEDORA_MESSAGING_AMQP_URL=self._queues.url
        )
        assert "Traceback" not in ended.output
        return ended


@pytest.fixture
def letters(processes: Processes, queues: Queues) -> Letters:
    return Letters(processes, queues)


def test_list_leaves_everything_where_it_is(letters: Letters) -> None:
    letters.add(1)
    letters.put(b"\xff", "broken", {})
    ended = letters.run("list")
    assert ended.status == 0
    first, second = (line.split("\t") for line in ended.stdout)
    assert first[:5] == ["id-1", "a.b.c", "exhausted", "5", "2023-11-14T22:14:20+00:00"]
    # What a callback raised may hold anything.
    assert "canary" in first[5]
    assert "\x1b" not in ended.output
    assert second[:2] == ["broken", letters.dead]
    assert ended.stderr == ["2 messages"]
    assert letters.ready(letters.dead) == 2


def test_show(letters: Letters) -> None:
    letters.add(1)
    letters.put(b"\xff", "broken", {})
    first, second = (json.loads(line) for line in letters.run("show").stdout)
    assert (first["id"], first["body"], first["headers"]["mine"]) == ("id-1", {"number": 1}, "kept")
    assert first["history"]["queue"] == letters.origin
    assert (second["id"], second["history"], second["body_base64"]) == ("broken", None, "/w==")


def test_letters_of_the_broker_itself(letters: Letters, queues: Queues) -> None:
    """What a queue's own dead-letter exchange brought has no history of ours, but one of the broker's."""
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": letters.dead}
    origin = queues.make("some.topic", arguments)
    queues.channel.basic_publish("amq.topic", "some.topic", b"{}", pika.BasicProperties(message_id="x"))
    method, _properties, _body = queues.channel.basic_get(origin)
    queues.channel.basic_reject(method.delivery_tag, requeue=False)
    cells = letters.run("list").stdout[0].split("\t")
    assert cells[:4] == ["x", "some.topic", "rejected", "1"]
    # P43: the broker's time is a time, and not a number.
    age = datetime.now(UTC) - datetime.fromisoformat(cells[4])
    assert abs(age) < timedelta(hours=1)
    assert json.loads(letters.run("show").stdout[0])["header_types"] == {"/x-death/0/time": "timestamp"}
    assert letters.run("replay").stdout == [f"put x into {origin}"]
    assert letters.ready(origin) == 1


# Pika writes no floats; the unit tests of letters have some.
ODD: list[Any] = [
    *(None, "many", "\u202ex\x1b[2J", "x" * 300, b"\xff", True, Decimal("1.5")),
    *(-1, 0, 2**63 - 1, -(2**63), datetime(2000, 1, 1, tzinfo=UTC)),
    *([], {}, [None], [5], [[]], {"a": [{}]}),
]
_DEATH = {"queue": "q", "exchange": "e", "routing-keys": ["a.b"], "count": 2, "reason": "expired", "time": 5}
_OURS = {"queue": "q", "exchange": "e", "topic": "t", "attempts": 2, "first": 1, "last": 2, "reason": "r"}


def odd_letters() -> Iterator[dict[str, Any]]:
    """Headers that anybody may send, one part of each being odd."""
    for value in ODD:
        yield {"x-death": value}
        yield {"x-death": [value]}
        yield {"x-death": [value, _DEATH]}
        yield {HEADER: value, "x-death": [_DEATH]}
        for name in (*_DEATH, "other"):
            yield {"x-death": [{**_DEATH, name: value}]}
        for name in (*_OURS, "error", "other"):
            yield {HEADER: {**_OURS, name: value}}
    for name in _DEATH:
        yield {"x-death": [{key: value for key, value in _DEATH.items() if key != name}]}


def test_p43_headers_that_anybody_may_send(letters: Letters, queues: Queues) -> None:
    """None of them is in the way of the others, whatever the command."""
    total = 0
    for total, headers in enumerate(odd_letters(), 1):
        letters.put(b"{}", f"id-{total}", headers)
    listed = letters.run("list")
    assert (listed.status, len(listed.stdout)) == (0, total)
    assert {len(line.split("\t")) for line in listed.stdout} == {6}
    assert "\x1b" not in listed.output
    shown = letters.run("show")
    assert [json.loads(line)["id"] for line in shown.stdout] == [f"id-{one}" for one in range(1, total + 1)]
    for options in (("--topic", "#"), ("--reason", "expired"), ("--id", f"id-{total}"), ("--topic", "a.*")):
        assert letters.run("list", *options).status == 0
    assert letters.run("purge", "--dry-run").stderr == [f"{total} messages would be removed"]
    other = queues.make()
    assert letters.run("replay", "--to", other, "--dry-run").status == 0
    ended = letters.run("replay", "--to", other, "--limit", str(total - 9))
    assert (ended.status, letters.ready(other)) == (0, total - 9), ended.output
    assert letters.run("purge", "--yes").stderr == ["9 messages removed"]
    assert letters.ready(letters.dead) == 0


def test_p43_what_is_known_of_an_odd_letter(letters: Letters) -> None:
    """The parts that can be read are shown, and the rest is left empty."""
    letters.put(b"{}", "a", {"x-death": [{**_DEATH, "count": "many", "routing-keys": 5}]})
    letters.put(b"{}", "b", {HEADER: {**_OURS, "last": 2**62}})
    letters.put(b"{}", "c", {HEADER: {"odd": 1}, "x-death": [_DEATH]})
    rows = [line.split("\t") for line in letters.run("list").stdout]
    assert rows == [
        ["a", "", "expired", "1", "1970-01-01T00:00:05+00:00", ""],
        ["b", "t", "r", "2", f"{2**62} s after 1970", ""],
        ["c", "a.b", "expired", "2", "1970-01-01T00:00:05+00:00", ""],
    ]


def test_replay_as_if_nothing_had_been_tried(letters: Letters) -> None:
    letters.add(1)
    assert letters.run("replay", "--dry-run").stdout == [f"would put id-1 into {letters.origin}"]
    assert (letters.ready(letters.dead), letters.ready(letters.origin)) == (1, 0)
    ended = letters.run("replay")
    assert ended.stdout == [f"put id-1 into {letters.origin}"]
    assert (letters.ready(letters.dead), letters.ready(letters.origin)) == (0, 1)
    properties, body = letters.take(letters.origin)
    assert body == {"number": 1}
    assert properties.message_id == "id-1"
    assert properties.headers["mine"] == "kept"
    # Consumers restore the topic from this.
    history = properties.headers[HEADER]
    assert (history["topic"], history["attempts"], history["error"]) == ("a.b.c", 0, "")


def test_replay_elsewhere_and_to_nowhere(letters: Letters, queues: Queues) -> None:
    other = queues.make()
    letters.add(1, queue="no.such.queue")
    ended = letters.run("replay")
    assert ended.status == 1
    assert "no queue 'no.such.queue'" in ended.output
    assert letters.ready(letters.dead) == 1
    assert letters.run("replay", "--to", other).status == 0
    assert (letters.ready(letters.dead), letters.ready(other)) == (0, 1)


def test_where_it_came_from_is_unknown(letters: Letters) -> None:
    letters.put(b"{}", "x", {})
    ended = letters.run("replay")
    assert ended.status == 1
    assert "does not say which queue it came from: give one with --to" in ended.output
    assert letters.ready(letters.dead) == 1


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--id", "id-2"), [2]),
        (("--topic", "a.#"), [1, 2]),
        (("--topic", "a.*.c"), [1]),
        (("--topic", "#"), [1, 2, 3]),
        (("--topic", "a"), []),
        (("--reason", "invalid"), [3]),
        (("--limit", "2"), [1, 2]),
        (("--topic", "a.#", "--limit", "1"), [1]),
    ],
)
def test_filters(letters: Letters, options: tuple[str, ...], expected: list[int]) -> None:
    letters.add(1, "a.b.c")
    letters.add(2, "a.b")
    letters.add(3, "x", reason="invalid")
    ended = letters.run("purge", "--yes", *options)
    assert [line.split("\t")[0] for line in ended.stdout] == [f"id-{number}" for number in expected]
    assert letters.ready(letters.dead) == 3 - len(expected)


def test_purge_asks(letters: Letters) -> None:
    letters.add(1)
    assert letters.run("purge", "--yes", "--dry-run").stderr == ["1 message would be removed"]
    refused = letters.run("purge")
    assert refused.status == 1
    assert f"Remove 1 message from the queue {letters.dead} for good?" in refused.output
    assert letters.ready(letters.dead) == 1
    assert letters.run("purge", "--yes").status == 0
    assert letters.ready(letters.dead) == 0


def test_no_such_queue(letters: Letters) -> None:
    ended = letters.run("list", queue="no.such.queue")
    assert ended.status == 1
    assert "no queue 'no.such.queue'" in ended.output
