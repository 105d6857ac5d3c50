"""Connections, channels and consumers: list, show, close."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from ...broker.channel import BrokerChannel
from ...broker.core.consumer import BrokerConsumer
from ...broker.json_values import to_json
from ...broker.session import Session
from .call import NO_CONTENT, Answer, Call
from .errors import not_authorised, not_found
from .lists import arrange
from .routes import Endpoint
from .statistics import deliveries, publishing, stats_item

if TYPE_CHECKING:
    from ...broker.core.queue import Queue
    from ...broker.server import Server

_NO_TLS: Final = dict.fromkeys(
    (
        "peer_cert_issuer",
        "peer_cert_subject",
        "peer_cert_validity",
        "ssl_cipher",
        "ssl_hash",
        "ssl_key_exchange",
        "ssl_protocol",
    )
)
_CLOSED: Final = "Closed via management plugin"


def connection_item(call: Call, session: Session) -> dict[str, Any]:
    """Return a connection as lists show it."""
    user = session.user_name
    item = {
        "auth_mechanism": session.mechanism,
        "channel_max": session.machine.channel_max,
        "channels": len(session.channels),
        "client_properties": to_json(session.machine.client_properties),
        "connected_at": int(session.connected_at * 1000),
        "frame_max": session.machine.frame_max,
        "host": "127.0.0.1",
        "name": session.link_name,
        "node": call.server.node,
        **_NO_TLS,
        "peer_host": session.peer_host,
        "peer_port": session.peer_port,
        "port": call.server.port,
        "protocol": "AMQP 0-9-1",
        **call.rates.with_details(session, {"recv_oct": session.octets_in, "send_oct": session.octets_out}),
        "send_pend": session.machine.unsent,
        "ssl": session.is_encrypted,
        "state": "blocked" if session.blocked else "running",
        "timeout": session.machine.heartbeat,
        "type": "network",
        "user": user,
        "user_who_performed_action": user,
        "vhost": session.vhost.name,
    }
    if session.name is not None:
        item["user_provided_name"] = session.name
    return item


def channel_item(call: Call, channel: BrokerChannel) -> dict[str, Any]:
    """Return a channel as lists show it."""
    session = channel.session
    user = session.user_name
    item = {
        "acks_uncommitted": 0,
        "confirm": channel.publishing.confirms,
        "connection_details": {
            "name": session.link_name,
            "peer_host": session.peer_host,
            "peer_port": session.peer_port,
        },
        "consumer_count": len(channel.consumers),
        "global_prefetch_count": channel.channel_prefetch,
        **stats_item(call.rates, channel, publishing(channel.counters) | deliveries(channel.counters)),
        "messages_unacknowledged": len(channel.unacked),
        "messages_uncommitted": 0,
        "messages_unconfirmed": channel.publishing.unconfirmed,
        "name": _channel_name(channel),
        "node": call.server.node,
        "number": channel.number,
        "prefetch_count": channel.prefetch,
        "state": "running",
        "transactional": channel.transaction is not None,
        "user": user,
        "user_who_performed_action": user,
        "vhost": channel.vhost.name,
    }
    samples = call.rates.samples
    idle_since = None if samples is None else samples.idle_since(channel)
    if idle_since is not None:
        item["idle_since"] = datetime.fromtimestamp(idle_since, UTC).isoformat(timespec="milliseconds")
    return item


def _channel_name(channel: BrokerChannel) -> str:
    return f"{channel.session.link_name} ({channel.number})"


def _channel_of(consumer: BrokerConsumer) -> BrokerChannel:
    channel = consumer.outlet
    assert isinstance(channel, BrokerChannel)  # consumers of this broker have no other outlet
    return channel


def _session_of(consumer: BrokerConsumer) -> Session:
    return _channel_of(consumer).session


def channel_details(server: "Server", consumer: BrokerConsumer) -> dict[str, Any]:
    """Return which channel a consumer is on."""
    channel = _channel_of(consumer)
    session = channel.session
    return {
        "connection_name": session.link_name,
        "name": _channel_name(channel),
        "node": server.node,
        "number": channel.number,
        "peer_host": session.peer_host,
        "peer_port": session.peer_port,
        "user": session.user_name,
    }


def consumer_item(
    server: "Server", consumer: BrokerConsumer, channel: dict[str, Any], vhost: str
) -> dict[str, Any]:
    """Return a consumer as lists show it."""
    queue = consumer.queue
    is_single = queue.arguments.single_active
    is_active = not is_single or queue.consumers.active is consumer
    state = ("single_active" if is_active else "waiting") if is_single else "up"
    return {
        "arguments": to_json(consumer.arguments),
        "ack_required": not consumer.no_ack,
        "active": is_active,
        "activity_status": state,
        "channel_details": channel,
        "consumer_tag": to_json(consumer.tag),
        **_consumer_timeout(server, queue),
        "exclusive": consumer.exclusive,
        "prefetch_count": consumer.prefetch,
        "queue": {"name": to_json(queue.name), "vhost": vhost},
    }


def _consumer_timeout(server: "Server", queue: "Queue") -> dict[str, int]:
    """Tell of the timeout in milliseconds, as releases do that know timeouts of queues."""
    default, own = server.consumer_timeout, queue.arguments.consumer_timeout
    if server.profile.classic_consumer_timeout or default is None:
        return {}
    return {"consumer_timeout": int(default * 1000) if own is None else own}


class _Named:
    """A connection or channel with the name that pages and filters of lists go by."""

    def __init__(self, name: str, thing: Any) -> None:
        self.name = name
        self.thing = thing


def visible_sessions(call: Call) -> list[Session]:
    """Return the connections that the user may see, in the order in which they began."""
    everybody = call.has_tag("monitoring")
    open_ones = (session for session in call.server.sessions if session.open_vhost is not None)
    seen = [session for session in open_ones if everybody or session.user_name == call.user.name]
    return sorted(seen, key=lambda session: session.connected_at)


def _in_vhost(call: Call) -> list[Session]:
    if "vhost" not in call.path:
        return visible_sessions(call)
    vhost = call.vhost()
    return [session for session in visible_sessions(call) if session.vhost is vhost]


def _arranged_connections(call: Call, sessions: Iterable[Session]) -> Any:
    named = [_Named(session.link_name, session) for session in sessions]
    has_pages = "vhost" not in call.path
    return arrange(named, lambda item: connection_item(call, item.thing), call.query, paged=has_pages)


def list_connections(call: Call) -> Any:
    """List the connections, of one virtual host or of all."""
    return _arranged_connections(call, _in_vhost(call))


def list_of_user(call: Call) -> Any:
    """List the connections of a user."""
    wanted = call.path["user"]
    if wanted != call.user.name and not call.has_tag("monitoring"):
        raise not_authorised("User not authorised to access object")
    return [
        connection_item(call, session) for session in visible_sessions(call) if session.user_name == wanted
    ]


def close_of_user(call: Call) -> Answer:
    """Close the connections of a user; the header ``X-Reason`` becomes the text."""
    wanted = call.path["user"]
    if wanted != call.user.name and not call.has_tag("administrator"):
        raise not_authorised("User not authorised to access object")
    for session in visible_sessions(call):
        if session.user_name == wanted:
            session.force_close(call.headers.get("x-reason") or _CLOSED)
    return NO_CONTENT


def _session(call: Call) -> Session:
    found = [
        session
        for session in call.server.sessions
        if session.open_vhost is not None and session.link_name == call.path["connection"]
    ]
    if not found:
        raise not_found()
    if found[0].user_name != call.user.name and not call.has_tag("monitoring"):
        raise not_authorised("User not authorised to access object")
    return found[0]


def get_connection(call: Call) -> dict[str, Any]:
    """Show a connection."""
    item = connection_item(call, _session(call))
    # As RabbitMQ does, which has null in lists.
    return {**item, **{key: "" for key in _NO_TLS if item[key] is None}}


def close_connection(call: Call) -> Answer:
    """Close a connection; the header ``X-Reason`` becomes the text."""
    session = _session(call)
    if session.user_name != call.user.name and not call.has_tag("administrator"):
        raise not_authorised("User not authorised to access object")
    session.force_close(call.headers.get("x-reason") or _CLOSED)
    return NO_CONTENT


def _channels(sessions: Iterable[Session]) -> list[BrokerChannel]:
    return [channel for session in sessions for _, channel in sorted(session.channels.items())]


def list_channels_of_connection(call: Call) -> list[dict[str, Any]]:
    """List the channels of a connection."""
    return [channel_item(call, channel) for channel in _channels([_session(call)])]


def list_channels(call: Call) -> Any:
    """List the channels, of one virtual host or of all."""
    named = [_Named(_channel_name(channel), channel) for channel in _channels(_in_vhost(call))]
    has_pages = "vhost" not in call.path
    return arrange(named, lambda item: channel_item(call, item.thing), call.query, paged=has_pages)


def get_channel(call: Call) -> dict[str, Any]:
    """Show a channel."""
    for channel in _channels(visible_sessions(call)):
        if _channel_name(channel) == call.path["channel"]:
            details = [
                consumer_item(
                    call.server, consumer, channel_details(call.server, consumer), channel.vhost.name
                )
                for consumer in channel.consumers.values()
            ]
            item = channel_item(call, channel)
            return {"consumer_details": details, "deliveries": [], "publishes": [], **item}
    raise not_found()


def list_consumers(call: Call) -> Any:
    """List the consumers, of one virtual host or of all."""
    seen = set(visible_sessions(call))
    # In profile 3, everybody may ask, and sees the consumers of their own connections.
    everywhere = "management" if call.is_old else "monitoring"
    found = [
        consumer_item(call.server, consumer, channel_details(call.server, consumer), vhost.name)
        for vhost in call.vhosts(everywhere=everywhere)
        for _, queue in sorted(vhost.queues.items())
        for consumer in queue.consumers
        if _session_of(consumer) in seen
    ]
    return arrange(found, lambda item: item, call.query, paged=False)


ENDPOINTS: Final = (
    Endpoint("connections", {"GET": list_connections}),
    Endpoint("connections/username/{user}", {"GET": list_of_user, "DELETE": close_of_user}),
    Endpoint("connections/{connection}", {"GET": get_connection, "DELETE": close_connection}),
    Endpoint("connections/{connection}/channels", {"GET": list_channels_of_connection}),
    Endpoint("vhosts/{vhost}/connections", {"GET": list_connections}),
    Endpoint("vhosts/{vhost}/channels", {"GET": list_channels}),
    Endpoint("channels", {"GET": list_channels}),
    Endpoint("channels/{channel}", {"GET": get_channel}),
    Endpoint("consumers", {"GET": list_consumers}),
    Endpoint("consumers/{vhost}", {"GET": list_consumers}),
)
