"""The command line, ``fedora-messaging``; one file per command.

Tests of programs written for version 3.9 replace some names here, so :mod:`.seams` looks them up here.
"""

from .. import api, config
from ..logs import logger
from .archive import archive
from .broker import broker
from .callbacks import callback_from_file as _callback_from_filesystem
from .callbacks import callback_from_path as _callback_from_python_path
from .configuration import configuration
from .consume import consume, consume_as_told
from .dashboard import dashboard
from .datagrepper import DEFAULT_DATAGREPPER_URL
from .datagrepper import fetch_message as _get_message
from .demo import demo
from .dlq import dlq
from .doctor import doctor
from .group import cli
from .management import bindings, connections, exchanges, queues
from .outbox import outbox
from .publish import publish
from .reconsume import reconsume
from .record import Recorder, record
from .replay import replay
from .schema import schema
from .tail import tail

_log = logger(__name__)
_consume = consume_as_told

for _command in (
    archive,
    bindings,
    broker,
    configuration,
    connections,
    consume,
    dashboard,
    demo,
    dlq,
    doctor,
    exchanges,
    outbox,
    publish,
    queues,
    reconsume,
    record,
    replay,
    schema,
    tail,
):
    cli.add_command(_command)

__all__ = [
    "DEFAULT_DATAGREPPER_URL",
    "Recorder",
    "_callback_from_filesystem",
    "_callback_from_python_path",
    "_consume",
    "_get_message",
    "api",
    "archive",
    "bindings",
    "broker",
    "cli",
    "config",
    "configuration",
    "connections",
    "consume",
    "dashboard",
    "demo",
    "dlq",
    "doctor",
    "exchanges",
    "outbox",
    "publish",
    "queues",
    "reconsume",
    "record",
    "replay",
    "schema",
    "tail",
]
