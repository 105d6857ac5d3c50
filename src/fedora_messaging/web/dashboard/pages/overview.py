"""The first page: how the bus is."""

from typing import Any, Final

from starlette.responses import Response

from ..management import ManagementError
from ..samples import SPAN, STEP, series
from ..visit import Visit

#: How many of the fullest queues are shown.
_FULLEST: Final = 8
#: With more queues than this, RabbitMQ takes too long to find the fullest for a page to wait.
_MANY: Final = 1000
#: Names by which people call queues of dead letters.
_DEAD: Final = r"dead|dlq|failed|quarantine|error"
_QUEUE_COLUMNS: Final = "name,vhost,messages,messages_ready,messages_unacknowledged,consumers,idle_since"


async def show(visit: Visit) -> Response:
    """Show rates, what fills up, what stands still, alarms, and dead letters."""
    seen = await visit.management.get(
        "overview", lengths_age=SPAN, lengths_incr=STEP, msg_rates_age=SPAN, msg_rates_incr=STEP
    )
    objects = seen.get("object_totals") or {}
    is_large = objects.get("queues", 0) > _MANY
    return visit.page(
        "overview.html",
        overview=seen,
        stats=seen.get("message_stats") or {},
        totals=seen.get("queue_totals") or {},
        objects=objects,
        alarms=await _alarms(visit),
        is_large=is_large,
        plots={
            "rates": series(
                seen.get("message_stats") or {},
                {"publish": "in", "deliver_get": "out", "ack": "acknowledged"},
            ),
            "depth": series(seen.get("queue_totals") or {}, {"messages": "messages"}, is_rate=False),
        },
        **({} if is_large else await _waiting(visit)),
    )


async def show_waiting(visit: Visit) -> Response:
    """Show what waits: a part of the page, for brokers that need some time to say it."""
    return visit.page("waiting.html", objects={"queues": _MANY}, **await _waiting(visit))


async def _waiting(visit: Visit) -> dict[str, Any]:
    fullest = await _queues(visit, _FULLEST)
    dead = await _queues(visit, _FULLEST, name=_DEAD, use_regex="true")
    waiting = [queue for queue in fullest if queue.get("messages")]
    return {
        "waiting": waiting,
        "still": [queue for queue in waiting if not queue.get("consumers")],
        "stuck": [queue for queue in waiting if queue.get("consumers") and not queue.get("messages_ready")],
        "dead": [queue for queue in dead if queue.get("messages")],
    }


async def _queues(visit: Visit, number: int, **query: Any) -> list[dict[str, Any]]:
    found = await visit.answer(
        "queues",
        page=1,
        page_size=number,
        sort="messages",
        sort_reverse="true",
        columns=_QUEUE_COLUMNS,
        **query,
    )
    return found["items"] if found else []


async def _alarms(visit: Visit) -> list[str]:
    """Return what is wrong with the nodes; who may not see nodes is told that there is an alarm."""
    nodes = await visit.answer("nodes")
    if nodes is not None:
        return [alarm for node in nodes for alarm in _alarms_of(node)]
    try:
        await visit.management.get("health", "checks", "alarms")
    except ManagementError as error:
        return ["The broker has an alarm: it takes no messages."] if error.status == 503 else []
    return []


def _alarms_of(node: dict[str, Any]) -> list[str]:
    name = node.get("name", "")
    if not node.get("running", True):
        return [f"The node {name} does not run."]
    found = []
    if node.get("mem_alarm"):
        found.append(f"{name} is low on memory and takes no messages.")
    if node.get("disk_free_alarm"):
        found.append(f"{name} is low on disk space and takes no messages.")
    if node.get("partitions"):
        found.append(f"{name} does not see all other nodes.")
    return found
