"""Answers each message with what the service that runs it may do."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from fedora_messaging import api

if TYPE_CHECKING:
    from collections.abc import Callable

#: What an attacker in the callback would try, and what an honest callback needs.
ATTEMPTS: dict[str, Callable[[], object]] = {
    "write its state": lambda: Path("state").write_text("kept"),
    "run a program": lambda: subprocess.run(["/bin/true"], check=True),
    "change the configuration": lambda: Path("/etc/fedora-messaging/my-app.toml").write_text(""),
    "write to the system": lambda: Path("/usr/bin/planted").write_text(""),
    "read the URL at its source": lambda: Path("/etc/fedora-messaging/my-app.url").read_text(),
    "list home folders": lambda: os.listdir("/root"),
    "become root": lambda: os.setuid(0),
    "see process 1": lambda: os.listdir("/proc/1"),
    "open a raw socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
    "make namespaces": lambda: subprocess.run(["/usr/bin/unshare", "--user", "/bin/true"], check=True),
    "mount": lambda: subprocess.run(["/usr/bin/mount", "-t", "tmpfs", "tmpfs", "/mnt"], check=True),
}


def outcome(attempt: Callable[[], object]) -> str:
    """How an attempt ends."""
    try:
        attempt()
    except (OSError, subprocess.CalledProcessError):
        return "refused"
    return "done"


def on_message(message: api.Message) -> None:
    """Publish the outcome of all attempts."""
    outcomes = {name: outcome(attempt) for name, attempt in ATTEMPTS.items()}
    api.publish(api.Message(topic="answered", body={"to": message.id, "user": os.getuid(), **outcomes}))
