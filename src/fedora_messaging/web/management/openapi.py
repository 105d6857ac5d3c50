"""An OpenAPI 3.1 document of the API."""

import re
from collections.abc import Iterable
from typing import Any, Final

from ..._version import __version__
from .routes import Endpoint, Handler

_PART: Final = re.compile(r"\{(\w+)\}")
_SUCCESS: Final = {"GET": "200", "PUT": "201", "POST": "200", "DELETE": "204"}
_ERRORS: Final = {
    "400": "The request is wrong in itself.",
    "401": "The login is wrong, or the user may not do this.",
    "404": "It does not exist, or is in a virtual host that the user may not look into.",
    "406": "The client does not take JSON.",
    "412": "It is protected from that.",
    "503": "A health check has failed.",
}
_QUERY: Final = (
    ("columns", "Keys to show, separated by commas; a dot leads into an object."),
    ("sort", "Key to sort by."),
    ("sort_reverse", "`true` for the opposite order."),
    ("page", "Number of a page, from 1; without it the whole list is shown."),
    ("page_size", "Length of a page, 1 to 500."),
    ("name", "Show only objects whose names contain this text."),
    ("use_regex", "`true` if that is a regular expression."),
)


def describe(endpoints: Iterable[Endpoint], version: str) -> dict[str, Any]:
    """Return the document.

    Args:
        endpoints: The endpoints to describe.
        version: The release of RabbitMQ whose API this is.
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Management API of the fedora-messaging broker",
            "summary": f"The part of RabbitMQ {version}'s management API that this broker has.",
            "version": __version__,
        },
        "servers": [{"url": "/api"}],
        "security": [{"basic": []}],
        "components": {"securitySchemes": {"basic": {"type": "http", "scheme": "basic"}}},
        "paths": {f"/{endpoint.path}": _path(endpoint) for endpoint in endpoints},
    }


def _path(endpoint: Endpoint) -> dict[str, Any]:
    parts = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in _PART.findall(endpoint.path)
    ]
    operations = {
        method.lower(): _operation(endpoint, method, handler) for method, handler in endpoint.methods.items()
    }
    return {"parameters": parts, **operations}


def _operation(endpoint: Endpoint, method: str, handler: Handler) -> dict[str, Any]:
    name = re.sub(r"[^a-z]+", "_", endpoint.path).strip("_")
    responses: dict[str, Any] = {status: {"description": text} for status, text in _ERRORS.items()}
    responses[_SUCCESS[method]] = {"description": "Done."}
    if method in ("PUT", "POST"):
        responses["204"] = {"description": "Done, and there is nothing to show."}
        responses["201"] = {"description": "It is new."}
        responses["415"] = {"description": "The body is of another type than is expected."}
    operation: dict[str, Any] = {
        "operationId": f"{method.lower()}_{name}",
        "summary": (handler.__doc__ or "").strip().splitlines()[0],
        "description": f"Needs the tag `{endpoint.tag_for(method)}`.",
        "responses": dict(sorted(responses.items())),
    }
    if method == "GET":
        operation["parameters"] = [
            {"name": name, "in": "query", "description": text, "schema": {"type": "string"}}
            for name, text in _QUERY
        ]
    if method in ("PUT", "POST"):
        operation["requestBody"] = {"content": {"application/json": {"schema": {"type": "object"}}}}
    return operation
