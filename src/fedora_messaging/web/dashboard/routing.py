"""Where a message would go: bindings, followed without publishing anything."""

from typing import Any, Final, NamedTuple

from ...archive.topics import topic_fits
from .management import Management, ManagementError

#: Exchanges that are followed; more of them are a mistake in the bindings.
_MOST_EXCHANGES: Final = 100


class Reached(NamedTuple):
    """The answer to a question where a routing key leads.

    Attributes:
        queues: The queues, each with the routing keys of the bindings that led there.
        unknown: Exchanges whose decision depends on more than the routing key.
        alternate: Whether the message got there through an alternate exchange.
    """

    queues: dict[str, list[str]]
    unknown: list[str]
    alternate: bool


async def destinations(management: Management, vhost: str, exchange: dict[str, Any], key: str) -> Reached:
    """Return the queues that a message with a routing key would reach.

    Source: AMQP 0-9-1, section 3.1.3; RabbitMQ's exchange-to-exchange bindings and alternate exchanges.
    """
    queues: dict[str, list[str]] = {}
    unknown: list[str] = []
    is_alternate = False
    while True:
        await _follow(management, vhost, exchange, key, queues, unknown)
        other = (exchange.get("arguments") or {}).get("alternate-exchange")
        if queues or unknown or not isinstance(other, str) or is_alternate:
            return Reached(queues, unknown, is_alternate and bool(queues))
        try:
            exchange = await management.get("exchanges", vhost, other or "amq.default")
        except ManagementError:
            return Reached(queues, unknown, False)
        is_alternate = True


async def _follow(
    management: Management,
    vhost: str,
    exchange: dict[str, Any],
    key: str,
    queues: dict[str, list[str]],
    unknown: list[str],
) -> None:
    left, seen = [exchange], {exchange["name"]}
    while left and len(seen) <= _MOST_EXCHANGES:
        here = left.pop()
        bindings = await management.get(
            "exchanges", vhost, here["name"] or "amq.default", "bindings", "source"
        )
        if here["type"] not in ("direct", "topic", "fanout"):
            unknown.append(here["name"])
            continue
        for binding in bindings:
            pattern = binding["routing_key"]
            if not _leads(here["type"], pattern, key):
                continue
            target = binding["destination"]
            if binding["destination_type"] == "queue":
                queues.setdefault(target, []).append(pattern)
            elif target not in seen:
                seen.add(target)
                left.append(await management.get("exchanges", vhost, target))


def _leads(kind: str, pattern: str, key: str) -> bool:
    if kind == "fanout":
        return True
    return pattern == key if kind == "direct" else topic_fits(pattern, key)
