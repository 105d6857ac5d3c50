"""Runs consumers as a process, with signals and exit codes."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import click

from .. import api
from ..exceptions import (
    BadDeclaration,
    ConfigurationException,
    ConnectionException,
    ConsumerCanceled,
    HaltConsumer,
    PermissionException,
)
from ..logs import CLI, logger
from ..monitoring.systemd import Systemd
from ..printable import explained, notes_of, printable

if TYPE_CHECKING:
    from ..sync.consumers import BlockingConsumers

_log = logger(CLI)

EXIT_BAD_DECLARATION = 10
EXIT_REGISTRATION_FAILED = 11
EXIT_CANCELED = 12
EXIT_CALLBACK_FAILED = 13
EXIT_CONNECTION_REFUSED = 14
EXIT_PERMISSION = 15


def consume_until_stopped(callback: Any, bindings: Any, queues: Any) -> NoReturn:
    """Consume, and exit with a status that tells why consuming ended.

    SIGTERM and SIGINT let running callbacks end and exit with 0; a second one exits at once.
    """
    try:
        consumers = api.prepare_consumers(callback, bindings, queues)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    except ConfigurationException as error:
        raise click.ClickException(str(error)) from error
    except TypeError as error:
        raise click.ClickException(f"The consumer cannot be set up: {error}") from error
    with (
        closing(consumers),
        Systemd(consumers.answers) as systemd,
        _stopped_by_signals(consumers, systemd),
    ):
        status = _start(consumers)
        if status is None:
            systemd.ready()
            status = _explain_end(consumers.wait(), callback)
        systemd.stopping()
        api.close()
    sys.exit(status)


@contextmanager
def _stopped_by_signals(consumers: "BlockingConsumers", systemd: Systemd) -> Iterator[None]:
    def stop(number: int, _frame: FrameType | None) -> None:
        consumers.request_stop()
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, _exit_at_once)
        systemd.stopping()

    before = {each: signal.signal(each, stop) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _exit_at_once(number: int, _frame: FrameType | None) -> None:
    os._exit(128 + number)


def _start(consumers: "BlockingConsumers") -> int | None:
    """Register the consumers; return an exit status if that fails."""
    try:
        consumers.start()
    except BadDeclaration as error:
        _log.error(
            "Unable to declare the %s object on the AMQP broker: %s%s",
            error.obj_type,
            printable(error.reason),
            notes_of(error),
        )
        return EXIT_BAD_DECLARATION
    except PermissionException as error:
        _log_forbidden(error)
        return EXIT_PERMISSION
    except ConnectionException as error:
        _log.error("%s", printable(error.reason))
        return EXIT_CONNECTION_REFUSED
    except Exception:
        _log.exception("An unexpected error occurred while registering the consumer")
        return EXIT_REGISTRATION_FAILED
    return None


def _log_forbidden(error: PermissionException) -> None:
    _log.error(
        "The broker does not let us read the queue %s: %s%s",
        printable(error.description),
        printable(error.reason),
        notes_of(error),
    )


def _explain_end(error: BaseException | None, consumer: object) -> int:
    if error is None:
        return 0
    if isinstance(error, HaltConsumer):
        if error.exit_code:
            _log.error(
                "Consumer halted with non-zero exit code (%d): %s", error.exit_code, printable(error.reason)
            )
        return error.exit_code
    if isinstance(error, ConsumerCanceled):
        _log.error(
            "The consumer was canceled server-side, check with system administrators: %s", explained(error)
        )
        return EXIT_CANCELED
    if isinstance(error, PermissionException):
        _log_forbidden(error)
        return EXIT_PERMISSION
    _log.error("Unexpected error occurred in consumer %r: %r", consumer, error)
    return EXIT_CALLBACK_FAILED
