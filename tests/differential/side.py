"""One of the two brokers, its clients, and all that these get to see."""

from __future__ import annotations

import base64
import http.client
import json
import re
from collections import defaultdict
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

from pamqp import base, commands, frame, header
from tests.behaviour.peer import ClosedByBrokerError, Peer
from tests.differential.known import same_text
from tests.differential.operations import CHANNELS, LIMITED, Operation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: What a name of an operation looks like; others, such as "amq.direct" and "a.b", are the same for everybody.
_NAME: Final = re.compile(r"[qxpsu]\d")
#: Queues whose names the broker chooses.
_SERVER_NAMED: Final = re.compile(r"s\d")
#: Stands for one of these that a sequence has no name for.
_UNNAMED: Final = "s9"
#: What the broker chooses, also for a queue that it then refuses.
_CHOSEN: Final = re.compile(r"amq\.gen-[\w-]+")
#: The first of the channels that only ask questions, one for each queue: a refusal closes the channel.
_PROBE: Final = 9
#: The channel on which a sequence's queues and exchanges are deleted.
_SWEEP: Final = 8
_PASSWORD: Final = "secret"
_USER: Final = "u0"
_PERMISSIONS: Final = ("configure", "write", "read")
_NOT_FOUND: Final = 404
_PROBES: Final = (commands.Exchange.DeclareOk, commands.Queue.DeclareOk)
_CAPABILITIES: Final = {"consumer_cancel_notify": True, "basic.nack": True, "publisher_confirms": True}
#: Headers that brokers add.
_OWN: Final = frozenset({"x-death", "x-delivery-count", "x-acquired-count"})
_EVENTS: Final = (commands.Basic.Deliver, commands.Basic.Return)
_SETTLED: Final = (commands.Basic.Ack, commands.Basic.Nack)


@dataclass
class _Channel:
    """What a client knows of a channel of its own."""

    opened: bool = False
    unsettled: dict[str, int] = field(default_factory=dict)
    uncommitted: dict[str, int] | None = None
    seen: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    published: int = 0
    confirms: bool = False


@dataclass
class Seen:
    """What the clients got to see in one step; two brokers that agree show the same.

    Attributes:
        answer: Answer of the step itself.
        channels: By connection and channel, what came by itself: deliveries by consumer, returns, closes.
        confirms: By connection and channel, the numbers that were confirmed and how.
        queues: Of each queue, how many messages are ready and how many consumers it has.
    """

    answer: Any = None
    channels: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    confirms: dict[str, dict[int, str]] = field(default_factory=lambda: defaultdict(dict))
    queues: dict[str, Any] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """All of it, flat."""
        told: dict[str, Any] = {"answer": self.answer}
        told |= {f"{place} got": value for place, value in self.channels.items()}
        told |= {
            f"{place} confirms": sorted(numbers.items())
            for place, numbers in self.confirms.items()
            if numbers
        }
        return told | {f"queue {name}": count for name, count in self.queues.items()}


class Client:
    """A connection with its channels.

    Args:
        side: The broker.
        number: Of the client.
        peer: A connection that an earlier sequence has left as good as new.
    """

    def __init__(self, side: Side, number: int, peer: Peer | None = None) -> None:
        self.side = side
        self.number = number
        self.peer = peer
        self.channels: dict[int, _Channel] = {}
        #: Whether the connection may own queues.
        self.owns = False
        # What was asked on a channel and is not answered: the name of a queue, or nothing in particular.
        self._asked: dict[int, str] = {}

    def open(self, channel: int) -> Peer:
        """Make sure that the connection and a channel are open."""
        peer = self.connect()
        if not self.channels.setdefault(channel, _Channel()).opened:
            self.channels[channel] = _Channel(opened=True)
            peer.send(commands.Channel.Open(), channel=channel)
            self.wait(channel, commands.Channel.OpenOk)
        return peer

    def connect(self) -> Peer:
        """Make sure that the connection is open."""
        if self.peer is None:
            url = self.side.limited_url if self.number == LIMITED else self.side.url
            self.peer = Peer(url).login(capabilities=dict(_CAPABILITIES))
            self.channels = {}
            self.owns = False
        return self.peer

    def spare(self) -> Peer | None:
        """Return the connection for another sequence to use, or end it if this one has left its traces."""
        used = any(channel.opened for number, channel in self.channels.items() if number < _PROBE)
        if self.peer is None or self.number == LIMITED or self.owns or used:
            self.drop()
            return None
        for number, channel in self.channels.items():
            if channel.opened:
                self.peer.send(commands.Channel.Close(200, "", 0, 0), channel=number)
                self.wait(number, commands.Channel.CloseOk)
        return self.peer

    def wait(self, channel: int, *expected: type[base.Frame]) -> base.Frame | None:
        """Read until an answer comes; None if the channel or the connection is closed instead."""
        while self.peer is not None and self.channels[channel].opened:
            place, method = self._read()
            if place == channel and isinstance(method, expected):
                return method
            if method is not None:
                self._note(place, f"unexpected {method.name}")
        return None

    def _read(self) -> tuple[int, base.Frame | None]:
        """Read one method and note it, unless it is an answer."""
        assert self.peer is not None
        try:
            place, method = self.peer.read_method()
        except ClosedByBrokerError as closed:
            self._closed(closed)
            return 0, None
        except EOFError:
            self.drop()
            self._note(0, "dropped")
            return 0, None
        if isinstance(method, _EVENTS):
            self._content(place, method)
        elif isinstance(method, _SETTLED):
            self._confirmed(place, method)
        elif isinstance(method, commands.Basic.Cancel):
            self._note(place, f"cancelled {method.consumer_tag}")
        else:
            return place, method
        return place, None

    def call(self, channel: int, request: base.Frame, *expected: type[base.Frame]) -> base.Frame | None:
        """Send a method, and read its answer."""
        self.open(channel).send(request, channel=channel)
        return self.wait(channel, *expected)

    def ask(self, queues: Sequence[str]) -> None:
        """Ask on each channel for an answer that comes after all that the broker has for it by now.

        Args:
            queues: Queues to ask about besides; the side gets to know how many messages and consumers they
                have, or the code with which that is refused.
        """
        if self.peer is None and not queues:
            return
        peer = self.connect()
        self._asked = {}
        frames = []
        for number, channel in self.channels.items():
            if channel.opened and number < _PROBE:
                self._asked[number] = ""
                frames.append(_question(number))
        for name in queues:
            number = self.side.probe(name)
            if not self.channels.setdefault(number, _Channel()).opened:
                self.channels[number] = _Channel(opened=True)
                frames.append(frame.marshal(commands.Channel.Open(), number))
            self._asked[number] = name
            frames.append(_question(number, self.side.real(name)))
        if frames:
            peer.write(b"".join(frames))

    def meet(self) -> None:
        """Read all that the broker has to say up to the answers to what was asked."""
        while self._asked and self.peer is not None:
            place, method = self._read()
            if place in self._asked and isinstance(method, _PROBES):
                name = self._asked.pop(place)
                if isinstance(method, commands.Queue.DeclareOk):
                    # RabbitMQ counts the messages of streams once in some seconds.
                    counts = (method.message_count, method.consumer_count)
                    self.side.seen.queues[name] = "a stream" if name in self.side.streams else counts
            elif method is not None and not isinstance(method, commands.Channel.OpenOk):
                self._note(place, f"unexpected {method.name}")

    def drain(self, queues: Sequence[tuple[str, int]]) -> dict[str, list[Any]]:
        """Take so many messages out of queues, which have been asked about before."""
        left: dict[str, list[Any]] = {name: [] for name, _ in queues}
        peer = self.connect()
        owed = {}
        for name, count in queues:
            get = commands.Basic.Get(queue=self.side.real(name), no_ack=True)
            peer.send(*[get] * (count + 1), channel=self.side.probe(name))
            owed[self.side.probe(name)] = [name] * (count + 1)
        while self.peer is not None and any(
            names and self.channels[number].opened for number, names in owed.items()
        ):
            place, method = self._read()
            if isinstance(method, commands.Basic.GetEmpty):
                owed[place].pop()
            elif isinstance(method, commands.Basic.GetOk):
                content = peer.read_content()
                properties = self.side.plain(_properties(content.properties))
                left[owed[place].pop()].append((content.body.decode(), method.redelivered, properties))
        return left

    def close(self, channel: int) -> Any:
        """Close a channel."""
        answer = self.call(channel, commands.Channel.Close(200, "", 0, 0), commands.Channel.CloseOk)
        if self.peer is not None:
            self.channels[channel].opened = False
        self.side.confirmed.pop(f"{self.number}/{channel}", None)
        return None if answer is None else {"ok": answer.name}

    def leave(self) -> bool:
        """Close the connection; returns whether there was one."""
        # One after the other: RabbitMQ's channels would end in any order.
        for number in CHANNELS:
            if number in self.channels and self.channels[number].opened:
                self.close(number)
        if self.peer is None:
            return False
        self.peer.send(commands.Connection.Close(200, "", 0, 0), channel=0)
        while not isinstance(self.peer.read_method()[1], commands.Connection.CloseOk):
            pass
        self.drop()
        return True

    def drop(self) -> None:
        """End the connection without a word."""
        if self.peer is not None:
            self.peer.drop()
        self.peer = None
        self.channels = {}
        self._asked = {}

    def _note(self, channel: int, what: Any) -> None:
        self.side.seen.channels[f"{self.number}/{channel}"].append(what)

    def _closed(self, closed: ClosedByBrokerError) -> None:
        place = closed.channel
        asked = list(self._asked.values()) if not closed.on_channel else [self._asked.get(place, "")]
        for name in filter(None, asked):
            self.side.seen.queues[name] = "gone" if closed.reply_code == _NOT_FOUND else closed.reply_code
        self._asked.pop(place, None)
        if place < _SWEEP:
            text = self.side.plain(closed.reply_text)
            self._note(place, f"closed {closed.reply_code} {text} {closed.offender}")
        if closed.on_channel:
            self.channels[place].opened = False
        else:
            self.drop()

    def _content(self, number: int, method: base.Frame) -> None:
        assert self.peer is not None
        content = self.peer.read_content()
        channel = self.channels[number]
        told = (content.body.decode(), self.side.plain(_properties(content.properties)))
        if isinstance(method, commands.Basic.Return):
            returned = (method.reply_code, method.reply_text, method.exchange, method.routing_key, *told)
            self._note(number, ("return", *self.side.plain(returned)))
            return
        assert isinstance(method, commands.Basic.Deliver)
        source = str(method.consumer_tag)
        what = (method.redelivered, method.exchange, method.routing_key, *told)
        self._note(number, (source, *self.side.plain(what)))
        self.take(channel, source, method.delivery_tag or 0)

    def take(self, channel: _Channel, source: str, tag: int) -> None:
        """Note a delivery that is to be settled, unless its consumer needs no acknowledgements."""
        channel.seen[source] += 1
        if not source.endswith("!"):
            channel.unsettled[f"{source} {channel.seen[source]:03}"] = tag

    def _confirmed(self, number: int, method: base.Frame) -> None:
        assert isinstance(method, _SETTLED)
        known = self.side.confirmed[f"{self.number}/{number}"]
        tag = method.delivery_tag or 0
        how = "ack" if isinstance(method, commands.Basic.Ack) else "nack"
        first = 1 if method.multiple else tag
        for one in range(first, tag + 1):
            if method.multiple and one in known:
                continue
            told = how if one not in known else f"{known[one]} and {how}"
            known[one] = told
            self.side.seen.confirms[f"{self.number}/{number}"][one] = told


@lru_cache(maxsize=100)
def _question(channel: int, queue: str = "") -> bytes:
    """Return a method that changes nothing, and whose answer tells of a queue if one is given."""
    if queue:
        return frame.marshal(commands.Queue.Declare(queue=queue, passive=True), channel)
    return frame.marshal(commands.Exchange.Declare(exchange="amq.direct", passive=True), channel)


def _properties(properties: commands.Basic.Properties) -> dict[str, Any]:
    """Return the properties that are set, without the times of deaths."""
    told: dict[str, Any] = {name: value for name, value in properties if value not in (None, "")}
    deaths = (told.get("headers") or {}).get("x-death")
    if isinstance(deaths, list):
        for death in deaths:
            death.pop("time", None)
    if "x-stream-offset" in (told.get("headers") or {}):
        told.setdefault("delivery_mode", 1)
    if "headers" in told:
        # In their order, which a comparison of tables would not see; a broker puts its own anywhere.
        items = list(told["headers"].items())
        told["headers"] = sorted(items) if any(name in _OWN for name, _ in items) else items
    return told


class Side:
    """A broker under comparison.

    Args:
        url: AMQP URL.
        management_url: Base URL of the management API with user and password, or None without one.
    """

    def __init__(self, url: str, management_url: str | None) -> None:
        self.url = url
        self._management = None if management_url is None else _Management(management_url)
        self.has_management = self._management is not None
        self._control = Client(self, LIMITED + 1)
        self._spare: list[Peer | None] = [None] * (LIMITED + 1)
        self.begin("none.")

    def begin(self, prefix: str) -> None:
        """Start a sequence: its names get this prefix."""
        self.prefix = prefix
        self.seen = Seen()
        self.confirmed: dict[str, dict[int, str]] = defaultdict(dict)
        self.clients = [Client(self, number, peer) for number, peer in enumerate(self._spare)]
        #: Queues that may exist, with the connection that alone may see it.
        self.queues: dict[str, Client] = {}
        #: Which of them are streams.
        self.streams: set[str] = set()
        self._policies: set[str] = set()
        self._names: set[str] = set()
        # By the name that the broker chose, the one of the operations; the last of each is in use.
        self._chosen: dict[str, str] = {}
        self._limited: _Management | None = None

    @property
    def limited_url(self) -> str:
        """AMQP URL of the user with limited permissions."""
        self._add_user()
        parts = urlsplit(self.url)
        return f"amqp://{self.prefix}{_USER}:{_PASSWORD}@{parts.hostname}:{parts.port}{parts.path}"

    def _add_user(self) -> _Management:
        """Return the management API for the user with limited permissions, who has none at first."""
        if self._limited is None:
            assert self._management is not None
            user = self.prefix + _USER
            self._management.ask("PUT", f"users/{user}", {"password": _PASSWORD, "tags": "management"})
            self._management.ask("PUT", f"permissions/%2F/{user}", dict.fromkeys(_PERMISSIONS, ""))
            self._limited = self._management.login(user, _PASSWORD)
        return self._limited

    def probe(self, queue: str) -> int:
        """Return the channel for questions about a queue."""
        return _PROBE + "qs".index(queue[0]) * 10 + int(queue[1])

    def real(self, value: Any) -> Any:
        """Return a value of an operation with the prefix of the sequence."""
        if isinstance(value, str):
            chosen = [real for real, name in self._chosen.items() if name == value]
            if chosen:
                return chosen[-1]
            return self.prefix + value if _NAME.fullmatch(value) else value
        if isinstance(value, dict):
            return {key: self.real(one) for key, one in value.items()}
        return [self.real(one) for one in value] if isinstance(value, list) else value

    def plain(self, value: Any) -> Any:
        """Return what the broker said without the prefix."""
        if isinstance(value, str):
            for real, name in self._chosen.items():
                value = value.replace(real, name)
            return same_text(_CHOSEN.sub("amq.gen-?", value.replace(self.prefix, "")))
        if isinstance(value, dict):
            return {key: self.plain(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self.plain(one) for one in value)
        return value

    def perform(self, operation: Operation, number: int) -> None:
        """Do one step; `seen` has what came of it."""
        self.seen = Seen()
        if operation.kind in ("queue.declare", "exchange.declare", "http.declare"):
            name = operation.fields.get("exchange") or operation.fields["queue"]
            self._names |= {name} if name[:1] in ("q", "x") else set()
        if operation.kind.startswith("http."):
            self.seen.answer = self._http(operation, number)
        else:
            client = self.clients[operation.connection]
            self.seen.answer = _Step(client, operation.channel, self, number).run(operation)

    def ask(self) -> None:
        """Begin a look."""
        self.seen.queues = {}
        for name, owner in self.queues.items():
            self.seen.queues[name] = None
            if owner is not self._control and owner.peer is None:
                self.queues[name] = self._control
        for client in (*self.clients, self._control):
            client.ask([name for name, owner in self.queues.items() if owner is client])

    def look(self) -> dict[str, Any]:
        """Return all that was seen since the last step."""
        for client in (*self.clients, self._control):
            client.meet()
        return self.seen.facts()

    def awaits_confirms(self) -> bool:
        """Whether the broker has to confirm something; it does so in the end."""
        return any(
            channel.opened and channel.published > len(self.confirmed[f"{client.number}/{number}"])
            for client in self.clients
            for number, channel in client.channels.items()
        )

    def forget_gone(self) -> None:
        """Ask no more about queues that are gone."""
        for name, count in self.seen.queues.items():
            if count == "gone":
                self.queues.pop(name, None)

    def know_queue(self, name: str, owner: Client | None) -> None:
        """Note that a queue may exist."""
        self.queues[name] = owner or self._control

    def has_open(self, operation: Operation) -> bool:
        """Whether the channel of a step is open."""
        channels = self.clients[operation.connection].channels
        return operation.channel in channels and channels[operation.channel].opened

    def name_queue(self, name: str, chosen: str) -> None:
        """Note the name that the broker has chosen for a queue."""
        self._chosen[chosen] = name

    def drain(self) -> None:
        """Take out all messages that are left, as a last step; those of streams stay."""
        counts = self.seen.queues
        self.seen = Seen()
        self.seen.answer = self._control.drain(
            [
                (name, counts[name][0])
                for name, owner in sorted(self.queues.items())
                if owner is self._control and name not in self.streams and isinstance(counts[name], tuple)
            ]
        )

    def end(self) -> None:
        """Remove everything that the sequence has made."""
        self._spare = [client.spare() for client in self.clients]
        for policy in sorted(self._policies):
            assert self._management is not None
            self._management.ask("DELETE", f"policies/%2F/{policy}")
        if self._limited is not None:
            assert self._management is not None
            self._limited.close()
            self._management.ask("DELETE", f"users/{self.prefix}{_USER}")
        peer = self._control.open(_SWEEP)
        # Without an answer, which RabbitMQ takes its time for.
        for name in sorted(self._names):
            request = (
                commands.Queue.Delete(queue=self.real(name), nowait=True)
                if name[0] == "q"
                else commands.Exchange.Delete(exchange=self.real(name), nowait=True)
            )
            peer.send(request, channel=_SWEEP)
        for chosen in self._chosen:
            peer.send(commands.Queue.Delete(queue=chosen, nowait=True), channel=_SWEEP)

    def close(self) -> None:
        """Hang up."""
        for client in (*self.clients, self._control):
            client.drop()
        if self._management is not None:
            self._management.close()

    def _http(self, operation: Operation, number: int) -> Any:
        f = self.real(operation.fields)
        assert self._management is not None
        ask = (self._add_user() if f.get("limited") else self._management).ask
        queue = f.get("queue", "")
        match operation.kind:
            case "http.policy":
                name = f["policy"]
                self._policies.add(name)
                body = {
                    "pattern": f"^{self.prefix}{operation.fields.get('pattern', '')}",
                    "definition": f["definition"],
                    "priority": f.get("priority", 0),
                    "apply-to": f["apply_to"],
                }
                answer = ask("PUT", f"policies/%2F/{name}", body)
            case "http.unpolicy":
                answer = ask("DELETE", f"policies/%2F/{f['policy']}")
            case "http.permissions" | "http.topic":
                answer = self._permit(operation)
            case "http.publish":
                properties = {"headers": f["headers"]} if f.get("headers") else {}
                body = {
                    "properties": properties,
                    "routing_key": f["routing_key"],
                    "payload": f"m{number}",
                    "payload_encoding": "string",
                }
                exchange = f.get("exchange") or "amq.default"
                answer = ask("POST", f"exchanges/%2F/{exchange}/publish", body)
            case "http.get":
                body = {"count": f["count"], "ackmode": f["ackmode"], "encoding": "auto"}
                answer = ask("POST", f"queues/%2F/{queue}/get", body)
            case "http.declare":
                self.queues.setdefault(operation.fields["queue"], self._control)
                body = {
                    "durable": f.get("durable", False),
                    "auto_delete": f.get("auto_delete", False),
                    "arguments": f.get("arguments", {}),
                }
                answer = ask("PUT", f"queues/%2F/{queue}", body)
                if answer[0] < 400:
                    self.know_type(operation.fields["queue"], operation.fields)
            case _:
                assert operation.kind == "http.delete"
                condition = "?if-unused=true" if f.get("if_unused") else ""
                answer = ask("DELETE", f"queues/%2F/{queue}{condition}")
        return self.plain(answer)

    def _permit(self, operation: Operation) -> Any:
        """Set permissions, which RabbitMQ's channels remember: the user's connection begins anew."""
        self._add_user()
        self.clients[LIMITED].leave()
        assert self._management is not None
        if operation.kind == "http.permissions":
            body = {one: operation.fields.get(one, "") for one in _PERMISSIONS}
            return self._management.ask("PUT", f"permissions/%2F/{self.prefix}{_USER}", body)
        body = {one: operation.fields.get(one, "") for one in ("write", "read")}
        body["exchange"] = self.real(operation.fields["exchange"])
        return self._management.ask("PUT", f"topic-permissions/%2F/{self.prefix}{_USER}", body)

    def know_type(self, name: str, fields: dict[str, Any]) -> None:
        """Note of which type a queue is that was declared."""
        is_stream = fields.get("arguments", {}).get("x-queue-type") == "stream"
        (self.streams.add if is_stream else self.streams.discard)(name)


class _Step:
    """Does one step on one channel."""

    def __init__(self, client: Client, number: int, side: Side, step: int) -> None:
        self._client = client
        self._number = number
        self._side = side
        self._step = step

    def run(self, operation: Operation) -> Any:
        """Do it, and return the answer."""
        if operation.kind == "connection.close":
            return self._close_connection()
        self._operation = operation
        self._client.open(self._number)
        if operation.kind in ("ack", "nack", "reject"):
            return self._settle(operation)
        run: Callable[..., Any] = getattr(self, "_" + operation.kind.replace(".", "_"))
        return self._side.plain(run(**self._side.real(operation.fields)))

    @property
    def _channel(self) -> _Channel:
        return self._client.channels[self._number]

    def _call(self, request: base.Frame, *expected: type[base.Frame]) -> Any:
        answer = self._client.call(self._number, request, *expected)
        return None if answer is None else {"ok": answer.name, **dict(answer)}

    def _exchange_declare(self, arguments: Any = None, **fields: Any) -> Any:
        return self._call(
            commands.Exchange.Declare(arguments=arguments or {}, **fields), commands.Exchange.DeclareOk
        )

    def _exchange_delete(self, **fields: Any) -> Any:
        return self._call(commands.Exchange.Delete(**fields), commands.Exchange.DeleteOk)

    def _exchange_bind(self, arguments: Any = None, **fields: Any) -> Any:
        return self._call(
            commands.Exchange.Bind(arguments=arguments or {}, **fields), commands.Exchange.BindOk
        )

    def _exchange_unbind(self, arguments: Any = None, **fields: Any) -> Any:
        return self._call(
            commands.Exchange.Unbind(arguments=arguments or {}, **fields), commands.Exchange.UnbindOk
        )

    def _queue_declare(self, arguments: Any = None, **fields: Any) -> Any:
        name = self._operation.fields["queue"]
        server_named = not fields.get("passive") and (not name or _SERVER_NAMED.fullmatch(name))
        if server_named:
            fields["queue"] = ""
            name = name or _UNNAMED
        answer = self._call(
            commands.Queue.Declare(arguments=arguments or {}, **fields), commands.Queue.DeclareOk
        )
        if answer is not None and self._side.plain(answer["queue"]) in self._side.streams:
            answer["message_count"] = None
        if answer is not None and not fields.get("passive"):
            if server_named:
                self._side.name_queue(name, answer["queue"])
            self._client.owns = self._client.owns or fields.get("exclusive", False)
            self._side.know_queue(name, self._client if fields.get("exclusive") else None)
            self._side.know_type(name, self._operation.fields)
        return answer

    def _queue_bind(self, arguments: Any = None, **fields: Any) -> Any:
        return self._call(commands.Queue.Bind(arguments=arguments or {}, **fields), commands.Queue.BindOk)

    def _queue_unbind(self, arguments: Any = None, **fields: Any) -> Any:
        return self._call(commands.Queue.Unbind(arguments=arguments or {}, **fields), commands.Queue.UnbindOk)

    def _queue_purge(self, queue: str) -> Any:
        return self._call(commands.Queue.Purge(queue=queue), commands.Queue.PurgeOk)

    def _queue_delete(self, **fields: Any) -> Any:
        return self._call(commands.Queue.Delete(**fields), commands.Queue.DeleteOk)

    def _publish(
        self, routing_key: str = "", exchange: str = "", mandatory: bool = False, **properties: Any
    ) -> None:
        body = f"m{self._step}".encode()
        marshalled = header.ContentHeader(0, len(body), commands.Basic.Properties(**properties)).marshal()
        peer = self._client.open(self._number)
        self._channel.published += self._channel.confirms
        peer.publish(
            body,
            exchange=exchange,
            routing_key=routing_key,
            property_bytes=marshalled[12:],
            channel=self._number,
            mandatory=mandatory,
        )

    def _get(self, queue: str, no_ack: bool = False) -> Any:
        request = commands.Basic.Get(queue=queue, no_ack=no_ack)
        answer = self._client.call(self._number, request, commands.Basic.GetOk, commands.Basic.GetEmpty)
        if not isinstance(answer, commands.Basic.GetOk):
            return None if answer is None else answer.name
        assert self._client.peer is not None
        content = self._client.peer.read_content()
        if not no_ack:
            self._client.take(self._channel, "got", answer.delivery_tag or 0)
        return (
            answer.redelivered,
            answer.exchange,
            answer.routing_key,
            answer.message_count,
            content.body.decode(),
            _properties(content.properties),
        )

    def _consume(self, tag: str, no_ack: bool = False, arguments: Any = None, **fields: Any) -> Any:
        # The mark tells the receiver that there is nothing to settle.
        request = commands.Basic.Consume(
            consumer_tag=tag + "!" * no_ack, no_ack=no_ack, arguments=arguments or {}, **fields
        )
        return self._call(request, commands.Basic.ConsumeOk)

    def _cancel(self, tag: str) -> Any:
        return self._call(commands.Basic.Cancel(consumer_tag=tag), commands.Basic.CancelOk)

    def _settle(self, operation: Operation) -> Any:
        f = operation.fields
        channel = self._channel
        keys = sorted(channel.unsettled)
        multiple = f.get("multiple", False)
        if f.get("unknown"):
            tag, chosen = 999, []
        elif f.get("everything"):
            tag, chosen, multiple = 0, keys, True
        elif not keys:
            return "nothing to settle"
        else:
            key = keys[f["pick"] % len(keys)]
            tag = channel.unsettled[key]
            chosen = [one for one in keys if channel.unsettled[one] <= tag] if multiple else [key]
        request: base.Frame
        if operation.kind == "ack":
            request = commands.Basic.Ack(delivery_tag=tag, multiple=multiple)
        elif operation.kind == "nack":
            request = commands.Basic.Nack(
                delivery_tag=tag, multiple=multiple, requeue=f.get("requeue", False)
            )
        else:
            request = commands.Basic.Reject(delivery_tag=tag, requeue=f.get("requeue", False))
        self._client.open(self._number).send(request, channel=self._number)
        for one in chosen:
            settled = channel.unsettled.pop(one)
            if channel.uncommitted is not None:
                channel.uncommitted[one] = settled
        return chosen

    def _qos(self, count: int = 0, everywhere: bool = False) -> Any:
        request = commands.Basic.Qos(prefetch_count=count, global_=everywhere)
        return self._call(request, commands.Basic.QosOk)

    def _recover(self, requeue: bool = False) -> Any:
        if requeue:
            self._channel.unsettled.clear()
        return self._call(commands.Basic.Recover(requeue=requeue), commands.Basic.RecoverOk)

    def _confirm_select(self) -> Any:
        answer = self._call(commands.Confirm.Select(), commands.Confirm.SelectOk)
        if answer is not None:
            self._channel.confirms = True
        return answer

    def _tx_select(self) -> Any:
        if self._channel.uncommitted is None:
            self._channel.uncommitted = {}
        return self._call(commands.Tx.Select(), commands.Tx.SelectOk)

    def _tx_commit(self) -> Any:
        if self._channel.uncommitted is not None:
            self._channel.uncommitted = {}
        return self._call(commands.Tx.Commit(), commands.Tx.CommitOk)

    def _tx_rollback(self) -> Any:
        if self._channel.uncommitted is not None:
            self._channel.unsettled |= self._channel.uncommitted
            self._channel.uncommitted = {}
        return self._call(commands.Tx.Rollback(), commands.Tx.RollbackOk)

    def _channel_close(self) -> Any:
        return self._client.close(self._number)

    def _close_connection(self) -> Any:
        return "closed" if self._client.leave() else "not open"


class _Management:
    """A client of the management API."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._at = f"{parts.hostname}:{parts.port}"
        self._connection = http.client.HTTPConnection(self._at, timeout=15)
        credentials = f"{parts.username}:{parts.password}".encode()
        self._headers = {
            "authorization": "Basic " + base64.b64encode(credentials).decode(),
            "content-type": "application/json",
        }

    def login(self, user: str, password: str) -> _Management:
        """Return the API for another user."""
        return _Management(f"http://{user}:{password}@{self._at}")

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Make a request, and return the status with what was said."""
        content = None if body is None else json.dumps(body)
        target = "/api/" + quote(path, safe="/%?=")
        try:
            self._connection.request(method, target, content, self._headers)
            answer = self._connection.getresponse()
        except (http.client.RemoteDisconnected, ConnectionError):
            # The server has ended the connection, which was long without a request.
            self._connection.close()
            self._connection.request(method, target, content, self._headers)
            answer = self._connection.getresponse()
        text = answer.read().decode()
        try:
            return answer.status, json.loads(text)
        except ValueError:
            return answer.status, text

    def close(self) -> None:
        self._connection.close()
