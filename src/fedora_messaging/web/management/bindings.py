"""Bindings: list, make, delete."""

import hashlib
from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, quote_plus

from ...broker.core.exchanges import Binding, Destination, Exchange
from ...broker.json_values import table_from_json, to_json
from ...exceptions import EncodingError
from ...protocol.errors import ChannelError
from ...wire.fields import encode_shortstr, encode_table
from .call import NO_CONTENT, Answer, Call, exchange_name
from .errors import bad_request, not_authorised, not_found
from .lists import arrange
from .routes import Endpoint

if TYPE_CHECKING:
    from ...broker.core.vhost import VirtualHost


def properties_key(binding: Binding) -> str:
    """Return what tells a binding from others of the same source and destination, fit for paths."""
    key = quote_plus(binding.routing_key, safe="", errors="surrogateescape").replace("~", "%7E")
    if not binding.arguments:
        return key or "~"
    digest = hashlib.sha256(encode_table(dict(sorted(binding.arguments.items())))).digest()
    return f"{key}~{urlsafe_b64encode(digest[:4]).decode().rstrip('=')}"


def binding_item(binding: Binding, vhost: str) -> dict[str, Any]:
    """Return a binding as lists show it."""
    return {
        "source": to_json(binding.source.name),
        "vhost": vhost,
        "destination": to_json(binding.destination.name),
        "destination_type": binding.destination.kind,
        "routing_key": to_json(binding.routing_key),
        "arguments": to_json(binding.arguments),
        "properties_key": properties_key(binding),
    }


def bindings_of(vhost: "VirtualHost") -> list[Binding]:
    """Return all bindings of a virtual host, in the order of lists."""
    found = [binding for exchange in vhost.exchanges.values() for binding in exchange.bindings.values()]
    return sorted(found, key=lambda b: (b.source.name, b.destination.name, b.routing_key))


def list_all(call: Call) -> Any:
    """List the bindings, of one virtual host or of all."""
    found = [(binding, vhost.name) for vhost in call.vhosts() for binding in bindings_of(vhost)]
    return arrange(found, lambda pair: binding_item(*pair), call.query, paged=False)


def _ends(call: Call) -> tuple["VirtualHost", Exchange | None, Destination | None]:
    vhost = call.vhost(writes=call.path.get("props") is None)
    source = vhost.exchanges.get(exchange_name(call.path["exchange"]))
    destination: Destination | None
    if "queue" in call.path:
        destination = vhost.queues.get(call.path["queue"])
    else:
        destination = vhost.exchanges.get(exchange_name(call.path["destination"]))
    return vhost, source, destination


def _between(source: Exchange | None, destination: Destination | None) -> list[Binding]:
    if source is None or destination is None:
        return []
    return [binding for binding in source.bindings.values() if binding.destination is destination]


def list_between(call: Call) -> list[dict[str, Any]]:
    """List the bindings from an exchange to a queue or another exchange."""
    vhost, source, destination = _ends(call)
    return [binding_item(binding, vhost.name) for binding in _between(source, destination)]


async def post_binding(call: Call) -> Answer:
    """Make a binding; the header ``Location`` leads to it."""
    vhost, source, destination = _ends(call)
    routing_key = call.text("routing_key", "")
    try:
        encode_shortstr(routing_key)
    except EncodingError as error:
        raise bad_request(str(error)) from None
    arguments = table_from_json(call.body.get("arguments", {}))
    if source is None:
        name = exchange_name(call.path["exchange"])
        raise not_found(f"no exchange '{name}' in vhost '{vhost.name}'")
    if destination is None:
        kind = "queue" if "queue" in call.path else "exchange"
        name = call.path.get("queue") or call.path["destination"]
        raise not_found(f"no {kind} '{name}' in vhost '{vhost.name}'")
    if not source.name or not destination.name:
        raise not_authorised("Access refused.")
    call.require_binding(vhost, source, destination, routing_key)
    try:
        vhost.bind(source.name, destination, routing_key, arguments)
    except ChannelError as error:
        raise bad_request(error.explanation) from error
    await call.server.durable(vhost)
    made = properties_key(Binding(source, destination, routing_key, arguments))
    place = f"{quote(destination.name, safe='', errors='surrogateescape')}/{quote(made, safe='~')}"
    return Answer(201, {"location": place})


def _one(call: Call) -> tuple["VirtualHost", Binding]:
    vhost, source, destination = _ends(call)
    for binding in _between(source, destination):
        if properties_key(binding) == call.path["props"]:
            return vhost, binding
    raise not_found()


def get_binding(call: Call) -> dict[str, Any]:
    """Show a binding."""
    vhost, binding = _one(call)
    return binding_item(binding, vhost.name)


async def delete_binding(call: Call) -> Answer:
    """Undo a binding."""
    vhost, binding = _one(call)
    if not binding.source.name:
        raise not_authorised("Access refused.")
    call.require_binding(vhost, binding.source, binding.destination, binding.routing_key)
    try:
        vhost.unbind(binding.source.name, binding.destination, binding.routing_key, binding.arguments)
    except ChannelError as error:
        raise bad_request(error.explanation) from error
    await call.server.durable(vhost)
    return NO_CONTENT


ENDPOINTS: Final = (
    Endpoint("bindings", {"GET": list_all}),
    Endpoint("bindings/{vhost}", {"GET": list_all}),
    Endpoint("bindings/{vhost}/e/{exchange}/q/{queue}", {"GET": list_between, "POST": post_binding}),
    Endpoint(
        "bindings/{vhost}/e/{exchange}/q/{queue}/{props}", {"GET": get_binding, "DELETE": delete_binding}
    ),
    Endpoint("bindings/{vhost}/e/{exchange}/e/{destination}", {"GET": list_between, "POST": post_binding}),
    Endpoint(
        "bindings/{vhost}/e/{exchange}/e/{destination}/{props}",
        {"GET": get_binding, "DELETE": delete_binding},
    ),
)
