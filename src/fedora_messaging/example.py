"""A consumer callback to start with."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .message import Message


def printer(message: "Message") -> None:
    """Print a message to standard output."""
    sys.stdout.write(f"{message}\n")
