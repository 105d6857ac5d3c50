"""Recording what a program publishes, and checking it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..message import Message


@contextmanager
def recording_instead(record: "Callable[[Message], None]") -> Iterator[None]:
    """Have all published messages recorded, also if a test has replaced what ``api.publish`` calls.

    The innermost wins: what is replaced inside the block gets the messages of ``api.publish`` instead.
    """
    from .. import api
    from ..frontends.recording import recording

    replaced = api._twisted_publish_wrapper
    api._twisted_publish_wrapper = api._own_publish_wrapper
    try:
        with recording(record):
            yield
    finally:
        # A replacement that was made inside the block and outlives it stays.
        if api._twisted_publish_wrapper is api._own_publish_wrapper:
            api._twisted_publish_wrapper = replaced


@contextmanager
def mock_sends(*expected_messages: "type[Message] | Message") -> Iterator[list["Message"]]:
    """Record what is given to ``api.publish`` and ``Bus.publish``, instead of publishing it, and check it.

    Nothing is validated, signalled or connected to inside the block. At its end the messages must be as
    many as expected, in the same order, and each of the expected class, or equal to the expected message;
    and each must be valid.

    Args:
        *expected_messages: Classes or messages; none means that nothing may be published.

    Yields:
        The list of published messages, filled at the end of the block.

    Raises:
        AssertionError: Something else was published.
        jsonschema.ValidationError: A published message is invalid.
    """
    recorded: list[Message] = []
    sent: list[Message] = []
    with recording_instead(recorded.append):
        yield sent
    sent.extend(recorded)
    _check(sent, expected_messages)


def _check(sent: list["Message"], expected_messages: "tuple[type[Message] | Message, ...]") -> None:
    count, wanted = len(sent), len(expected_messages)
    # A plain assert would be rewritten by pytest, and programs compare this text.
    if count != wanted:
        raise AssertionError(f"Expected {wanted} messages to be sent, but {count} were sent")
    for message, expected in zip(sent, expected_messages, strict=True):
        if isinstance(expected, type):
            if not isinstance(message, expected):
                raise AssertionError(f"Expected message of type {expected}, but {type(message)} was sent")
        else:
            assert message.topic == expected.topic
            assert message.body == expected.body
            assert message == expected
    for message in sent:
        message.validate()
