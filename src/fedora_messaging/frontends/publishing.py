"""The steps of every publish before the message is sent, and after."""

from collections.abc import Callable
from typing import Any

from .. import config, signals
from ..client.publishing.outgoing import Encoded, encode
from ..logs import API, logger
from ..message import Message
from ..printable import explained, printable

_log = logger(API)


def _no_sender() -> None:
    return None


#: Returns the object that all signals name as their sender.
_sender: Callable[[], Any] = _no_sender


def send_signals_as(sender: Callable[[], Any]) -> None:
    """Set the sender of all signals; it is the same for every way to publish, so receivers can filter by it.

    It is :func:`fedora_messaging.api.publish`. Programs that have not imported it cannot compare with it.
    """
    global _sender  # noqa: PLW0603 - one for the process, as the signals
    _sender = sender


def publish_started(message: Message) -> None:
    """Let receivers see and change a message; an exception of theirs stops the publish.

    Raises:
        TypeError: ``message`` is not a message.
    """
    if not isinstance(message, Message):
        raise TypeError(f"publish() takes a fedora_messaging.message.Message, not a {type(message).__name__}")
    if signals.pre_publish_signal.receivers:
        signals.pre_publish_signal.send(_sender(), message=message)


def prepare(message: Message, exchange: str | None, mandatory: bool | None = None) -> Encoded:
    """Validate and encode a message; the configuration supplies the defaults.

    Args:
        message: The message.
        exchange: By default ``publish_exchange``.
        mandatory: Whether a queue must be bound for it; by default the setting in the table ``publisher``.

    Raises:
        jsonschema.ValidationError: The message violates its schema.
        EncodingError: The topic is too long, a header has a type that AMQP lacks, or the headers are larger
            than any frame.
        TypeError: The body holds a value that JSON lacks, or the exchange is not text.
    """
    message.validate()
    target = config.conf["publish_exchange"] if exchange is None else exchange
    if mandatory is None:
        mandatory = bool(config.conf.get("publisher", {}).get("mandatory", False))
    return encode(message, target, mandatory)


class telling_failure:
    """Sends the failure signal for a message if the code in its block raises."""

    __slots__ = ("_message",)

    def __init__(self, message: Message) -> None:
        self._message = message

    def __enter__(self) -> None:
        pass

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, Exception):
            publish_failed(self._message, error)


class telling_outcome(telling_failure):
    """Does the same, and sends the success signal if the block ends without an exception."""

    __slots__ = ()

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is None:
            publish_succeeded(self._message)
        else:
            super().__exit__(kind, error, traceback)


def publish_succeeded(message: Message) -> None:
    """Tell receivers that a message is published; log and ignore their exceptions."""
    if signals.publish_signal.receivers:
        try:
            signals.publish_signal.send(_sender(), message=message)
        except Exception:
            _log.exception("A receiver of publish_signal failed; message %s is published", message.id)


def publish_failed(message: Message, error: Exception) -> None:
    """Log that a message is not, or perhaps not, published, and tell receivers."""
    log_failure(message, error)
    tell_failure(message, error)


def log_failure(message: Message, error: Exception) -> None:
    """Log that a message is not, or perhaps not, published."""
    _log.error(
        "Publishing message %s on topic %s failed: %s: %s",
        printable(getattr(message, "id", None)),
        printable(repr(getattr(message, "topic", None))),
        type(error).__name__,
        explained(error),
    )


def tell_failure(message: Message, error: Exception) -> None:
    """Tell receivers that a message is not, or perhaps not, published; log and ignore their exceptions."""
    if signals.publish_failed_signal.receivers:
        try:
            signals.publish_failed_signal.send(_sender(), message=message, reason=error)
        except Exception:
            _log.exception("A receiver of publish_failed_signal failed")
