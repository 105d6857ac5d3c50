"""What a configuration may hold: the keys, their types and ranges, their defaults, and what each is for.

Checks, error texts, the page ``docs/reference/configuration.md`` and the JSON Schema come from these classes
and their docstrings.

Tables that version 3.9 knew take further keys, as they did there; only our own refuse them.
"""

from typing import Annotated, Any, Final, TypeAlias

from msgspec import Meta, Struct, field

from ..options import PREFETCH_MAX, ConsumerOptions, OutboxOptions, RetryOptions
from .defaults import DEFAULTS

#: RabbitMQ takes times to live below 2^32 milliseconds.
_DELAY_MAX: Final = 4_000_000.0

_consumer = ConsumerOptions()
_outbox = OutboxOptions()
_retry = RetryOptions()

Text: TypeAlias = Annotated[str, Meta(min_length=1)]
Seconds: TypeAlias = Annotated[float, Meta(ge=0, le=_DELAY_MAX)]
#: Of a pause or a limit, which at 0 would be none.
Pause: TypeAlias = Annotated[float, Meta(ge=0.001, le=_DELAY_MAX)]
#: Up to ten years.
Age: TypeAlias = Annotated[float, Meta(ge=1, le=10 * 365 * 86400)]


class Queue(Struct, kw_only=True):
    """A queue to declare and consume.

    Attributes:
        durable: The queue outlives a restart of the broker.
        auto_delete: The queue goes with its last consumer.
        exclusive: Only this connection may use the queue, and the queue goes with it.
        arguments: Of the declaration.
        passive: Only check that the queue exists.
    """

    durable: bool
    auto_delete: bool
    exclusive: bool
    arguments: Annotated[dict[str, Any], Meta(examples=[{"x-queue-type": "quorum"}])]
    passive: bool = False


class Binding(Struct, kw_only=True):
    """Which messages a queue gets.

    Attributes:
        exchange: Where the messages come from.
        routing_keys: Their topics; `*` stands for a word and `#` for any number of words.
        queue: Which queue gets them; by default the one that the broker names.
        arguments: Of the binding, for a headers exchange.
    """

    exchange: Annotated[str, Meta(examples=["amq.topic"])]
    routing_keys: Annotated[list[str], Meta(examples=[["org.fedoraproject.#"]])]
    queue: str = ""
    arguments: dict[str, Any] = {}


class Qos(Struct, kw_only=True):
    """How many messages the broker sends ahead, per queue; 0 is no limit.

    Attributes:
        prefetch_count: Messages.
        prefetch_size: Bytes; RabbitMQ takes only 0.
    """

    prefetch_count: Annotated[int, Meta(ge=0, le=PREFETCH_MAX)] = 10
    prefetch_size: Annotated[int, Meta(ge=0, le=4294967295)] = 0


class Tls(Struct, kw_only=True):
    """Files for `amqps://` URLs.

    Attributes:
        ca_cert: Certificates of those who may sign the broker's; by default the system's.
        certfile: Our certificate, to log in with; `keyfile` is needed, too.
        keyfile: Its key.
    """

    ca_cert: str | None = None
    certfile: str | None = None
    keyfile: str | None = None


class Monitoring(Struct, kw_only=True):
    """An HTTP listener that tells how the process is; an empty table is none.

    `/live` answers 503 while an event loop is stuck. `/ready` has counters, and answers 503 with a `reason`
    while messages cannot come, or make no progress. `/status` has all that is known, as JSON. `/metrics` is
    for Prometheus, if the extra `metrics` is installed.

    Attributes:
        port: Where it listens.
        address: On which address; by default on all.
        always_ready: `/ready` answers 200 always.
        stuck_after: Seconds after which unsettled messages mean that there is no progress.
    """

    port: Annotated[int, Meta(ge=0, le=65535, examples=[9100])]
    address: str = ""
    always_ready: bool = False
    stuck_after: Annotated[float, Meta(ge=1, le=1e9)] = 1800


class Retry(Struct, kw_only=True, forbid_unknown_fields=True):
    """When and how often a message whose callback failed is tried again.

    Attributes:
        attempts: How often a callback sees a message in all.
        delay: Seconds before the second attempt; each further delay is twice as long, shortened by up to 30
            % at random.
        max_delay: Cap of the delay in seconds.
        on: Exceptions that are tried again: names of Python's or of those in `fedora_messaging.exceptions`,
            or `"module:Class"`. `Nack` is an `Exception`; `Drop` and `HaltConsumer` are never tried again.
    """

    attempts: Annotated[int, Meta(ge=1, le=1_000_000)] = _retry.attempts
    delay: Pause = _retry.delay
    max_delay: Pause = _retry.max_delay
    on: Annotated[list[Text], Meta(examples=[["Nack", "mine:Error"]])] = field(
        default_factory=lambda: [kind.__name__ for kind in _retry.on]
    )


class DeadLetter(Struct, kw_only=True, forbid_unknown_fields=True):
    """Keeping what could not be processed.

    Attributes:
        queue: Durable queue that keeps what was given up, and invalid messages.
    """

    queue: Annotated[Text, Meta(examples=["mine.dead"])]


class Dedupe(Struct, kw_only=True, forbid_unknown_fields=True):
    """Remembering which messages were processed.

    Attributes:
        path: SQLite file that remembers their ids; processes may share it.
        window: For how many seconds.
    """

    path: Annotated[Text, Meta(examples=["/var/lib/mine/seen.db"])]
    window: Age = 86400


class Consumer(Struct, kw_only=True, forbid_unknown_fields=True):
    """What becomes of messages.

    Without this table messages are processed one at a time per queue, `Nack` puts a message back at once,
    and an unexpected exception ends consuming, as in version 3.9.

    Attributes:
        concurrency: Callbacks at once, per queue. The prefetch is at least as large.
        ordering_key: Messages with the same key are processed one after the other: `"topic"`, the name of a
            header, or `"module:function"`, which is called with the message.
        timeout: Seconds for a callback; longer counts as an exception (`CallbackTimeout`). A coroutine is
            cancelled; a thread cannot be, and is left to itself.
        retry: When to try again what failed.
        dead_letter: Where to keep what failed.
        dedupe: How to process each message only once.
        resubscribe: Subscribe again when the broker cancels the consumer (its queue was deleted, or the
            node that had it went), with growing pauses, instead of ending with `ConsumerCanceled`. A
            consumer that is canceled while a callback runs, and whose queue is still there, is subscribed
            again in any case: RabbitMQ 4.3 cancels those whose callback takes longer than
            `consumer_timeout`.
        stop_timeout: Seconds for running callbacks to end when consuming is stopped. What runs longer is
            given up, and its message goes back to the queue.
        watchdog: Seconds without a delivery after which the broker is asked whether messages wait. If they
            do and none arrives, the consumer is subscribed again, and then the connection is made again. If
            `amqp_url` is a list, another node is asked, too, and gone to if it knows of messages. 0 never
            asks.
        arguments: Of the subscription, for example `x-priority`, or `x-stream-offset` (`"first"`, `"last"`,
            `"next"`, an offset or a time) for a stream of RabbitMQ.
    """

    concurrency: Annotated[int, Meta(ge=1, le=1000)] = _consumer.concurrency
    ordering_key: Annotated[Text | None, Meta(examples=["topic"])] = None
    timeout: Annotated[Pause | None, Meta(examples=[60])] = None
    retry: Retry | None = None
    dead_letter: DeadLetter | None = None
    dedupe: Dedupe | None = None
    resubscribe: bool = _consumer.resubscribe
    stop_timeout: Seconds = _consumer.stop_timeout or 0.0
    watchdog: Seconds = _consumer.watchdog
    arguments: Annotated[dict[str, Any], Meta(examples=[{"x-priority": 10}])] = {}


class Publisher(Struct, kw_only=True, forbid_unknown_fields=True):
    """How messages are published.

    Attributes:
        mandatory: A publish fails with `PublishReturned` if no queue is bound for the message.
    """

    mandatory: bool = False


class Outbox(Struct, kw_only=True, forbid_unknown_fields=True):
    """Messages are stored before they are sent; either `path` or `url` is needed.

    See [publishing while the broker is away](../how-to/outbox.md).

    Attributes:
        path: SQLite file.
        url: PostgreSQL database; the environment variable `FEDORA_MESSAGING_OUTBOX_URL` wins over it.
        max_messages: Messages that it may hold.
        max_bytes: Bytes that they may have.
        max_age: Seconds that the oldest may have waited for nothing more to be taken.
    """

    path: Annotated[Text | None, Meta(examples=["/var/lib/mine/outbox.db"])] = None
    url: Annotated[Text | None, Meta(examples=["postgresql://user:password@host/database"])] = None
    max_messages: Annotated[int, Meta(ge=1, le=1_000_000_000)] = _outbox.max_messages
    max_bytes: Annotated[int, Meta(ge=1, le=1 << 50)] = _outbox.max_bytes
    max_age: Annotated[Age | None, Meta(examples=[86400])] = None


class Configuration(Struct, kw_only=True, forbid_unknown_fields=True):
    """The configuration of fedora-messaging.

    Attributes:
        amqp_url: Where the broker is. A list of URLs names the nodes of a cluster: each attempt to connect
            takes one at random. The environment variable `FEDORA_MESSAGING_AMQP_URL` wins over it.
        amqp_url_file: File that holds the URL, for secrets; wins over `amqp_url`.
        client_properties: Shown by the broker beside the connection; `product`, `information` and `version`
            cannot be changed.
        publish_exchange: Exchange that `publish` uses.
        topic_prefix: Put before every published topic, with a dot.
        publish_priority: AMQP priority of published messages.
        passive_declares: Only check that queues exist.
        exchanges: Accepted, and not used.
        queues: Queues to declare and consume, by their names; the broker names the queue `""`.
        bindings: Which messages they get.
        qos: How many messages the broker sends ahead.
        callback: What `fedora-messaging consume` calls.
        monitoring: An HTTP listener.
        consumer_config: Free for the application.
        tls: Files for `amqps://` URLs.
        log_config: A dictionary for `logging.config.dictConfig`; by default INFO and above go to standard
            output.
        log_timestamps: Put the time before each line of `log_config`, unless its format shows it already.
        consumer: What becomes of messages whose callback fails, and the like.
        publisher: How messages are published.
        outbox: Where messages are stored before they are sent.
    """

    amqp_url: Annotated[
        str | Annotated[list[str], Meta(min_length=1)], Meta(examples=["amqp://user:password@localhost/%2F"])
    ] = DEFAULTS["amqp_url"]
    amqp_url_file: Annotated[Text | None, Meta(examples=["/run/secrets/amqp_url"])] = None
    client_properties: Annotated[dict[str, Any], Meta(examples=[{"app": "mine"}])] = field(
        default_factory=lambda: DEFAULTS["client_properties"]
    )
    publish_exchange: str = DEFAULTS["publish_exchange"]
    topic_prefix: Annotated[str, Meta(examples=["org.fedoraproject.prod"])] = ""
    publish_priority: Annotated[Annotated[int, Meta(ge=0, le=255)] | None, Meta(examples=[1])] = None
    passive_declares: bool = False
    exchanges: dict[str, Any] = field(default_factory=lambda: DEFAULTS["exchanges"])
    queues: dict[str, Queue] = {}
    bindings: list[Binding] = []
    qos: Qos = field(default_factory=Qos)
    callback: Annotated[str | None, Meta(examples=["module:function"])] = None
    monitoring: Monitoring | None = None
    consumer_config: dict[str, Any] = {}
    tls: Tls = field(default_factory=Tls)
    log_config: dict[str, Any] = {}
    log_timestamps: bool = False
    consumer: Consumer | None = None
    publisher: Publisher | None = None
    outbox: Outbox | None = None
