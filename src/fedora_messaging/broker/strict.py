"""The broker's strict profile, which refuses what RabbitMQ 4.3 refuses and older versions accept.

A program that runs against it is ready for the next RabbitMQ (promises P29 and P30).
"""

from typing import Final

from ..protocol.errors import INTERNAL_ERROR, PRECONDITION_FAILED, ChannelError, ConnectionError
from ..wire import methods as m

#: Smallest frame that may be negotiated, in bytes (4.1 and newer).
FRAME_MIN: Final = 8192
#: Largest message body, in bytes (4.0 and newer).
MAX_BODY: Final = 16 * 1024 * 1024
#: Arguments of classic queues that RabbitMQ 4.3 no longer accepts.
_GONE: Final = ("x-queue-mode", "x-queue-master-locator")


def check_declaration(method: m.QueueDeclare) -> None:
    """Refuse queues that RabbitMQ 4.3 no longer has.

    Raises:
        ConnectionError: 541 for a queue that is neither durable nor exclusive.
        ChannelError: 406 for an argument that RabbitMQ 4.3 no longer accepts.
    """
    if not method.durable and not method.exclusive:
        raise _denied("transient_nonexcl_queues")
    for name in _GONE:
        if name in method.arguments:
            raise ChannelError(PRECONDITION_FAILED, f"invalid arg '{name}' for queue '{method.queue}'")
    if method.arguments.get("x-queue-version") == 1:
        raise ChannelError(PRECONDITION_FAILED, f"invalid arg 'x-queue-version' for queue '{method.queue}'")


def check_prefetch(method: m.BasicQos) -> None:
    """Refuse a prefetch limit for a whole channel.

    Raises:
        ConnectionError: 541.
    """
    if method.global_:
        raise _denied("global_qos")


def _denied(feature: str) -> ConnectionError:
    text = f"Feature `{feature}` is deprecated. By default, this feature is not permitted anymore."
    return ConnectionError(INTERNAL_ERROR, text)
