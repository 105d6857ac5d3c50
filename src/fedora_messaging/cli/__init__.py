"""The command line, ``fedora-messaging``; one file per command."""

from .broker import broker
from .consume import consume
from .demo import demo
from .group import cli
from .publish import publish

for _command in (broker, consume, demo, publish):
    cli.add_command(_command)

__all__ = ["broker", "cli", "consume", "demo", "publish"]
