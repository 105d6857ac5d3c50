"""Every exception that this library raises on purpose.

``BaseException`` of this module is the parent of all; for compatibility it has the name of a builtin, which
it hides here. Errors that come from the broker keep its words: see :class:`AMQPError`.
"""

from typing import Any, Self

from .printable import printable


class BaseException(Exception):  # noqa: A001 - programs catch it by this name
    """Parent of every exception of this library."""


class NoFreeChannels(BaseException):
    """The connection has as many open channels as client and broker agreed on."""


class ConfigurationException(BaseException):
    """A setting is wrong.

    Args:
        message: What is wrong, where, and how to correct it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return f"Configuration error: {self.message}"


class PermissionException(BaseException):
    """The broker refuses an operation to this user.

    Args:
        obj_type: Kind of object: ``"queue"``, ``"exchange"`` or ``"binding"``.
        description: Name or settings of the object.
        reason: The broker's explanation.
    """

    def __init__(self, obj_type: Any = None, description: Any = None, reason: Any = None) -> None:
        super().__init__(obj_type, description, reason)
        self.obj_type = obj_type
        self.description = description
        self.reason = reason

    def __str__(self) -> str:
        return str(self.description)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(obj_type={self.obj_type}, description={self.description}, "
            f"reason={self.reason})"
        )


class BadDeclaration(PermissionException):
    """The broker refuses to declare or bind an object.

    ``reason`` is the :class:`ChannelClosed` with the broker's code and text.
    """

    def __str__(self) -> str:
        return f"Unable to declare the {self.obj_type} object ({self.description}) because {self.reason}"


class _Reasoned(BaseException):
    """Keeps a reason beside ``args``, so that printing and pickling include it."""

    reason: Any

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.args, self.__dict__.copy()))


def _rebuild(cls: type[_Reasoned], args: tuple[Any, ...], state: dict[str, Any]) -> _Reasoned:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class PublishException(_Reasoned):
    """A message was not, or perhaps not, published.

    Args:
        reason: What is known about the cause: a text or an exception.
    """

    def __init__(self, reason: Any = None) -> None:
        super().__init__()
        self.reason = reason

    def __str__(self) -> str:
        return str(self.reason)


class PublishReturned(PublishException):
    """The broker did not take the message: it sent a nack, or returned a mandatory message."""


class PublishNacked(PublishReturned):
    """The broker refused the message by ``basic.nack``, for example because a queue is full."""


class PublishTimeout(PublishException):
    """No confirm arrived in time. The message **may** have been published nevertheless.

    Attributes:
        sent: Whether the message was sent at all. If not, it has certainly not been published.
    """

    sent = True


class PublishForbidden(PublishException):
    """The broker does not let this user publish to that exchange or topic."""


class ExchangeNotFound(PublishException):
    """The exchange to publish to does not exist on the broker."""


class OutboxError(PublishException):
    """The outbox could not store the message."""


class OutboxFull(OutboxError):
    """The outbox holds as much as its limits allow, because the broker takes nothing."""


class ConnectionException(_Reasoned):
    """A connection could not be made, or was lost.

    Args:
        *args: Text of the error.
        reason: What is known about the cause: a text or an exception.
        **kwargs: Ignored.
    """

    def __init__(self, *args: Any, reason: Any = None, **kwargs: Any) -> None:
        super().__init__(*args)
        self.reason = reason


class ConsumeException(BaseException):
    """Parent of the exceptions that a callback may raise or a consumer may end with."""


class ConsumerCanceled(ConsumeException):
    """The broker ended the consumer, for instance because its queue was deleted."""


class Nack(ConsumeException):
    """Raised by a callback: put the message back on the queue."""


class Drop(ConsumeException):
    """Raised by a callback: refuse the message; it is dropped or dead-lettered."""


class HaltConsumer(_Reasoned, ConsumeException):
    """Raised by a callback: stop consuming.

    Args:
        exit_code: Exit status of ``fedora-messaging consume``; 0 is success.
        reason: Text for the log.
        requeue: Put the current message back on the queue instead of acknowledging it.
    """

    def __init__(self, exit_code: int = 0, reason: Any = None, requeue: bool = False) -> None:
        super().__init__()
        self.exit_code = exit_code
        self.reason = reason
        self.requeue = requeue


class ValidationError(BaseException):
    """A message violates its schema, or cannot be decoded.

    Args:
        *args: The error that was found (an exception or a text).

    Attributes:
        kind: Which part of a received message is wrong: ``size``, ``properties``, ``headers``,
            ``encoding``, ``json``, ``schema``, or ``class`` if its schema class cannot read it.
    """

    kind: str = "schema"

    def of_kind(self, kind: str) -> Self:
        """Set :attr:`kind` and return the exception."""
        self.kind = kind
        return self

    @property
    def summary(self) -> str:
        """The error in one line, without the schema and the instance."""
        error = self.args[0]
        return printable(error.message if _is_jsonschema_error(error) else error)

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), tuple(_picklable(arg) for arg in self.args), self.__dict__ or None)


def _picklable(error: Any) -> Any:
    """Return a copy of a jsonschema error without type checker and context, which cannot be pickled."""
    if not _is_jsonschema_error(error):
        return error
    return type(error)(
        error.message,
        validator=error.validator,
        path=error.relative_path,
        schema_path=error.relative_schema_path,
        validator_value=error.validator_value,
        instance=error.instance,
        schema=error.schema,
    )


def _is_jsonschema_error(error: Any) -> bool:
    # Importing jsonschema takes 0.1 s; if the error is one of its instances, it is already imported.
    import sys

    module = sys.modules.get("jsonschema.exceptions")
    return module is not None and isinstance(error, module.ValidationError | module.SchemaError)


class AMQPError(BaseException):
    """The peer closed a channel or connection, did not take a message, or broke the protocol.

    Args:
        reply_code: AMQP reply code (AMQP 0-9-1 section 1.2, for example 404).
        reply_text: The peer's explanation.
    """

    def __init__(self, reply_code: int = 0, reply_text: str = "") -> None:
        super().__init__(reply_code, reply_text)
        self.reply_code = reply_code
        self.reply_text = reply_text

    def __str__(self) -> str:
        return f"({self.reply_code}) {printable(self.reply_text)}"


class ChannelClosed(AMQPError):
    """The broker closed a channel because of an error."""


class ConnectionClosed(AMQPError):
    """The broker closed the connection because of an error or an operator's request."""


class DeliveryRefused(AMQPError):
    """The broker answered a publish with ``basic.nack``."""


class Unroutable(AMQPError):
    """The broker returned a mandatory message: no queue is bound for it."""


class EncodingError(BaseException, ValueError):
    """A value cannot be written in AMQP: a topic over 255 bytes, an unsupported header type."""
