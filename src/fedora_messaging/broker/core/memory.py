"""Counting the memory that the messages of a broker take."""

from typing import Final

from .message import BrokerMessage

#: Bytes that a message takes in addition to its body and properties, measured on CPython 3.11.
OVERHEAD: Final = 700


class MemoryUse:
    """Counts messages while any queue holds them, each of them once.

    Attributes:
        bytes: Bytes that they take.
    """

    __slots__ = ("bytes",)

    def __init__(self) -> None:
        self.bytes = 0

    def hold(self, message: BrokerMessage) -> None:
        """Count a message that a queue has added."""
        if not message.holders:
            self.bytes += _size(message)
        message.holders += 1

    def release(self, message: BrokerMessage) -> None:
        """Note that a message has left a queue for good."""
        message.holders -= 1
        if not message.holders:
            self.bytes -= _size(message)


def _size(message: BrokerMessage) -> int:
    return len(message.body) + len(message.properties) + OVERHEAD
