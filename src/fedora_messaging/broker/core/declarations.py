"""The declarations of clients, as the core gets them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ExchangeDeclaration:
    """The declaration of an exchange.

    Attributes:
        name: Name, without line ends.
        type: direct, fanout, headers or topic; any other type is refused.
        durable: Whether it survives a restart.
        auto_delete: Whether it is deleted with its last binding.
        internal: Whether it accepts only messages from other exchanges.
        arguments: Arguments; the broker uses ``alternate-exchange``.
    """

    name: str
    type: str = "direct"
    durable: bool = False
    auto_delete: bool = False
    internal: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class QueueDeclaration:
    """The declaration of a queue.

    Attributes:
        name: Name, without line ends; empty if the broker chooses one.
        durable: Whether it survives a restart.
        exclusive: Whether only the connection that declares it may use it.
        auto_delete: Whether it is deleted with its last consumer.
        arguments: Arguments; see :class:`~.queue_arguments.QueueArguments`.
    """

    name: str
    durable: bool = False
    exclusive: bool = False
    auto_delete: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict)
