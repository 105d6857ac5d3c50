"""The answers of a channel, in order; some of them wait for the disk."""

from collections.abc import Callable
from functools import partial

from ..wire.methods import Method
from .core.journal import Journal


class Answers:
    """Sends answers at once, or after earlier ones that wait until everything before them is durable.

    Args:
        send: Sends an answer.
        journal: Tells when everything so far is safe on disk.
        caught_up: Called when no answer waits any more.
    """

    def __init__(
        self, send: Callable[[Method], None], journal: Journal, caught_up: Callable[[], None]
    ) -> None:
        self._send = send
        self._journal = journal
        self._caught_up = caught_up
        self._held: list[Callable[[], None]] = []
        self._commits = 0
        self._closed = False

    @property
    def waiting(self) -> bool:
        """Whether answers wait for the disk; then everything else on the channel waits, too."""
        return self._commits > 0

    def add(self, method: Method) -> None:
        """Send an answer, after those that wait."""
        if self._commits:
            self._held.append(partial(self._send, method))
        else:
            self._send(method)

    def add_content(self, send: Callable[[], None]) -> None:
        """Have a content sent that answers something, after the answers that wait."""
        if self._commits:
            self._held.append(send)
        else:
            send()

    def add_when_durable(self, method: Method | None) -> None:
        """Send an answer once everything so far is safe on disk; the answers after it wait, too."""
        self._commits += 1
        if method is not None:
            self._held.append(partial(self._send, method))
        self._journal.when_durable(self._committed)

    def _committed(self) -> None:
        self._commits -= 1
        if self._commits or self._closed:
            return
        held, self._held = self._held, []
        for send in held:
            send()
        self._caught_up()

    def close(self) -> None:
        """Drop waiting answers: the channel has ended."""
        self._closed = True
        self._held.clear()
