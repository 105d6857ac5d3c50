"""The first page: how the bus is."""

from typing import Any, Final

from starlette.responses import Response

from ..samples import SPAN, STEP, series
from ..visit import Visit

#: How many of the fullest queues are shown.
_FULLEST: Final = 8
#: Names by which people call queues of dead letters.
_DEAD: Final = r"dead|dlq|failed|quarantine|error"
_QUEUE_COLUMNS: Final = "name,vhost,messages,messages_ready,messages_unacknowledged,consumers,idle_since"


async def show(visit: Visit) -> Response:
    """Show rates, what fills up, what stands still, alarms, and dead letters."""
    seen = await visit.management.get(
        "overview", lengths_age=SPAN, lengths_incr=STEP, msg_rates_age=SPAN, msg_rates_incr=STEP
    )
    nodes = await visit.answer("nodes") or []
    fullest = await _queues(visit, _FULLEST)
    dead = await _queues(visit, _FULLEST, name=_DEAD, use_regex="true")
    waiting = [queue for queue in fullest if queue.get("messages")]
    return visit.page(
        "overview.html",
        overview=seen,
        stats=seen.get("message_stats") or {},
        totals=seen.get("queue_totals") or {},
        objects=seen.get("object_totals") or {},
        alarms=[alarm for node in nodes for alarm in _alarms(node)],
        waiting=waiting,
        still=[queue for queue in waiting if not queue.get("consumers")],
        stuck=[queue for queue in waiting if queue.get("consumers") and not queue.get("messages_ready")],
        dead=[queue for queue in dead if queue.get("messages")],
        plots={
            "rates": series(
                seen.get("message_stats") or {},
                {"publish": "in", "deliver_get": "out", "ack": "acknowledged"},
            ),
            "depth": series(seen.get("queue_totals") or {}, {"messages": "messages"}, is_rate=False),
        },
    )


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


def _alarms(node: dict[str, Any]) -> list[str]:
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
