"""HTTP for clients that keep up: a connection on which too little happens is closed."""

from typing import TYPE_CHECKING, Any, ClassVar, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio

_TIMEOUT: Final = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class TimedProtocol(H11Protocol):
    """Closes connections whose clients do not finish their requests, or do not read the answers.

    Uvicorn waits for them for ever, so a few hundred of them would keep all others out. The limits are those
    of RabbitMQ.
    """

    #: Seconds for the first line and the headers, from the start of the connection or the last answer.
    head_seconds: ClassVar[float] = 5.0
    #: Seconds without a byte of a request's body, or in which the client reads nothing of a long answer.
    pause_seconds: ClassVar[float] = 60.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._timer: asyncio.TimerHandle | None = None
        # Bytes of answers that the client had not read when the timer started.
        self._unread = 0

    def connection_made(self, transport: "asyncio.Transport") -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """End all waiting."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read a piece of a request."""
        super().data_received(data)
        # Bytes of a head do not prolong the time for it.
        if not self._awaits_head:
            self._wait()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        super().on_response_complete()
        self._wait()

    def pause_writing(self) -> None:
        """Begin to wait until the client reads."""
        super().pause_writing()
        self._wait()

    @property
    def _awaits_head(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _wait(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._unread = self.transport.get_write_buffer_size()
        is_idle = self._awaits_head and not self._unread
        seconds = self.head_seconds if is_idle else self.pause_seconds
        self._timer = self.loop.call_later(seconds, self._give_up)

    def _give_up(self) -> None:
        if self.transport.get_write_buffer_size() < self._unread:
            self._wait()  # the client reads, however slowly
            return
        if self._awaits_head:
            received, _ = self.conn.trailing_data
            if b"\n" in received and not self.transport.is_closing():
                self.transport.write(_TIMEOUT)
                self.transport.close()
                return
        elif not self.cycle.more_body and not self.flow.write_paused:
            return  # the broker is at work on the answer
        self.transport.abort()
