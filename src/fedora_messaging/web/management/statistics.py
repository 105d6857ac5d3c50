"""Totals of messages, as queues, exchanges, channels, virtual hosts and the overview show them."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ...broker.core.counters import Counters

if TYPE_CHECKING:
    from ...broker.core.exchanges import Exchange
    from ...broker.core.queue import Queue
    from ...broker.core.vhost import VirtualHost
    from ...broker.server import Server
    from .rates import Rates


def totals_of(server: "Server", vhost: "VirtualHost") -> Counters:
    """Count what has happened in a virtual host since the broker started."""
    totals = Counters()
    totals.add_publishing(vhost.past)
    totals.add_deliveries(vhost.past)
    for queue in vhost.queues.values():
        totals.add_deliveries(queue.counters)
    for session in server.sessions_of(vhost):
        for channel in session.channels.values():
            totals.add_publishing(channel.counters)
    return totals


def publishing(counters: Counters) -> dict[str, int]:
    """Return the totals of publishes; none if there were none."""
    totals = {
        "publish": counters.publish,
        "confirm": counters.confirm,
        "return_unroutable": counters.return_unroutable,
        "drop_unroutable": counters.drop_unroutable,
    }
    return totals if any(totals.values()) else {}


def deliveries(counters: Counters) -> dict[str, int]:
    """Return the totals of deliveries; none if there were none."""
    sent = counters.deliver + counters.deliver_no_ack + counters.get + counters.get_no_ack
    totals = {
        "ack": counters.ack,
        "deliver": counters.deliver,
        "deliver_get": sent,
        "deliver_no_ack": counters.deliver_no_ack,
        "get": counters.get,
        "get_empty": counters.get_empty,
        "get_no_ack": counters.get_no_ack,
        "redeliver": counters.redeliver,
    }
    return totals if any(totals.values()) else {}


def of_queue(queue: "Queue") -> dict[str, int]:
    """Return the totals of a queue."""
    published = {"publish": queue.counters.publish} if queue.counters.publish else {}
    return published | deliveries(queue.counters)


def of_exchange(exchange: "Exchange") -> dict[str, int]:
    """Return the totals of an exchange.

    RabbitMQ does not tell how many messages of an exchange no queue was found for: ``unroutable`` is our own.
    """
    if not exchange.publish_in:
        return {}
    routed = {"publish_out": exchange.publish_out} if exchange.publish_out else {}
    return {"publish_in": exchange.publish_in, **routed, "unroutable": exchange.unroutable}


def messages(queues: Iterable["Queue"]) -> dict[str, int]:
    """Count the messages that are in queues now."""
    ready = unacked = 0
    for queue in queues:
        ready += len(queue)
        unacked += queue.unacked
    return {"messages": ready + unacked, "messages_ready": ready, "messages_unacknowledged": unacked}


def stats_item(
    rates: "Rates", source: Any, totals: dict[str, int], parts: Sequence[Any] | None = None
) -> dict[str, Any]:
    """Return the key ``message_stats``, which is missing before the first event."""
    return {"message_stats": rates.with_details(source, totals, parts=parts)} if totals else {}
