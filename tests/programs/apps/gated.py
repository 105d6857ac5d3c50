"""A callback that waits for a line on the standard input before it ends, in the way the message says."""

from __future__ import annotations

import atexit
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fedora_messaging import api
from fedora_messaging.exceptions import HaltConsumer
from fedora_messaging.message import Message as Outgoing

if TYPE_CHECKING:
    from fedora_messaging.message import Message


def callback(message: Message) -> None:
    number = message.body["number"]
    print("begin", number, flush=True)
    sys.stdin.readline()
    if "silent" not in message.body:
        api.publish(Outgoing(topic="callback.done", body={"number": number}))
    print("end", number, flush=True)
    if "halt" in message.body:
        raise HaltConsumer(message.body["halt"], "told to")
    if "fail_once" in message.body:
        # Fails until the file is there, as something that a restart helps against.
        marker = Path("failed")
        if not marker.exists():
            marker.touch()
            raise OSError("the database is gone")


# Only here does a program see that `fedora-messaging consume` is done with it.
atexit.register(print, "left", flush=True)
