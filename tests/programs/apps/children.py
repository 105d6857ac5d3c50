"""Forks children that end in every way, publishing or not, and publishes itself all the while."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

from fedora_messaging import api
from fedora_messaging.message import Message

if TYPE_CHECKING:
    from collections.abc import Callable


def publish(number: int) -> None:
    api.publish(Message(topic="child.event", body={"number": number}))


def exit_normally() -> None:
    sys.exit(0)


def exit_at_once() -> None:
    os._exit(0)


def publish_and_exit_normally() -> None:
    publish(10)
    sys.exit(0)


def publish_and_exit_at_once() -> None:
    publish(11)
    os._exit(0)


def publish_and_raise() -> None:
    publish(12)
    raise SystemExit("failed on purpose")


def publish_and_be_killed() -> None:
    publish(13)
    os.kill(os.getpid(), signal.SIGKILL)


def close_and_exit_normally() -> None:
    publish(14)
    api.close()
    sys.exit(0)


def replace_program() -> None:
    publish(15)
    os.execv(sys.executable, [sys.executable, "-c", ""])


ENDINGS: list[Callable[[], None]] = [
    exit_normally,
    exit_at_once,
    publish_and_exit_normally,
    publish_and_exit_at_once,
    publish_and_raise,
    publish_and_be_killed,
    close_and_exit_normally,
    replace_program,
]


def orphan(parent_end: int) -> None:
    """Publish before and after the end of the parent, whose end of the pipe tells of it."""
    publish(20)
    os.read(parent_end, 1)
    publish(21)


if __name__ == "__main__":
    publish(0)
    for number, ending in enumerate(ENDINGS, 1):
        child = os.fork()
        if child == 0:
            ending()
        publish(number)
        _, status = os.waitpid(child, 0)
        print(ending.__name__, os.waitstatus_to_exitcode(status), flush=True)
    publish(9)
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.close(writing)
        orphan(reading)
