"""Exchanges: what comes in, where it goes, and what is lost."""

from typing import Any, Final

from starlette.responses import Response

from ..routing import destinations
from ..samples import SPAN, STEP, series
from ..visit import Visit, paging

_PAGE: Final = 50
#: Bindings in the picture; a larger one shows nothing.
_DRAWN: Final = 40
_DEFAULT: Final = "amq.default"


async def show_all(visit: Visit) -> Response:
    """List the exchanges."""
    found = await visit.management.get(
        "exchanges", page=paging(visit.query), page_size=_PAGE, name=visit.query.get("name") or None
    )
    for exchange in found["items"]:
        exchange["flow"] = flow_of(exchange)
    return visit.page("exchanges.html", found=found, name=visit.query.get("name", ""))


async def show(visit: Visit) -> Response:
    """Show an exchange, its bindings, and which queues a routing key would reach."""
    vhost, name = visit.query.get("vhost", "/"), visit.query.get("name", "")
    path = ("exchanges", vhost, name or _DEFAULT)
    exchange = await visit.management.get(*path, msg_rates_age=SPAN, msg_rates_incr=STEP)
    bindings = await visit.management.get(*path, "bindings", "source")
    key = visit.query.get("key")
    reached = None
    if key is not None:
        reached = await destinations(visit.management, vhost, exchange, key)
    return visit.page(
        "exchange.html",
        exchange=exchange,
        flow=flow_of(exchange),
        bindings=bindings,
        drawing=_drawing(bindings),
        key=key,
        reached=reached,
        samples=series(exchange.get("message_stats") or {}, {"publish_in": "in", "publish_out": "out"}),
    )


def flow_of(exchange: dict[str, Any]) -> dict[str, Any]:
    """Return how many messages came in, how many copies went to queues, and how many were discarded.

    RabbitMQ counts copies that go out, not messages that found a queue. So with several queues it is only
    known how many were discarded at least; with no copy at all, or with a broker that counts them, exactly.
    """
    stats = exchange.get("message_stats") or {}
    came, went = int(stats.get("publish_in", 0)), int(stats.get("publish_out", 0))
    counted = stats.get("unroutable")
    discarded = int(counted) if counted is not None else max(came - went, 0)
    return {
        "in": came,
        "out": went,
        "discarded": discarded,
        "is_exact": counted is not None or went == 0,
        "rate_in": (stats.get("publish_in_details") or {}).get("rate", 0.0),
        "rate_out": (stats.get("publish_out_details") or {}).get("rate", 0.0),
    }


def _drawing(bindings: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the places of what a picture of the bindings shows; ``None`` if there is too much."""
    if not bindings or len(bindings) > _DRAWN:
        return None
    names = list(dict.fromkeys((each["destination_type"], each["destination"]) for each in bindings))
    places = {name: 30 + 46 * row for row, name in enumerate(names)}
    height = 46 * len(names) + 14
    lines = []
    for name, place in places.items():
        keys = [
            each["routing_key"]
            for each in bindings
            if (each["destination_type"], each["destination"]) == name
        ]
        shown = ", ".join(keys[:2]) + (f" and {len(keys) - 2} more" if len(keys) > 2 else "")
        lines.append({"kind": name[0], "name": name[1], "y": place, "keys": shown})
    return {"height": height, "middle": height // 2, "lines": lines}
