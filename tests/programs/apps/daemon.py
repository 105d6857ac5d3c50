"""Publishes, becomes a daemon that keeps no descriptor open, and forwards what it consumes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from fedora_messaging import api
from fedora_messaging.message import Message


def publish(number: int) -> None:
    api.publish(Message(topic="daemon.event", body={"number": number, "pid": os.getpid()}))


def forward(message: Message) -> None:
    publish(message.body["number"])


def daemonize() -> None:
    """Fork twice, lead a session, close all that was inherited."""
    sys.stdout.flush()
    if os.fork():
        sys.exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
    os.closerange(0, 256)
    os.open(os.devnull, os.O_RDONLY)
    os.open("daemon.log", os.O_WRONLY | os.O_CREAT)
    os.dup2(1, 2)


if __name__ == "__main__":
    publish(1)
    daemonize()
    Path("daemon.pid").write_text(str(os.getpid()))
    publish(2)
    print("ready", flush=True)
    try:
        api.consume(forward)
    finally:
        publish(3)
        print("stopped", flush=True)
