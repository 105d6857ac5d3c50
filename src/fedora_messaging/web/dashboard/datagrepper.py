"""The interface of Datagrepper, a service over an archive of Fedora's messages, for its clients.

Parameters and answers are described in the reference; what differs from the original is said there.
"""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from ..._version import __version__
from ...archive.archive import Archive
from ...archive.entry import Stored, words_in
from ...archive.query import Query
from ...exceptions import ValidationError
from ...logs import logger
from ...message import Message, load_message
from ...printable import printable
from .selection import ArchiveSource

_log = logger(__name__)

_DEFAULT_ROWS: Final = 20
_MOST_ROWS: Final = 100
#: Databases count rows with 64 bits; nobody reads so many pages.
_LAST_PAGE: Final = 10**12
#: More than any archive has: the pages that a client is told must be all of them.
_ALL: Final = 2**62
#: Seconds before an end that comes without a start and without a delta.
_BEFORE_END: Final = 600.0
#: 1970 to 9999, what the standard library has dates for.
_LAST_TIME: Final = datetime.max.replace(tzinfo=UTC).timestamp() - 86_400
_BOOLEANS: Final = ("true", "false")
_SIZES: Final = ("small", "medium", "large", "extra-large")

#: Parameters that may be repeated, the name by which they are echoed, and the attribute of a query.
_FILTERS: Final = (
    ("user", "users", "users"),
    ("package", "packages", "packages"),
    ("category", "categories", "categories"),
    ("topic", "topics", "topics"),
    ("agent", "agents", "agents"),
    ("contains", "contains", "contains"),
    ("not_user", "not_users", "without_users"),
    ("not_package", "not_packages", "without_packages"),
    ("not_category", "not_categories", "without_categories"),
    ("not_topic", "not_topics", "without_topics"),
    ("not_agent", "not_agents", "without_agents"),
)

#: What a message says of itself.
_META: Final[Mapping[str, Callable[[Message], Any]]] = {
    "title": lambda message: message.topic.split(".", 3)[-1],
    "subtitle": lambda message: message.summary,
    "icon": lambda message: message.app_icon,
    "secondary_icon": lambda message: message.agent_avatar,
    "link": lambda message: message.url,
    "usernames": lambda message: sorted(set(message.usernames)),
    "packages": lambda message: sorted(set(message.packages)),
    "objects": lambda _message: [],
}

_HEADERS: Final = {"X-Content-Type-Options": "nosniff"}

Shape = Callable[[Stored], dict[str, Any]]


class _Wrong(Exception):
    """What is wrong with a request, in a sentence."""


def routes(source: ArchiveSource) -> list[BaseRoute]:
    """Return the routes of the interface over an archive."""
    made: list[BaseRoute] = []
    for path, shape in (("/v2/search", _as_message), ("/raw", _as_fedmsg)):
        made += _with_slash(path, _answering(source, _Search(shape)))
    for path, shape in (("/v2/id", _as_message), ("/id", _as_fedmsg)):
        made += _with_slash(path, _answering(source, _LookUp(shape)))
    made += _with_slash("/charts", _no_charts)
    made.append(Route("/charts/{rest:path}", _no_charts))
    return made


def _with_slash(path: str, endpoint: Callable[[Request], Any]) -> list[BaseRoute]:
    return [Route(path, endpoint, methods=["GET"]), Route(f"{path}/", endpoint, methods=["GET"])]


def _answering(source: ArchiveSource, answer: Callable[[Archive, Request], Any]) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        archive = await source(request)
        if isinstance(archive, Response):
            return archive
        try:
            found = await run_in_threadpool(answer, archive, request)
        except _Wrong as error:
            return _error(str(error), 400)
        if found is None:
            wanted = printable(request.query_params["id"])
            return _error(f"The archive has no message with the id {wanted}", 404)
        return JSONResponse(found, headers=_HEADERS)

    return endpoint


async def _no_charts(_request: Request) -> Response:
    return _error("There are no charts here; ask /v2/search for the messages to draw", 404)


def _error(sentence: str, status: int) -> Response:
    return JSONResponse({"error": sentence}, status, headers=_HEADERS)


class _LookUp:
    """Answers with one message, or ``None``."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape

    def __call__(self, archive: Archive, request: Request) -> dict[str, Any] | None:
        parameters = _Parameters(request)
        wanted = parameters.one("id")
        if not wanted:
            raise _Wrong("Say which message: id=ID")
        parameters.check_form()
        metas = parameters.metas()
        stored = archive.get(wanted)
        return None if stored is None else _with_meta(stored, self._shape(stored), metas)


class _Search:
    """Answers with a page of messages."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape

    def __call__(self, archive: Archive, request: Request) -> dict[str, Any]:
        parameters = _Parameters(request)
        parameters.check_form()
        start, end, delta = parameters.times(time.time())
        page = parameters.number("page", 1, _LAST_PAGE)
        rows = parameters.number("rows_per_page", _DEFAULT_ROWS, _MOST_ROWS)
        order = parameters.choice("order", ("desc", "asc")) or "desc"
        metas = parameters.metas()
        filters = {name: parameters.filters(name) for name, _, _ in _FILTERS}
        query = Query(
            since=start,
            # `end` belongs to the range, `until` does not.
            until=None if end is None else math.nextafter(end, math.inf),
            newest_first=order == "desc",
            **{attribute: tuple(filters[name]) for name, _, attribute in _FILTERS},  # type: ignore[arg-type]
        )
        total = archive.count(query, most=_ALL)
        found = archive.find(replace(query, limit=rows, offset=(page - 1) * rows))
        return {
            "arguments": {
                "start": start,
                "end": end,
                "delta": delta,
                "page": page,
                "rows_per_page": rows,
                "order": order,
                "meta": metas,
                **{echoed: filters[name] for name, echoed, _ in _FILTERS},
            },
            "count": len(found),
            "pages": -(-total // rows),
            "total": total,
            "raw_messages": [_with_meta(stored, self._shape(stored), metas) for stored in found],
        }


class _Parameters:
    """Reads the parameters of a request.

    Raises:
        _Wrong: One of them is.
    """

    def __init__(self, request: Request) -> None:
        self._given = request.query_params
        if "callback" in self._given:
            raise _Wrong(
                "callback is refused: with JSONP any page could read the archive; ask for JSON from a server"
            )

    def one(self, name: str) -> str | None:
        given = self._given.getlist(name)
        if len(given) > 1:
            raise _Wrong(f"{name} is given {len(given)} times; give it once")
        return given[0] if given else None

    def check_form(self) -> None:
        """Check what chooses the form of HTML, which this interface does not have."""
        self.choice("is_raw", _BOOLEANS)
        self.choice("chrome", _BOOLEANS)
        self.choice("size", _SIZES)

    def choice(self, name: str, choices: Sequence[str]) -> str | None:
        given = self.one(name)
        if given is None:
            return None
        if given.lower() not in choices:
            raise _Wrong(f"{name} is {printable(given)}; it must be one of {', '.join(choices)}")
        return given.lower()

    def number(self, name: str, otherwise: int, most: int) -> int:
        given = self.one(name)
        if given is None:
            return otherwise
        if not (given.isascii() and given.isdecimal() and len(given) < 20 and 1 <= int(given) <= most):
            raise _Wrong(f"{name} is {printable(given)}; it must be a whole number from 1 to {most}")
        return int(given)

    def metas(self) -> list[str]:
        given = self._given.getlist("meta")
        for name in given:
            if name not in _META and name != "date":
                raise _Wrong(f"meta is {printable(name)}; it must be one of {', '.join([*_META, 'date'])}")
        return given

    def filters(self, name: str) -> list[str]:
        given = self._given.getlist(name)
        for value in given:
            if not value:
                raise _Wrong(f"{name} is empty; leave it out, or say what to look for")
            if name == "contains" and not words_in(value):
                raise _Wrong(f"contains is {printable(value)}; it needs a letter or a digit")
        return given

    def times(self, now: float) -> tuple[float | None, float | None, float | None]:
        """Return start, end and delta: those that are given, and those that follow from them."""
        delta = self._delta()
        start, end = self._time("start"), self._time("end")
        if start is not None and end is None:
            end = now if delta is None else start + delta
        elif start is None and end is not None:
            delta = _BEFORE_END if delta is None else delta
            start = end - delta
        elif start is None and delta is not None:
            end = now
            start = end - delta
        return start, end, delta

    def _delta(self) -> float | None:
        given = self.one("delta")
        if given is None:
            return None
        seconds = _float(given)
        if seconds is None or not 0 <= seconds <= _LAST_TIME:
            raise _Wrong(f"delta is {printable(given)}; it must be a number of seconds")
        return seconds

    def _time(self, name: str) -> float | None:
        given = self.one(name)
        if given is None:
            return None
        seconds = _float(given)
        if seconds is None:
            try:
                # In an address, + is a blank.
                read = datetime.fromisoformat(_with_plus(given))
            except ValueError:
                seconds = math.nan
            else:
                seconds = (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()
        if not 0 <= seconds <= _LAST_TIME:
            raise _Wrong(
                f"{name} is {printable(given)}; it must be seconds since 1970, or like 2021-06-25T06:11:40Z"
            )
        return seconds


def _float(text: str) -> float | None:
    try:
        return float(text) if "_" not in text else None
    except ValueError:
        return None


def _with_plus(text: str) -> str:
    date, blank, zone = text.rpartition(" ")
    return f"{date}+{zone}" if blank and ("T" in date or " " in date) else text


def _record(stored: Stored) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(stored.record)
    # Messages that came without an id have got one from the archive, and its queue concerns nobody.
    return {**record, "id": stored.id, "queue": None}


def _as_message(stored: Stored) -> dict[str, Any]:
    return _record(stored)


def _as_fedmsg(stored: Stored) -> dict[str, Any]:
    record = _record(stored)
    return {
        "certificate": None,
        "crypto": None,
        "headers": record["headers"],
        "i": 0,
        "msg": record["body"],
        "msg_id": stored.id,
        "signature": None,
        # Old clients look for this name.
        "source_name": "datanommer",
        "source_version": __version__,
        "timestamp": float(stored.sent),
        "topic": stored.topic,
        "username": stored.agent or None,
    }


def _with_meta(stored: Stored, shaped: dict[str, Any], metas: Sequence[str]) -> dict[str, Any]:
    if not metas:
        return shaped
    try:
        message = load_message(_record(stored))
    except ValidationError:
        message = None
    return {**shaped, "meta": {name: _meta(stored, message, name) for name in metas}}


def _meta(stored: Stored, message: Message | None, name: str) -> Any:
    if name == "date":
        return datetime.fromtimestamp(stored.sent, UTC).isoformat()
    if message is None:
        return None
    try:
        return _META[name](message)
    except Exception as error:
        _log.debug("%s of %s fails: %s", name, printable(stored.topic), printable(error))
        return None
