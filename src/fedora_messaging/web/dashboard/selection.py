"""Which messages a person, or a program, asks to see."""

import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Self

from starlette.requests import Request
from starlette.responses import Response

from ...archive.archive import Archive
from ...archive.entry import Stored, fit
from ...archive.query import Query
from ...archive.topics import fits_any
from ...message import DEBUG, ERROR, INFO, WARNING

#: Returns the archive for a request, or the refusal of the request.
ArchiveSource = Callable[[Request], Awaitable[Archive | Response]]

SEVERITIES: Final = {"debug": DEBUG, "info": INFO, "warning": WARNING, "error": ERROR}
#: Values of each parameter.
MOST_VALUES: Final = 100
_UNQUOTED_PLUS: Final = re.compile(r"(?<=:[0-9]{2}) (?=[0-9]{2}:[0-9]{2}$)")


@dataclass(frozen=True, slots=True)
class Selection:
    """Conditions on messages; those that are empty fit all.

    Attributes:
        topics: Topic patterns, of which one must fit.
        users: Names of users, of which the message must name one.
        packages: Names of packages, likewise.
        apps: Names of applications.
        severity: The lowest severity.
        text: Words as a search in the archive takes them.
        since: Sent at this time or later, in seconds since 1970.
        until: Sent before this time.
    """

    topics: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    apps: tuple[str, ...] = ()
    severity: str = ""
    text: str = ""
    since: float | None = None
    until: float | None = None

    @classmethod
    def of(cls, parameters: Iterable[tuple[str, str]]) -> Self:
        """Read the parameters of a request.

        Raises:
            ValueError: A value means nothing; the text says which, and what would.
        """
        values: dict[str, list[str]] = {}
        for name, value in parameters:
            if value.strip():
                values.setdefault(name, []).append(fit(value.strip()))
        if any(len(each) > MOST_VALUES for each in values.values()):
            raise ValueError(f"a parameter has more than {MOST_VALUES} values")

        def last(name: str) -> str:
            return values.get(name, [""])[-1]

        severity = last("severity").lower()
        if severity and severity not in SEVERITIES:
            raise ValueError(f"severity is one of {', '.join(SEVERITIES)}")
        return cls(
            tuple(values.get("topic", ())),
            tuple(values.get("user", ())),
            tuple(values.get("package", ())),
            tuple(values.get("app", ())),
            severity,
            last("text"),
            moment("since", last("since")),
            moment("until", last("until")),
        )

    def query(self, **more: Any) -> Query:
        """Return what to ask an archive."""
        return Query(
            since=self.since,
            until=self.until,
            topics=self.topics,
            users=self.users,
            packages=self.packages,
            apps=self.apps,
            severity=SEVERITIES.get(self.severity),
            text=self.text,
            **more,
        )

    def wants(self, one: Stored) -> bool:
        """Whether a message that passes is meant; the text is looked for in its topic, summary and body."""
        return (
            (not self.topics or fits_any(self.topics, one.topic))
            and (not self.users or not set(self.users).isdisjoint(one.users))
            and (not self.packages or not set(self.packages).isdisjoint(one.packages))
            and (not self.apps or one.app in self.apps)
            and (not self.severity or one.severity >= SEVERITIES[self.severity])
            and (self.since is None or one.sent >= self.since)
            and (self.until is None or one.sent < self.until)
            and (not self.text or self.query().words.are_in(one.words()))
        )


def moment(name: str, text: str) -> float | None:
    """Return a time in a parameter: seconds since 1970, or a date with or without a time, in UTC.

    Raises:
        ValueError: It is neither.
    """
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            # A plus sign that nobody has quoted arrives as a blank.
            found = datetime.fromisoformat(_UNQUOTED_PLUS.sub("+", text.strip()))
            seconds = (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            raise ValueError(
                f"{name} is no time: write seconds since 1970, or a date as in 2026-11-30T08:00:00Z"
            ) from None
    if not -1e11 < seconds < 1e12:  # also false for NaN
        raise ValueError(f"{name} is too far away")
    return seconds
