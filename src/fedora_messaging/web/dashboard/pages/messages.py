"""Messages that were seen: searching them, and one in full."""

import asyncio
import json
import shlex
from typing import Any, Final

from starlette.responses import Response

from ....archive.entry import Stored
from ....message import Message, load_message, schema_names
from ....printable import printable
from ..events import outline_of
from ..rendering import cut, pretty, shortened
from ..selection import SEVERITIES, Selection
from ..sending import publish_message
from ..visit import PageError, Visit

_PAGE: Final = 50
#: Characters of a message that is also shown as a program, and of one that fits into the address of a form.
_SHORT: Final = 50_000
_FORM: Final = 4_000


async def search(visit: Visit) -> Response:
    """Search the archive."""
    try:
        selection = Selection.of(visit.request.query_params.multi_items())
    except ValueError as error:
        raise PageError(400, f"The search is wrong: {error}.") from None
    archive = await visit.dashboard.messages()
    before = visit.query.get("before", "")
    key = int(before) if before.isdecimal() and len(before) < 19 else None
    query = selection.query(before=key, limit=_PAGE + 1)
    found = await asyncio.to_thread(archive.find, query)
    outline = await asyncio.to_thread(archive.outline)
    return visit.page(
        "search.html",
        messages=[outline_of(one) for one in found[:_PAGE]],
        next=found[_PAGE - 1].key if len(found) > _PAGE else None,
        is_first=key is None,
        selection=selection,
        severities=list(SEVERITIES),
        outline=outline,
        has_archive=visit.dashboard.archive is not None,
    )


async def show(visit: Visit) -> Response:
    """Show a message in full."""
    one = await _find(visit, visit.query.get("id", ""))
    # A large one takes its time, in which others have their turn.
    return visit.page("message.html", one=one, **await asyncio.to_thread(_facts, one))


def _facts(one: Stored) -> dict[str, Any]:
    record = json.loads(one.record)
    message, trouble, where = _check(record)
    is_short = len(one.record) <= _SHORT
    return {
        "body": shortened(record["body"]),
        "headers": shortened(record["headers"]),
        "bytes": cut(record.get("body_base64", ""), _SHORT),
        "text": cut(_text_of(message), _SHORT),
        "url": _link(message),
        "trouble": trouble,
        "where": where,
        "is_known": one.schema in schema_names(),
        "is_message": one.is_message,
        "python": _as_python(one, record) if is_short and one.is_message else "",
        "command": _as_command(one, record) if is_short and one.is_message else "",
        "form": pretty(record["body"]) if len(one.record) <= _FORM else "",
    }


async def replay(visit: Visit) -> Response:
    """Publish a message again."""
    one = await _find(visit, visit.field("id"))
    if not one.is_message:
        raise PageError(400, "This is no message, so it cannot be published again.")
    routed = await publish_message(visit.management, load_message(json.loads(one.record)), one.id)
    told = "The message is published again." if routed else "It was published again, but no queue took it."
    return visit.redirect("/message", id=one.id, done=told)


async def _find(visit: Visit, id: str) -> Stored:
    archive = await visit.dashboard.messages()
    one = await asyncio.to_thread(archive.get, id)
    if one is None:
        hint = (
            "" if visit.dashboard.archive else " Without an archive only the latest messages are known here."
        )
        raise PageError(404, f"There is no message with the id {id}.{hint}")
    return one


def _check(record: dict[str, Any]) -> tuple[Message | None, str, str]:
    """Return the message, why it is not valid, and where."""
    if record.get("unreadable"):
        return None, record["unreadable"], ""
    try:
        message = load_message(record)
    except Exception as error:  # the code of a schema class may raise anything
        return None, printable(error), ""
    try:
        message.validate()
    except Exception as error:
        path = getattr(error, "absolute_path", ())
        where = "".join(f"[{part!r}]" if isinstance(part, int) else f".{part}" for part in path)
        return message, printable(getattr(error, "message", error)), f"body{where}" if path else "body"
    return message, "", ""


def _text_of(message: Message | None) -> str:
    if message is None:
        return ""
    try:
        return str(message)
    except Exception as error:
        return f"The text of this schema fails: {printable(error)}"


def _link(message: Message | None) -> str:
    """Return the web page that a message is about, if it is one."""
    try:
        url = message.url if message is not None else None
    except Exception:
        return ""
    return url if isinstance(url, str) and url.startswith(("https://", "http://")) else ""


def _as_python(one: Stored, record: dict[str, Any]) -> str:
    body = json.dumps(record["body"], ensure_ascii=True)
    return (
        "import json\n\n"
        "from fedora_messaging import api, message\n\n"
        f"cls = message.get_class({one.schema!r})\n"
        f"api.publish(cls(topic={one.topic!r}, body=json.loads({body!r})))\n"
    )


def _as_command(one: Stored, record: dict[str, Any]) -> str:
    parts = ["fedora-messaging", "publish", "--topic", one.topic]
    if one.schema in schema_names():
        parts += ["--schema", one.schema]
    parts += ["--body", json.dumps(record["body"], ensure_ascii=True)]
    return shlex.join(parts)
