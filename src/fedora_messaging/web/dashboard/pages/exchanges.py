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
    lost = await _lost(visit)
    for exchange in found["items"]:
        exchange["flow"] = flow_of(exchange, lost.get(exchange["vhost"]))
    return visit.page("exchanges.html", found=found, name=visit.query.get("name", ""))


async def _lost(visit: Visit) -> dict[str, int]:
    """Return how many messages found no queue, for each virtual host, since the broker counts."""
    vhosts = await visit.answer("vhosts") or []
    stats = {vhost["name"]: vhost.get("message_stats") or {} for vhost in vhosts}
    return {
        name: int(each.get("drop_unroutable", 0)) + int(each.get("return_unroutable", 0))
        for name, each in stats.items()
    }


async def show(visit: Visit) -> Response:
    """Show an exchange, its bindings, and which queues a routing key would reach."""
    vhost, name = visit.query.get("vhost", "/"), visit.query.get("name", "")
    path = ("exchanges", vhost, name or _DEFAULT)
    exchange = await visit.management.get(*path, msg_rates_age=SPAN, msg_rates_incr=STEP)
    bindings = await visit.management.get(*path, "bindings", "source")
    key = visit.query.get("key")
    reached = None
    if key is not None:
        reached = await destinations(visit.management, vhost, exchange, bindings, key)
    return visit.page(
        "exchange.html",
        exchange=exchange,
        flow=flow_of(exchange, (await _lost(visit)).get(vhost)),
        bindings=bindings,
        drawing=_drawing(bindings),
        key=key,
        reached=reached,
        samples=series(exchange.get("message_stats") or {}, {"publish_in": "in", "publish_out": "out"}),
    )


def flow_of(exchange: dict[str, Any], lost: int | None) -> dict[str, Any]:
    """Return how many messages came in, how many copies went to queues, and how many were discarded.

    Brokers count the copies that go out, not the messages that found a queue. So how many were discarded is
    known exactly if no copy went out, or if none was lost in the whole virtual host; otherwise only that they
    are no fewer than came in without a copy for each, and no more than were lost in the virtual host.

    Args:
        exchange: What the management API says of the exchange.
        lost: Messages that found no queue in its virtual host; ``None`` if that is unknown.
    """
    stats = exchange.get("message_stats") or {}
    came, went = int(stats.get("publish_in", 0)), int(stats.get("publish_out", 0))
    counted = stats.get("unroutable")  # our own broker knows
    least = max(came - went, 0) if counted is None else int(counted)
    most = came if lost is None or not went else max(min(came, lost), least)
    if counted is not None:
        most = least
    return {
        "in": came,
        "out": went,
        "discarded": least,
        "most": most if went else least,
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
