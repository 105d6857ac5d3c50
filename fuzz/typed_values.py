"""Field values of every AMQP type at their limits, and tables, arguments and properties made of them."""

import random
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from fedora_messaging.wire.fields import encode_longstr, encode_shortstr, join_table

_WHOLE: Final = {b"b": 1, b"B": 1, b"s": 2, b"u": 2, b"I": 4, b"i": 4, b"l": 8, b"L": 8}
_FLOATS: Final = (0.0, -0.0, 1.5, 1e-45, -3.4e38, float("inf"), float("-inf"), float("nan"))
TEXTS: Final = (
    b"",
    b"a",
    b"q0",
    b"e0",
    b"drop-head",
    b"reject-publish",
    b"0",
    b"-1",
    b"\0",
    b"\xff\xfe",
    b"\xed\xb2\x80",
    b"\x1b[2J\r\nforged",
    "zażółć 🐢".encode(),
    b"x" * 255,
    b"y" * 256,
)
#: The types of exchanges, and one that there is not.
EXCHANGE_TYPES: Final = (
    "direct",
    "topic",
    "fanout",
    "headers",
    "x-consistent-hash",
    "x-modulus-hash",
    "x-random",
    "x-local-random",
    "x-delayed-message",
    "x-none",
)
_KEYS: Final = ("", "a", "x-death", "x-match", "CC", "n" * 255, "\udcff", "\x1b[2J")
#: Signed and unsigned limits of 8, 16, 32 and 64 bit, and what lies around them.
INTEGERS: Final = tuple(
    sorted(
        {0, 1, 2, 5, 10, -1}
        | {
            sign * (1 << bits) + by
            for bits in (7, 8, 15, 16, 31, 32, 63)
            for sign in (1, -1)
            for by in (-1, 0, 1)
        }
    )
)


def integer(number: int, tag: bytes) -> bytes:
    """Write an integer of a type; what does not fit is cut."""
    size = _WHOLE[tag]
    return tag + (number & ((1 << 8 * size) - 1)).to_bytes(size, "big")


def text(raw: bytes) -> bytes:
    """Write a text."""
    return b"S" + encode_longstr(raw)


def array(items: Sequence[bytes]) -> bytes:
    """Write an array of encoded values."""
    return b"A" + encode_longstr(b"".join(items))


def table(fields: Mapping[str, bytes]) -> bytes:
    """Write a table of encoded values, as a value."""
    return b"F" + join_table(fields)


def any_value(chance: random.Random, depth: int = 0) -> bytes:
    """Return a value of any type."""
    tag = chance.choice(b"tbBsuIilLfdDSxAFTV" if depth < 3 else b"tIlLdDSxTV").to_bytes()
    if tag == b"t":
        return tag + chance.choice((b"\0", b"\1", b"\xff"))
    if tag in _WHOLE:
        return integer(chance.choice(INTEGERS), tag)
    if tag in b"fd":
        return tag + struct.pack(">f" if tag == b"f" else ">d", chance.choice(_FLOATS))
    if tag == b"D":
        return tag + struct.pack(
            ">Bi", chance.choice((0, 2, 255)), chance.choice((0, 1, -(1 << 31), (1 << 31) - 1))
        )
    if tag in b"Sx":
        return tag + encode_longstr(chance.choice(TEXTS))
    if tag == b"A":
        return array([any_value(chance, depth + 1) for _ in range(chance.randrange(4))])
    if tag == b"F":
        return b"F" + any_table(chance, depth + 1)
    if tag == b"T":
        return tag + chance.choice(TIMES)
    return tag


#: 1970, now, before 1970 when it is read as signed, the year 9999 and beyond, and milliseconds.
TIMES: Final = tuple(
    struct.pack(">Q", seconds)
    for seconds in (
        0,
        1,
        1_700_000_000,
        1_700_000_000_000,
        253402300799,
        253402300800,
        1 << 63,
        (1 << 64) - 1,
    )
)


def any_table(chance: random.Random, depth: int = 0) -> bytes:
    """Return a table of any names and values, without a type tag."""
    return join_table({chance.choice(_KEYS): any_value(chance, depth) for _ in range(chance.randrange(4))})


def deep(chance: random.Random) -> bytes:
    """Return a table that nests about as deep as is allowed."""
    value = b"V"
    for _ in range(chance.choice((50, 98, 99, 100, 101, 200))):
        value = table({"n": value}) if chance.random() < 0.5 else array([value])
    return join_table({"deep": value})


class Vocabulary:
    """Arguments that mean something, with values that mostly do.

    Args:
        queues: Names that may be in use.
        exchanges: Likewise.
        keys: Routing keys.
    """

    def __init__(self, queues: Sequence[str], exchanges: Sequence[str], keys: Sequence[str]) -> None:
        def small(chance: random.Random) -> bytes:
            return integer(
                chance.choice((0, 1, 2, 3, 5, 20, 50)), chance.choice((b"I", b"l", b"b", b"B", b"s", b"i"))
            )

        def one_of(*texts: str) -> Callable[[random.Random], bytes]:
            return lambda chance: text(chance.choice(texts).encode("utf-8", "surrogateescape"))

        def flag(chance: random.Random) -> bytes:
            return b"t" + chance.choice((b"\0", b"\1"))

        def names(chance: random.Random) -> bytes:
            return array([one_of(*queues, *keys)(chance) for _ in range(chance.randrange(4))])

        def time(chance: random.Random) -> bytes:
            return b"T" + chance.choice(TIMES)

        def offset(chance: random.Random) -> bytes:
            return chance.choice((one_of("first", "last", "next", "1s", "5D"), small, time, any_value))(
                chance
            )

        flag_of = one_of("a", *queues)

        def death(chance: random.Random) -> bytes:
            fields: dict[str, Callable[[], bytes]] = {
                "count": lambda: integer(chance.choice(INTEGERS), chance.choice((b"l", b"I", b"L", b"i"))),
                "exchange": lambda: one_of(*exchanges)(chance),
                "queue": lambda: one_of(*queues)(chance),
                "reason": lambda: one_of("expired", "rejected", "maxlen", "delivery_limit", "", "other")(
                    chance
                ),
                "routing-keys": lambda: names(chance),
                "time": lambda: time(chance),
                "original-expiration": lambda: one_of("0", "5", "-1", "x")(chance),
            }
            return table(
                {
                    name: any_value(chance) if chance.random() < 0.15 else make()
                    for name, make in fields.items()
                    if chance.random() < 0.9
                }
            )

        def deaths(chance: random.Random) -> bytes:
            many = chance.choice((0, 1, 1, 2, 3, 40))
            return array([any_value(chance) if chance.random() < 0.1 else death(chance) for _ in range(many)])

        Makers = dict[str, Callable[[random.Random], bytes]]
        self.of_queues: Makers = {
            "x-message-ttl": small,
            "x-expires": small,
            "x-max-length": small,
            "x-max-length-bytes": small,
            "x-overflow": one_of("drop-head", "reject-publish", "reject-publish-dlx"),
            "x-dead-letter-exchange": one_of(*exchanges),
            "x-dead-letter-routing-key": one_of(*queues, *keys),
            "x-dead-letter-strategy": one_of("at-most-once", "at-least-once"),
            "x-max-priority": small,
            "x-queue-type": one_of("classic", "quorum", "stream"),
            "x-queue-mode": one_of("lazy", "default"),
            "x-queue-version": small,
            "x-single-active-consumer": flag,
            "x-delivery-limit": small,
            "x-max-age": one_of("1D", "0s", "1s"),
            "x-consumer-timeout": small,
            "x-max-in-memory-length": small,
            "x-max-in-memory-bytes": small,
            "x-queue-leader-locator": one_of("client-local", "balanced"),
            "x-queue-master-locator": one_of("min-masters"),
            "x-initial-cluster-size": small,
            "x-quorum-initial-group-size": small,
            "x-stream-max-segment-size-bytes": small,
            "x-stream-filter-size-bytes": small,
        }
        self.of_exchanges: Makers = {
            "alternate-exchange": one_of(*exchanges),
            "x-delayed-type": one_of(*EXCHANGE_TYPES),
            "hash-header": one_of("a", "x-delay", "nobody"),
            "hash-property": one_of("message_id", "correlation_id", "timestamp", "app_id"),
        }
        self.of_bindings: Makers = {
            "x-match": one_of("all", "any", "all-with-x", "any-with-x"),
            "a": any_value,
            "x-death": deaths,
        }
        self.of_consumers: Makers = {
            "x-priority": small,
            "x-cancel-on-ha-failover": flag,
            "x-stream-offset": offset,
            "x-stream-filter": lambda chance: names(chance) if chance.random() < 0.5 else flag_of(chance),
            "x-stream-match-unfiltered": flag,
        }
        self.of_messages: Makers = {
            "x-death": deaths,
            "x-first-death-exchange": one_of(*exchanges),
            "x-first-death-queue": one_of(*queues),
            "x-first-death-reason": one_of("expired", "rejected"),
            "x-delivery-count": small,
            "x-delay": small,
            "x-stream-filter-value": flag_of,
            "CC": names,
            "BCC": names,
            "a": any_value,
            "time": time,
        }

    def arguments(
        self,
        chance: random.Random,
        makers: Mapping[str, Callable[[random.Random], bytes]],
        wrong: float = 0.05,
    ) -> bytes:
        """Return an encoded table of known arguments, or any table at all.

        Args:
            chance: Decides.
            makers: The arguments.
            wrong: Which part of them is of any type.
        """
        kind = chance.random()
        if kind < 0.3:
            return join_table({})
        if kind < 0.3 + wrong:
            return any_table(chance)
        if kind < 0.3 + wrong * 1.2:
            return deep(chance)
        chosen = chance.sample(sorted(makers), chance.randint(1, min(4, len(makers))))
        return join_table(
            {name: any_value(chance) if chance.random() < wrong else makers[name](chance) for name in chosen}
        )


_SHORT: Final = ("", "a", "\udcff", "\x1b[2J", "x" * 255)


def properties(
    chance: random.Random, headers: bytes | None, *, persistent: bool, expiration: Sequence[str]
) -> bytes:
    """Return property flags and values.

    Args:
        chance: Decides.
        headers: An encoded table.
        persistent: The delivery mode is the one that is stored; otherwise it is any.
        expiration: Values that may be taken.
    """

    def short(*values: str) -> bytes:
        return encode_shortstr(chance.choice(values))

    def byte(*values: int) -> bytes:
        return bytes((chance.choice(values),))

    fields: list[tuple[int, float, Callable[[], bytes]]] = [
        (0x8000, 0.2, lambda: short(*_SHORT, "application/json")),
        (0x4000, 0.2, lambda: short(*_SHORT, "utf-8")),
        (0x2000, 1.0 if headers is not None else 0.0, lambda: headers or b""),
        (
            0x1000,
            1.0 if persistent else 0.5,
            lambda: byte(2) if persistent else byte(*[1, 2] * 20, 0, 3, 255),
        ),
        (0x0800, 0.2, lambda: byte(0, 1, 9, 255)),
        (0x0400, 0.2, lambda: short(*_SHORT)),
        (0x0200, 0.05, lambda: short(*_SHORT, "amq.rabbitmq.reply-to", "amq.rabbitmq.reply-to.x")),
        (0x0100, 0.2 if expiration else 0.0, lambda: short(*expiration)),
        (0x0080, 0.2, lambda: short(*_SHORT)),
        (0x0040, 0.3, lambda: chance.choice(TIMES)),
        (0x0020, 0.2, lambda: short(*_SHORT)),
        (0x0010, 0.1, lambda: short(*["guest"] * 20, "other")),
        (0x0008, 0.2, lambda: short(*_SHORT)),
        (0x0004, 0.1, lambda: short(*_SHORT)),
    ]
    flags, values = 0, b""
    for flag, likely, make in fields:
        if chance.random() < likely:
            flags |= flag
            values += make()
    return struct.pack(">H", flags) + values
