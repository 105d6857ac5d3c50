"""Random work for a broker: everything that changes what is stored, in one order for each seed."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from tests.faults.storage.promises import Item, Presence
from tests.faults.storage.witness import Heard, Witness
from tests.unit.broker.support import publish

from fedora_messaging.wire import methods as m

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from random import Random

    from tests.faults.storage.promises import Promises

    from fedora_messaging.broker.server import Server
    from fedora_messaging.wire.methods import Method

#: Channels: of publishers that wait for confirms, of consumers, and of transactions.
PUBLISHER, CONSUMER, TRANSACTIONS = 1, 2, 3
PLAIN: Final = "plain"
PRIORITIES: Final = "priorities"
LIMITED: Final = "limited"
QUORUM: Final = "quorum"
STREAM: Final = "stream"
DEAD: Final = "dead"
TEMPORARY: Final = "temporary"
COMMITTED: Final = "committed"
FANNED: Final = ("fan-1", "fan-2")
FAN: Final = "fan"
LATER: Final = "later"
_SWITCHED: Final = "switched"
_POLICY: Final = "policy"
_MOST: Final = 4

_DEAD_LETTERS: Final = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": DEAD}
QUEUES: Final[dict[str, dict[str, Any]]] = {
    PLAIN: _DEAD_LETTERS,
    PRIORITIES: {"x-max-priority": 5},
    LIMITED: {"x-max-length": _MOST, **_DEAD_LETTERS},
    QUORUM: {"x-queue-type": "quorum", "x-delivery-limit": -1, **_DEAD_LETTERS},
    STREAM: {"x-queue-type": "stream"},
    DEAD: {},
    TEMPORARY: {},
    COMMITTED: {},
    FANNED[0]: {},
    FANNED[1]: {},
}
#: Queues from which messages are taken one by one.
_TAKEN_FROM: Final = (PLAIN, PRIORITIES, QUORUM, DEAD, COMMITTED, *FANNED)
#: Queues whose messages come back in the order in which they were published.
IN_ORDER: Final = (PLAIN, LIMITED, STREAM, COMMITTED, *FANNED)
_SIZES: Final = (10, 10, 300, 300, 5_000, 30_000)


def message(queue: str, number: int) -> Item:
    """Return the item of a message in a queue."""
    return Item("message", queue, number)


def somewhere(number: int) -> Item:
    """Return the item that stands for a message in any queue."""
    return Item("somewhere", "in a queue", number)


class Traffic:
    """Publishes, takes, acknowledges, rejects, purges, declares, deletes, binds and sets policies.

    Args:
        random: What is done.
        promises: Follow it.

    Attributes:
        bodies: The body of each message that was published.
        arrivals: The messages that were sent to each queue, in order.
        complaints: What was wrong while the broker worked.
    """

    def __init__(self, random: Random, promises: Promises) -> None:
        self.bodies: dict[int, bytes] = {}
        self.arrivals: dict[str, list[int]] = defaultdict(list)
        self.complaints: list[str] = []
        self._random = random
        self._promises = promises
        self._server: Server
        self._witness: Witness
        self._request = 0
        # Messages that wait in each queue, and those that are out with their delivery tags.
        self._ready: dict[str, list[int]] = defaultdict(list)
        self._out: dict[int, tuple[str, int]] = {}
        # Requests whose publishes await confirms, by delivery tag.
        self._unconfirmed: dict[int, int] = {}
        self._tag = 0

    # A life of the broker

    def begin(self, server: Server, now: Callable[[], int]) -> None:
        """Begin to use a broker that has just started, and declare everything."""
        self._server = server
        self._give_back()
        self._unconfirmed.clear()
        self._tag = 0
        self._witness = Witness(server, now).login(PUBLISHER, CONSUMER, TRANSACTIONS)
        self._witness.ask(m.ConfirmSelect(), m.ConfirmSelectOk)
        self._witness.ask(m.TxSelect(), m.TxSelectOk, TRANSACTIONS)
        self._declare_exchange(FAN, "fanout")
        self._declare_exchange(LATER, "x-delayed-message", {"x-delayed-type": "direct"})
        for queue in QUEUES:
            self._declare_queue(queue)
        for queue in FANNED:
            self._bind(queue, FAN, "")
        self._witness.ask(m.QueueDeclare("transient"), m.QueueDeclareOk)
        self._witness.ask(m.QueueBind("transient", FAN), m.QueueBindOk)

    def end(self) -> None:
        """Have everything stored, and hang up."""
        self.settle()
        self._barrier()
        self._witness.leave()

    def work(self, steps: int) -> None:
        """Do some things at random."""
        actions: Sequence[tuple[int, Callable[[], None]]] = [
            (10, self._publish),
            (6, self._take),
            (6, self._settle_some),
            (1, self._take_at_once),
            (1, self._purge_one),
            (1, self._purge_all),
            (1, self._delete_and_declare),
            (1, self._switch_binding),
            (1, self._switch_exchange),
            (3, self._transact),
            (1, self._switch_policy),
            (1, self._reopen),
            (2, self._barrier),
            (2, self.settle),
        ]
        weights, calls = zip(*actions, strict=True)
        for call in self._random.choices(calls, weights, k=steps):
            call()
            self._listen()

    def settle(self) -> None:
        """Wait for all confirms."""
        self._witness.wait_until(self._all_confirmed)

    # What is asked for

    def _next(self) -> int:
        self._request += 1
        return self._request

    def _change(self, item: Item, goal: Presence, channel: int) -> None:
        """Note a change that the next request asks for."""
        self._promises.change(item, goal, channel, self._request + 1)

    def _ask(self, method: Method, answer: type[Method], channel: int = CONSUMER) -> Heard:
        """Ask for something whose answer means that it is safe."""
        request = self._next()
        heard = self._witness.ask(method, answer, channel)
        self._promises.answered(channel, request, heard.at)
        return heard

    def _declare_queue(self, name: str) -> None:
        self._change(Item("queue", name), Presence.PRESENT, CONSUMER)
        self._ask(m.QueueDeclare(name, durable=True, arguments=QUEUES[name]), m.QueueDeclareOk)

    def _declare_exchange(self, name: str, kind: str, arguments: dict[str, Any] | None = None) -> None:
        self._change(Item("exchange", name), Presence.PRESENT, CONSUMER)
        self._ask(m.ExchangeDeclare(name, kind, durable=True, arguments=arguments), m.ExchangeDeclareOk)

    def _bind(self, queue: str, exchange: str, key: str) -> None:
        self._change(Item("binding", f"{exchange} {queue} {key}"), Presence.PRESENT, CONSUMER)
        self._ask(m.QueueBind(queue, exchange, key), m.QueueBindOk)

    def _publish(self) -> None:
        data = b""
        numbers = []
        for _ in range(self._random.choice([1, 1, 3, 8])):
            target = self._random.choice([PLAIN, PRIORITIES, LIMITED, QUORUM, STREAM, TEMPORARY, FAN, LATER])
            number = self._make(target)
            numbers.append(number)
            self._arrive(target, number, PUBLISHER)
            data += self._encode(target, number, PUBLISHER)
            self._tag += 1
            self._unconfirmed[self._tag] = self._request + 1
        self._next()
        self._witness.feed(data)

    def _make(self, target: str) -> int:
        number = len(self.bodies) + 1
        # Those that stay for ever are small, so that a broker can be left with a file that is nearly empty.
        size = self._random.choice(_SIZES[:4] if target in (STREAM, LATER) else _SIZES)
        self.bodies[number] = b"%d %s " % (number, target.encode()) + bytes([number % 251]) * size
        return number

    def _encode(self, target: str, number: int, channel: int) -> bytes:
        exchange, key = (target, "") if target in (FAN, LATER) else ("", target)
        headers = {"x-delay": 2_000_000_000} if target == LATER else None
        return publish(
            exchange,
            key,
            self.bodies[number],
            channel=channel,
            delivery_mode=2,
            priority=number % 7,
            headers=headers,
        )

    def _arrive(self, target: str, number: int, channel: int) -> None:
        """Note into which queues a publish is to bring a message."""
        self._change(somewhere(number), Presence.PRESENT, channel)
        for queue in FANNED if target == FAN else (target,):
            self._change(message(queue, number), Presence.PRESENT, channel)
            self._ready[queue].append(number)
            self.arrivals[queue].append(number)
        if target == LIMITED and len(self._ready[LIMITED]) > _MOST:
            self._die(LIMITED, self._ready[LIMITED].pop(0), channel)

    def _die(self, queue: str, number: int, channel: int) -> None:
        """Note that a message becomes a dead letter."""
        self._change(message(queue, number), Presence.ABSENT, channel)
        self._change(message(DEAD, number), Presence.PRESENT, channel)
        self._ready[DEAD].append(number)

    def _leave(self, queue: str, number: int, channel: int) -> None:
        """Note that a message is to leave a queue for good."""
        self._change(message(queue, number), Presence.ABSENT, channel)
        if queue not in FANNED:
            self._change(somewhere(number), Presence.ABSENT, channel)
        elif not any(number in self._ready[other] for other in FANNED if other != queue) and not any(
            number == out for _, out in self._out.values()
        ):
            self._change(somewhere(number), Presence.ABSENT, channel)

    def _take(self) -> None:
        for _ in range(self._random.choice([1, 2, 5])):
            queue = self._random.choice(_TAKEN_FROM)
            heard = self._get(queue, no_ack=False)
            if heard is not None:
                number, tag, at = heard
                self._out[tag] = queue, number
                self._promises.delivered(message(queue, number), at, CONSUMER, self._request + 1)

    def _take_at_once(self) -> None:
        queue = self._random.choice([PLAIN, COMMITTED, *FANNED])
        if self._ready[queue]:
            self._leave(queue, min(self._ready[queue]), CONSUMER)
            self._get(queue, no_ack=True)

    def _get(self, queue: str, *, no_ack: bool) -> tuple[int, int, int] | None:
        """Take a message; returns its number, its delivery tag, and when it came."""
        self._next()
        self._witness.send(m.BasicGet(queue, no_ack), channel=CONSUMER)
        heard = self._witness.wait_for(m.BasicGetOk, m.BasicGetEmpty, channel=CONSUMER)
        if not isinstance(heard.method, m.BasicGetOk):
            assert not self._ready[queue], f"{queue} has lost {self._ready[queue]}"
            return None
        number = int(heard.body.split()[0])
        if number in self._ready[queue]:
            self._ready[queue].remove(number)
        elif self._promises.expected(message(queue, number), heard.at) is Presence.ABSENT:
            self.complaints.append(f"has come back: {message(queue, number)}")
        return number, heard.method.delivery_tag, heard.at

    def _settle_some(self) -> None:
        methods: list[Method] = []
        for tag, (queue, number) in self._chosen(self._out.items()):
            del self._out[tag]
            methods.append(self._outcome(tag, queue, number))
        self._next()
        self._witness.send(*methods, channel=CONSUMER)

    def _outcome(self, tag: int, queue: str, number: int) -> Method:
        luck = self._random.random()
        if luck < 0.6:
            self._leave(queue, number, CONSUMER)
            return m.BasicAck(tag)
        if luck < 0.8:
            self._ready[queue].append(number)
            return m.BasicNack(tag, requeue=True)
        if queue in (PLAIN, QUORUM):
            self._die(queue, number, CONSUMER)
        else:
            self._leave(queue, number, CONSUMER)
        return m.BasicReject(tag, requeue=False)

    def _chosen(self, items: Iterable[Any]) -> list[Any]:
        return [item for item in items if self._random.random() < 0.5]

    def _purge_one(self) -> None:
        self._purge(self._random.choice([PLAIN, PRIORITIES, QUORUM, TEMPORARY, DEAD, FANNED[0]]))

    def _purge_all(self) -> None:
        """Leave a file of which much is empty."""
        for queue in QUEUES:
            if queue != STREAM:
                self._purge(queue)

    def _purge(self, queue: str) -> None:
        gone, self._ready[queue] = self._ready[queue], []
        for number in gone:
            self._leave(queue, number, CONSUMER)
        self._ask(m.QueuePurge(queue), m.QueuePurgeOk)

    def _delete_and_declare(self) -> None:
        gone, self._ready[TEMPORARY] = self._ready[TEMPORARY], []
        for number in gone:
            self._leave(TEMPORARY, number, CONSUMER)
        self._change(Item("queue", TEMPORARY), Presence.ABSENT, CONSUMER)
        self._ask(m.QueueDelete(TEMPORARY), m.QueueDeleteOk)
        self._declare_queue(TEMPORARY)

    def _switch_binding(self) -> None:
        key = f"key-{self._random.randrange(3)}"
        if self._random.random() < 0.5:
            self._bind(PLAIN, "amq.topic", key)
        else:
            self._change(Item("binding", f"amq.topic {PLAIN} {key}"), Presence.ABSENT, CONSUMER)
            self._ask(m.QueueUnbind(PLAIN, "amq.topic", key), m.QueueUnbindOk)

    def _switch_exchange(self) -> None:
        if self._random.random() < 0.5:
            self._declare_exchange(_SWITCHED, "topic")
            self._bind(PLAIN, _SWITCHED, "#")
        else:
            self._change(Item("exchange", _SWITCHED), Presence.ABSENT, CONSUMER)
            self._change(Item("binding", f"{_SWITCHED} {PLAIN} #"), Presence.ABSENT, CONSUMER)
            self._ask(m.ExchangeDelete(_SWITCHED), m.ExchangeDeleteOk)

    def _transact(self) -> None:
        numbers = [self._make(COMMITTED) for _ in range(self._random.choice([1, 3]))]
        data = b"".join(self._encode(COMMITTED, number, TRANSACTIONS) for number in numbers)
        self._next()
        self._witness.feed(data)
        if self._random.random() < 0.3:
            self._witness.ask(m.TxRollback(), m.TxRollbackOk, TRANSACTIONS)
            return
        for number in numbers:
            self._arrive(COMMITTED, number, TRANSACTIONS)
        self._ask(m.TxCommit(), m.TxCommitOk, TRANSACTIONS)

    def _switch_policy(self) -> None:
        item = Item("policy", _POLICY)
        there = self._random.random() < 0.5
        administration = self._server.administration
        self._change(item, Presence.PRESENT if there else Presence.ABSENT, CONSUMER)
        if there:
            rule = {"pattern": "^nothing$", "definition": {"max-length": self._request}}
            administration.set_policy("/", _POLICY, rule, False)
        elif _POLICY in self._server.vhosts["/"].policies.ordinary:
            administration.delete_policy("/", _POLICY, False)
        self._barrier()

    def _reopen(self) -> None:
        """Close the channel of consumers; what is out returns."""
        self._witness.ask(m.ChannelClose(200, "", 0, 0), m.ChannelCloseOk, CONSUMER)
        self._give_back()
        self._witness.ask(m.ChannelOpen(), m.ChannelOpenOk, CONSUMER)

    def _give_back(self) -> None:
        for queue, number in self._out.values():
            self._ready[queue].append(number)
        self._out.clear()

    def _barrier(self) -> None:
        """Have the broker say that everything so far on the channel of consumers is safe."""
        self._ask(m.ExchangeDeclare(FAN, "fanout", durable=True), m.ExchangeDeclareOk)

    # What is told

    def _listen(self) -> None:
        for heard in self._witness.take():
            method = heard.method
            if isinstance(method, m.BasicAck):
                self._confirmed(method, heard.at)
            elif isinstance(method, m.BasicNack | m.ChannelClose | m.ConnectionClose):
                raise AssertionError(f"the broker says {method}")

    def _all_confirmed(self) -> bool:
        self._listen()
        return not self._unconfirmed

    def _confirmed(self, ack: m.BasicAck, at: int) -> None:
        last = ack.delivery_tag
        tags = [tag for tag in self._unconfirmed if tag == last or (ack.multiple and tag < last)]
        for tag in tags:
            request = self._unconfirmed.pop(tag)
            # Other publishes of the same request may come later.
            done = request if request not in self._unconfirmed.values() else request - 1
            self._promises.answered(PUBLISHER, done, at)
