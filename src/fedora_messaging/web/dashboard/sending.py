"""Publishing a message over the management API."""

from typing import Final

from ... import config, table_json
from ...message import Message
from .management import Management

_PERSISTENT: Final = 2


async def publish_message(
    management: Management,
    message: Message,
    id: str | None = None,
    vhost: str = "/",
    exchange: str | None = None,
) -> bool:
    """Publish a message.

    Args:
        management: The management API, as the user who publishes.
        message: The message, which is not checked here.
        id: Its id, if it is not to get its own.
        vhost: Virtual host.
        exchange: Exchange; by default the one that the configuration publishes to.

    Returns:
        Whether a queue took it.

    Raises:
        ManagementError: The broker refuses it.
    """
    properties = message._properties
    headers, _types = table_json.to_json(message._headers)
    target = config.conf["publish_exchange"] if exchange is None else exchange
    wanted = {
        "content_type": properties.content_type or "application/json",
        "content_encoding": "utf-8",
        "delivery_mode": _PERSISTENT,
        "message_id": id or message.id,
        "headers": headers,
    }
    if message.priority is not None:
        wanted["priority"] = message.priority
    answer = await management.send(
        "POST",
        *("exchanges", vhost, target or "amq.default", "publish"),
        body={
            "routing_key": message.topic,
            "properties": wanted,
            "payload": message._encoded_body.decode(),
            "payload_encoding": "string",
        },
    )
    return bool(answer["routed"])
