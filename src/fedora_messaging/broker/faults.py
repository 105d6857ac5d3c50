"""Faults on demand, for tests of applications: what a broker does on a bad day.

>>> with Broker() as broker:
...     broker.faults.nack_next()
...     with pytest.raises(PublishReturned):
...         api.publish(message)
...     broker.faults.assert_all_used()
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeVar

if TYPE_CHECKING:
    from .server import Server

#: The reason for which the broker blocks publishers on demand.
_BLOCKED: Final = "a test asked for it"

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Happened:
    """Something that a fault did to a client.

    Attributes:
        fault: Name of the method of :class:`Faults` that asked for it.
        details: For a publish its exchange and routing key, otherwise the name of the connection, if it has
            one, the mechanism of a login or the consumer tag.
    """

    fault: str
    details: tuple[str, ...] = ()


class Undo:
    """Ends a fault that lasts: call it, or leave a ``with`` block."""

    def __init__(self, end: Callable[[], None]) -> None:
        self._end = end

    def __call__(self) -> None:
        """End the fault."""
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()


class Faults:
    """The faults of one broker. Each method may be called from any thread.

    Attributes:
        history: What faults have done so far, in order.
    """

    def __init__(self, server: "Server", run: Callable[[Callable[[], Any]], Any]) -> None:
        self._server = server
        self._run = run
        self.history: list[Happened] = []
        # What is to become of the next publishes.
        self._publishes: deque[Literal["nack_next", "return_next"]] = deque()
        self._refusals = 0
        #: Seconds for which the broker leaves lying what a client sends.
        self.latency: float = 0.0
        #: Whether the broker neither reads nor writes.
        self.is_stalled = False

    def _in_loop(self, call: Callable[[], Result]) -> Result:
        result: Result = self._run(call)
        return result

    # At once

    def drop_connection(self, name: str | None = None) -> int:
        """Cut the sockets of all connections, without a word, as a network does that fails.

        Args:
            name: Cut only connections with this ``connection_name``.

        Returns:
            How many connections were cut.
        """

        def drop() -> int:
            chosen = [session for session in self._server.sessions if name in (None, session.name)]
            for session in chosen:
                self._note("drop_connection", session.name)
                session.abort()
            return len(chosen)

        return self._in_loop(drop)

    def cancel_consumers(self, queue: str | None = None, vhost: str = "/") -> int:
        """Cancel consumers, as RabbitMQ does when the node of a queue fails.

        The queue stays, unless it is one that goes with its last consumer (auto-delete).

        Args:
            queue: Cancel only the consumers of this queue.
            vhost: Virtual host of the queue.

        Returns:
            How many consumers were cancelled.

        Raises:
            KeyError: There is no such virtual host.
        """

        def cancel() -> int:
            count = 0
            for each in list(self._server.vhosts[vhost].queues.values()):
                if queue not in (None, each.name):
                    continue
                for consumer in each.consumers:
                    self._note("cancel_consumers", consumer.tag)
                    consumer.outlet.consumer_cancelled(consumer)
                    each.remove_consumer(consumer)
                    count += 1
            return count

        return self._in_loop(cancel)

    # The next time

    def nack_next(self, count: int = 1) -> None:
        """Lose the next publishes, and answer those on channels with confirms with ``basic.nack``."""
        self._in_loop(lambda: self._publishes.extend(["nack_next"] * count))

    def return_next(self, count: int = 1) -> None:
        """Find no queue for the next publishes: those that are mandatory are returned, the others lost."""
        self._in_loop(lambda: self._publishes.extend(["return_next"] * count))

    def refuse_login(self, count: int = 1) -> None:
        """Refuse the next logins, whatever the password is."""

        def refuse() -> None:
            self._refusals += count

        self._in_loop(refuse)

    # For a while

    def delay(self, seconds: float) -> Undo:
        """Leave what clients send lying for some time, before the broker looks at it.

        Logins are not delayed. When the fault ends, the broker looks at once at what still lies there.
        """

        def set_latency(value: float) -> None:
            self.latency = value
            if value:
                self._note("delay")
            else:
                self._end_delays()

        self._in_loop(lambda: set_latency(seconds))
        return Undo(lambda: self._in_loop(lambda: set_latency(0.0)))

    def block(self, reason: str = _BLOCKED) -> Undo:
        """Block publishers, as at a shortage of memory."""

        def set_alarm(text: str | None) -> None:
            self._server.block_on_demand(text)
            if text is not None:
                self._note("block", text)

        self._in_loop(lambda: set_alarm(reason))
        return Undo(lambda: self._in_loop(lambda: set_alarm(None)))

    def stall(self) -> Undo:
        """Stop reading and writing, heartbeats too, but keep all sockets open, as a frozen machine does."""

        def set_stalled(is_stalled: bool) -> None:
            self.is_stalled = is_stalled
            for session in list(self._server.sessions):
                if is_stalled:
                    self._note("stall", session.name)
                session.stall(is_stalled)

        self._in_loop(lambda: set_stalled(True))
        return Undo(lambda: self._in_loop(lambda: set_stalled(False)))

    # What became of it

    @property
    def pending(self) -> list[str]:
        """What is still to happen: a name for each publish and login that is to fail."""
        return [*self._publishes, *["refuse_login"] * self._refusals]

    def assert_all_used(self) -> None:
        """Check that all faults for the next publishes and logins have happened.

        Raises:
            AssertionError: Some have not.
        """
        left = self.pending
        if left:
            raise AssertionError(f"these faults have not happened: {', '.join(left)}")

    def count(self, fault: str) -> int:
        """Return how often a fault has happened."""
        return sum(happened.fault == fault for happened in self.history)

    def clear(self) -> None:
        """Forget the faults that have not happened, and end those that last."""

        def forget() -> None:
            self._publishes.clear()
            self._refusals = 0
            self.latency = 0.0
            self._end_delays()
            self._server.block_on_demand(None)
            if self.is_stalled:
                self.is_stalled = False
                for session in list(self._server.sessions):
                    session.stall(False)

        self._in_loop(forget)

    def _end_delays(self) -> None:
        for session in list(self._server.sessions):
            session.end_delay()

    # The broker asks these

    def take_publish(self, exchange: str, routing_key: str) -> str | None:
        """Return the fault for a publish, if there is one."""
        if not self._publishes:
            return None
        fault = self._publishes.popleft()
        self._note(fault, exchange, routing_key)
        return fault

    def take_login(self, mechanism: str) -> bool:
        """Whether to refuse a login."""
        if not self._refusals:
            return False
        self._refusals -= 1
        self._note("refuse_login", mechanism)
        return True

    def _note(self, fault: str, *details: str | None) -> None:
        self.history.append(Happened(fault, tuple(text for text in details if text is not None)))
