"""Publishing a message from a form."""

import json
from typing import Any

from starlette.responses import HTMLResponse, Response

from ....message import INFO, Message, get_class, schema_names
from ....printable import printable
from ....validation import json_body
from ..catalogue import entries, example
from ..rendering import render
from ..selection import SEVERITIES
from ..sending import publish_message
from ..visit import Visit
from .schemas import known


async def show(visit: Visit) -> Response:
    """Show the form, filled with an example of the schema that is chosen."""
    name = visit.query.get("schema", "base.message")
    entry = known(name)
    body = visit.query.get("body") or json.dumps(example(entry.body_schema) or {}, indent=2)
    return visit.page(
        "publish.html",
        names=[each.name for each in entries()],
        schema=name,
        topic=visit.query.get("topic", entry.topic),
        body=body,
        severity="info",
        severities=list(SEVERITIES),
        result=None,
    )


async def check(visit: Visit) -> Response:
    """Say whether the form makes a valid message, as it is typed."""
    _message, trouble = _made(visit)
    return HTMLResponse(render("publish_check.html", trouble=trouble))


async def publish(visit: Visit) -> Response:
    """Publish the message of the form."""
    message, trouble = _made(visit)
    result: dict[str, Any] = {"trouble": trouble}
    if message is not None and not trouble:
        result["routed"] = await publish_message(visit.management, message)
        result["id"] = message.id
    return visit.page(
        "publish.html",
        status=400 if trouble else 200,
        names=schema_names(),
        schema=visit.field("schema"),
        topic=visit.field("topic"),
        body=visit.field("body"),
        severity=visit.field("severity"),
        severities=list(SEVERITIES),
        result=result,
    )


def _made(visit: Visit) -> tuple[Message | None, str]:
    """Return the message of the form, and what is wrong with it."""
    name = visit.field("schema")
    if name not in schema_names():
        return None, f"There is no schema {name}."
    topic = visit.field("topic").strip()
    if not topic:
        return None, "The topic is missing."
    if not _is_text(topic + visit.field("body")):
        return None, "The topic or the body is no text in UTF-8."
    if len(topic.encode()) > 255:
        return None, "The topic is longer than 255 bytes."
    try:
        body = json_body.decode_text(visit.field("body") or "{}")
    except ValueError as error:
        return None, f"The body is no JSON: {error}."
    if not isinstance(body, dict):
        return None, "The body is JSON, but no object in {}."
    try:
        severity = SEVERITIES.get(visit.field("severity"), INFO)
        message = get_class(name)(topic=topic, body=body, severity=severity)
        message.validate()
    except Exception as error:  # the code of a schema class may raise anything
        path = "".join(f"[{part!r}]" for part in getattr(error, "absolute_path", ()))
        return None, f"{f'body{path}: ' if path else ''}{printable(getattr(error, 'message', error))}"
    return message, ""


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
