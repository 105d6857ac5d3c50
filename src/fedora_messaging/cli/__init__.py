"""The command line, ``fedora-messaging``; one file per command."""

from .broker import broker
from .consume import consume
from .datagrepper import DEFAULT_DATAGREPPER_URL
from .demo import demo
from .group import cli
from .publish import publish
from .reconsume import reconsume
from .record import Recorder, record
from .replay import replay
from .schema import schema

for _command in (broker, consume, demo, publish, reconsume, record, replay, schema):
    cli.add_command(_command)

__all__ = [
    "DEFAULT_DATAGREPPER_URL",
    "Recorder",
    "broker",
    "cli",
    "consume",
    "demo",
    "publish",
    "reconsume",
    "record",
    "replay",
    "schema",
]
