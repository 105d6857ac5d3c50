"""Settings as the layers below the configuration receive them: frozen, typed, complete.

Named tuples, because every program pays for these classes when it starts: data classes take six times as long
to make, and five milliseconds to import what makes them.
"""

from collections.abc import Callable, Hashable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from .limits import CHANNEL_MAX, FRAME_MAX

#: Nobody may change what all share.
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


def _shown(options: NamedTuple, hidden: tuple[str, ...]) -> str:
    """Return a text like that of other named tuples, without some values."""
    fields = ", ".join(f"{name}={value!r}" for name, value in options._asdict().items() if name not in hidden)
    return f"{type(options).__name__}({fields})"


class TLSOptions(NamedTuple):
    """Files for TLS, all PEM.

    Attributes:
        ca_cert: Certificates to trust; ``None`` trusts what the platform trusts.
        certfile: Own certificate chain.
        keyfile: Key of the first certificate in ``certfile``.
        server_hostname: Name that the peer's certificate must carry; ``None`` means the dialled host.
    """

    ca_cert: str | None = None
    certfile: str | None = None
    keyfile: str | None = None
    server_hostname: str | None = None


class ConnectionOptions(NamedTuple):
    """Where and how to connect.

    Attributes:
        host: Host name or address; ignored when ``unix_path`` is set.
        port: TCP port.
        vhost: AMQP virtual host.
        username: Login name.
        password: Login password; never shown by ``repr``.
        external: Log in with the client certificate (SASL EXTERNAL) instead of the password.
        tls: TLS settings, ``None`` for plain TCP.
        unix_path: Path of a Unix socket to dial instead of TCP.
        heartbeat: Seconds; 0 switches heartbeats off, ``None`` takes what the server proposes.
        channel_max: Highest channel number to use.
        frame_max: Largest frame in bytes.
        blocked_connection_timeout: Seconds the broker may block the connection before it is given up.
        connect_timeout: Seconds for TCP, TLS and the AMQP handshake together.
        answer_timeout: Seconds for the broker to answer a method; one that does not is given up.
        locale: Locale sent to the server.
        client_properties: Shown by the broker beside the connection.
        alternatives: Other nodes of the same cluster; each attempt takes one of all at random.
    """

    host: str = "localhost"
    port: int = 5672
    vhost: str = "/"
    username: str = "guest"
    password: str = "guest"  # noqa: S105 - the protocol's well-known default
    external: bool = False
    tls: TLSOptions | None = None
    unix_path: str | None = None
    heartbeat: int | None = None
    channel_max: int = CHANNEL_MAX
    frame_max: int = FRAME_MAX
    blocked_connection_timeout: float | None = None
    connect_timeout: float = 15.0
    answer_timeout: float = 60.0
    locale: str = "en_US"
    client_properties: Mapping[str, Any] = _NOTHING
    alternatives: "tuple[ConnectionOptions, ...]" = ()

    def __repr__(self) -> str:
        return _shown(self, ("password", "client_properties"))

    @property
    def address(self) -> str:
        """Where this leads, fit to show to people: never with the password."""
        if self.unix_path is not None:
            return f"unix:{self.unix_path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'amqps' if self.tls else 'amqp'}://{host}:{self.port}"


class ExchangeOptions(NamedTuple):
    """An exchange to declare; ``passive`` only checks that it exists."""

    name: str
    type: str
    durable: bool = False
    auto_delete: bool = False
    arguments: Mapping[str, Any] = _NOTHING
    passive: bool = False


class QueueOptions(NamedTuple):
    """A queue to declare; an empty name lets the broker choose one.

    ``passive`` only checks that the queue exists.
    """

    name: str = ""
    durable: bool = False
    auto_delete: bool = False
    exclusive: bool = False
    arguments: Mapping[str, Any] = _NOTHING
    passive: bool = False


class BindingOptions(NamedTuple):
    """One binding of a queue to an exchange."""

    exchange: str
    routing_key: str
    arguments: Mapping[str, Any] | None = None


class QosOptions(NamedTuple):
    """How many deliveries the broker may have outstanding per consumer; 0 is no limit."""

    prefetch_count: int = 10
    prefetch_size: int = 0


class BackoffOptions(NamedTuple):
    """Back-off between attempts to connect: exponential with full jitter below a cap.

    Attributes:
        initial: Seconds before the second attempt.
        factor: Growth per attempt.
        maximum: Cap in seconds.
    """

    initial: float = 0.5
    factor: float = 2.0
    maximum: float = 30.0


class RetryOptions(NamedTuple):
    """When and how often a message whose callback failed is tried again.

    Attributes:
        attempts: How often a callback sees a message in all.
        delay: Seconds before the second attempt; each further delay is twice as long.
        max_delay: Cap in seconds.
        on: What a callback must raise for it.
    """

    attempts: int = 5
    delay: float = 1.0
    max_delay: float = 300.0
    on: tuple[type[Exception], ...] = (Exception,)


class DedupeOptions(NamedTuple):
    """Remembering which messages were processed.

    Attributes:
        window: Seconds for which a message is remembered.
        path: SQLite file; processes may share it.
    """

    window: float
    path: str


class OutboxOptions(NamedTuple):
    """Where messages are stored before they are sent; one of ``path`` and ``url`` is given.

    Attributes:
        path: SQLite file.
        url: PostgreSQL, as SQLAlchemy takes it; never shown by ``repr``.
        max_messages: Messages it may hold.
        max_bytes: Bytes they may have.
        max_age: Seconds that the oldest may have waited for nothing more to be taken; ``None`` for ever.
    """

    path: str | None = None
    url: str | None = None
    max_messages: int = 100_000
    max_bytes: int = 1_000_000_000
    max_age: float | None = None

    def __repr__(self) -> str:
        return _shown(self, ("url",))


class ConsumerOptions(NamedTuple):
    """What becomes of the messages of a queue.

    Attributes:
        concurrency: Callbacks at once.
        ordering_key: Messages with the same key are never processed at once; ``None`` for no order.
        timeout: Seconds for a callback; ``None`` for ever.
        retry: ``None`` never tries again.
        dead_letter: Queue that keeps what could not be processed; ``None`` keeps nothing.
        dedupe: ``None`` remembers nothing.
        arguments: Of ``basic.consume``, for example ``x-priority`` or ``x-stream-offset``.
        resubscribe: Subscribe again when the broker cancels the consumer, instead of ending.
        stop_timeout: Seconds for running callbacks to end when consuming is stopped; what runs longer is
            given up, and its message goes back. ``None`` for ever.
        watchdog: Seconds without a delivery after which to ask whether messages wait; 0 never asks.
    """

    concurrency: int = 1
    ordering_key: Callable[[Any], Hashable] | None = None
    timeout: float | None = None
    retry: RetryOptions | None = None
    dead_letter: str | None = None
    dedupe: DedupeOptions | None = None
    arguments: Mapping[str, Any] = _NOTHING
    resubscribe: bool = False
    stop_timeout: float | None = 60.0
    watchdog: float = 60.0

    @property
    def has_policy(self) -> bool:
        """Whether messages are treated otherwise than the exceptions of the callback say."""
        settings = (self.ordering_key, self.timeout, self.retry, self.dead_letter, self.dedupe)
        return self.concurrency > 1 or any(setting is not None for setting in settings)
