"""Records the messages that a program publishes, and checks them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..message import Message


@contextmanager
def recording_instead(record: "Callable[[Message], None]") -> Iterator[None]:
    """Record all published messages, even if a test has replaced the function that ``api.publish`` calls.

    The innermost wins: a replacement made inside the block gets the messages of ``api.publish`` instead.
    """
    from .. import api
    from ..frontends.recording import recording

    replaced = api._twisted_publish_wrapper
    api._twisted_publish_wrapper = api._own_publish_wrapper
    try:
        with recording(record):
            yield
    finally:
        # If a replacement made inside the block outlives it, leave it in place.
        if api._twisted_publish_wrapper is api._own_publish_wrapper:
            api._twisted_publish_wrapper = replaced


@contextmanager
def mock_sends(*expected_messages: "type[Message] | Message") -> Iterator[list["Message"]]:
    """Record the messages given to ``api.publish`` and ``Bus.publish``, without publishing, and check them.

    Inside the block nothing validates messages, sends signals or connects. At its end there must be as many
    messages as expected, in the same order. Each must be valid, and have the expected class or equal the
    expected message.

    Args:
        *expected_messages: Classes or messages; without any, nothing may be published.

    Yields:
        The list of published messages, filled at the end of the block.

    Raises:
        AssertionError: The published messages are not the expected ones.
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
    # Programs compare this text, and pytest would rewrite that of an assert statement.
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
