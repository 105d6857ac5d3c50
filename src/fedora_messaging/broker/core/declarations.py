"""What clients declare, as the core sees it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ExchangeDeclaration:
    """An exchange as it is to be.

    Attributes:
        name: Name, without line ends.
        type: direct, fanout, headers or topic; anything else is refused.
        durable: Survives a restart.
        auto_delete: Goes with its last binding.
        internal: Takes messages of other exchanges only.
        arguments: ``alternate-exchange`` is known.
    """

    name: str
    type: str = "direct"
    durable: bool = False
    auto_delete: bool = False
    internal: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class QueueDeclaration:
    """A queue as it is to be.

    Attributes:
        name: Name, without line ends; empty if the broker chose one.
        durable: Survives a restart.
        exclusive: Only the connection that declares it may use it.
        auto_delete: Goes with its last consumer.
        arguments: See :class:`~.queue_arguments.QueueArguments`.
    """

    name: str
    durable: bool = False
    exclusive: bool = False
    auto_delete: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict)
