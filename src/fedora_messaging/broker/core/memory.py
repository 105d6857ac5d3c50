"""Counting the memory that the messages of a broker take."""

from collections.abc import Mapping
from typing import Any, Final

from ...protocol.errors import PRECONDITION_FAILED, ChannelError
from ...wire.fields import encode_table
from .message import BrokerMessage, Pages

#: Bytes that a message takes in addition to its body and properties, measured on CPython 3.11.
OVERHEAD: Final = 600
#: Bodies smaller than this stay: the reference to a page takes as much.
_WORTH_A_PAGE: Final = 128
#: Bytes that something declared takes without arguments; a queue has a binding, too.
_DECLARED: Final = 1500
#: Bytes that arguments take as objects, for each encoded byte.
_OBJECTS: Final = 10


class MemoryUse:
    """Counts messages while any queue holds them, each of them once, and what clients have declared.

    Attributes:
        bytes: Bytes that messages take in memory.
        bodies: Bytes that their bodies and properties take in memory.
        bodies_limit: Above how many of these bodies that wait are paged out.
        pages: Where those go; without it they stay in memory.
        declared: Bytes that queues, exchanges, bindings and consumers take.
        declared_limit: How many of those there may be; 0 for any number.
    """

    __slots__ = ("bodies", "bodies_limit", "bytes", "declared", "declared_limit", "pages")

    def __init__(self) -> None:
        self.bytes: int = 0
        self.bodies: int = 0
        self.bodies_limit: int = 0
        self.pages: Pages | None = None
        self.declared: int = 0
        self.declared_limit: int = 0

    def check_room(self, size: int) -> None:
        """Check that a client may declare something more.

        Raises:
            ChannelError: 406.
        """
        if self.declared_limit and self.declared + size > self.declared_limit:
            raise ChannelError(
                PRECONDITION_FAILED,
                f"queues, exchanges, bindings and consumers take {self.declared} bytes of memory; more than "
                f"{self.declared_limit} are not allowed",
            )

    def declare(self, size: int) -> None:
        """Count something that was declared."""
        self.declared += size

    def remove(self, size: int) -> None:
        """Note that something that was declared is gone."""
        self.declared -= size

    def hold(self, message: BrokerMessage) -> None:
        """Count a message that a queue has added."""
        if not message.holders:
            self.bodies += message.in_memory
            self.bytes += message.in_memory + OVERHEAD
        message.holders += 1

    def release(self, message: BrokerMessage) -> None:
        """Note that a message has left a queue for good."""
        message.holders -= 1
        if not message.holders:
            self.bodies -= message.in_memory
            self.bytes -= message.in_memory + OVERHEAD

    def make_room(self, message: BrokerMessage) -> None:
        """Page a message out that has to wait in a queue, if bodies take too much memory.

        The newest message is the one that waits longest.
        """
        if self.bodies <= self.bodies_limit or self.pages is None or message.size < _WORTH_A_PAGE:
            return
        # It may have been delivered, or dropped, in the meantime.
        if message.holders:
            freed = message.page_out(self.pages)
            self.bodies -= freed
            self.bytes -= freed


def declared_size(arguments: Mapping[str, Any]) -> int:
    """Return about how many bytes a queue, exchange, binding or consumer with arguments takes."""
    return _DECLARED + (_OBJECTS * len(encode_table(arguments)) if arguments else 0)
