"""Queues: list, declare, delete, purge, fetch messages."""

import base64
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from ...broker.accounts import CONFIGURE, READ, WRITE
from ...broker.core.declarations import QueueDeclaration
from ...broker.core.message import Entry
from ...broker.core.policies import combine
from ...broker.core.queue import Queue
from ...broker.core.queue_arguments import CLASSIC, QUORUM
from ...broker.json_values import table_from_json, to_json
from ...protocol.errors import ACCESS_REFUSED, NAMES, ChannelError, ConnectionError
from ...wire.errors import WireError
from ...wire.properties import decode_properties
from .bindings import binding_item
from .call import NO_CONTENT, Answer, Call, put_answer
from .connections import channel_details, consumer_item
from .errors import RequestError, bad_request, not_authorised, not_found
from .lists import arrange, choose
from .routes import NEW, Endpoint
from .statistics import messages, of_queue, stats_item

if TYPE_CHECKING:
    from ...broker.core.consumer import BrokerConsumer
    from ...broker.core.vhost import VirtualHost

#: What ``ackmode`` does with a message that was fetched.
_OUTCOMES: Final = {
    "ack_requeue_true": Queue.release,
    "ack_requeue_false": Queue.settle,
    "reject_requeue_true": Queue.reject,
    "reject_requeue_false": Queue.refuse,
}
#: Bytes of payloads after which an answer has no further messages.
_LARGEST_ANSWER: Final = 100_000_000
#: Properties in the order in which the API shows them.
_PROPERTIES: Final = (
    "cluster_id",
    "app_id",
    "user_id",
    "type",
    "timestamp",
    "message_id",
    "expiration",
    "reply_to",
    "correlation_id",
    "priority",
    "delivery_mode",
    "headers",
    "content_encoding",
    "content_type",
)
#: Fields by which people sort thousands of queues.
_SORTED_OFTEN: Final[Mapping[str, Callable[[Queue], Any]]] = {
    "consumers": lambda queue: len(queue.consumers),
    "messages": lambda queue: len(queue) + queue.unacked,
    "messages_ready": len,
    "messages_unacknowledged": lambda queue: queue.unacked,
}


def queue_item(call: Call, queue: Queue, vhost: str) -> dict[str, Any]:
    """Return a queue as lists show it."""
    counts = messages([queue])
    ready_bytes, out_bytes = queue.ready_bytes, queue.unacked_bytes
    consumers = list(queue.consumers)
    able = sum(consumer.can_take() for consumer in consumers)
    capacity = able / len(consumers) if consumers else 0
    exclusive = next((consumer.tag for consumer in consumers if consumer.exclusive), None)
    active = consumers[0].tag if queue.arguments.single_active and consumers else None
    item: dict[str, Any] = {
        "arguments": to_json(queue.declared),
        "auto_delete": queue.auto_delete,
        "consumer_capacity": capacity,
        "consumer_utilisation": capacity,
        "consumers": len(consumers),
        "durable": queue.durable,
        "effective_policy_definition": combine(queue.policy, queue.operator_policy),
        "exclusive": queue.owner is not None,
        "exclusive_consumer_tag": None if exclusive is None else to_json(exclusive),
        "head_message_timestamp": _timestamp_of(queue.peek()),
        "memory": ready_bytes + out_bytes,
        "message_bytes": ready_bytes + out_bytes,
        "message_bytes_persistent": ready_bytes + out_bytes if queue.keeps else 0,
        "message_bytes_ram": ready_bytes + out_bytes,
        "message_bytes_ready": ready_bytes,
        "message_bytes_unacknowledged": out_bytes,
        **stats_item(call.rates, queue, of_queue(queue)),
        **call.rates.with_details(queue, counts, "messages"),
        "messages_persistent": counts["messages"] if queue.keeps else 0,
        "messages_ram": counts["messages"],
        "name": to_json(queue.name),
        "node": call.server.node,
        "operator_policy": queue.operator_policy.name if queue.operator_policy else None,
        "policy": queue.policy.name if queue.policy else None,
        "single_active_consumer_tag": None if active is None else to_json(active),
        "state": "running",
        "type": queue.arguments.queue_type,
        "vhost": vhost,
    }
    owner = call.server.session_of(queue.owner)
    if owner is not None:
        item["owner_pid_details"] = {
            "name": owner.link_name,
            "peer_host": owner.peer_host,
            "peer_port": owner.peer_port,
        }
    return item


def _whole_item(call: Call, queue: Queue, vhost: str) -> dict[str, Any]:
    item = queue_item(call, queue, vhost)
    consumers: list[BrokerConsumer] = list(queue.consumers)
    details = []
    for consumer in consumers:
        found = consumer_item(call.server, consumer, channel_details(call.server, consumer), vhost)
        details.append(found)
    return {
        "consumer_details": details,
        "deliveries": [],
        "head_message_sent_at": _sent_at(queue.peek()),  # this broker's own
        "incoming": [],
        **item,
    }


def _timestamp_of(head: Entry | None) -> int | None:
    if head is None:
        return None
    try:
        timestamp = decode_properties(head.message.properties).timestamp
    except WireError:
        return None
    return int(timestamp.timestamp()) if isinstance(timestamp, datetime) else timestamp


def _sent_at(head: Entry | None) -> int | None:
    """Return the time in the header that fedora-messaging gives a message, in seconds since 1970."""
    if head is None:
        return None
    try:
        headers = decode_properties(head.message.properties).headers or {}
        sent = datetime.fromisoformat(str(headers["sent-at"]))
        return int((sent if sent.tzinfo else sent.replace(tzinfo=UTC)).timestamp())
    except (WireError, KeyError, ValueError, OverflowError):
        return None


def list_queues(call: Call) -> Any:
    """List the queues, of one virtual host or of all."""
    found = [(queue, vhost.name) for vhost in call.vhosts() for queue in _by_name(vhost)]
    vhost_of = dict(found)
    return arrange(
        [queue for queue, _ in found],
        lambda queue: queue_item(call, queue, vhost_of[queue]),
        call.query,
        fields=_SORTED_OFTEN,
    )


def _by_name(vhost: "VirtualHost") -> list[Queue]:
    return [queue for _, queue in sorted(vhost.queues.items())]


def get_queue(call: Call) -> Any:
    """Show a queue."""
    queue = call.queue()
    call.show_samples(queue)
    return choose(_whole_item(call, queue, call.path["vhost"]), call.query)


def get_replicas(call: Call) -> list[dict[str, Any]]:
    """Show the replicas of a quorum queue: this broker has the only one."""
    queue = call.queue()
    if queue.arguments.queue_type != QUORUM:
        is_classic = queue.arguments.queue_type == CLASSIC
        reason = "classic_queue_not_supported" if is_classic else "not_quorum_queue"
        raise RequestError(503, {"status": "failed", "reason": reason})
    return [{"Node Name": call.server.node, "Raft State": "leader", "Membership": "voter"}]


async def put_queue(call: Call) -> Answer:
    """Declare a queue."""
    vhost = call.vhost(writes=True)
    name = call.path["queue"]
    call.require_configure(vhost, name)
    durable, auto_delete = call.boolean("durable"), call.boolean("auto_delete")
    if len(name.encode("utf-8", "surrogateescape")) > 255:
        size = len(name.encode("utf-8", "surrogateescape"))
        raise bad_request(f"queue should be less than 255 bytes, actually was {size}\n")
    arguments = table_from_json(call.body.get("arguments", {}))
    if call.is_old and vhost.default_queue_type != CLASSIC:
        arguments.setdefault("x-queue-type", CLASSIC)  # the default is for AMQP only
    dead_letters = arguments.get("x-dead-letter-exchange")
    if isinstance(dead_letters, str):
        call.require(READ, vhost, name)
        call.require(WRITE, vhost, dead_letters)
    is_new = name not in vhost.queues
    with refusals():
        vhost.declare_queue(
            QueueDeclaration(name, durable=durable, auto_delete=auto_delete, arguments=arguments), None
        )
    await call.server.durable(vhost)
    return put_answer(is_new)


async def delete_queue(call: Call) -> Answer:
    """Delete a queue."""
    queue = call.queue()
    vhost = call.vhost()
    call.require(CONFIGURE, vhost, queue.name)
    with refusals():
        vhost.delete_queue(
            queue.name,
            None,
            if_unused=call.query.get("if-unused") == "true",
            if_empty=call.query.get("if-empty") == "true",
        )
    await call.server.durable(vhost)
    return NO_CONTENT


async def purge_queue(call: Call) -> Answer:
    """Delete the messages of a queue that wait."""
    queue = call.queue()
    call.require(READ, call.vhost(), queue.name)
    with refusals():
        queue.check_access(None)
        queue.check_purge()
        queue.purge()
    await call.server.durable(call.vhost())
    return NO_CONTENT


def list_bindings(call: Call) -> list[dict[str, Any]]:
    """List the bindings of a queue."""
    vhost = call.vhost()
    queue = vhost.queues.get(call.path["queue"])
    bindings = [] if queue is None else vhost.bindings_to(queue)
    return [binding_item(binding, vhost.name) for binding in bindings]


def act_on_queue(call: Call) -> Answer:
    """Synchronise the mirrors of a queue; this broker has none, so there is nothing to do."""
    call.queue()
    action = call.text("action")
    if action not in ("sync", "cancel_sync") or not call.is_old:
        raise bad_request(["unknown", action])
    return NO_CONTENT


def get_messages(call: Call) -> list[dict[str, Any]]:
    """Fetch messages of a queue."""
    vhost = call.vhost(writes=True)
    call.need(*(key for key in ("ackmode", "count", "encoding") if key not in call.body))
    mode, encoding = call.text("ackmode"), call.text("encoding")
    if mode not in _OUTCOMES:
        raise bad_request(f"Invalid ackmode value: {mode}. Valid values are: {', '.join(_OUTCOMES)}")
    if encoding not in ("auto", "base64"):
        raise bad_request("Unsupported encoding. Please use auto or base64.")
    count = call.integer("count")
    truncate = call.integer("truncate") if "truncate" in call.body else None
    queue = vhost.queues.get(call.path["queue"])
    if queue is None:
        missing = f"NOT_FOUND - no queue '{to_json(call.path['queue'])}' in vhost '{vhost.name}'"
        raise not_found(missing if call.is_old else "queue_not_found")
    refusal = call.permissions(vhost).refusal(READ, "queue", queue.name)
    if refusal is not None:
        raise not_authorised(f"ACCESS_REFUSED - {refusal}")
    with refusals(with_code=True):
        queue.check_access(None)
        queue.check_get()
        taken = _take(queue, len(queue) if count == -1 else count)
    answer = []
    for left, entry in taken:
        properties = queue.properties(entry, room=1 << 31, got=True)
        answer.append(_message_item(entry, properties, left, encoding, truncate))
    outcome = _OUTCOMES[mode]
    if outcome is Queue.release and vhost.profile.nack_counts:
        outcome = Queue.requeue  # these releases close the channel that has taken the messages
    queue.hold_back()
    for _, entry in taken:
        outcome(queue, entry, None)
    queue.go_on()
    return answer


def _take(queue: Queue, count: int) -> list[tuple[int, Entry]]:
    taken: list[tuple[int, Entry]] = []
    size = 0
    while len(taken) < count and size < _LARGEST_ANSWER:
        entry = queue.get(no_ack=False)
        if entry is None:
            break
        taken.append((len(queue), entry))
        size += entry.message.size
    return taken


def _message_item(
    entry: Entry, properties: bytes, left: int, encoding: str, truncate: int | None
) -> dict[str, Any]:
    message = entry.message
    body = message.body if truncate is None else message.body[: max(0, truncate)]
    payload, written_as = _payload(body, encoding)
    return {
        "payload_bytes": message.size,
        "redelivered": entry.redelivered,
        "exchange": to_json(message.exchange),
        "routing_key": to_json(message.routing_key),
        "message_count": left,
        "properties": _properties_item(properties) or [],
        "payload": payload,
        "payload_encoding": written_as,
    }


def _payload(body: bytes, encoding: str) -> tuple[str, str]:
    if encoding == "auto":
        try:
            return body.decode(), "string"
        except UnicodeDecodeError:
            pass
    return base64.b64encode(body).decode(), "base64"


def _properties_item(encoded: bytes) -> Mapping[str, Any]:
    try:
        properties = decode_properties(encoded)
    except WireError:
        return {}
    found = {name: getattr(properties, name) for name in _PROPERTIES}
    item = {name: to_json(value) for name, value in found.items() if value is not None}
    if "headers" in item:
        item["headers"] = dict(sorted(item["headers"].items()))
    return item


@contextmanager
def refusals(with_code: bool = False) -> Iterator[None]:
    """Turn what the broker refuses in this block into answers of the API.

    Args:
        with_code: Whether the answer names the reply code.
    """
    try:
        yield
    except (ChannelError, ConnectionError) as error:
        if error.reply_code == ACCESS_REFUSED and not with_code:
            raise not_authorised("Access refused.") from error
        code = f"{error.reply_code} {NAMES[error.reply_code]} - " if with_code else ""
        raise bad_request(f"{code}{error.explanation}") from error


ENDPOINTS: Final = (
    Endpoint("queues", {"GET": list_queues}),
    Endpoint("queues/detailed", {"GET": list_queues}, profiles=NEW),
    Endpoint("queues/{vhost}", {"GET": list_queues}),
    Endpoint("queues/{vhost}/{queue}", {"GET": get_queue, "PUT": put_queue, "DELETE": delete_queue}),
    Endpoint("queues/{vhost}/{queue}/bindings", {"GET": list_bindings}),
    Endpoint("queues/{vhost}/{queue}/contents", {"DELETE": purge_queue}),
    Endpoint("queues/{vhost}/{queue}/actions", {"POST": act_on_queue}),
    Endpoint("queues/{vhost}/{queue}/get", {"POST": get_messages}),
    Endpoint("queues/quorum/{vhost}/{queue}/status", {"GET": get_replicas}, profiles=NEW),
)
