"""Run scripts of many clients, administrators and clocks against a broker in memory, and look into it.

A script is a list of steps that says all, so that the same script does the same again, and a shorter one can
be tried: several clients in several virtual hosts, streams and quorum queues, all types of exchanges,
transactions, policies, definitions, limits, alarms, faults, and time that goes by. While it runs, each answer
must be one that the client may get, what the broker counts must be what it holds, and nothing may wait that
could happen. When everything is closed and deleted, nothing may be left::

    python fuzz/fuzz_broker.py --seconds 600 [--seed 7] [--first 0]

What is found is shrunk, and printed as a script; ``--first`` and ``--scripts 1`` make the whole of it again.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import json
import logging
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import orjson

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fuzz.memory_broker import Client, Finding, World, durable_state, expect
from fuzz.typed_values import EXCHANGE_TYPES, INTEGERS, TEXTS, Vocabulary, any_table, properties

from fedora_messaging.broker import chores, session, strangers, timers, unacked
from fedora_messaging.broker.accounts import Permissions
from fedora_messaging.broker.administration import AdministrationError
from fedora_messaging.broker.core import delayed_messages, message, queue
from fedora_messaging.broker.core.exchanges import base
from fedora_messaging.broker.core.profile import PROFILES
from fedora_messaging.broker.definitions import export_definitions, import_definitions
from fedora_messaging.logs import _guard
from fedora_messaging.protocol.errors import ChannelError
from fedora_messaging.web.management.app import ENDPOINTS
from fedora_messaging.wire import methods as m
from fedora_messaging.wire.fields import encode_longstr, encode_table, join_table
from fedora_messaging.wire.frames import encode_content, encode_method
from fedora_messaging.wire.methods import BY_KEY, Method

#: A step: its name, which is that of a method of :class:`Player`, and the arguments.
Step = tuple[Any, ...]

QUEUES: Final = ("q0", "q1", "q2", "q3", "q4", "q5")
#: The exchanges that scripts declare, each mostly with one type.
KINDS: Final = {f"e{number}": kind for number, kind in enumerate(EXCHANGE_TYPES)}
EXCHANGES: Final = ("", *KINDS, "amq.direct", "amq.topic", "amq.headers", "amq.fanout", "amq.match")
KEYS: Final = ("", "a", "a.b", "#", "*", "a.#.b", "#.#.#", "1", "3", "10001", *QUEUES)
_ODD: Final = ("", "\x1b[2J", "\udcff", "x" * 255, "amq.mine", "nowhere", "a/b c%\r\n")
WORDS: Final = Vocabulary((*QUEUES, *_ODD), (*EXCHANGES, *_ODD), (*KEYS, *_ODD))
VHOSTS: Final = (*["/"] * 8, "v1", "v2")
USERS: Final = ("guest", "guest", "guest", "alice", "bob", "imp")
CHANNELS: Final = (1, 2, 3)
CLIENTS: Final = (0, 1, 2, 3)
TAGS: Final = ("", "c", "d", "\udcff", "x" * 255)
_PLACE: Final = {"\0": None}
#: Where files are not really written.
_FAST: Final = "/dev/shm" if Path("/dev/shm").is_dir() else None
_CAPABLE: Final = {"capabilities": {"consumer_cancel_notify": True, "connection.blocked": True}}
#: The arguments that each type of queue may have.
_OF_TYPE: Final = {
    "classic": (
        "x-message-ttl x-expires x-max-length x-max-length-bytes x-overflow x-dead-letter-exchange "
        "x-single-active-consumer x-max-priority x-queue-mode"
    ).split(),
    "quorum": (
        "x-message-ttl x-expires x-max-length x-max-length-bytes x-overflow x-dead-letter-exchange "
        "x-single-active-consumer x-delivery-limit x-dead-letter-strategy x-consumer-timeout"
    ).split(),
    "stream": "x-max-length-bytes x-max-age x-stream-max-segment-size-bytes x-initial-cluster-size".split(),
}


class Writer:
    """Writes a script.

    Args:
        chance: Decides all of it.
    """

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._batch: list[Step] = []

    def script(self) -> list[Step]:
        """Return a script."""
        steps: list[Step] = [self._connect(client) for client in CLIENTS[: self._chance.randint(1, 4)]]
        if self._flag(0.85):
            steps += self._beginning()
        makers = [
            (5, self._declare_queue),
            (3, self._declare_exchange),
            (6, self._bind),
            (2, self._unbind),
            (2, self._delete),
            (40, self._publish),
            (4, self._confirm_select),
            (4, self._transaction),
            (12, self._consume),
            (3, self._cancel),
            (8, self._get),
            (14, self._settle),
            (3, self._set_prefetch),
            (2, self._other),
            (0.7, self._any_method),
            (0.3, self._bytes),
            (12, self._time),
            (1.5, self._connection),
            (1.5, self._fault),
            (2, self._reading),
            (12, self._request),
            (2, lambda: ("watch",)),
            (0.5, lambda: ("crash",)),
            (14, lambda: ("drain",)),
        ]
        weights = [weight for weight, _ in makers]
        for _ in range(self._chance.choice((20, 60, 150, 300))):
            [(_, make)] = self._chance.choices(makers, weights)
            steps.append(make())
        return steps

    def _beginning(self) -> list[Step]:
        """Declare much of what there is, rightly, and connect it."""
        chance = self._chance
        begin: Step = ("connect", 0, "guest", "/", 131072, 0, encode_table(_CAPABLE))
        methods: list[tuple[int, Method]] = []
        for name, kind in KINDS.items():
            arguments: dict[str, Any] = {}
            if kind == "x-delayed-message":
                arguments["x-delayed-type"] = chance.choice(("direct", "fanout", "topic", "headers"))
            elif kind == "x-consistent-hash":
                chosen = chance.choice(("", "hash-header", "hash-property"))
                arguments = {chosen: "a" if chosen == "hash-header" else "message_id"} if chosen else {}
            if self._flag(0.2):
                arguments["alternate-exchange"] = chance.choice(EXCHANGES)
            if kind != "x-none":
                flags = {"durable": self._flag(), "auto_delete": self._flag(0.1)}
                methods.append((1, m.ExchangeDeclare(name, kind, arguments=arguments, **flags)))
        payloads = [("method", 0, channel, method.encode()) for channel, method in methods]
        payloads += [("method", 0, 1, self._good_queue(name)) for name in QUEUES]
        methods = [(channel, m.BasicQos(0, chance.choice((1, 2, 10)))) for channel in CHANNELS]
        for name, kind in KINDS.items():
            for _ in range(chance.randrange(4)):
                table: dict[str, Any] = {}
                if kind == "headers" or self._flag(0.05):
                    table = {
                        "x-match": chance.choice(("all", "any", "any-with-x")),
                        "a": chance.choice(("a", 1)),
                    }
                key = chance.choice(
                    ("1", "2", "5") if kind == "x-consistent-hash" else ("a", "#", "a.*", *QUEUES)
                )
                key = "" if kind == "x-local-random" else key
                if self._flag(0.15):
                    methods.append(
                        (1, m.ExchangeBind(chance.choice(list(KINDS)[:9]), name, key, arguments=table))
                    )
                elif kind != "x-none":
                    methods.append((1, m.QueueBind(chance.choice(QUEUES), name, key, arguments=table)))
        for number in range(chance.randrange(5)):
            queue = chance.choice(QUEUES)
            table = {"x-stream-offset": "first"} if queue == "q5" else {}
            no_ack = queue != "q5" and self._flag(0.2)
            consume = m.BasicConsume(queue, f"begin{number}", no_ack=no_ack, arguments=table)
            methods.append((chance.choice(CHANNELS), consume))
        return [begin, *payloads, *[("method", 0, on, method.encode()) for on, method in methods], ("drain",)]

    def _good_queue(self, name: str) -> bytes:
        """Return a declaration that the broker accepts."""
        chance = self._chance
        kind = {"q4": "quorum", "q5": "stream"}.get(name, "classic")
        values: dict[str, Sequence[Any]] = {
            "x-message-ttl": (0, 1, 50, 1000),
            "x-expires": (50, 5000),
            "x-max-length": (0, 1, 3),
            "x-max-length-bytes": (0, 50, 500),
            "x-overflow": ("drop-head", "reject-publish", "reject-publish-dlx"),
            "x-dead-letter-exchange": ("", *list(KINDS)[:9]),
            "x-single-active-consumer": (True, False),
            "x-max-priority": (0, 2, 255),
            "x-queue-mode": ("lazy", "default"),
            "x-delivery-limit": (-1, 0, 1, 3),
            "x-dead-letter-strategy": ("at-most-once", "at-least-once"),
            "x-consumer-timeout": (1000,),
            "x-max-age": ("1s", "5D"),
            "x-stream-max-segment-size-bytes": (0, 50, 500),
            "x-initial-cluster-size": (1,),
        }
        chosen = chance.sample(_OF_TYPE[kind], chance.choice((0, 0, 1, 2, 3)))
        arguments = {known: chance.choice(values[known]) for known in chosen}
        if "x-dead-letter-exchange" in arguments and self._flag():
            arguments["x-dead-letter-routing-key"] = chance.choice((*QUEUES, "a"))
        if kind != "classic":
            arguments["x-queue-type"] = kind
        durable = kind != "classic" or self._flag()
        return m.QueueDeclare(name, durable=durable, arguments=arguments).encode()

    # Choices

    def _flag(self, likely: float = 0.5) -> bool:
        return self._chance.random() < likely

    def _one(self, usual: Sequence[str], odd: Sequence[str] = _ODD, likely: float = 0.94) -> str:
        return self._chance.choice(usual if self._flag(likely) else odd)

    def _queue(self) -> str:
        return self._one(QUEUES)

    def _exchange(self) -> str:
        return self._one(EXCHANGES)

    def _key(self) -> str:
        return self._one(KEYS)

    def _on(self, method: Method, table: bytes | None = None) -> Step:
        payload = method.encode()
        if table is not None:
            payload = payload.replace(encode_table(_PLACE), table, 1)
        return ("method", self._chance.choice(CLIENTS), self._chance.choice(CHANNELS), payload)

    # Steps

    def _connect(self, client: int) -> Step:
        chance = self._chance
        table = any_table(chance) if self._flag(0.1) else encode_table(_CAPABLE if self._flag(0.8) else {})
        frame_max = chance.choice((8192, 131072, 131072))
        heartbeat = chance.choice((0, 0, 0, 1, 10))
        user = self._one(USERS, ("carol", "nobody", "\udcff"), 0.97)
        if self._flag(0.03):
            return ("login", client, chance.choice(("AMQPLAIN", "ANONYMOUS", "EXTERNAL", "PLAIN", "\udcff")))
        return (
            "connect",
            client,
            user,
            self._one(VHOSTS, ("v3", "\udcff"), 0.97),
            frame_max,
            heartbeat,
            table,
        )

    def _declare_queue(self) -> Step:
        chance = self._chance
        name = self._queue()
        if self._flag(0.12):
            lasting, exclusive, auto_delete = self._flag(), self._flag(0.3), self._flag(0.3)
            arguments = WORDS.arguments(chance, WORDS.of_queues)
        else:
            kind = {"q4": "quorum", "q5": "stream"}.get(name, "classic")
            makers = {
                known: WORDS.of_queues[known] for known in chance.sample(_OF_TYPE[kind], chance.randint(0, 4))
            }
            if "x-dead-letter-exchange" in makers and self._flag():
                makers["x-dead-letter-routing-key"] = WORDS.of_queues["x-dead-letter-routing-key"]
            fields = {known: make(chance) for known, make in makers.items()}
            if kind != "classic" or self._flag(0.2):
                fields["x-queue-type"] = b"S" + len(kind).to_bytes(4, "big") + kind.encode()
            lasting = kind != "classic" or self._flag()
            exclusive, auto_delete = (kind == "classic" and self._flag(0.1) for _ in range(2))
            arguments = join_table(fields)
        passive, nowait = self._flag(0.05), self._flag(0.1)
        return self._on(
            m.QueueDeclare(name, passive, lasting, exclusive, auto_delete, nowait, _PLACE), arguments
        )

    def _declare_exchange(self) -> Step:
        name = self._chance.choice(list(KINDS)) if self._flag(0.9) else self._exchange()
        kind = KINDS[name] if name in KINDS and self._flag(0.9) else self._chance.choice(EXCHANGE_TYPES)
        passive, internal, nowait = self._flag(0.05), self._flag(0.05), self._flag(0.1)
        method = m.ExchangeDeclare(
            name, kind, passive, self._flag(), self._flag(0.1), internal, nowait, _PLACE
        )
        makers = dict(WORDS.of_exchanges)
        if self._flag(0.8):
            for unfit in ("hash-header", "hash-property")[: 1 if kind == "x-consistent-hash" else 2]:
                del makers[unfit]
        arguments = WORDS.arguments(self._chance, makers, 0.02)
        if kind == "x-delayed-message" and self._flag(0.9):
            arguments = join_table({"x-delayed-type": makers["x-delayed-type"](self._chance)})
        return self._on(method, arguments)

    def _bind(self) -> Step:
        source, nowait = self._exchange(), self._flag(0.1)
        kind = KINDS.get(source, "")
        key = self._chance.choice(("1", "2", "5")) if kind == "x-consistent-hash" else self._key()
        arguments = WORDS.arguments(self._chance, WORDS.of_bindings)
        if self._flag(0.25):
            return self._on(m.ExchangeBind(self._exchange(), source, key, nowait, _PLACE), arguments)
        return self._on(m.QueueBind(self._queue(), source, key, nowait, _PLACE), arguments)

    def _unbind(self) -> Step:
        arguments = encode_table({}) if self._flag(0.7) else WORDS.arguments(self._chance, WORDS.of_bindings)
        if self._flag(0.25):
            return self._on(
                m.ExchangeUnbind(self._exchange(), self._exchange(), self._key(), False, _PLACE), arguments
            )
        return self._on(m.QueueUnbind(self._queue(), self._exchange(), self._key(), _PLACE), arguments)

    def _delete(self) -> Step:
        kind = self._chance.random()
        if kind < 0.35:
            return self._on(m.QueuePurge(self._queue(), self._flag(0.1)))
        if kind < 0.6:
            return self._on(m.ExchangeDelete(self._exchange(), self._flag(0.3), self._flag(0.1)))
        return self._on(m.QueueDelete(self._queue(), self._flag(0.2), self._flag(0.2), self._flag(0.1)))

    def _publish(self) -> Step:
        chance = self._chance
        expiration = ("0", "1", "5", "50", "+3", "-1", "", "x", "1.5", "4294967295", "9" * 30)
        usual = ("0", "1", "5", "50", "2000")
        headers: Any = WORDS.arguments(chance, WORDS.of_messages, 0.03) if self._flag(0.6) else None
        if headers is not None and self._flag(0.01):
            headers = join_table(
                {"long": b"x" + encode_longstr(b"z" * chance.choice((3900, 7900, 8100, 100_000)))}
            )
        raw = properties(
            chance, headers, persistent=self._flag(), expiration=expiration if self._flag(0.04) else usual
        )
        body = chance.choice((b"", b"a", b"b" * 50, b"c" * 300, b"d" * 9000) if self._flag(0.9) else TEXTS)
        exchange = self._exchange()
        method = m.BasicPublish(exchange, self._key(), self._flag(0.2), self._flag(0.002))
        if KINDS.get(exchange) == "x-delayed-message" and self._flag(0.9):
            headers = {"x-delay": chance.choice((1, 5, 60, 3000)), "a": chance.choice(("a", 1))}
            if self._flag(0.2):
                headers["CC"] = headers["BCC"] = ["a", "q0"]
            raw = properties(chance, encode_table(headers), persistent=self._flag(), expiration=usual)
        elif self._flag(0.45):
            method = m.BasicPublish("", self._queue(), self._flag(0.2))
        return ("publish", chance.choice(CLIENTS), chance.choice(CHANNELS), method.encode(), raw, body)

    def _confirm_select(self) -> Step:
        return self._on(m.ConfirmSelect(self._flag(0.2)))

    def _transaction(self) -> Step:
        return ("transaction", self._chance.choice(CLIENTS), self._chance.choice((3, 3, 2)), self._flag(0.7))

    def _consume(self) -> Step:
        queue = "amq.rabbitmq.reply-to" if self._flag(0.06) else self._queue()
        no_ack, exclusive = self._flag(0.3), self._flag(0.05)
        arguments = WORDS.arguments(self._chance, WORDS.of_consumers, 0.02)
        if queue != "q5" and self._flag(0.8):
            arguments = encode_table({} if self._flag(0.7) else {"x-priority": self._chance.randint(-3, 3)})
        tag = self._chance.choice(TAGS) if self._flag(0.4) else f"t{self._chance.randrange(1000)}"
        return self._on(
            m.BasicConsume(queue, tag, self._flag(0.1), no_ack, exclusive, self._flag(0.1), _PLACE), arguments
        )

    def _cancel(self) -> Step:
        step = self._on(m.BasicCancel(self._chance.choice(("", "nobody"))))
        return ("cancel", *step[1:3], self._chance.randrange(4), self._flag(0.2))

    def _get(self) -> Step:
        return self._on(m.BasicGet(self._queue(), self._flag(0.4)))

    def _settle(self) -> Step:
        chance = self._chance
        kind = chance.choice(("ack", "ack", "nack", "nack", "reject"))
        which = chance.randrange(1 << 16) if self._flag(0.99) else -1 - chance.randrange(len(INTEGERS))
        return (
            "settle",
            chance.choice(CLIENTS),
            chance.choice(CHANNELS),
            kind,
            which,
            self._flag(0.3),
            self._flag(0.4),
        )

    def _set_prefetch(self) -> Step:
        count = self._chance.choice((0, 1, 2, 3, 10, 65535))
        return self._on(m.BasicQos(int(self._flag(0.01)), count, self._flag(0.3)))

    def _other(self) -> Step:
        methods = (
            m.ChannelFlow(self._flag(0.95)),
            m.ChannelFlowOk(True),
            m.BasicRecover(self._flag(0.95)),
            m.BasicRecoverAsync(True),
            m.ChannelClose(200, "\x1b[2J", 0, 0),
            m.BasicCancelOk("c"),
        )
        if self._flag(0.9):
            return self._on(self._chance.choice(methods))
        return ("secret", self._chance.choice(CLIENTS))

    def _any_method(self) -> Step:
        """A method of any kind, with arguments of the right types and any values."""
        chance = self._chance
        kind = chance.choice(list(BY_KEY.values()))
        values: dict[str, Any] = {}
        blank = kind()
        for name in kind.__match_args__:
            value = getattr(blank, name)
            if isinstance(value, bool):
                values[name] = self._flag()
            elif isinstance(value, int):
                values[name] = abs(chance.choice(INTEGERS)) & (0xFF if name.startswith("version") else 0xFFFF)
            elif isinstance(value, str):
                values[name] = chance.choice((*QUEUES, *EXCHANGES, *_ODD))
            elif isinstance(value, bytes):
                values[name] = chance.choice(TEXTS)
            else:
                values[name] = {"a": chance.choice((1, "a", None, True, [1], {"b": 2.5}))}
        payload = kind(**values).encode()
        return ("raw", chance.choice(CLIENTS), encode_method(chance.choice((0, 1, 2, 3, 99)), payload))

    def _bytes(self) -> Step:
        chance = self._chance
        step = chance.choice((self._declare_queue, self._bind, self._consume, self._get))()
        frame = bytearray(encode_method(step[2], step[3]))
        for _ in range(chance.randint(1, 3)):
            frame[chance.randrange(len(frame))] = chance.randrange(256)
        return ("raw", step[1], bytes(frame))

    def _time(self) -> Step:
        return ("advance", self._chance.choice((0.001, 0.004, 0.01, 0.05, 0.3, 1.0, 3.0, 10.0)))

    def _connection(self) -> Step:
        client = self._chance.choice(CLIENTS)
        kind = self._chance.random()
        if kind < 0.3:
            return ("abort", client)
        if kind < 0.5:
            return ("bye", client)
        if kind < 0.6:
            return ("overdue", self._chance.choice((1900.0, 0.0)))
        return self._connect(client)

    def _fault(self) -> Step:
        faults = (
            "nack_next return_next refuse_login block unblock cancel delay undelay stall unstall clear drop"
        )
        return ("fault", self._chance.choice(faults.split()))

    def _reading(self) -> Step:
        client = self._chance.choice(CLIENTS)
        return self._chance.choice(
            (("deaf", client), ("hear", client), ("pieces", client, 7), ("pieces", client, 0))
        )

    # Requests to the management API

    def _request(self) -> Step:
        chance = self._chance
        if self._flag(0.12):
            return ("import", json.dumps(self._definitions()).encode(), chance.choice(("", "", "/", "v1")))
        if self._flag(0.03):
            return ("export", self._flag())
        if self._flag(0.3):
            method, path, body = self._useful_request()
            return ("request", method, path, json.dumps(body).encode(), "guest")
        endpoint = chance.choice(ENDPOINTS)
        method = chance.choice(
            [*endpoint.methods, "HEAD", "OPTIONS"] if self._flag(0.05) else list(endpoint.methods)
        )
        path = "/api/" + endpoint.path
        for part in ("vhost", "queue", "exchange", "destination", "user", "policy", "limit", "name"):
            path = path.replace(
                f"{{{part}}}", quote(self._part(part).encode("utf-8", "surrogateescape"), safe="")
            )
        for part, values in (
            ("component", ("operator_policy", "vhost-limits", "shovel")),
            ("props", ("~", "a", "a.b", "%23", "1", "2", "1~abcd", *QUEUES)),
            ("node", ("rabbit@x",)),
            ("connection", ("127.0.0.1:40000 -> 127.0.0.1:5672",)),
            ("channel", ("127.0.0.1:40001 -> 127.0.0.1:5672 (1)",)),
            ("port", ("5672", "x", "9" * 5000)),
            ("protocol", ("amqp", "http")),
            ("within", ("1", "x", "-1", "9" * 5000)),
            ("unit", ("days", "weeks", "x")),
        ):
            path = path.replace(f"{{{part}}}", quote(chance.choice(values), safe=""))
        path = path.replace("{", "").replace("}", "")
        if self._flag(0.01):
            path = chance.choice(
                ("/metrics", "/metrics/per-object", "/api/openapi.json", "/api/", "/api/%ff/")
            )
        query = self._query() if self._flag() else ""
        body = json.dumps(self._body()).encode() if method in ("PUT", "POST") or self._flag(0.02) else b""
        if self._flag(0.02):
            body = chance.choice(
                (b"[]", b"{", b'"x"', b"\xff", b"[" * 200, b'{"a":' * 150 + b"1" + b"}" * 150)
            )
        user = chance.choice(("guest",) * 12 + ("bob", "carol", "imp", "alice"))
        return ("request", method, path + query, body, user)

    def _part(self, part: str) -> str:
        usual: dict[str, Sequence[str]] = {
            "vhost": (*VHOSTS, "v3"),
            "queue": QUEUES,
            "exchange": (*EXCHANGES[1:], "amq.default"),
            "destination": (*EXCHANGES[1:], "amq.default"),
            "user": ("alice", "bob", "new", "imp"),
            "policy": ("p0", "p1", "p2"),
            "limit": ("max-connections", "max-queues", "max-channels", "other"),
            "name": ("limits", "p0", "cluster_name", "g"),
        }
        return self._one(usual[part], ("x" * 300, "\udcff", "a/b c", "é", "%2F", "\x1b"), 0.97)

    def _query(self) -> str:
        chance = self._chance
        values = {
            "page": ("1", "2", "0", "-1", "x", "9" * 30, "9" * 5000),
            "page_size": ("1", "2", "500", "501", "0", "x"),
            "name": ("q", "^q[0-3]$", "(", "(a+)+$", "\x1b", ""),
            "use_regex": ("true", "false"),
            "columns": (
                "name",
                "name,messages",
                "message_stats.publish",
                "arguments.x-max-length",
                "",
                ".",
                "a..b",
            ),
            "sort": (
                "name",
                "messages",
                "arguments",
                "message_stats.publish",
                "owner_pid_details.name",
                "consumers",
            ),
            "sort_reverse": ("true", "false"),
            "if-unused": ("true",),
            "if-empty": ("true",),
            "download": ("file.json", "\r\nx: y", "é"),
            "lengths_age": ("60",),
        }
        chosen = chance.sample(sorted(values), chance.randint(1, 4))
        return "?" + "&".join(f"{name}={quote(chance.choice(values[name]))}" for name in chosen)

    def _json(self, depth: int = 0) -> Any:
        chance = self._chance
        kind = chance.randrange(8 if depth < 3 else 6)
        if kind == 0:
            return chance.choice((None, True, False))
        if kind == 1:
            return chance.choice([number for number in INTEGERS if -(2**63) <= number < 2**64])
        if kind == 2:
            return chance.choice((0.5, 1e300, -1e-300, 1e22))
        if kind in (3, 4, 5):
            return chance.choice((*QUEUES, *EXCHANGES, "", "x" * 300, "\x1b[2J", "é", "true", "5", "\0"))
        if kind == 6:
            return [self._json(depth + 1) for _ in range(chance.randrange(4))]
        keys = ("", "a", "x-match", "x-message-ttl", "n" * 300, "é")
        return {chance.choice(keys): self._json(depth + 1) for _ in range(chance.randrange(4))}

    def _json_arguments(self) -> dict[str, Any]:
        chance = self._chance
        values: dict[str, Sequence[Any]] = {
            "x-message-ttl": (0, 1, 50, 10**12),
            "x-expires": (1, 50, 10_000),
            "x-max-length": (0, 1, 5),
            "x-max-length-bytes": (0, 50, 5000),
            "x-overflow": ("drop-head", "reject-publish", "reject-publish-dlx"),
            "x-dead-letter-exchange": ("", "e1", "e2"),
            "x-max-priority": (0, 5, 255),
            "x-queue-type": ("classic", "quorum", "stream"),
            "x-single-active-consumer": (True, False),
            "x-delivery-limit": (-1, 0, 2),
            "alternate-exchange": ("e1", "amq.fanout"),
            "x-delayed-type": EXCHANGE_TYPES,
            "hash-header": ("a",),
            "x-match": ("all", "any", "any-with-x"),
            "a": (1, "a", 1.5, [1, {"b": None}], {"c": []}),
        }
        chosen = chance.sample(sorted(values), chance.choice((0, 0, 1, 2, 3)))
        return {name: self._json() if self._flag(0.05) else chance.choice(values[name]) for name in chosen}

    def _policy(self, operator: bool = False) -> dict[str, Any]:
        chance = self._chance
        values: dict[str, Sequence[Any]] = {
            "message-ttl": (0, 1, 50, 10**15),
            "expires": (1, 50, 10_000, 10**15),
            "max-length": (0, 1, 5),
            "max-length-bytes": (0, 50, 5000),
            "overflow": ("drop-head", "reject-publish", "reject-publish-dlx"),
            "delivery-limit": (-1, 0, 2),
        }
        if not operator:
            values |= {
                "alternate-exchange": ("e1", "amq.fanout", "x" * 300),
                "dead-letter-exchange": ("", "e1", "e2", "x" * 300),
                "dead-letter-routing-key": ("q0", "q1", "a"),
                "max-age": ("1s", "5D", "0s"),
                "queue-mode": ("lazy",),
                "ha-mode": ("all",),
                "queue-version": (2,),
                "stream-max-segment-size-bytes": (0, 5),
                "consumer-timeout": (0, 5000),
            }
        chosen = chance.sample(sorted(values), chance.randint(1, 3))
        kinds = ("all", "queues", "exchanges", "streams", "quorum_queues", "classic_queues")
        return {
            "pattern": chance.choice(("", "^q", "^e", "q[0-2]", "(a+)+$")),
            "definition": {
                name: self._json() if self._flag(0.03) else chance.choice(values[name]) for name in chosen
            },
            "priority": chance.choice((0, 1, -5, 10**15, 1.5)),
            "apply-to": chance.choice(kinds),
        }

    def _useful_request(self) -> tuple[str, str, Any]:
        """A request that changes something."""
        chance = self._chance
        vhost = quote(chance.choice(VHOSTS), safe="")
        queue, name = chance.choice(QUEUES), chance.choice(("p0", "p1", "p2"))
        body: dict[str, Any]
        kind = chance.randrange(12)
        if kind < 3:
            operator = self._flag(0.4)
            path = f"/api/{'operator-policies' if operator else 'policies'}/{vhost}/{name}"
            return ("PUT", path, self._policy(operator)) if self._flag(0.8) else ("DELETE", path, {})
        if kind < 5:
            body = {
                "count": chance.choice((1, 3, -1)),
                "ackmode": chance.choice(
                    ("ack_requeue_true", "ack_requeue_false", "reject_requeue_true", "reject_requeue_false")
                ),
                "encoding": chance.choice(("auto", "base64")),
            }
            return "POST", f"/api/queues/{vhost}/{queue}/get", body
        if kind < 7:
            headers = self._json_arguments() | {"x-delay": chance.choice((0, 5, 100)), "CC": ["q1"]}
            body = {
                "properties": {"headers": headers, "expiration": "5", "delivery_mode": 2}
                if self._flag()
                else {},
                "routing_key": chance.choice(KEYS),
                "payload": "YWJj",
                "payload_encoding": chance.choice(("string", "base64")),
            }
            return "POST", f"/api/exchanges/{vhost}/{chance.choice((*KINDS, 'amq.default'))}/publish", body
        if kind == 7:
            limit = chance.choice(("max-connections", "max-queues"))
            path = f"/api/vhost-limits/{vhost}/{limit}"
            return (
                ("PUT", path, {"value": chance.choice((-1, 2, 5))})
                if self._flag(0.4)
                else ("DELETE", path, {})
            )
        if kind == 8:
            path = f"/api/vhosts/{chance.choice(('v1', 'v2', 'v3'))}"
            more = {"default_queue_type": chance.choice(("classic", "quorum", "stream"))}
            return ("PUT", path, more) if self._flag(0.7) else ("DELETE", path, {})
        if kind == 9:
            path = f"/api/bindings/{vhost}/e/{chance.choice(list(KINDS))}/q/{queue}"
            return "POST", path, {"routing_key": chance.choice(KEYS), "arguments": self._json_arguments()}
        if kind == 10:
            path = f"/api/queues/{vhost}/{queue}"
            body = {
                "durable": self._flag(),
                "auto_delete": self._flag(0.1),
                "arguments": self._json_arguments(),
            }
            return ("PUT", path, body) if self._flag(0.7) else ("DELETE", path, {})
        exchange = chance.choice(list(KINDS))
        path = f"/api/exchanges/{vhost}/{exchange}"
        body = {"type": KINDS[exchange], "durable": self._flag(), "arguments": self._json_arguments()}
        return ("PUT", path, body) if self._flag(0.7) else ("DELETE", path, {})

    def _body(self) -> dict[str, Any]:
        """The body of any request: each key that any endpoint knows, mostly with a value that it may have."""
        chance = self._chance
        values: dict[str, Any] = {
            "durable": self._flag(),
            "auto_delete": self._flag(0.2),
            "internal": self._flag(0.1),
            "type": self._one(EXCHANGE_TYPES),
            "arguments": self._json_arguments(),
            "routing_key": self._one(KEYS, ("x" * 300, "é")),
            "payload": self._one(("abc", "YWJj", "\0")),
            "payload_encoding": self._one(("string", "base64"), ("x",)),
            "properties": {"headers": self._json_arguments(), "expiration": "5"},
            "count": chance.choice((0, 1, 5, -1, -5, 10**30 % 2**63)),
            "ackmode": self._one(("ack_requeue_true", "reject_requeue_false")),
            "encoding": self._one(("auto", "base64"), ("x",)),
            "truncate": chance.choice((0, 1, -5, 50)),
            "action": self._one(("sync", "cancel_sync")),
            "value": self._json(),
            "tags": chance.choice(("administrator", "", ["management", "x"], ["\x1b"])),
            "password": chance.choice(("alice", "bob", "")),
            "configure": self._one((".*", "", "^q"), ("(", "(a+)+$", "\\")),
            "write": self._one((".*", "^q"), ("(", "(?<x")),
            "read": self._one((".*", "^q"), ("*", "[")),
            "exchange": self._one(("amq.topic", "e1")),
            "password_hash": self._one(("", "YWJjZA=="), ("x", "é")),
            "hashing_algorithm": self._one(("rabbit_password_hashing_md5",), ("x",)),
            "users": ["new", "nobody", 5],
            "description": self._json(),
            "default_queue_type": self._one(("classic", "quorum", "stream"), ("x",)),
            **self._policy(self._flag()),
        }
        return {
            name: self._json() if self._flag(0.04) else value
            for name, value in values.items()
            if self._flag(0.9)
        }

    def _definitions(self) -> dict[str, Any]:
        """Definitions, mostly right."""
        chance = self._chance

        def some(make: Any, most: int = 3) -> list[Any]:
            return [
                self._spoiled(make()) if self._flag(0.06) else make()
                for _ in range(chance.randrange(most + 1))
            ]

        def place() -> dict[str, Any]:
            return {"vhost": self._one((*VHOSTS, "v3"))}

        def queue() -> dict[str, Any]:
            name = self._one((*QUEUES, "amq.gen-x"), ("x" * 300, ""))
            arguments = self._json_arguments()
            return {"name": name, **place(), "durable": self._flag(0.7), "arguments": arguments}

        def binding() -> dict[str, Any]:
            kind = "queue" if self._flag(0.8) else "exchange"
            return {
                "source": chance.choice(EXCHANGES),
                **place(),
                "destination": chance.choice(QUEUES if kind == "queue" else EXCHANGES),
                "destination_type": kind,
                "routing_key": chance.choice(KEYS),
                "arguments": self._json_arguments(),
            }

        permission = {"configure": ".*", "write": ".*", "read": "^q"}
        sections: dict[str, Any] = {
            "users": some(
                lambda: {
                    "name": self._part("user"),
                    "password": "alice",
                    "tags": "",
                    "limits": {"max-channels": 5},
                }
            ),
            "vhosts": some(
                lambda: {"name": self._one(("/", "v1", "v3")), "limits": {}, "metadata": {"tags": ["a"]}}
            ),
            "permissions": some(lambda: {"user": "alice", **place(), **permission}),
            "topic_permissions": some(
                lambda: {"user": "bob", **place(), "exchange": "amq.topic", "write": "^a", "read": "."}
            ),
            "parameters": some(
                lambda: {
                    "component": "operator_policy",
                    **place(),
                    "name": "p2",
                    "value": self._policy(True),
                },
                1,
            ),
            "global_parameters": some(lambda: {"name": "g", "value": self._json()}, 1),
            "policies": some(lambda: {"name": "p1", **place(), **self._policy()}, 1),
            "exchanges": some(
                lambda: {
                    "name": (name := chance.choice(list(KINDS))),
                    **place(),
                    "type": KINDS[name],
                    "durable": self._flag(),
                    "auto_delete": self._flag(0.2),
                    "arguments": self._json_arguments(),
                }
            ),
            "queues": some(queue),
            "bindings": some(binding),
        }
        return {name: items for name, items in sections.items() if self._flag(0.8)}

    def _spoiled(self, item: dict[str, Any]) -> Any:
        if self._flag(0.1):
            return self._json()
        name = self._chance.choice(sorted(item))
        if self._flag(0.3):
            del item[name]
        else:
            item[name] = self._json()
        return item


class Player:
    """Plays a script; each method is a step.

    Args:
        world: The broker and its clients.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self._undo: dict[str, Any] = {}

    def play(self, steps: Sequence[Step]) -> None:
        """Play all steps, and look at the broker meanwhile and afterwards."""
        world = self.world
        for count, (name, *arguments) in enumerate(steps):
            getattr(self, name)(*arguments)
            if count % 16 == 15:
                world.drain()
                world.audit()
        self._calm()
        world.audit()
        world.expect_rest()
        world.expect_nothing_owed()
        self._serve_another()
        self._move_definitions()
        world.end()
        if world.server.data is not None:
            self._start_again()
        self.world.delete_all()

    def _calm(self) -> None:
        world = self.world
        world.server.faults.clear()
        for client in list(world.clients.values()):
            self.hear(client.number)
        world.advance(2.0)
        world.watch()
        world.advance(2.0)

    def _serve_another(self) -> None:
        """A client that does nothing wrong gets what it asks for."""
        world = self.world
        server = world.server
        if server.alarms.reason is not None:
            return
        server.administration.set_vhost("calm")
        server.accounts.add_user("calm", "calm")
        server.accounts.set_permissions("calm", "calm", Permissions())
        world.clients[99] = client = Client(world, 99, ("calm", "calm", "calm", 131072, 0, encode_table({})))
        world.advance(4.0)
        expect(client.is_open, f"nobody is let in any more: {client.closed_with}")
        client.open_channel(1)
        for method in (m.ConfirmSelect(), m.QueueDeclare("calm"), m.BasicConsume("calm", "c")):
            client.ask(1, method, method.encode())
        self._send_content(client, 1, m.BasicPublish("", "calm").encode(), b"\0\0", b"x")
        world.advance(2.0)
        expect(1 in client.channels and client.channels[1].last_tag == 1, "a good client is not served")
        expect(not client.channels[1].unconfirmed and not client.channels[1].expected, "a good client waits")
        client.ask(1, m.BasicAck(1), m.BasicAck(1).encode())
        world.drain()
        server.administration.delete_vhost("calm")
        world.drain()
        expect(client.closed_with is not None, "a connection outlives its virtual host")

    def _move_definitions(self) -> None:
        """What one broker exports, another one imports, and exports the same."""
        server = self.world.server
        exported = export_definitions(server)
        for found in exported["queues"]:
            found["arguments"].setdefault("x-queue-type", found["type"])  # as an import does
        raw = orjson.dumps(exported, option=orjson.OPT_NON_STR_KEYS)
        # What is no text, or no number in JSON, is another value afterwards; limits may have been set later.
        if b"Not UTF-8" in raw or b"null" in raw or b'"max-queues"' in raw or b"undefined" in raw:
            return
        other = World(server.profile)
        try:
            for name in ("/", "v1", "v2"):
                other.server.administration.delete_vhost(name)
            for user in ("alice", "bob", "carol", "imp"):
                other.server.administration.delete_user(user)
            import_definitions(other.server, orjson.loads(raw))
            again = orjson.dumps(export_definitions(other.server), option=orjson.OPT_NON_STR_KEYS)
        except AdministrationError as error:
            raise Finding(f"exported, but not imported: {error.reason}") from error
        finally:
            other.close()
        first, second = orjson.loads(raw), orjson.loads(again)
        for section in ("vhosts", "policies", "parameters", "queues", "exchanges", "bindings", "permissions"):
            before, after = (sorted(map(repr, found[section])) for found in (first, second))
            lost = [item for item in before if item not in after][:2]
            expect(before == after, f"{section} are not the same after export and import: {lost}")

    def _start_again(self) -> None:
        """A broker that starts again has all that is durable."""
        world = self.world
        server = world.server
        world.drain()
        before = durable_state(world)
        world.close()
        self.world = World(server.profile, data=server.data, former=world)
        self._expect_same(before, durable_state(self.world), "a restart")
        self.world.audit()
        self.world.advance(2.0)
        self.world.audit()
        self.world.expect_rest()

    def _expect_same(self, before: dict[str, Any], after: dict[str, Any], what: str) -> None:
        for part in dict.fromkeys((*before, *after)):
            lost = [item for item in before.get(part, []) if item not in after.get(part, [])]
            new = [item for item in after.get(part, []) if item not in before.get(part, [])]
            expect(not lost and not new, f"after {what}: {part}: lost {lost[:2]}, new {new[:2]}")

    def crash(self) -> None:
        """What would be found if the broker were killed now, and had told its clients all it can tell."""
        world = self.world
        data = world.server.data
        if data is None:
            return
        world.drain()
        before = durable_state(world, is_crash=True)
        with tempfile.TemporaryDirectory(dir=_FAST) as directory:
            copy = Path(directory) / "data"
            shutil.copytree(data, copy)
            other = World(world.server.profile, data=copy, former=world)
            try:
                self._expect_same(before, durable_state(other, is_crash=True), "a crash")
            finally:
                other.close()
                asyncio.set_event_loop(world.loop)

    # Clients

    def connect(
        self, number: int, user: str, vhost: str, frame_max: int, heartbeat: int, table: bytes
    ) -> None:
        old = self.world.clients.get(number)
        if old is not None and not old.is_gone:
            old.transport.abort()
            self.world.drain()
        login = (user, user, vhost, frame_max, heartbeat, table)
        try:
            user.encode()
        except UnicodeEncodeError:
            login = ("guest", "guest", vhost, frame_max, heartbeat, table)
        self.world.clients[number] = Client(self.world, number, login)
        self.world.drain()

    def login(self, number: int, mechanism: str) -> None:
        """A client logs in by another mechanism, or not at all."""
        self.abort(number)
        client = Client(self.world, number, ("guest", "guest", "/", 8192, 0, encode_table({})))
        client.mechanism = mechanism
        self.world.clients[number] = client
        self.world.drain()

    def _client(self, number: int) -> Client | None:
        client = self.world.clients.get(number)
        return client if client is not None and client.is_open and not client.is_gone else None

    def _channel(self, number: int, channel: int) -> Client | None:
        """Return a client that has the channel open."""
        client = self._client(number)
        if client is None:
            return None
        if channel not in client.channels:
            client.open_channel(channel)
        return None if client.channels[channel].is_closing else client

    def method(self, number: int, channel: int, payload: bytes) -> None:
        client = self._channel(number, channel)
        if client is None:
            return
        try:
            method = m.decode_method(payload)
        except Exception:
            client.is_sane = False
            client.write(encode_method(channel, payload))
            return
        if isinstance(method, m.BasicConsume) and method.consumer_tag:
            known = client.channels[channel]
            if method.consumer_tag in known.consumers or method.consumer_tag in known.asked:
                return  # the connection would end each time
        client.ask(channel, method, payload)

    def publish(self, number: int, channel: int, method: bytes, raw: bytes, body: bytes) -> None:
        client = self._channel(number, channel)
        if client is not None:
            self._send_content(client, channel, method, raw, body)

    def _send_content(self, client: Client, number: int, method: bytes, raw: bytes, body: bytes) -> None:
        channel = client.channels[number]
        decoded = m.decode_method(method)
        assert isinstance(decoded, m.BasicPublish)
        if channel.confirms:
            channel.published += 1
            channel.unconfirmed[channel.published] = True
        channel.mandatory += decoded.mandatory
        data = encode_content(number, method, raw, body, 8192)
        if len(raw) > 8000:
            client.is_sane = False
        client.write(data)

    def transaction(self, number: int, channel: int, commits: bool) -> None:
        client = self._channel(number, channel)
        if client is None:
            return
        method: Method = m.TxSelect()
        if client.channels[channel].transactional:
            method = m.TxCommit() if commits else m.TxRollback()
        if client.channels[channel].transactional and not commits:
            client.channels[channel].out.clear()
        client.ask(channel, method, method.encode())

    def cancel(self, number: int, channel: int, which: int, no_wait: bool) -> None:
        client = self._channel(number, channel)
        if client is None:
            return
        tags = sorted(client.channels[channel].consumers)
        tag = tags[which % len(tags)] if tags else "nobody"
        if no_wait:
            client.channels[channel].consumers.pop(tag, None)
            client.channels[channel].dropped.add(tag)
        method = m.BasicCancel(tag, no_wait)
        client.ask(channel, method, method.encode())

    def settle(self, number: int, channel: int, kind: str, which: int, multiple: bool, requeue: bool) -> None:
        client = self._client(number)
        if client is None or channel not in client.channels:
            return
        known = client.channels[channel]
        if which < 0:
            tag = INTEGERS[-1 - which] & ((1 << 64) - 1)
        elif known.out:
            tag = list(known.out)[which % len(known.out)]
        else:
            return
        methods: dict[str, Method] = {
            "ack": m.BasicAck(tag, multiple),
            "nack": m.BasicNack(tag, multiple, requeue),
            "reject": m.BasicReject(tag, requeue),
        }
        for each in list(known.out):
            if each == tag or (multiple and kind != "reject" and each < tag):
                del known.out[each]
        client.ask(channel, methods[kind], methods[kind].encode())

    def secret(self, number: int) -> None:
        client = self._client(number)
        if client is not None:
            client.write(encode_method(0, m.ConnectionUpdateSecret(b"guest", "why").encode()))

    def raw(self, number: int, data: bytes) -> None:
        client = self._client(number)
        if client is not None:
            client.is_sane = False
            client.write(data)

    def abort(self, number: int) -> None:
        client = self._client(number)
        if client is not None:
            client.transport.abort()

    def bye(self, number: int) -> None:
        client = self._client(number)
        if client is not None:
            client.channels.clear()
            client.is_sane = False
            client.write(encode_method(0, m.ConnectionClose(200, "bye", 0, 0).encode()))

    def deaf(self, number: int) -> None:
        client = self._client(number)
        if client is not None:
            client.reads = False

    def hear(self, number: int) -> None:
        client = self.world.clients.get(number)
        if client is not None:
            client.reads = True
            client.transport.take_kept()

    def pieces(self, number: int, size: int) -> None:
        client = self._client(number)
        if client is not None:
            client.piece = size

    # The broker

    def drain(self) -> None:
        self.world.drain()

    def advance(self, seconds: float) -> None:
        self.world.advance(seconds)

    def watch(self) -> None:
        self.world.watch()

    def overdue(self, seconds: float) -> None:
        for found in list(self.world.server.sessions):
            if found.open_vhost is not None:
                found.check_deliveries(time.monotonic() + seconds, lambda _queue: 1800.0)

    def fault(self, name: str) -> None:
        faults = self.world.server.faults
        if name in ("block", "delay", "stall"):
            if name not in self._undo:
                self._undo[name] = faults.delay(0.5) if name == "delay" else getattr(faults, name)()
        elif name.startswith("un"):
            undo = self._undo.pop(name[2:], None)
            if undo is not None:
                undo()
        elif name == "cancel":
            vhosts = self.world.server.vhosts
            if "/" in vhosts:
                faults.cancel_consumers(vhost="/")
        elif name == "drop":
            faults.drop_connection()
        elif name == "clear":
            faults.clear()
            self._undo.clear()
        else:
            getattr(faults, name)()

    def request(self, method: str, path: str, body: bytes, user: str) -> None:
        self.world.request(method, path, body, user)

    def export(self, of_vhost: bool) -> None:
        self.world.request("GET", "/api/definitions/%2F" if of_vhost else "/api/definitions")

    def imports(self, body: bytes, vhost: str) -> None:
        path = f"/api/definitions/{quote(vhost, safe='')}" if vhost else "/api/definitions"
        self.world.request("POST", path, body)


setattr(Player, "import", Player.imports)


# Running scripts


class _Errors(logging.Handler):
    """Gathers what the broker logs of its own failures."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def raise_if_any(self) -> None:
        """Raise the first that was not to be expected."""
        for record in self.records:
            if not _is_known(record):
                cause = record.exc_info[1] if record.exc_info else None
                raise Finding(f"the broker logs: {record.getMessage()}: {cause!r}") from cause


@contextlib.contextmanager
def _errors() -> Iterator[_Errors]:
    handler = _Errors()
    names = ("fedora_messaging", "asyncio")
    for name in names:
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).propagate = False
    try:
        yield handler
    finally:
        for name in names:
            logging.getLogger(name).removeHandler(handler)


@dataclasses.dataclass(frozen=True)
class Setting:
    """What a script runs in."""

    profile: str
    memory: int
    lag: float
    is_small: bool
    stores: bool


#: Limits that are seldom reached, as they may be made small: module, name and value.
_SMALL: Final = (
    (base, "_CACHE_SIZE", 4),
    (delayed_messages, "_PORTION", 2),
    (message, "MOST_EFFORT", 12),
    (queue, "_PORTION", 2),
    (session, "_OUT_HIGH", 2000),
    (session, "_OWED_HIGH", 3000),
    (session, "_REPLIES_HIGH", 3000),
    (session, "TURN", 0.0003),
    (chores, "TURN", 0.0003),
    (strangers, "_FREE_REFUSALS", 1),
    (timers, "_LEAST", 1),
    (timers, "_TURN", 0.0),
    (timers, "_FEW", 3),
    (unacked, "_OLDEST", 2),
)


@contextlib.contextmanager
def _limits(values: Sequence[tuple[Any, str, Any]]) -> Iterator[None]:
    before = [(module, name, getattr(module, name)) for module, name, _ in values]
    for module, name, value in values:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


def _is_known(record: logging.LogRecord) -> bool:
    """Whether a failure was to be expected: nobody can be told that a message takes too many steps."""
    error = record.exc_info[1] if record.exc_info else None
    return isinstance(error, ChannelError) and "too many steps" in error.explanation


def play(setting: Setting, steps: Sequence[Step]) -> None:
    """Play a script.

    Raises:
        Exception: Whatever is found.
    """
    with _limits(_SMALL if setting.is_small else ()):
        _play(setting, steps)


def _play(setting: Setting, steps: Sequence[Step]) -> None:
    # Exchanges may choose at random.
    random.seed(0)
    _guard._seconds.clear()
    with contextlib.ExitStack() as stack:
        errors = stack.enter_context(_errors())
        stack.callback(errors.raise_if_any)
        data = None
        if setting.stores:
            data = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=_FAST))) / "data"
        player = Player(World(PROFILES[setting.profile], setting.memory, setting.lag, data))
        stack.callback(lambda: player.world.close())
        player.play(steps)


def write(seed: int, number: int) -> tuple[Setting, list[Step]]:
    """Write a script."""
    chance = random.Random(f"{seed}/{number}")  # noqa: S311 - to be repeatable is the point
    memory = chance.choice((0, 0, 0, 0, 60_000))
    setting = Setting(
        chance.choice(("3", "4")),
        memory,
        chance.choice((0.0, 0.0, 0.02)),
        is_small=chance.random() < 0.4,
        stores=chance.random() < 0.3,
    )
    return setting, Writer(chance).script()


def sign(error: BaseException) -> str:
    """Return what tells a finding from others."""
    cause = error.__cause__ or error
    frames = traceback.extract_tb(cause.__traceback__)
    text = "".join(letter for letter in str(error)[:90] if not letter.isdigit()).partition(": lost")[0]
    return f"{type(error).__name__} {text} {frames[-1].name if frames else ''}"


def shrink(setting: Setting, steps: list[Step], wanted: str) -> list[Step]:
    """Leave out steps as long as the same is found."""

    def is_found(tried: Sequence[Step]) -> bool:
        try:
            play(setting, tried)
        except Exception as error:
            return sign(error) == wanted
        return False

    # What depends on the thread that writes may not be found again.
    size = len(steps) // 2 if is_found(steps) else 0
    while size:
        start = 0
        while start < len(steps):
            tried = steps[:start] + steps[start + size :]
            if is_found(tried):
                steps = tried
            else:
                start += size
        size //= 2
    return steps


def run(
    *,
    scripts: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
    first: int = 0,
    goes_on: bool = False,
) -> int:
    """Play scripts until either limit is reached; returns how many.

    Raises:
        Exception: Whatever was found; its note is the shrunk script.
    """
    end = None if seconds is None else time.monotonic() + seconds
    done, seen = 0, set()
    while done != scripts and (end is None or time.monotonic() < end):
        setting, steps = write(seed, first + done)
        try:
            play(setting, steps)
        except Exception as error:
            wanted = sign(error)
            if not goes_on or wanted not in seen:
                small = shrink(setting, steps, wanted)
                shown = "\n".join(f"    {step!r}," for step in small)
                error.add_note(f"--seed {seed} --first {first + done} --scripts 1\n{setting}\n[\n{shown}\n]")
            seen.add(wanted)
            if not goes_on:
                raise
            if hasattr(error, "__notes__"):
                traceback.print_exception(error)
                sys.stderr.flush()
        done += 1
        if goes_on and done % 500 == 0:
            sys.stdout.write(f"{done} scripts, {len(seen)} kinds of findings\n")
            sys.stdout.flush()
    return done


def main(argv: list[str]) -> int:
    """Play scripts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, help="play for so long")
    parser.add_argument("--scripts", type=int, help="play so many")
    parser.add_argument("--seed", type=int, default=0, help="of all choices")
    parser.add_argument("--first", type=int, default=0, help="number of the first script")
    parser.add_argument("--go-on", action="store_true", help="tell each kind of finding once, and go on")
    options = parser.parse_args(argv[1:])
    logging.getLogger("fedora_messaging").setLevel(logging.ERROR)
    done = run(
        scripts=options.scripts,
        seconds=options.seconds,
        seed=options.seed,
        first=options.first,
        goes_on=options.go_on,
    )
    sys.stdout.write(f"{done} scripts\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
