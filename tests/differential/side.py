"""One of the two brokers, its clients, and all that these get to see."""

from __future__ import annotations

import base64
import http.client
import json
import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

from pamqp import base, commands, header
from tests.behaviour.peer import ClosedByBrokerError, Peer
from tests.differential.known import same_text
from tests.differential.operations import CHANNELS, CONNECTIONS

if TYPE_CHECKING:
    from collections.abc import Callable

from tests.differential.operations import Operation

#: What a name of an operation looks like; others, such as "amq.direct" and "a.b", are the same for everybody.
_NAME: Final = re.compile(r"[qxp]\d")
#: The channel on which nothing but questions are asked.
_PROBE: Final = 9
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
    confirmed: int = 0


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
    """A connection with its channels."""

    def __init__(self, side: Side, number: int) -> None:
        self.side = side
        self.number = number
        self.peer: Peer | None = None
        self.channels: dict[int, _Channel] = {}
        self._unmet: set[int] = set()

    def open(self, channel: int) -> Peer:
        """Make sure that the connection and a channel are open."""
        if self.peer is None:
            self.peer = Peer(self.side.url).login(capabilities=dict(_CAPABILITIES))
            self.channels = {}
        if not self.channels.setdefault(channel, _Channel()).opened:
            self.channels[channel] = _Channel(opened=True)
            self.peer.send(commands.Channel.Open(), channel=channel)
            self.wait(channel, commands.Channel.OpenOk)
        assert self.peer is not None
        return self.peer

    def wait(self, channel: int, *expected: type[base.Frame]) -> base.Frame | None:
        """Read until an answer comes; None if the channel or the connection is closed instead."""
        while self.peer is not None and self.channels[channel].opened:
            try:
                place, method = self.peer.read_method()
            except ClosedByBrokerError as closed:
                self._closed(closed)
                continue
            except EOFError:
                self.drop()
                self.side.seen.channels[f"{self.number}/0"].append("dropped")
                return None
            if isinstance(method, _EVENTS):
                self._content(place, method)
            elif isinstance(method, _SETTLED):
                self._confirmed(place, method)
            elif isinstance(method, commands.Basic.Cancel):
                self._note(place, f"cancelled {method.consumer_tag}")
            elif place == channel and isinstance(method, expected):
                return method
            elif place in self._unmet and isinstance(method, commands.Exchange.DeclareOk):
                self._unmet.discard(place)
            else:
                self._note(place, f"unexpected {method.name}")
        return None

    def call(self, channel: int, request: base.Frame, *expected: type[base.Frame]) -> base.Frame | None:
        """Send a method, and read its answer."""
        self.open(channel).send(request, channel=channel)
        return self.wait(channel, *expected)

    def meet(self) -> None:
        """See all that the broker has for the channels by now."""
        if self.peer is None:
            return
        probe = commands.Exchange.Declare(exchange="amq.direct", passive=True)
        self._unmet = {number for number, channel in self.channels.items() if channel.opened}
        for number in sorted(self._unmet):
            self.peer.send(probe, channel=number)
        while self._unmet and self.peer is not None:
            number = min(self._unmet)
            self.wait(number, commands.Exchange.DeclareOk)
            self._unmet.discard(number)

    def count(self, queue: str) -> Any:
        """Return how many messages and consumers a queue has, or the code with which that is refused."""
        probe = commands.Queue.Declare(queue=self.side.real(queue), passive=True)
        peer = self.open(_PROBE)
        peer.send(probe, channel=_PROBE)
        while True:
            try:
                place, method = peer.read_method()
            except ClosedByBrokerError as closed:
                self._closed(closed, quietly=closed.channel == _PROBE)
                if closed.channel in (0, _PROBE):
                    return closed.reply_code
                continue
            if isinstance(method, commands.Queue.DeclareOk) and place == _PROBE:
                return method.message_count, method.consumer_count
            if isinstance(method, _EVENTS):
                self._content(place, method)
            elif isinstance(method, _SETTLED):
                self._confirmed(place, method)
            elif isinstance(method, commands.Basic.Cancel):
                self._note(place, f"cancelled {method.consumer_tag}")

    def drop(self) -> None:
        """End the connection without a word."""
        if self.peer is not None:
            self.peer.drop()
        self.peer = None
        self.channels = {}

    def _note(self, channel: int, what: Any) -> None:
        self.side.seen.channels[f"{self.number}/{channel}"].append(what)

    def _closed(self, closed: ClosedByBrokerError, *, quietly: bool = False) -> None:
        text = self.side.plain(closed.reply_text)
        if not quietly:
            self._note(closed.channel, f"closed {closed.reply_code} {text} {closed.offender}")
        if closed.on_channel:
            self.channels[closed.channel].opened = False
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
        channel = self.channels[number]
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
        channel.confirmed = max(channel.confirmed, tag)


def _properties(properties: commands.Basic.Properties) -> dict[str, Any]:
    """Return the properties that are set, without the times of deaths."""
    told: dict[str, Any] = {name: value for name, value in properties if value not in (None, "")}
    deaths = (told.get("headers") or {}).get("x-death")
    if isinstance(deaths, list):
        for death in deaths:
            death.pop("time", None)
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
        self._control = Client(self, CONNECTIONS)
        self.begin("none.")

    def begin(self, prefix: str) -> None:
        """Start a sequence: its names get this prefix."""
        self.prefix = prefix
        self.seen = Seen()
        self.confirmed: dict[str, dict[int, str]] = defaultdict(dict)
        self.clients = [Client(self, number) for number in range(CONNECTIONS)]
        #: Queues that may exist, with the connection that alone may see it.
        self.queues: dict[str, Client] = {}
        self._policies: set[str] = set()
        self._names: set[str] = set()

    def real(self, value: Any) -> Any:
        """Return a value of an operation with the prefix of the sequence."""
        if isinstance(value, str):
            return self.prefix + value if _NAME.fullmatch(value) else value
        if isinstance(value, dict):
            return {key: self.real(one) for key, one in value.items()}
        return [self.real(one) for one in value] if isinstance(value, list) else value

    def plain(self, value: Any) -> Any:
        """Return what the broker said without the prefix."""
        if isinstance(value, str):
            return same_text(value.replace(self.prefix, ""))
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
            self._names |= {name} if _NAME.fullmatch(name) else set()
        if operation.kind.startswith("http."):
            self.seen.answer = self._http(operation, number)
        else:
            client = self.clients[operation.connection]
            self.seen.answer = _Step(client, operation.channel, self, number).run(operation)

    def look(self) -> dict[str, Any]:
        """Return all that was seen since the last step, after another look."""
        self.seen.queues = {}
        for name, owner in list(self.queues.items()):
            if owner is not self._control and owner.peer is None:
                owner = self.queues[name] = self._control
            count = owner.count(name)
            if count == 404:
                count = "gone"
            self.seen.queues[name] = count
        for client in self.clients:
            client.meet()
        facts = self.seen.facts()
        return facts

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

    def drain(self) -> None:
        """Take out all messages that are left, as a last step."""
        self.seen = Seen()
        left: dict[str, Any] = {}
        for name in sorted(self.queues):
            left[name] = []
            while True:
                got = self._control.call(
                    _PROBE,
                    commands.Basic.Get(queue=self.real(name), no_ack=True),
                    commands.Basic.GetOk,
                    commands.Basic.GetEmpty,
                )
                if not isinstance(got, commands.Basic.GetOk) or len(left[name]) > 200:
                    break
                assert self._control.peer is not None
                content = self._control.peer.read_content()
                properties = self.plain(_properties(content.properties))
                left[name].append((content.body.decode(), got.redelivered, properties))
        self.seen.answer = left

    def end(self) -> None:
        """Remove everything that the sequence has made."""
        for client in self.clients:
            client.drop()
        for policy in sorted(self._policies):
            assert self._management is not None
            self._management.ask("DELETE", f"policies/%2F/{policy}")
        peer = self._control.open(_PROBE)
        for name in sorted(self._names):
            request = commands.Queue.Delete(queue=self.real(name))
            peer.send(
                request if name[0] == "q" else commands.Exchange.Delete(exchange=self.real(name)),
                channel=_PROBE,
            )
        for _ in self._names:
            self._control.wait(_PROBE, commands.Queue.DeleteOk, commands.Exchange.DeleteOk)

    def close(self) -> None:
        """Hang up."""
        self._control.drop()
        if self._management is not None:
            self._management.close()

    def _http(self, operation: Operation, number: int) -> Any:
        assert self._management is not None
        f = self.real(operation.fields)
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
                answer = self._management.ask("PUT", f"policies/%2F/{name}", body)
            case "http.unpolicy":
                answer = self._management.ask("DELETE", f"policies/%2F/{f['policy']}")
            case "http.publish":
                properties = {"headers": f["headers"]} if f.get("headers") else {}
                body = {
                    "properties": properties,
                    "routing_key": f["routing_key"],
                    "payload": f"m{number}",
                    "payload_encoding": "string",
                }
                exchange = f.get("exchange") or "amq.default"
                answer = self._management.ask("POST", f"exchanges/%2F/{exchange}/publish", body)
            case "http.get":
                body = {"count": f["count"], "ackmode": f["ackmode"], "encoding": "auto"}
                answer = self._management.ask("POST", f"queues/%2F/{queue}/get", body)
            case "http.declare":
                self.queues.setdefault(operation.fields["queue"], self._control)
                body = {
                    "durable": f.get("durable", False),
                    "auto_delete": f.get("auto_delete", False),
                    "arguments": f.get("arguments", {}),
                }
                answer = self._management.ask("PUT", f"queues/%2F/{queue}", body)
            case _:
                assert operation.kind == "http.delete"
                condition = "?if-unused=true" if f.get("if_unused") else ""
                answer = self._management.ask("DELETE", f"queues/%2F/{queue}{condition}")
        return self.plain(answer)


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
        answer = self._call(
            commands.Queue.Declare(arguments=arguments or {}, **fields), commands.Queue.DeclareOk
        )
        if answer is not None and not fields.get("passive"):
            owner = self._client if fields.get("exclusive") else None
            self._side.know_queue(self._side.plain(fields["queue"]), owner)
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
        self._client.open(self._number).publish(
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
        return self._call(commands.Confirm.Select(), commands.Confirm.SelectOk)

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
        request = commands.Channel.Close(reply_code=200, reply_text="", class_id=0, method_id=0)
        answer = self._call(request, commands.Channel.CloseOk)
        self._client.channels[self._number].opened = False
        self._side.confirmed.pop(f"{self._client.number}/{self._number}", None)
        return answer

    def _close_connection(self) -> Any:
        if self._client.peer is None:
            return "not open"
        # One after the other: RabbitMQ's channels would end in any order.
        for number in CHANNELS:
            if number in self._client.channels and self._client.channels[number].opened:
                _Step(self._client, number, self._side, self._step)._channel_close()
        request = commands.Connection.Close(reply_code=200, reply_text="", class_id=0, method_id=0)
        peer = self._client.peer
        peer.send(request, channel=0)
        while not isinstance(peer.read_method()[1], commands.Connection.CloseOk):
            pass
        self._client.drop()
        return "closed"


class _Management:
    """A client of the management API."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=15)
        credentials = f"{parts.username}:{parts.password}".encode()
        self._headers = {
            "authorization": "Basic " + base64.b64encode(credentials).decode(),
            "content-type": "application/json",
        }

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
