"""Random sequences of operations, made of a seed: the same seed makes the same sequence everywhere."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from random import Random
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

#: The connection of a user with limited permissions; those before it may do everything.
LIMITED: Final = 2
CHANNELS: Final = (1, 2)

_QUEUES: Final = ("q0", "q1", "q2")
#: Queues whose names the broker chooses: they are declared with an empty one.
_SERVER_NAMED: Final = ("s0", "s1")
_EXCHANGES: Final = ("x0", "x1", "x2")
_TAGS: Final = ("c0", "c1", "c2")
_POLICIES: Final = ("p0", "p1")
_TYPES: Final = ("direct", "topic", "fanout", "headers")
_KEYS: Final = ("", "a", "a.b", "a.b.c", "b", "q0", "q1")
_PATTERNS: Final = ("#", "*", "a.*", "a.#", "#.b", "*.b.#", "a..b", "")
_HEADERS: Final[tuple[dict[str, Any], ...]] = (
    {},
    {"h": "v"},
    {"h": "v", "n": 1},
    {"x-match": "any", "h": "v", "n": 2},
    {"x-match": "all", "h": "v"},
    {"x-match": "any-with-x", "x-h": "v"},
    {"x-match": "all-with-x", "x-h": "v"},
    {"x-match": "never"},
    {"x-match": True},
    {"n": 1.0},
    {"h": None},
)
_MESSAGE_HEADERS: Final[tuple[dict[str, Any], ...]] = (
    {"h": "v"},
    {"h": "v", "n": 1},
    {"n": 2, "x-h": "v"},
    {"z": "late", "b": True, "a": [1, "two"]},
    {"CC": ["a", "q1"]},
    {"BCC": ["q0", "a.b"]},
    {"CC": ["q1", "q1"], "BCC": ["q2"]},
    {"CC": "q0"},
    {"BCC": [1]},
)
#: Names have a prefix that ends with a dot; what the broker chooses for a name may contain any letter.
_PERMITTED: Final = (
    ".*",
    ".*",
    r"\.q",
    r"\.x",
    r"\.q0",
    r"\.[qx][01]$",
    r"\.[qx]|^amq\.default$",
    "amq.default",
    r"^amq\.gen-",
    "^q0",
    "",
)
_OFFSETS: Final[tuple[Any, ...]] = (
    "first",
    "first",
    "last",
    "next",
    0,
    1,
    3,
    1000,
    "1h",
    datetime(2020, 1, 1, tzinfo=UTC),
    datetime(2100, 1, 1, tzinfo=UTC),
)
_WRONG_OFFSETS: Final[tuple[Any, ...]] = ("", "x", "0", "1x", -1, 1.5)


@dataclass(frozen=True)
class Operation:
    """One step of a client.

    Attributes:
        kind: Name of the step, after the AMQP method where there is one.
        connection: Which connection does it; the management API has none.
        channel: Which channel of it.
        fields: What the step is done with; what is missing has its default.
    """

    kind: str
    connection: int = 0
    channel: int = 1
    fields: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        told = ", ".join(f"{name}={value!r}" for name, value in self.fields.items())
        where = "" if self.kind.startswith("http.") else f"{self.connection}/{self.channel} "
        return f"{where}{self.kind}({told})"

    @property
    def names(self) -> str:
        """Everything that the step mentions, to search in."""
        return str(self)


def sequence(seed: str, management: bool) -> list[Operation]:
    """Make a sequence of about 15 operations."""
    return list(_Maker(Random(seed), management).operations())


class _Maker:
    """Prefers names that exist, so that most steps do something."""

    def __init__(self, random: Random, management: bool) -> None:
        self._random = random
        self._queues: list[str] = []
        self._exchanges: list[str] = []
        self._tags: list[str] = []
        # Few sequences use everything: those that use little reach further into it.
        self._quorum = random.random() < 0.25
        self._wrong = random.random() < 0.3
        self._streams = random.random() < 0.08
        self._limited = management and random.random() < 0.12
        kinds: list[tuple[int, Callable[[], Operation]]] = [
            (7, self._declare_queue),
            (5, self._declare_exchange),
            (7, self._bind),
            (3, self._unbind),
            (2, self._bind_exchange),
            (1, self._unbind_exchange),
            (24, self._publish),
            (6, self._get),
            (9, self._consume),
            (3, self._cancel),
            (11, self._settle),
            (2, self._purge),
            (2, self._delete_queue),
            (2, self._delete_exchange),
            (3, self._qos),
            (2, self._recover),
            (3, lambda: self._step("confirm.select")),
            (2, self._transact),
            (2, lambda: self._step("channel.close")),
            (1, lambda: self._step("connection.close")),
        ]
        if self._limited:
            kinds += [(3, self._permit), (1, self._permit_topic)]
        if management and random.random() < 0.5:
            kinds += [
                (5, self._set_policy),
                (1, self._delete_policy),
                (2, self._http_publish),
                (2, self._http_get),
                (1, self._http_declare),
                (1, self._http_delete),
            ]
        self._weights = [weight for weight, _ in kinds]
        self._makers = [make for _, make in kinds]
        # Channels that the sequence uses: mostly few, so that the steps meet.
        self._places = random.sample([(0, 1), (0, 2), (1, 1)], random.choice((1, 1, 2, 3)))
        if self._limited:
            self._places = [*self._places[:1], (LIMITED, 1)]
        self._transacts = random.random() < 0.1
        if self._transacts:
            self._weights[self._makers.index(self._transact)] = 20

    def operations(self) -> Iterator[Operation]:
        if self._transacts:
            yield self._step("tx.select")
        elif self._chance(0.3):
            yield self._step("confirm.select")
        if self._limited:
            yield self._permit()
        if self._streams:
            yield self._step("qos", count=self._random.choice((1, 2, 2, 5)))
        for _ in range(self._random.choice((1, 1, 2, 3))):
            yield self._declare_queue()
        for _ in range(self._random.choice((0, 1, 2))):
            yield self._declare_exchange()
        if self._exchanges:
            yield self._bind()
        for _ in range(self._random.randint(4, 16)):
            yield self._random.choices(self._makers, self._weights)[0]()

    def _chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def _step(self, kind: str, **fields: Any) -> Operation:
        connection, channel = self._random.choice(self._places)
        always = ("pick", "queue", "routing_key")
        kept = {name: value for name, value in fields.items() if value or name in always}
        if self._limited and kind.startswith("http.") and "polic" not in kind and self._chance(0.6):
            kept["limited"] = True
        return Operation(kind, connection, channel, kept)

    def _of(self, made: Sequence[str], all_of_them: Sequence[str]) -> str:
        return self._random.choice(made if made and not self._chance(0.05) else all_of_them)

    def _queue(self) -> str:
        if self._chance(0.02):
            return ""
        return self._of(self._queues, _QUEUES)

    def _exchange(self) -> str:
        if self._wrong and self._chance(0.1):
            return self._random.choice(("", "amq.direct", "amq.fanout", "amq.topic"))
        return self._of(self._exchanges, _EXCHANGES)

    def _key(self) -> str:
        return self._random.choice(_KEYS)

    def _arguments(self) -> dict[str, Any]:
        if self._streams and self._chance(0.6):
            return self._stream_arguments()
        chosen: dict[str, Any] = {}
        if self._quorum and self._chance(0.7):
            chosen["x-queue-type"] = "quorum"
        pool: list[tuple[str, tuple[Any, ...]]] = [
            ("x-max-length", (0, 1, 2, 3)),
            ("x-max-length-bytes", (0, 2, 5, 10)),
            ("x-overflow", ("drop-head", "reject-publish", "reject-publish-dlx")),
            ("x-dead-letter-exchange", ("", "x0", "x1")),
            ("x-dead-letter-routing-key", ("q0", "q1", "a.b")),
            ("x-message-ttl", (0, 3_600_000)),
            ("x-expires", (3_600_000,)),
            ("x-max-priority", (1, 5, 255)),
            ("x-single-active-consumer", (True, False)),
            ("x-delivery-limit", (0, 1, 2)),
        ]
        for name, values in self._random.sample(pool, self._random.choice((0, 0, 1, 1, 2, 3))):
            value = self._random.choice(values)
            if name == "x-dead-letter-routing-key":
                chosen.setdefault("x-dead-letter-exchange", self._random.choice(("", "x0")))
            chosen[name] = value
        if self._wrong and self._chance(0.15):
            chosen |= self._random.choice(_WRONG_ARGUMENTS)
        return chosen

    def _stream_arguments(self) -> dict[str, Any]:
        pool: list[tuple[str, tuple[Any, ...]]] = [
            ("x-max-length-bytes", (1_000_000,)),
            ("x-max-age", ("1h", "1Y", "7D")),
            ("x-stream-max-segment-size-bytes", (1000, 1_000_000)),
            ("x-queue-leader-locator", ("client-local", "balanced")),
        ]
        if self._wrong:
            pool += [
                ("x-max-length", (1,)),
                ("x-max-length-bytes", (-1, "1")),
                ("x-max-age", ("1", "1x", "", 1)),
                ("x-stream-max-segment-size-bytes", (-1, "1")),
                ("x-message-ttl", (3_600_000,)),
                ("x-expires", (3_600_000,)),
                ("x-max-priority", (5,)),
                ("x-overflow", ("drop-head",)),
                ("x-dead-letter-exchange", ("x0",)),
                ("x-single-active-consumer", (True,)),
                ("x-delivery-limit", (1,)),
                ("x-unknown", (1,)),
            ]
        chosen: dict[str, Any] = {"x-queue-type": "stream"}
        for name, values in self._random.sample(pool, self._random.choice((0, 0, 1, 2))):
            chosen[name] = self._random.choice(values)
        return chosen

    def _declare_queue(self) -> Operation:
        name = self._random.choice(_QUEUES)
        if self._chance(0.06):
            return self._step("queue.declare", queue=self._queue(), passive=True)
        if self._chance(0.06):
            name = self._random.choice(_SERVER_NAMED)
        arguments = self._arguments()
        quorum = arguments.get("x-queue-type") in ("quorum", "stream")
        self._queues.append(name)
        odd = self._wrong or not quorum
        return self._step(
            "queue.declare",
            queue=name,
            durable=quorum or self._chance(0.4),
            exclusive=odd and self._chance(0.1),
            auto_delete=odd and self._chance(0.15),
            arguments=arguments,
        )

    def _declare_exchange(self) -> Operation:
        name = self._random.choice(_EXCHANGES)
        if self._chance(0.06):
            return self._step("exchange.declare", exchange=name, passive=True)
        kind = self._random.choice(_TYPES)
        if self._wrong and self._chance(0.1):
            return self._step("exchange.declare", exchange="amq.x", exchange_type=kind)
        self._exchanges.append(name)
        alternate = self._random.choice(_EXCHANGES) if self._chance(0.15) else None
        return self._step(
            "exchange.declare",
            exchange=name,
            exchange_type=kind,
            durable=self._chance(0.3),
            auto_delete=self._chance(0.15),
            internal=self._chance(0.07),
            arguments={"alternate-exchange": alternate} if alternate else {},
        )

    def _binding(self) -> dict[str, Any]:
        key = self._random.choice(_KEYS + _PATTERNS)
        return {
            "routing_key": key,
            "arguments": self._random.choice(_HEADERS) if self._chance(0.3) else {},
        }

    def _bind(self) -> Operation:
        return self._step("queue.bind", queue=self._queue(), exchange=self._exchange(), **self._binding())

    def _unbind(self) -> Operation:
        return replace(self._bind(), kind="queue.unbind")

    def _bind_exchange(self) -> Operation:
        return self._step(
            "exchange.bind", destination=self._exchange(), source=self._exchange(), **self._binding()
        )

    def _unbind_exchange(self) -> Operation:
        return replace(self._bind_exchange(), kind="exchange.unbind")

    def _target(self) -> dict[str, str]:
        if self._chance(0.5):
            return {"exchange": "", "routing_key": self._queue()}
        return {"exchange": self._exchange(), "routing_key": self._key()}

    def _publish(self) -> Operation:
        expiration = None
        if self._chance(0.15):
            expiration = self._random.choice(("0", "0", "3600000", "x" if self._wrong else "3600000"))
        return self._step(
            "publish",
            **self._target(),
            mandatory=self._chance(0.25),
            expiration=expiration,
            priority=self._random.choice((0, 1, 4, 9)) if self._chance(0.15) else None,
            delivery_mode=self._random.choice((1, 2)) if self._chance(0.4) else None,
            headers=self._random.choice(_MESSAGE_HEADERS) if self._chance(0.3) else None,
        )

    def _get(self) -> Operation:
        return self._step("get", queue=self._queue(), no_ack=self._chance(0.3))

    def _consume(self) -> Operation:
        tag = self._random.choice(_TAGS)
        self._tags.append(tag)
        arguments: dict[str, Any] = {}
        if self._chance(0.05 if self._streams else 0.15):
            arguments["x-priority"] = self._random.choice((-1, 1, 5))
        if self._streams and self._chance(0.8):
            wrong = self._wrong and self._chance(0.2)
            arguments["x-stream-offset"] = self._random.choice(_WRONG_OFFSETS if wrong else _OFFSETS)
        if self._wrong and self._chance(0.05):
            arguments |= self._random.choice(_CONSUMER_ARGUMENTS)
        return self._step(
            "consume",
            queue=self._queue(),
            tag=tag,
            no_ack=self._chance(0.07 if self._streams else 0.2),
            exclusive=self._chance(0.07),
            arguments=arguments,
        )

    def _cancel(self) -> Operation:
        return self._step("cancel", tag=self._of(self._tags, _TAGS))

    def _settle(self) -> Operation:
        kinds = ("ack", "nack", "nack", "reject", "reject")
        kind = "ack" if self._streams and self._chance(0.6) else self._random.choice(kinds)
        unknown = self._wrong and self._chance(0.1)
        return self._step(
            kind,
            pick=self._random.choice((0, 0, 0, 1, 2, -1)),
            requeue=kind != "ack" and self._chance(0.5),
            multiple=kind != "reject" and self._chance(0.3),
            everything=kind != "reject" and self._chance(0.1),
            unknown=unknown,
        )

    def _purge(self) -> Operation:
        return self._step("queue.purge", queue=self._queue())

    def _delete_queue(self) -> Operation:
        return self._step(
            "queue.delete",
            queue=self._queue(),
            if_unused=self._chance(0.3),
            if_empty=self._chance(0.3),
        )

    def _delete_exchange(self) -> Operation:
        return self._step("exchange.delete", exchange=self._exchange(), if_unused=self._chance(0.4))

    def _qos(self) -> Operation:
        return self._step("qos", count=self._random.choice((0, 1, 1, 2)), everywhere=self._chance(0.25))

    def _recover(self) -> Operation:
        return self._step("recover", requeue=self._chance(0.9))

    def _transact(self) -> Operation:
        return self._step(self._random.choice(("tx.select", "tx.commit", "tx.commit", "tx.rollback")))

    def _permit(self) -> Operation:
        permissions = {name: self._random.choice(_PERMITTED) for name in ("configure", "write", "read")}
        return Operation("http.permissions", fields=permissions)

    def _permit_topic(self) -> Operation:
        fields = {name: self._random.choice((".*", "^a", "b$", "")) for name in ("write", "read")}
        return Operation("http.topic", fields={"exchange": self._exchange(), **fields})

    def _set_policy(self) -> Operation:
        definition = self._random.choice(
            (
                {"max-length": 0},
                {"max-length": 1},
                {"max-length": 2},
                {"max-length": 2, "overflow": "reject-publish"},
                {"max-length-bytes": 5},
                {"dead-letter-exchange": "x0"},
                {"dead-letter-exchange": "", "dead-letter-routing-key": "q1"},
                {"max-length": 1, "dead-letter-exchange": "", "dead-letter-routing-key": "q2"},
                {"delivery-limit": 1},
                {"alternate-exchange": "x1"},
                {"max-length": -1},
                {"unknown-key": 1},
            )
        )
        kinds = ("queues", "queues", "all", "exchanges", "classic_queues", "quorum_queues", "streams")
        name = self._random.choice(_POLICIES)
        return self._step(
            "http.policy",
            policy=name,
            pattern=self._random.choice(("", "q0", "q", "x0")),
            definition=definition,
            # Never the same for two: which one applies then is not determined.
            priority=_POLICIES.index(name) + self._random.choice((0, 0, 2)),
            apply_to=self._random.choice(kinds[:4] if self._chance(0.8) else kinds),
        )

    def _delete_policy(self) -> Operation:
        return self._step("http.unpolicy", policy=self._random.choice(_POLICIES))

    def _http_publish(self) -> Operation:
        return self._step(
            "http.publish",
            **self._target(),
            headers=self._random.choice(_MESSAGE_HEADERS[:5]) if self._chance(0.3) else None,
        )

    def _http_get(self) -> Operation:
        return self._step(
            "http.get",
            queue=self._queue() or "q0",
            count=self._random.choice((1, 2, 10)),
            ackmode=self._random.choice(
                ("ack_requeue_true", "ack_requeue_false", "reject_requeue_true", "reject_requeue_false")
            ),
        )

    def _http_declare(self) -> Operation:
        name = self._random.choice(_QUEUES)
        arguments = self._arguments()
        self._queues.append(name)
        return self._step(
            "http.declare", queue=name, durable=self._chance(0.7), auto_delete=False, arguments=arguments
        )

    def _http_delete(self) -> Operation:
        return self._step("http.delete", queue=self._queue() or "q0", if_unused=self._chance(0.3))


#: Some types of queues take them.
_CONSUMER_ARGUMENTS: Final[tuple[dict[str, Any], ...]] = (
    {"x-stream-offset": "first"},
    {"x-stream-filter": "f"},
    {"x-stream-match-unfiltered": True},
    {"x-cancel-on-ha-failover": True},
    {"x-priority": "1"},
    {"x-unknown": 1},
)
_WRONG_ARGUMENTS: Final[tuple[dict[str, Any], ...]] = (
    {"x-max-length": -1},
    {"x-max-length": "1"},
    {"x-overflow": "drop"},
    {"x-message-ttl": -1},
    {"x-message-ttl": "1"},
    {"x-expires": 0},
    {"x-max-priority": 256},
    {"x-max-priority": -1},
    {"x-dead-letter-exchange": 1},
    {"x-dead-letter-routing-key": "a"},
    {"x-queue-type": "unknown"},
    {"x-queue-type": ""},
    {"x-single-active-consumer": "yes"},
    {"x-delivery-limit": "1"},
    {"x-unknown": True},
    {"x-queue-mode": "lazy"},
    {"x-queue-version": 2},
)
