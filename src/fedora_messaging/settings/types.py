"""The keys of a configuration, with their types, ranges, defaults and descriptions.

Checks, error texts, the page ``docs/reference/configuration.md`` and the JSON Schema come from these classes
and their docstrings.

Tables that version 3.9 had accept unknown keys, as they did there; tables that are newer refuse them.
"""

from typing import Annotated, Any, Final, TypeAlias

from msgspec import Meta, Struct, field

from ..limits import PREFETCH_MAX
from ..options import ConsumerOptions, OutboxOptions, RetryOptions
from .defaults import DEFAULTS

#: RabbitMQ accepts times to live below 2^32 milliseconds.
_DELAY_MAX: Final = 4_000_000.0

_consumer = ConsumerOptions()
_outbox = OutboxOptions()
_retry = RetryOptions()

Text: TypeAlias = Annotated[str, Meta(min_length=1)]
Seconds: TypeAlias = Annotated[float, Meta(ge=0, le=_DELAY_MAX)]
#: Seconds of a pause or a limit; 0 would mean that there is none.
Pause: TypeAlias = Annotated[float, Meta(ge=0.001, le=_DELAY_MAX)]
#: Seconds, up to ten years.
Age: TypeAlias = Annotated[float, Meta(ge=1, le=10 * 365 * 86400)]


class Queue(Struct, kw_only=True):
    """A queue to declare and consume.

    Attributes:
        durable: The queue survives a restart of the broker.
        auto_delete: The broker deletes the queue when its last consumer leaves.
        exclusive: Only this connection may use the queue, and the queue ends with it.
        arguments: Arguments of the declaration.
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
        exchange: Exchange that the messages come from.
        routing_keys: Their topics; `*` stands for a word and `#` for any number of words.
        queue: Queue that gets them; by default the one that the broker names.
        arguments: Arguments of the binding, for a headers exchange.
    """

    exchange: Annotated[str, Meta(examples=["amq.topic"])]
    routing_keys: Annotated[list[str], Meta(examples=[["org.fedoraproject.#"]])]
    queue: str = ""
    arguments: dict[str, Any] = {}


class Qos(Struct, kw_only=True):
    """How much the broker sends ahead of acknowledgements, per queue; 0 means no limit.

    Attributes:
        prefetch_count: Limit in messages.
        prefetch_size: Limit in bytes; RabbitMQ accepts only 0.
    """

    prefetch_count: Annotated[int, Meta(ge=0, le=PREFETCH_MAX)] = 10
    prefetch_size: Annotated[int, Meta(ge=0, le=4294967295)] = 0


class Tls(Struct, kw_only=True):
    """Files for `amqps://` URLs.

    Attributes:
        ca_cert: Certificates of the authorities that may sign the broker's; by default the system's.
        certfile: Certificate of the client, to log in with; it needs `keyfile`, too.
        keyfile: Private key of `certfile`.
    """

    ca_cert: str | None = None
    certfile: str | None = None
    keyfile: str | None = None


class Monitoring(Struct, kw_only=True):
    """An HTTP listener that reports the state of the process; an empty table means no listener.

    `/live` answers 503 while an event loop is stuck. `/ready` has counters, and answers 503 with a `reason`
    while messages cannot arrive or make no progress. `/status` has the whole state, as JSON. `/metrics` is
    for Prometheus, if the extra `metrics` is installed.

    Attributes:
        port: TCP port to listen on.
        address: Address to listen on; by default all addresses.
        always_ready: `/ready` always answers 200.
        stuck_after: Seconds; if received messages stay unsettled for longer, they make no progress.
    """

    port: Annotated[int, Meta(ge=0, le=65535, examples=[9100])]
    address: str = ""
    always_ready: bool = False
    stuck_after: Annotated[float, Meta(ge=1, le=1e9)] = 1800


class Retry(Struct, kw_only=True, forbid_unknown_fields=True):
    """When and how often to try a message again whose callback failed.

    Attributes:
        attempts: How often a callback gets a message in all, the first time included.
        delay: Seconds before the second attempt; each further delay is twice as long. All are shortened by up
            to 30 % at random.
        max_delay: Cap of the delay in seconds.
        on: Exceptions that cause another attempt: names of Python's or of those in
            `fedora_messaging.exceptions`, or `"module:Class"`. `Nack` is an `Exception`; `Drop` and
            `HaltConsumer` never cause one.
    """

    attempts: Annotated[int, Meta(ge=1, le=1_000_000)] = _retry.attempts
    delay: Pause = _retry.delay
    max_delay: Pause = _retry.max_delay
    on: Annotated[list[Text], Meta(examples=[["Nack", "mine:Error"]])] = field(
        default_factory=lambda: [kind.__name__ for kind in _retry.on]
    )


class DeadLetter(Struct, kw_only=True, forbid_unknown_fields=True):
    """Keeping messages that could not be processed.

    Attributes:
        queue: Durable queue that keeps messages that were given up, and invalid messages.
    """

    queue: Annotated[Text, Meta(examples=["mine.dead"])]


class Dedupe(Struct, kw_only=True, forbid_unknown_fields=True):
    """Remembering which messages were processed.

    Attributes:
        path: SQLite file that remembers their ids; several processes may share it.
        window: Seconds for which it remembers an id.
    """

    path: Annotated[Text, Meta(examples=["/var/lib/mine/seen.db"])]
    window: Age = 86400


class Consumer(Struct, kw_only=True, forbid_unknown_fields=True):
    """How messages are processed, and what happens to those whose callback fails.

    Without this table messages are processed one at a time per queue, `Nack` puts a message back at once,
    and an unexpected exception ends consuming, as in version 3.9.

    Attributes:
        concurrency: Callbacks that may run at once, per queue. A smaller prefetch is raised to this number.
        ordering_key: Messages with the same key are processed one after the other: `"topic"`, the name of a
            header, or `"module:function"`, which is called with the message.
        timeout: Seconds that a callback may take; a longer one fails with `CallbackTimeout`. The library
            cancels a coroutine; it cannot stop a thread, and leaves it running.
        retry: When to try a message again whose callback failed.
        dead_letter: Where to keep messages that failed.
        dedupe: How to process each message only once.
        resubscribe: Subscribe again, after growing pauses, when the broker cancels the consumer (its queue
            was deleted, or the queue's node went down), instead of ending with `ConsumerCanceled`. If the
            broker cancels the consumer while a callback runs, and the queue is still there, the library
            subscribes again in any case: RabbitMQ 4.3 cancels consumers whose callback takes longer than
            `consumer_timeout`.
        stop_timeout: Seconds for running callbacks to end when consuming is stopped. A callback that runs
            longer is given up, and its message goes back to the queue.
        watchdog: Seconds without a delivery after which the library asks the broker whether messages wait. If
            some wait and none arrives, it subscribes again, and if that does not help it reconnects. If
            `amqp_url` is a list, it asks another node, too, and reconnects if messages wait there. 0 turns
            this off.
        arguments: Arguments of the subscription, for example `x-priority`, or `x-stream-offset` (`"first"`,
            `"last"`, `"next"`, an offset or a time) for a stream of RabbitMQ.
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
    """A store for messages before they are sent; either `path` or `url` is needed.

    See [publishing while the broker is away](../how-to/outbox.md).

    Attributes:
        path: SQLite file.
        url: PostgreSQL database; the environment variable `FEDORA_MESSAGING_OUTBOX_URL` wins over it.
        max_messages: Most messages that the outbox may hold.
        max_bytes: Most bytes that they may have together.
        max_age: Seconds; if the oldest message has waited longer, the outbox refuses new ones.
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
        amqp_url_file: File that holds the URL, for secrets; it wins over `amqp_url`.
        client_properties: Properties that the broker shows beside the connection; `product`, `information`
            and `version` cannot be changed.
        publish_exchange: Exchange that `publish` uses.
        topic_prefix: Prefix that is put before every published topic, with a dot.
        publish_priority: AMQP priority of published messages.
        passive_declares: Only check that queues exist.
        exchanges: Accepted for compatibility, but not used.
        queues: Queues to declare and consume, by their names; the broker names the queue `""`.
        bindings: Which messages the queues get.
        qos: How many messages the broker sends ahead.
        callback: Callback that `fedora-messaging consume` calls.
        monitoring: An HTTP listener that reports the state of the process.
        consumer_config: Settings of the application; the library does not use them.
        tls: Files for `amqps://` URLs.
        log_config: A dictionary for `logging.config.dictConfig`; by default INFO and above go to standard
            output.
        log_timestamps: Put the time before each line of `log_config`, unless its format shows it already.
        consumer: How messages are processed, and what happens to those whose callback fails.
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
