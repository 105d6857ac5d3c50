"""Publishing many messages with one call: an outcome for each of them."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from ..client.publishing.batch import Batch, unsent
from ..client.publishing.outgoing import Encoded
from ..logs import API, logger
from ..message import Message
from .publishing import log_failure, prepare, publish_started, publish_succeeded, tell_failure
from .recording import recorded

_log = logger(API)

#: Messages whose failure the log tells in full.
_LOGGED: Final = 10


def record_all(messages: Iterable[Message]) -> list[Exception | None]:
    """Let a test record messages, which are not sent then; return their outcomes."""
    return [None for message in messages if recorded(message)]


class MessageBatch:
    """Messages and the batch of their publishes.

    Args:
        batch: The batch.
        exchange: By default ``publish_exchange`` of the configuration.
        mandatory: Whether a queue must be bound for each message; by default the setting.
    """

    def __init__(self, batch: Batch, exchange: str | None, mandatory: bool | None = None) -> None:
        self._batch = batch
        self._exchange = exchange
        self._mandatory = mandatory
        #: Those whose outcome receivers of signals are told at the end; None for the others.
        self._untold: list[Message | None] = []

    def encoded(self, messages: Iterable[Message], is_over: Callable[[], bool]) -> Iterator[Encoded]:
        """Yield what is to be published; the others have their outcome then.

        Args:
            messages: The messages.
            is_over: Whether there is no time left; then no further message is published.
        """
        for message in messages:
            if is_over():
                self._untold.append(message)
                self._batch.note(unsent())
                continue
            try:
                publish_started(message)
            except Exception as error:  # of a receiver, who has not let it begin
                self._untold.append(None)
                self._batch.note(error)
                continue
            self._untold.append(message)
            try:
                encoded = prepare(message, self._exchange, self._mandatory)
            except Exception as error:
                self._batch.note(error)
                continue
            yield encoded

    def finish(self) -> list[Exception | None]:
        """Send the signals, and return the outcomes."""
        outcomes = self._batch.outcomes()
        failed = 0
        for message, outcome in zip(self._untold, outcomes, strict=True):
            if message is None:
                continue
            if outcome is None:
                publish_succeeded(message)
                continue
            failed += 1
            if failed <= _LOGGED:
                log_failure(message, outcome)
            tell_failure(message, outcome)
        if failed > _LOGGED:
            _log.error("Publishing %d more of %d messages failed", failed - _LOGGED, len(outcomes))
        return outcomes
