"""Consumes as the configuration file says: ``consumer.py [plain|exit|interrupt|own]``."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

from gated import callback  # type: ignore[import-not-found]

from fedora_messaging import api, config
from fedora_messaging.exceptions import HaltConsumer

if TYPE_CHECKING:
    from types import FrameType


def plain() -> None:
    """Leave all to the library."""
    api.consume(callback)


def exit_status() -> None:
    """Make the consumer's exit code the program's."""
    try:
        api.consume(callback)
    except HaltConsumer as halt:
        print("halted", halt.exit_code, halt.reason, flush=True)
        sys.exit(halt.exit_code)


def interrupt() -> None:
    """Catch Ctrl-C."""
    try:
        api.consume(callback)
    except KeyboardInterrupt:
        print("interrupted", flush=True)


def own_handler() -> None:
    """Handle SIGTERM by oneself."""

    def handle(_number: int, _frame: FrameType | None) -> None:
        print("handling", flush=True)
        sys.exit(5)

    signal.signal(signal.SIGTERM, handle)
    api.consume(callback)


if __name__ == "__main__":
    config.conf.setup_logging()
    ways = {"plain": plain, "exit": exit_status, "interrupt": interrupt, "own": own_handler}
    try:
        ways[sys.argv[1]]()
    finally:
        print("left consume", flush=True)
