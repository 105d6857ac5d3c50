"""Messages for an archive: those of the demonstration, with other names, versions, texts and times.

``python -m benchmarks.archive_messages 1000`` prints a thousand of them as ``fedora-messaging record`` would.
"""

import argparse
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from itertools import accumulate
from random import Random
from typing import Any, NamedTuple

_DEMONSTRATION = files("fedora_messaging.cli") / "demo_messages.jsonl"

BEGIN = datetime(2024, 7, 1, tzinfo=UTC)
END = BEGIN + timedelta(days=730)

#: Share of each topic, by what it begins with; on Fedora's bus, most messages come from Koji and Copr.
_SHARES = {
    "org.fedoraproject.prod.buildsys.": 45,
    "org.fedoraproject.prod.copr.": 35,
    "org.fedoraproject.prod.bodhi.": 8,
    "org.fedoraproject.prod.pagure.": 6,
    "io.pagure.": 2,
    "org.release-monitoring.": 3,
    "org.fedoraproject.prod.fas.": 1,
}
#: Names in the demonstration that other names take the place of.
_USERS = ("zofka", "ttorvald", "jrosvall", "mkaur", "ingridsol", "releng-anouk")
_PACKAGES = (
    "mossgrid-tiles",
    "mossgrid",
    "heronctl",
    "libtamarack",
    "kestrelnote",
    "brackenbit",
    "thistlequill",
    "loomcast",
    "lantern-shell",
)
#: Keys of sentences that people wrote.
_TEXTS = frozenset({"text", "notes", "content", "comment", "initial_comment", "title"})

_MANY_USERS = 2000
_MANY_PACKAGES = 20_000
_MANY_WORDS = 30_000
#: Values that are drawn at once, as that is faster than one by one.
_DRAWN = 8192
_SYLLABLES = [a + b for a in "bdklmnrst" for b in "aeio"]

#: What takes the place of what, in the order of preference; a sentence is marked, as only its key tells it.
_SENTENCE_MARK = "\ue000"
_KINDS = {
    "sentence": _SENTENCE_MARK + r"\d+",
    "time": r"20\d\d-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d{6})?",
    "address": r"\b\d+\.\d+\.\d+\.\d+\b",
    "commit": r"\b(?:[0-9a-f]{40}|[0-9a-f]{32}|(?<=-)[0-9a-f]{10})\b",
    "seconds": r"\b1[67]\d{8}\b",
    "number": r"\b\d{5,9}\b",
    "package": r"\b(?:" + "|".join(_PACKAGES) + r")\b",
    "user": r"\b(?:" + "|".join(_USERS) + r")\b",
    "version": r"\b\d+\.\d+(?:\.\d+)?(?=[-\"~ ,])(?!\"?, \"(?:created|updated)_on)",
}
_PART = re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in _KINDS.items()))


class Generated(NamedTuple):
    """A message.

    Attributes:
        id: Its id.
        topic: Its topic.
        sent: When it was sent, in seconds since 1970.
        line: The whole of it, as ``fedora_messaging.message.dumps`` writes it, without the line end.
    """

    id: str
    topic: str
    sent: float
    line: str


class _Template:
    """A message of the demonstration, cut at what differs from message to message."""

    def __init__(self, message: dict[str, Any]) -> None:
        self.topic: str = message["topic"]
        #: What is drawn for each message; the same part has the same value wherever it stands.
        self.kinds: list[tuple[str, str]] = []
        body = json.dumps(_mark_sentences(message["body"], []), ensure_ascii=False, sort_keys=True)
        headers = json.dumps(message["headers"], ensure_ascii=False, sort_keys=True)
        places: dict[str, int] = {}
        written: list[str] = []
        end = 0
        for found in _PART.finditer(body):
            if found[0] not in places:
                assert found.lastgroup is not None
                places[found[0]] = len(places)
                self.kinds.append((found.lastgroup, found[0]))
            written += (body[end : found.start()].replace("%", "%%"), f"%({places[found[0]]})s")
            end = found.end()
        written.append(body[end:].replace("%", "%%"))
        self._names = [str(place) for place in range(len(places))]
        self._body = "".join(written)
        self._head = headers[:-1].replace("%", "%%")
        self._format = (
            f'{{"body": {self._body}, "headers": {self._head}, "sent-at": "%(sent)s"}}, "id": "%(id)s", '
            f'"priority": 0, "queue": null, "topic": "{self.topic}"}}'
        )

    def fill(self, id: str, sent: str, values: Iterable[str]) -> str:
        return self._format % {**dict(zip(self._names, values, strict=True)), "id": id, "sent": sent}


def _mark_sentences(value: Any, found: list[str]) -> Any:
    """Replace sentences by marks, each by its own."""
    if isinstance(value, dict):
        return {
            key: _mark(part, found)
            if key in _TEXTS and isinstance(part, str) and " " in part
            else _mark_sentences(part, found)
            for key, part in value.items()
        }
    if isinstance(value, list):
        return [_mark_sentences(part, found) for part in value]
    return value


def _mark(sentence: str, found: list[str]) -> str:
    if sentence not in found:
        found.append(sentence)
    return f"{_SENTENCE_MARK}{found.index(sentence)}"


class _Drawn:
    """An endless supply of values, of which few are frequent and most are rare."""

    def __init__(self, random: Random, values: Sequence[str]) -> None:
        self._random = random
        self._values = values
        # Zipf's law: the n-th value is there 1/n times as often as the first.
        self._weights = list(accumulate(1 / rank for rank in range(1, len(values) + 1)))
        self._ready: list[str] = []

    def one(self) -> str:
        return self.some(1)[0]

    def some(self, number: int) -> list[str]:
        if len(self._ready) < number:
            self._ready = self._random.choices(self._values, cum_weights=self._weights, k=_DRAWN)
        taken = self._ready[-number:]
        del self._ready[-number:]
        return taken


def _words(random: Random, number: int, least: int, most: int) -> list[str]:
    made: dict[str, None] = {}
    while len(made) < number:
        made["".join(random.choices(_SYLLABLES, k=random.randint(least, most)))] = None
    return list(made)


class _Source:
    """Draws the values that take the place of those of the demonstration."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self._users = _Drawn(self.random, _words(self.random, _MANY_USERS, 2, 4))
        self._packages = _Drawn(self.random, _words(self.random, _MANY_PACKAGES, 3, 5))
        self._vocabulary = _Drawn(self.random, _words(self.random, _MANY_WORDS, 1, 5))
        self._versions = _Drawn(
            self.random,
            [f"{a}.{b}.{c}" for c in range(30) for a in range(1, 10) for b in range(10)],
        )

    def id(self) -> str:
        digits = f"{self.random.getrandbits(128):032x}"
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"

    def draw(self, kind: str, old: str, sent: float, time: str) -> str:
        random = self.random
        match kind:
            case "user":
                return self._users.one()
            case "package":
                return self._packages.one()
            case "sentence":
                return " ".join(self._vocabulary.some(4 + int(random.random() * 26)))
            case "version":
                return self._versions.one()
            case "time":
                return time[:10] + old[10] + time[11:19]
            case "seconds":
                return str(int(sent))
            case "number":
                least = 10 ** (len(old) - 1)
                return str(least + int(random.random() * 9 * least))
            case "commit":
                return f"{random.getrandbits(4 * len(old)):0{len(old)}x}"
            case _:
                return f"10.{int(random.random() * 256)}.{int(random.random() * 256)}.7"


def messages(count: int, seed: int = 0, begin: datetime = BEGIN, end: datetime = END) -> Iterator[Generated]:
    """Generate messages, in the order of the times at which they were sent.

    Args:
        count: How many.
        seed: The same seed gives the same messages.
        begin: When the first is sent.
        end: When the last has been sent.
    """
    source = _Source(seed)
    random = source.random
    templates = [_Template(json.loads(line)) for line in _DEMONSTRATION.read_text("utf-8").splitlines()]
    shares = _shares(templates)
    start = begin.timestamp()
    step = (end.timestamp() - start) / count if count else 0.0
    chosen: list[_Template] = []
    for number in range(count):
        if not chosen:
            chosen = random.choices(templates, shares, k=_DRAWN)
        template = chosen.pop()
        # Senders' clocks say whole seconds.
        sent = float(int(start + (number + random.random()) * step))
        time = datetime.fromtimestamp(sent, UTC).isoformat()
        id = source.id()
        values = [source.draw(kind, old, sent, time) for kind, old in template.kinds]
        yield Generated(id, template.topic, sent, template.fill(id, time, values))


def _shares(templates: Sequence[_Template]) -> list[float]:
    prefixes = [next(prefix for prefix in _SHARES if each.topic.startswith(prefix)) for each in templates]
    return [_SHARES[prefix] / prefixes.count(prefix) for prefix in prefixes]


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.archive_messages", description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for message in messages(arguments.count, arguments.seed):
        print(message.line)


if __name__ == "__main__":
    _main()
