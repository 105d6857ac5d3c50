"""Where a message would go: bindings, followed without publishing anything."""

from contextlib import suppress
from typing import Any, Final, NamedTuple

from ...archive.topics import topic_fits
from .management import Management, ManagementError

_ALTERNATE: Final = "alternate-exchange"
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


async def destinations(
    management: Management, vhost: str, exchange: dict[str, Any], bindings: list[dict[str, Any]], key: str
) -> Reached:
    """Return the queues that a message with a routing key would reach.

    Each exchange on the way that no binding leads on from, to a queue or to an exchange, has its alternate
    exchange take over.

    Args:
        management: Asked for what lies behind the exchange.
        vhost: The virtual host.
        exchange: Where the message is published, as the management API shows it.
        bindings: Those of the exchange.
        key: The routing key.

    Source: AMQP 0-9-1, section 3.1.3; RabbitMQ's exchange-to-exchange bindings and alternate exchanges.
    """
    queues: dict[str, list[str]] = {}
    unknown: list[str] = []
    is_alternate = False
    # With each exchange, whether an alternate one was on the way to it.
    left, seen = [(exchange, False)], {exchange["name"]}
    while left and len(seen) <= _MOST_EXCHANGES:
        here, is_late = left.pop()
        if here["type"] not in ("direct", "topic", "fanout"):
            unknown.append(here["name"])
            continue
        if here is not exchange:
            bindings = await management.get(*_path(vhost, here["name"]), "bindings", "source")
        found = [one for one in bindings if _leads(here["type"], one["routing_key"], key)]
        targets = [one["destination"] for one in found if one["destination_type"] == "exchange"]
        for binding in found:
            if binding["destination_type"] == "queue":
                queues.setdefault(binding["destination"], []).append(binding["routing_key"])
                is_alternate = is_alternate or is_late
        if not found:
            targets, is_late = await _alternate(management, vhost, here), True
        for target in targets:
            if target not in seen:
                seen.add(target)
                with suppress(ManagementError):  # an alternate exchange need not exist
                    left.append((await management.get(*_path(vhost, target)), is_late))
    return Reached(queues, unknown, is_alternate)


def _path(vhost: str, exchange: str) -> tuple[str, str, str]:
    return "exchanges", vhost, exchange or "amq.default"


async def _alternate(management: Management, vhost: str, exchange: dict[str, Any]) -> list[str]:
    """Return where an exchange sends what none of its bindings wants: at most one name."""
    name = (exchange.get("arguments") or {}).get(_ALTERNATE)
    if name is None and exchange.get("policy"):
        with suppress(ManagementError):  # not everybody may see policies
            policy = await management.get("policies", vhost, exchange["policy"])
            name = policy["definition"].get(_ALTERNATE)
    return [name] if isinstance(name, str) else []


def _leads(kind: str, pattern: str, key: str) -> bool:
    if kind == "fanout":
        return True
    return pattern == key if kind == "direct" else topic_fits(pattern, key)
