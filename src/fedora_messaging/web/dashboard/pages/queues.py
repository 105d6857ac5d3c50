"""Queues: how full they are, what is in them, and moving it elsewhere."""

import asyncio
from typing import Any, Final

from starlette.responses import Response

from ....validation import json_body
from ..letters import Letter, letter_of
from ..samples import SPAN, STEP, series
from ..transfer import MOST_MOVED, Copy, TransferError, look, transfer
from ..visit import PageError, Visit, number_in, paging

_PAGE: Final = 50
_COLUMNS: Final = (
    "name,vhost,type,state,messages,messages_ready,messages_unacknowledged,consumers,arguments,policy,"
    "exclusive,durable,auto_delete,idle_since,message_stats.publish_details.rate,"
    "message_stats.deliver_get_details.rate,message_stats.ack_details.rate,head_message_timestamp"
)
_SORTS: Final = {
    "messages": "messages",
    "consumers": "consumers",
    "in": "message_stats.publish_details.rate",
    "out": "message_stats.deliver_get_details.rate",
}
#: Messages that a look into a queue shows, by default and at most.
_SHOWN, _MOST_SHOWN = 10, 100


async def show_all(visit: Visit) -> Response:
    """List the queues; the broker sorts, filters and pages them.

    By name at first: with thousands of queues RabbitMQ takes up to a second for any other order.
    """
    sort = visit.query.get("sort", "name")
    name = visit.query.get("name", "")
    found = await visit.management.get(
        "queues",
        page=paging(visit.query),
        page_size=_PAGE,
        name=name or None,
        sort=_SORTS.get(sort),
        sort_reverse="true" if sort in _SORTS else None,
        columns=_COLUMNS,
    )
    return visit.page("queues.html", found=found, name=name, sort=sort)


async def show(visit: Visit) -> Response:
    """Show one queue."""
    vhost, name = _place(visit)
    queue = await visit.management.get(
        *("queues", vhost, name), lengths_age=SPAN, lengths_incr=STEP, msg_rates_age=SPAN, msg_rates_incr=STEP
    )
    bindings = await visit.answer("queues", vhost, name, "bindings") or []
    stats = queue.get("message_stats") or {}
    return visit.page(
        "queue.html",
        queue=queue,
        stats=stats,
        bindings=[binding for binding in bindings if binding["source"]],
        plots={
            "depth": series(
                queue,
                {"messages_ready": "ready", "messages_unacknowledged": "unacknowledged"},
                is_rate=False,
            ),
            "rates": series(stats, {"publish": "in", "deliver_get": "out", "ack": "acknowledged"}),
        },
    )


async def peek(visit: Visit) -> Response:
    """Show the first messages of a queue without taking them."""
    vhost, name = _place(visit)
    count = number_in(visit.query.get("number", ""), _SHOWN, _MOST_SHOWN)
    queue = await visit.management.get("queues", vhost, name)
    if queue.get("type") == "stream":
        raise PageError(400, "A stream cannot be looked into this way: `fedora-messaging tail` can read it.")
    letters = await look(visit.management, vhost, name, count)
    archive = await visit.dashboard.messages()
    known = {letter.id for letter in letters if await asyncio.to_thread(archive.get, letter.id) is not None}
    return visit.page("peek.html", queue=queue, letters=letters, known=known, number=count, most=MOST_MOVED)


async def take(visit: Visit) -> Response:
    """Take the first message off a queue, and show it."""
    vhost, name = _place(visit, visit.field)
    queue = await visit.management.get("queues", vhost, name)
    found = await visit.management.send(
        "POST",
        *("queues", vhost, name, "get"),
        body={"count": 1, "ackmode": "ack_requeue_false", "encoding": "auto"},
    )
    letters = [letter_of(answer) for answer in found]
    return visit.page("taken.html", queue=queue, letters=letters)


async def confirm(visit: Visit) -> Response:
    """Ask before messages, or a queue, are deleted."""
    vhost, name = _place(visit)
    action = visit.query.get("action", "")
    queue = await visit.management.get("queues", vhost, name)
    number = queue.get("messages", 0)
    if action not in ("purge", "delete"):
        raise PageError(404, "There is no such page.")
    question, effect, button = {
        "purge": (
            f"Delete all messages of the queue {name}?",
            f"It has {_counted(number, 'message')}. They are gone for good; those that consumers are working "
            "on stay.",
            "Delete the messages",
        ),
        "delete": (
            f"Delete the queue {name}?",
            f"It has {_counted(number, 'message')} and "
            f"{_counted(queue.get('consumers', 0), 'consumer')}. The messages and the bindings are gone for "
            "good, and what is published for it afterwards is discarded.",
            "Delete the queue",
        ),
    }[action]
    return visit.page(
        "confirm.html",
        question=question,
        effect=effect,
        action=f"/queue/{action}",
        fields={"vhost": vhost, "name": name},
        button=button,
        back=("/queue", {"vhost": vhost, "name": name}),
    )


async def purge(visit: Visit) -> Response:
    """Delete the messages of a queue."""
    vhost, name = _place(visit, visit.field)
    await visit.management.send("DELETE", "queues", vhost, name, "contents")
    return visit.redirect("/queue", vhost=vhost, name=name, done="The messages are deleted.")


async def delete(visit: Visit) -> Response:
    """Delete a queue."""
    vhost, name = _place(visit, visit.field)
    await visit.management.send("DELETE", "queues", vhost, name)
    return visit.redirect("/queues", done="The queue is deleted.")


async def move(visit: Visit) -> Response:
    """Move the messages of a queue to another one."""
    vhost, name = _place(visit, visit.field)
    target = visit.field("target").strip()
    if not target or target == name:
        raise PageError(400, "Name another queue to move the messages to.")
    await visit.management.get("queues", vhost, target)
    number = await _number_of(visit, vhost, name)

    def decide(letter: Letter) -> Copy:
        return Copy(target, letter.properties_elsewhere(), letter.payload, letter.encoding)

    moved = await _moved(visit, vhost, name, number, decide)
    return visit.redirect("/queue", vhost=vhost, name=name, done=_told(moved, number, f"moved to {target}"))


async def redrive(visit: Visit) -> Response:
    """Send dead letters back to the queues that they came from: one, some or all, edited or not."""
    vhost, name = _place(visit, visit.field)
    chosen = visit.form.get("id", [])
    wants_all = visit.field("which") == "all"
    target = visit.field("target").strip()
    edited = visit.field("body")
    if not chosen and not wants_all:
        raise PageError(400, "Choose the messages to send back.")
    if edited and (wants_all or len(chosen) != 1):
        raise PageError(400, "Only a single message can be edited.")
    if edited:
        _check_json(edited)
    number = await _number_of(visit, vhost, name)

    def decide(letter: Letter) -> Copy | None:
        if not wants_all and letter.id not in chosen:
            return None
        queue = target or letter.origin
        if not queue:
            raise PageError(
                400, f"The message {letter.id} does not say which queue it came from: name a queue for it."
            )
        properties = letter.properties_again()
        if edited:
            return Copy(queue, properties, edited, "string")
        return Copy(queue, properties, letter.payload, letter.encoding)

    moved = await _moved(visit, vhost, name, number, decide)
    return visit.redirect(
        "/queue/messages", vhost=vhost, name=name, done=_told(moved, number, "sent back to be tried again")
    )


def _check_json(text: str) -> None:
    try:
        value = json_body.decode_text(text)
    except ValueError as error:
        raise PageError(400, f"The edited body is no JSON: {error}.") from None
    if not isinstance(value, dict):
        raise PageError(400, "The edited body is JSON, but no object in {}.")


async def _moved(visit: Visit, vhost: str, name: str, number: int, decide: Any) -> int:
    try:
        return await transfer(visit.management, vhost, name, number, decide)
    except TransferError as error:
        raise PageError(400, str(error)) from error


async def _number_of(visit: Visit, vhost: str, name: str) -> int:
    """Return how many messages are ready in a queue now; RabbitMQ's own number is some seconds old."""
    found = await visit.management.send(
        "POST",
        *("queues", vhost, name, "get"),
        body={"count": 1, "ackmode": "ack_requeue_true", "encoding": "auto", "truncate": 1},
    )
    return int(found[0]["message_count"]) + 1 if found else 0


def _told(moved: int, number: int, what: str) -> str:
    text = f"{_counted(moved, 'message')} {what}."
    return text if number <= MOST_MOVED else f"{text} {number - MOST_MOVED} were not looked at: go on."


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _place(visit: Visit, read: Any = None) -> tuple[str, str]:
    get = read or (lambda name: visit.query.get(name, ""))
    return get("vhost") or "/", get("name")
