"""Exchanges: list, declare, delete, publish to them."""

import base64
import binascii
from datetime import UTC, datetime
from typing import Any, Final

from ...broker.accounts import READ, WRITE
from ...broker.core.declarations import ExchangeDeclaration
from ...broker.core.exchanges import DelayedExchange, Exchange
from ...broker.core.message import in_canonical_order, new_message
from ...broker.json_values import table_from_json, to_json
from ...broker.publishing import check_message
from ...exceptions import EncodingError
from ...protocol.errors import NAMES, ChannelError, ConnectionError
from ...wire.properties import BasicProperties
from ...wire.property_codec import encode_properties
from .bindings import binding_item
from .call import NO_CONTENT, Answer, Call, put_answer
from .errors import bad_request, not_authorised, not_found
from .lists import arrange, choose
from .queues import refusals
from .routes import Endpoint
from .statistics import of_exchange, stats_item

_TEXTS: Final = (
    "content_type",
    "content_encoding",
    "correlation_id",
    "reply_to",
    "expiration",
    "message_id",
    "type",
    "user_id",
    "app_id",
    "cluster_id",
)
_NUMBERS: Final = ("delivery_mode", "priority", "timestamp")


def exchange_item(call: Call, exchange: Exchange, vhost: str) -> dict[str, Any]:
    """Return an exchange as lists show it."""
    item = {
        "arguments": to_json(exchange.arguments),
        "auto_delete": exchange.auto_delete,
        "durable": exchange.durable,
        "internal": exchange.internal,
        **stats_item(call.rates, exchange, of_exchange(exchange)),
        "name": to_json(exchange.name),
        "type": exchange.type,
        "user_who_performed_action": "rmq-internal" if _is_own(exchange.name) else call.user.name,
        "vhost": vhost,
    }
    if exchange.type == DelayedExchange.type:
        waiting = call.server.vhosts[vhost].delayed.get(exchange.name)
        item["messages_delayed"] = 0 if waiting is None else len(waiting)
    if exchange.policy is not None:
        item["policy"] = exchange.policy.name
    return item


def _is_own(name: str) -> bool:
    return not name or name.startswith("amq.")


def list_exchanges(call: Call) -> Any:
    """List the exchanges, of one virtual host or of all."""
    found = [
        (exchange, vhost.name) for vhost in call.vhosts() for _, exchange in sorted(vhost.exchanges.items())
    ]
    vhost_of = dict(found)
    return arrange(
        [exchange for exchange, _ in found],
        lambda exchange: exchange_item(call, exchange, vhost_of[exchange]),
        call.query,
    )


def get_exchange(call: Call) -> Any:
    """Show an exchange."""
    exchange = call.exchange()
    call.show_samples(exchange)
    item = exchange_item(call, exchange, call.path["vhost"])
    return choose({"incoming": [], "outgoing": [], **item}, call.query)


async def put_exchange(call: Call) -> Answer:
    """Declare an exchange."""
    vhost = call.vhost(writes=True)
    name = call.exchange_name
    call.require_configure(vhost, name)
    arguments = table_from_json(call.body.get("arguments", {}))
    alternate = arguments.get("alternate-exchange")
    if isinstance(alternate, str):
        call.require(READ, vhost, name)
        call.require(WRITE, vhost, alternate)
    declared = ExchangeDeclaration(
        name,
        call.text("type", "direct"),
        call.boolean("durable"),
        call.boolean("auto_delete"),
        call.boolean("internal"),
        arguments,
    )
    is_new = name not in vhost.exchanges
    with refusals():
        vhost.declare_exchange(declared)
    await call.server.durable(vhost)
    return put_answer(is_new)


async def delete_exchange(call: Call) -> Answer:
    """Delete an exchange."""
    exchange = call.exchange()
    vhost = call.vhost()
    call.require_configure(vhost, exchange.name)
    with refusals():
        vhost.delete_exchange(exchange.name, if_unused=call.query.get("if-unused") == "true")
    await call.server.durable(vhost)
    return NO_CONTENT


def list_from(call: Call) -> list[dict[str, Any]]:
    """List the bindings from an exchange."""
    vhost = call.vhost()
    exchange = vhost.exchanges.get(call.exchange_name)
    bindings = [] if exchange is None else list(exchange.bindings.values())
    return [binding_item(binding, vhost.name) for binding in bindings]


def list_to(call: Call) -> list[dict[str, Any]]:
    """List the bindings to an exchange."""
    vhost = call.vhost()
    exchange = vhost.exchanges.get(call.exchange_name)
    bindings = [] if exchange is None else vhost.bindings_to(exchange)
    return [binding_item(binding, vhost.name) for binding in bindings]


async def publish(call: Call) -> dict[str, bool]:
    """Publish a message; the answer tells whether any queue got it."""
    vhost = call.vhost(writes=True)
    call.need("payload", "payload_encoding", "properties", "routing_key")
    exchange = vhost.exchanges.get(call.exchange_name)
    if exchange is None:
        if call.is_old:
            missing = to_json(call.exchange_name)
            raise bad_request(f"404 NOT_FOUND - no exchange '{missing}' in vhost '{vhost.name}'")
        raise not_found("exchange_not_found")
    key = call.text("routing_key")
    if vhost.name not in call.user.permissions:
        raise not_authorised("Access refused.")
    # Who has some permission gets the answer of AMQP.
    allowed = call.permissions(vhost)
    refusal = allowed.refusal(WRITE, "exchange", exchange.name) or allowed.topic_refusal(WRITE, exchange, key)
    if refusal is not None:
        raise bad_request(f"403 ACCESS_REFUSED - {refusal}")
    properties = _properties(call.body["properties"])
    try:
        encoded = encode_properties(properties)
        message = new_message(exchange.name, key, encoded, _payload(call))
    except EncodingError as error:
        raise bad_request(str(error)) from error
    if vhost.profile.sorts_headers:
        message = in_canonical_order(message)
    try:
        if exchange.internal:
            raise bad_request(
                f"403 ACCESS_REFUSED - cannot publish to internal exchange '{exchange.name}' in vhost "
                f"'{vhost.name}'"
            )
        check_message(message, call.user, vhost.profile)
        outcome = vhost.enqueue(exchange, message)
    except (ChannelError, ConnectionError) as error:
        raise bad_request(f"{error.reply_code} {NAMES[error.reply_code]} - {error.explanation}") from error
    vhost.past.publish += 1
    if not outcome.routed:
        vhost.past.return_unroutable += 1
    await call.server.durable(vhost)
    if outcome.refused:
        raise bad_request("rejected Unable to publish message. Check queue limits.")
    return {"routed": outcome.routed}


def _payload(call: Call) -> bytes:
    payload, encoding = call.body["payload"], call.body["payload_encoding"]
    if not isinstance(payload, str):
        raise bad_request("payload_not_string")
    if encoding == "string":
        return payload.encode()
    if encoding != "base64":
        raise bad_request(["unsupported_encoding", encoding])
    try:
        return base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError):
        raise bad_request(["not_base64", payload]) from None


def _properties(given: Any) -> BasicProperties:
    if not isinstance(given, dict):
        raise bad_request("properties must be an object")
    found: dict[str, Any] = {}
    for name in _TEXTS:
        if name in given:
            if not isinstance(given[name], str):
                raise bad_request(["not_string", name])
            found[name] = given[name]
    for name in _NUMBERS:
        if name in given:
            if isinstance(given[name], bool) or not isinstance(given[name], int) or given[name] < 0:
                raise bad_request(["not_int", name])
            if name != "timestamp" and given[name] > 255:
                raise bad_request(["not_int", name])
            found[name] = given[name]
    if "timestamp" in found:
        try:
            found["timestamp"] = datetime.fromtimestamp(found["timestamp"], UTC)
        except (OverflowError, ValueError, OSError):
            raise bad_request(["not_int", "timestamp"]) from None
    if "headers" in given:
        found["headers"] = table_from_json(given["headers"])
    return BasicProperties(**found)


ENDPOINTS: Final = (
    Endpoint("exchanges", {"GET": list_exchanges}),
    Endpoint("exchanges/{vhost}", {"GET": list_exchanges}),
    Endpoint(
        "exchanges/{vhost}/{exchange}", {"GET": get_exchange, "PUT": put_exchange, "DELETE": delete_exchange}
    ),
    Endpoint("exchanges/{vhost}/{exchange}/publish", {"POST": publish}),
    Endpoint("exchanges/{vhost}/{exchange}/bindings/source", {"GET": list_from}),
    Endpoint("exchanges/{vhost}/{exchange}/bindings/destination", {"GET": list_to}),
)
