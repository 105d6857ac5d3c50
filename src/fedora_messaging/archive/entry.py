"""What an archive keeps of a message."""

import base64
import hashlib
import json
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate, islice
from typing import Any, Final, TypeVar

from msgspec import Struct

from .. import table_json
from ..logs import logger
from ..message import INFO, Message, to_line
from ..printable import printable
from ..wire.properties import BasicProperties

_log = logger(__name__)

Answer = TypeVar("Answer")

#: Letters and digits. Both databases get words that are cut out here, so that both find the same.
_WORD: Final = re.compile(r"[^\W_]+")
#: Longest word that can be searched for, in characters; PostgreSQL takes 2046 bytes.
LONGEST_WORD: Final = 255
#: Words of a message that can be searched for; PostgreSQL knows the place of 16383.
_MOST_WORDS: Final = 16_000
#: Characters of a message's text that are looked at for words.
_MOST_TEXT: Final = 512 * 1024
#: Bytes of a message's words, with those that PostgreSQL adds to each: it takes 2**20 - 1.
_MOST_BYTES: Final = 1_000_000
_BYTES_ADDED: Final = 8
#: Most bytes of a letter in lower case, in UTF-8.
_LONGEST_LETTER: Final = 4
#: Characters of a summary.
_LONGEST_SUMMARY: Final = 1000
#: Characters of a name: PostgreSQL's index takes 2704 bytes.
_LONGEST_NAME: Final = 500
#: Users, and packages, of a message; more of them are left to the search for words.
_MOST_NAMES: Final = 200
#: Severities are smaller: PostgreSQL's integer has 32 bits.
_NO_SEVERITY: Final = 1 << 31
#: The last second of the year 9999: later ones are no dates.
LAST_SECOND: Final = 253_402_300_799.0
#: PostgreSQL's text cannot hold the character NUL, and no encoding has lone surrogates.
_UNFIT: Final = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Entry:
    """A message, ready to be stored.

    Attributes:
        id: The message's id, by which it is stored once.
        topic: Its topic.
        sent: When it was sent, in seconds since 1970.
        severity: One of the severities of :mod:`fedora_messaging.message`.
        app: Name of the application, or an empty text.
        agent: Name of the user who caused it, or an empty text.
        schema: Name of its schema, or an empty text.
        summary: What it says of itself in one line.
        users: Names of the users it is about.
        packages: Names of the packages it is about.
        record: The message as :func:`~fedora_messaging.message.dumps` writes it, without the line end.
        words: What a search finds it by.
    """

    id: str
    topic: str
    sent: float
    severity: int
    app: str
    agent: str
    schema: str
    summary: str
    users: tuple[str, ...]
    packages: tuple[str, ...]
    record: str
    words: str


class Stored(Struct, frozen=True):
    """A message as an archive returns it; the attributes that :class:`Entry` has mean the same.

    Attributes:
        key: Its place in the order of time, see :class:`~.archive.Archive`.
        seq: Its place in the order of storing, from 1.
        stored: When it was stored, in seconds since 1970.
    """

    key: int
    seq: int
    id: str
    topic: str
    sent: float
    stored: float
    severity: int
    app: str
    agent: str
    schema: str
    summary: str
    users: tuple[str, ...]
    packages: tuple[str, ...]
    record: str

    def words(self) -> list[str]:
        """Return the words that a search finds it by."""
        return words_of_record(self.topic, self.summary, self.record).split()

    @property
    def is_message(self) -> bool:
        """Whether it could be read: otherwise its record has the bytes, and the reason in ``unreadable``."""
        return '"body_base64"' not in self.record or "unreadable" not in json.loads(self.record)


def entry_of(message: Message, now: float) -> Entry:
    """Return what to keep of a message, which need not be valid.

    Args:
        message: The message.
        now: The time, for a message that does not say when it was sent.
    """
    record = _line(to_line(message))
    # Cut before its words are taken: these must be the words of what is stored.
    summary = fit(_asked(message, "summary", str, "")[:_LONGEST_SUMMARY])
    headers = message._headers
    topic = fit(message.topic)
    return Entry(
        id=fit(message.id) if message.id else _name_for(record),
        topic=topic,
        sent=sent_at(headers.get("sent-at"), now),
        severity=_severity(message.severity),
        app=fit(_asked(message, "app_name", str, "")),
        agent=fit(_asked(message, "agent_name", str, "")),
        schema=fit(str(headers.get("fedora_messaging_schema", ""))),
        summary=summary,
        users=_asked(message, "usernames", _names, ()),
        packages=_asked(message, "packages", _names, ()),
        record=record,
        words=_words_of_message(topic, summary, message.body, record),
    )


def _words_of_message(topic: str, summary: str, body: Any, record: str) -> str:
    # Two escapes of surrogates that follow each other are one letter when the record is read.
    if r"\ud" in record:
        return words_of_record(topic, summary, record)
    return " ".join(_words_of([topic, summary, *_texts(body)]))


def unreadable_entry(
    topic: str, queue: str | None, properties: BasicProperties, body: bytes, reason: str, now: float
) -> Entry:
    """Return what to keep of a delivery that is no message: its bytes, and why it cannot be read.

    Its record has no body, so nobody takes it for a message that could be published again.
    """
    headers = properties.headers if isinstance(properties.headers, dict) else {}
    record = {
        "body": None,
        "body_base64": base64.b64encode(body).decode(),
        "headers": table_json.to_json(headers)[0],
        "id": properties.message_id,
        "priority": properties.priority,
        "queue": queue,
        "topic": topic,
        "unreadable": reason,
    }
    written = _line(json.dumps(record, ensure_ascii=False, sort_keys=True, default=str))
    summary = fit(f"This is no message: {reason}")
    return Entry(
        id=fit(properties.message_id) if properties.message_id else _name_for(written),
        topic=fit(topic),
        sent=sent_at(headers.get("sent-at"), now),
        severity=INFO,
        app="",
        agent="",
        schema="",
        summary=summary,
        users=(),
        packages=(),
        record=written,
        words=" ".join(_words_of((fit(topic), summary))),
    )


def words_of_record(topic: str, summary: str, record: str) -> str:
    """Return the words that :func:`entry_of` has found in a message that was stored."""
    return " ".join(_words_of([topic, summary, *_texts(json.loads(record)["body"])]))


def _line(record: str) -> str:
    return fit(table_json.encodable(record))


def fit(text: str) -> str:
    """Return a text that both databases can hold."""
    # What can be printed fits, and is told apart faster than by looking for what does not.
    return text if text.isprintable() else _UNFIT.sub("\ufffd", text)


def sent_at(value: object, now: float) -> float:
    """Return the time in a header ``sent-at``, or the time now if it has none; in seconds since 1970."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return now
    if not isinstance(value, datetime):
        return now
    aware = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    try:
        # Times before 1970 are mistakes, and months after 9999 have no partition; in UTC, the last hours of
        # 9999 can be in the next year.
        return min(max(aware.timestamp(), 0.0), LAST_SECOND)
    except (OverflowError, ValueError):
        return now


def words_in(text: str) -> list[str]:
    """Return the words of a text, in lower case."""
    return [word[:LONGEST_WORD] for word in _WORD.findall(text.lower())]


def _severity(value: object) -> int:
    return value if type(value) is int and 0 <= value < _NO_SEVERITY else INFO


def _asked(message: Message, name: str, read: Callable[[Any], Answer], otherwise: Answer) -> Answer:
    """Return what a message says of itself; the code of its class may fail, which must not lose it."""
    try:
        value = getattr(message, name)
        return otherwise if value is None else read(value)
    except Exception as error:
        _log.debug("%s of %s fails: %s", name, printable(message.topic), printable(error))
        return otherwise


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, Iterable) or isinstance(value, str):
        return ()
    return tuple(islice(dict.fromkeys(fit(str(name))[:_LONGEST_NAME] for name in value), _MOST_NAMES))


def _name_for(record: str) -> str:
    """Return an id for a message without one: the same message gets the same."""
    return f"sha256:{hashlib.sha256(record.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _texts(value: Any) -> list[str]:
    """Return the texts and numbers in a body, without the keys."""
    texts: list[str] = []
    left = [value]
    while left:
        part = left.pop()
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict):
            # In the order that records have, so that the words of a record are those of its message.
            left += [part[name] for name in sorted(part, reverse=True)]
        elif isinstance(part, list | tuple):
            left += reversed(part)
        elif part is not None and not isinstance(part, bool):
            texts.append(str(part))
    return texts


def _words_of(texts: Iterable[str]) -> list[str]:
    # A line end is in no word, so the texts can be searched together.
    text = "\n".join(texts)[:_MOST_TEXT]
    words = words_in(text)[:_MOST_WORDS]
    if len(text) * _LONGEST_LETTER + len(words) * _BYTES_ADDED <= _MOST_BYTES:
        return words
    sizes = accumulate(len(word.encode()) + _BYTES_ADDED for word in words)
    return words[: bisect_right([*sizes], _MOST_BYTES)]
