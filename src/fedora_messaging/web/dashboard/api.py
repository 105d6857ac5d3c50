"""``/api/v1``: what the pages show, for programs."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from ..._version import __version__
from ...archive.archive import Archive
from ...archive.database import ArchiveError
from .catalogue import asyncapi, entries, example, fields, find
from .events import event_id, outline_of
from .selection import MOST_VALUES, SEVERITIES, ArchiveSource, Selection

#: Messages of one answer, by default and at most.
_LIMIT, _MOST = 50, 500

Answer = Callable[[Archive, Request], Any]


class _Wrong(Exception):
    """What is wrong with a request, in a sentence, and the status that tells it."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


def routes(source: ArchiveSource) -> list[BaseRoute]:
    """Return the routes of the interface over an archive."""

    def endpoint(answer: Answer) -> Callable[[Request], Awaitable[Response]]:
        async def respond(request: Request) -> Response:
            archive = await source(request)
            if isinstance(archive, Response):
                return archive
            try:
                return JSONResponse(await asyncio.to_thread(answer, archive, request))
            except _Wrong as error:
                return JSONResponse({"error": str(error)}, error.status)
            except ArchiveError as error:
                return JSONResponse({"error": str(error)}, 503)

        return respond

    async def not_found(_request: Request) -> Response:
        return JSONResponse({"error": "There is no such path; /api/v1/openapi.json lists all"}, 404)

    return [
        Route("/api/v1/status", endpoint(_status), methods=["GET"]),
        Route("/api/v1/messages", endpoint(_messages), methods=["GET"]),
        Route("/api/v1/message", endpoint(_message), methods=["GET"]),
        Route("/api/v1/topics", endpoint(_topics), methods=["GET"]),
        Route("/api/v1/schemas", endpoint(_schemas), methods=["GET"]),
        Route("/api/v1/schema", endpoint(_schema), methods=["GET"]),
        Route("/api/v1/asyncapi.json", endpoint(_asyncapi), methods=["GET"]),
        Route("/api/v1/openapi.json", endpoint(lambda _archive, _request: OPENAPI), methods=["GET"]),
        Route("/api/v1/{rest:path}", not_found),
    ]


def _status(archive: Archive, _request: Request) -> dict[str, Any]:
    outline = archive.outline()
    return {
        "version": __version__,
        "archive": {
            "messages": outline.messages,
            "bytes": outline.size,
            "oldest": outline.oldest,
            "newest": outline.newest,
            "last_event_id": event_id(archive, archive.newest_seq()),
        },
    }


def _messages(archive: Archive, request: Request) -> dict[str, Any]:
    try:
        selection = Selection.of(request.query_params.multi_items())
    except ValueError as error:
        raise _Wrong(f"{error}") from None
    limit = _number(request, "limit", _LIMIT, 1, _MOST)
    order = request.query_params.get("order", "desc")
    if order not in ("desc", "asc"):
        raise _Wrong("order is desc or asc")
    is_newest_first = order == "desc"
    place = _number(request, "cursor", -1, 0, 2**63 - 1)
    bound = {} if place < 0 else {"before" if is_newest_first else "after": place}
    found = archive.find(selection.query(limit=limit + 1, newest_first=is_newest_first, **bound))
    shown = found[:limit]
    return {
        "messages": [outline_of(one) for one in shown],
        "cursor": str(shown[-1].key) if len(found) > limit else None,
    }


def _number(request: Request, name: str, otherwise: int, least: int, most: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return otherwise
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and least <= int(text) <= most):
        raise _Wrong(f"{name} must be a whole number from {least} to {most}")
    return int(text)


def _message(archive: Archive, request: Request) -> dict[str, Any]:
    id = request.query_params.get("id", "")
    one = archive.get(id)
    if one is None:
        raise _Wrong("There is no message with this id", 404)
    return {**outline_of(one), "stored": one.stored, "message": json.loads(one.record)}


def _topics(archive: Archive, _request: Request) -> dict[str, Any]:
    return {"topics": [{"topic": topic, "messages": messages} for topic, messages in archive.topics()]}


def _schemas(_archive: Archive, _request: Request) -> dict[str, Any]:
    return {
        "schemas": [
            {
                "name": entry.name,
                "package": entry.package,
                "topic": entry.topic,
                "deprecated": entry.deprecated,
                "summary": entry.summary,
            }
            for entry in entries()
        ]
    }


def _schema(_archive: Archive, request: Request) -> dict[str, Any]:
    entry = find(request.query_params.get("name", ""))
    if entry is None:
        raise _Wrong("There is no schema with this name here", 404)
    schema = entry.body_schema
    return {
        "name": entry.name,
        "topic": entry.topic,
        "deprecated": entry.deprecated,
        "fields": [field._asdict() for field in fields(schema)],
        "body_schema": schema,
        "example": example(schema),
    }


def _asyncapi(_archive: Archive, request: Request) -> dict[str, Any]:
    names = request.query_params.getlist("name")
    return asyncapi([entry for entry in entries() if not names or entry.name in names])


def _parameter(name: str, description: str, schema: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": dict(schema), **more}


_TEXT: Final = {"type": "string"}
_NAMES: Final = {"type": "array", "items": _TEXT}
_VALUES: Final = {**_NAMES, "maxItems": MOST_VALUES}
_TIME: Final = {
    "oneOf": [
        {"type": "number", "exclusiveMinimum": -1e11, "exclusiveMaximum": 1e12},
        {"type": "string", "format": "date-time"},
    ],
    "description": "Seconds since 1970, or as in 2026-11-30T08:00:00Z",
}
_CURSOR: Final = {"type": "string", "pattern": "^[0-9]{1,18}$"}
_ERROR: Final = {
    "description": "What is wrong with the request",
    "content": {
        "application/json": {
            "schema": {"type": "object", "required": ["error"], "properties": {"error": _TEXT}}
        }
    },
}
_FILTERS: Final = [
    _parameter("topic", "Topic pattern; one of several must fit", _VALUES, explode=True),
    _parameter("user", "User whom a message names; one of several", _VALUES, explode=True),
    _parameter("package", "Package that a message names; one of several", _VALUES, explode=True),
    _parameter("app", "Application; one of several", _VALUES, explode=True),
    _parameter("severity", "The lowest severity", {"type": "string", "enum": list(SEVERITIES)}),
    _parameter("text", 'Words that a message has; "in a row", begin*, -without', _TEXT),
    _parameter("since", "Sent at this time or later", _TIME),
    _parameter("until", "Sent before this time", _TIME),
]
_OUTLINE: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["id", "topic", "sent", "severity", "summary", "users", "packages"],
    "properties": {
        **dict.fromkeys(("id", "topic", "severity", "app", "agent", "schema", "summary"), _TEXT),
        "sent": {"type": "number"},
        "users": _NAMES,
        "packages": _NAMES,
    },
}


def _operation(
    summary: str, schema: Mapping[str, Any], parameters: list[dict[str, Any]], *errors: str
) -> dict[str, Any]:
    good = {"description": summary, "content": {"application/json": {"schema": dict(schema)}}}
    refused = dict.fromkeys((*errors, "401", "503"), _ERROR)
    return {"get": {"summary": summary, "parameters": parameters, "responses": {"200": good, **refused}}}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


_LISTED: Final = {"type": "array", "items": {"type": "object"}}

OPENAPI: Final[dict[str, Any]] = {
    "openapi": "3.1.0",
    "info": {"title": "Messages of a bus", "version": __version__},
    "paths": {
        "/api/v1/status": _operation(
            "What the archive holds", _object(version=_TEXT, archive={"type": "object"}), []
        ),
        "/api/v1/messages": _operation(
            "Search for messages",
            _object(messages={"type": "array", "items": _OUTLINE}, cursor={"type": ["string", "null"]}),
            [
                *_FILTERS,
                _parameter("limit", "Most messages", {"type": "integer", "minimum": 1, "maximum": _MOST}),
                _parameter("order", "Newest or oldest first", {"type": "string", "enum": ["desc", "asc"]}),
                _parameter("cursor", "The cursor of the answer before", _CURSOR),
            ],
            "400",
        ),
        "/api/v1/message": _operation(
            "A message in full",
            {**_OUTLINE, "properties": {**_OUTLINE["properties"], "message": {"type": "object"}}},
            [_parameter("id", "Id of the message", _TEXT, required=True)],
            "404",
        ),
        "/api/v1/topics": _operation("Topics with their numbers of messages", _object(topics=_LISTED), []),
        "/api/v1/schemas": _operation("The installed schemas", _object(schemas=_LISTED), []),
        "/api/v1/schema": _operation(
            "A schema with its fields and an example",
            _object(name=_TEXT, fields=_LISTED, body_schema={"type": "object"}),
            [_parameter("name", "Name of the schema", _TEXT, required=True)],
            "404",
        ),
        "/api/v1/asyncapi.json": _operation(
            "AsyncAPI 3 document of the schemas",
            {"type": "object"},
            [_parameter("name", "Only these schemas", _NAMES, explode=True)],
        ),
        "/api/v1/openapi.json": _operation("This document", {"type": "object"}, []),
    },
}
