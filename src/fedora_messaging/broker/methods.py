"""The handlers of AMQP methods on a channel; those of class basic are methods of the channel itself."""

from collections.abc import Callable, Iterator
from typing import Any, Final

from ..protocol.errors import NOT_IMPLEMENTED, PRECONDITION_FAILED, ChannelError, ConnectionError
from ..wire import methods as m
from ..wire.methods import Method
from .accounts import CONFIGURE, READ, WRITE
from .channel import BrokerChannel
from .core.declarations import ExchangeDeclaration, QueueDeclaration
from .core.queue import Queue
from .core.queue_arguments import QUORUM
from .core.stream import StreamQueue
from .reply_to import REPLY_TO
from .transaction import Transaction


def _answer(channel: BrokerChannel, method: Any, answer: Method, durable: bool) -> None:
    if durable:
        channel.reply_when_durable(None if method.no_wait else answer)
    elif not method.no_wait:
        channel.reply(answer)


def _without_line_ends(name: str) -> str:
    # RabbitMQ removes line ends from declared names, so that they cannot forge lines of its log.
    return name.replace("\r", "").replace("\n", "")


def exchange_declare(channel: BrokerChannel, method: m.ExchangeDeclare) -> None:
    """Carry out ``exchange.declare``."""
    name = _without_line_ends(method.exchange)
    if method.passive:
        channel.vhost.refuse_default(name)
        channel.session.permissions.require_any("exchange", name)
        channel.vhost.exchange(name)
        _answer(channel, method, m.ExchangeDeclareOk(), False)
        return
    channel.session.permissions.require(CONFIGURE, "exchange", name)
    alternate = method.arguments.get("alternate-exchange")
    # They are needed for a new exchange; one that exists is only compared.
    if isinstance(alternate, str) and name not in channel.vhost.exchanges:
        channel.session.permissions.require(READ, "exchange", name)
        channel.session.permissions.require(WRITE, "exchange", alternate)
    channel.vhost.declare_exchange(
        ExchangeDeclaration(
            name, method.type, method.durable, method.auto_delete, method.internal, method.arguments
        )
    )
    _answer(channel, method, m.ExchangeDeclareOk(), method.durable)


def exchange_delete(channel: BrokerChannel, method: m.ExchangeDelete) -> None:
    """Carry out ``exchange.delete``."""
    channel.vhost.refuse_deletion(method.exchange)
    channel.session.permissions.require(CONFIGURE, "exchange", method.exchange)
    channel.vhost.delete_exchange(method.exchange, if_unused=method.if_unused)
    _answer(channel, method, m.ExchangeDeleteOk(), True)


def exchange_bind(channel: BrokerChannel, method: m.ExchangeBind) -> None:
    """Carry out ``exchange.bind``."""
    vhost = channel.vhost
    channel.session.permissions.require(WRITE, "exchange", method.destination)
    vhost.refuse_default(method.destination)
    vhost.refuse_default(method.source)
    channel.session.permissions.require(READ, "exchange", method.source)
    channel.session.permissions.require_topic(READ, vhost.exchange(method.source), method.routing_key)
    destination = vhost.exchange(method.destination)
    vhost.bind(method.source, destination, method.routing_key, method.arguments)
    _answer(channel, method, m.ExchangeBindOk(), destination.durable)


def exchange_unbind(channel: BrokerChannel, method: m.ExchangeUnbind) -> None:
    """Carry out ``exchange.unbind``."""
    vhost = channel.vhost
    channel.session.permissions.require(WRITE, "exchange", method.destination)
    vhost.refuse_default(method.destination)
    vhost.refuse_default(method.source)
    channel.session.permissions.require(READ, "exchange", method.source)
    channel.session.permissions.require_topic(READ, vhost.exchanges.get(method.source), method.routing_key)
    destination = vhost.exchanges.get(method.destination)
    if destination is not None:
        vhost.unbind(method.source, destination, method.routing_key, method.arguments)
    _answer(channel, method, m.ExchangeUnbindOk(), True)


def queue_declare(channel: BrokerChannel, method: m.QueueDeclare) -> None:
    """Carry out ``queue.declare``."""
    if method.passive:
        _declare_passively(channel, method)
        return
    session = channel.session
    name = _without_line_ends(method.queue)
    declared = QueueDeclaration(name, method.durable, method.exclusive, method.auto_delete, method.arguments)
    chosen = None if name else channel.vhost.choose_name(declared)
    session.permissions.require(CONFIGURE, "queue", chosen or name)
    dead_letters = method.arguments.get("x-dead-letter-exchange")
    # They are needed for a new queue; one that exists is only compared.
    if isinstance(dead_letters, str) and name not in channel.vhost.queues:
        session.permissions.require(READ, "queue", chosen or name)
        session.permissions.require(WRITE, "exchange", dead_letters)
    queue = channel.vhost.declare_queue(declared, session, chosen)
    channel.last_queue = queue.name
    _answer(channel, method, _declare_ok(queue), queue.keeps)


def _declare_passively(channel: BrokerChannel, method: m.QueueDeclare) -> None:
    if method.queue == REPLY_TO:
        _answer(channel, method, m.QueueDeclareOk(REPLY_TO, 0, 1), False)
        return
    if channel.session.replies.has(method.queue):
        _answer(channel, method, m.QueueDeclareOk(method.queue, 0, 1), False)
        return
    name = _without_line_ends(method.queue)
    channel.session.permissions.require_any("queue", name)
    queue = channel.vhost.queue(name)
    queue.check_access(channel.session)
    queue.touch()
    channel.last_queue = queue.name
    _answer(channel, method, _declare_ok(queue), False)


def _declare_ok(queue: Queue) -> m.QueueDeclareOk:
    consumers = 0 if isinstance(queue, StreamQueue) else len(queue.consumers)
    if queue.arguments.queue_type == QUORUM and queue.arguments.single_active:
        consumers = min(consumers, 1)  # those that wait do not count
    return m.QueueDeclareOk(queue.name, len(queue), consumers)


def queue_bind(channel: BrokerChannel, method: m.QueueBind) -> None:
    """Carry out ``queue.bind``."""
    name = channel.resolve(method.queue)
    # If both names are empty, the last declared queue is bound by its own name.
    routing_key = method.routing_key or ("" if method.queue else name)
    channel.session.permissions.require(WRITE, "queue", name)
    channel.vhost.refuse_default(method.exchange)
    channel.session.permissions.require(READ, "exchange", method.exchange)
    channel.session.permissions.require_topic(READ, channel.vhost.exchange(method.exchange), routing_key)
    queue = channel.vhost.queue(name)
    queue.check_access(channel.session)
    channel.vhost.bind(method.exchange, queue, routing_key, method.arguments)
    _answer(channel, method, m.QueueBindOk(), queue.keeps)


def queue_unbind(channel: BrokerChannel, method: m.QueueUnbind) -> None:
    """Carry out ``queue.unbind``."""
    name = channel.resolve(method.queue)
    channel.session.permissions.require(WRITE, "queue", name)
    channel.vhost.refuse_default(method.exchange)
    channel.session.permissions.require(READ, "exchange", method.exchange)
    source = channel.vhost.exchanges.get(method.exchange)
    channel.session.permissions.require_topic(READ, source, method.routing_key)
    queue = channel.vhost.queues.get(name)
    if queue is not None:
        channel.vhost.unbind(method.exchange, queue, method.routing_key, method.arguments, channel.session)
    channel.reply_when_durable(m.QueueUnbindOk())


def queue_purge(channel: BrokerChannel, method: m.QueuePurge) -> Iterator[None]:
    """Carry out ``queue.purge``."""
    queue = channel.usable_queue(method.queue)
    queue.check_purge()
    count = len(queue)
    yield from queue.drop_ready()
    _answer(channel, method, m.QueuePurgeOk(count), queue.keeps)


def queue_delete(channel: BrokerChannel, method: m.QueueDelete) -> None:
    """Carry out ``queue.delete``."""
    name = channel.resolve(method.queue)
    channel.session.permissions.require(CONFIGURE, "queue", name)
    count = channel.vhost.delete_queue(
        name, channel.session, if_unused=method.if_unused, if_empty=method.if_empty
    )
    _answer(channel, method, m.QueueDeleteOk(count), True)


def channel_flow(channel: BrokerChannel, method: m.ChannelFlow) -> None:
    """Carry out ``channel.flow``; like RabbitMQ, the broker only supports switching the flow on."""
    if not method.active:
        raise ConnectionError(NOT_IMPLEMENTED, "active=false")
    channel.reply(m.ChannelFlowOk(True))


def select_confirms(channel: BrokerChannel, method: m.ConfirmSelect) -> None:
    """Carry out ``confirm.select``."""
    if channel.transaction is not None:
        raise ChannelError(PRECONDITION_FAILED, "cannot switch from tx to confirm mode")
    channel.publishing.select_confirms()
    _answer(channel, method, m.ConfirmSelectOk(), False)


def select_transaction(channel: BrokerChannel, _method: m.TxSelect) -> None:
    """Carry out ``tx.select``."""
    if channel.publishing.confirms:
        raise ChannelError(PRECONDITION_FAILED, "cannot switch from confirm to tx mode")
    if channel.transaction is None:
        channel.transaction = Transaction(channel.vhost.memory)
    channel.reply(m.TxSelectOk())


def commit(channel: BrokerChannel, _method: m.TxCommit) -> Iterator[None]:
    """Carry out ``tx.commit``; the answer follows when the changes are durable."""
    transaction = _transaction_of(channel)
    for exchange, message, mandatory, queues in transaction.take_publishes():
        channel.publishing.route(exchange, message, mandatory, queues=queues)
        yield
    refusal: ConnectionError | None = None
    for taken, outcome in transaction.take_acks():
        try:
            yield from channel.finish(taken, outcome)
        except ConnectionError as error:
            refusal = error
    if refusal is not None:
        raise refusal
    channel.reply_when_durable(m.TxCommitOk())


def rollback(channel: BrokerChannel, _method: m.TxRollback) -> None:
    """Carry out ``tx.rollback``; messages acknowledged in the transaction are out again."""
    transaction = _transaction_of(channel)
    channel.undo(transaction)
    channel.reply(m.TxRollbackOk())


def _transaction_of(channel: BrokerChannel) -> Transaction:
    if channel.transaction is None:
        raise ChannelError(PRECONDITION_FAILED, "channel is not transactional")
    return channel.transaction


def ignore(_channel: BrokerChannel, _method: Method) -> None:
    """Do nothing: the method is a notice that needs no answer."""


#: The handlers of methods on a channel. The session handles ``basic.publish``, the hot path, by itself.
HANDLERS: Final[dict[type[Method], Callable[[BrokerChannel, Any], Iterator[None] | None]]] = {
    m.BasicAck: BrokerChannel.ack,
    m.BasicNack: BrokerChannel.nack,
    m.BasicReject: BrokerChannel.reject,
    m.BasicConsume: BrokerChannel.consume,
    m.BasicCancel: BrokerChannel.cancel,
    m.BasicCancelOk: ignore,
    m.BasicGet: BrokerChannel.get,
    m.BasicQos: BrokerChannel.set_prefetch,
    m.BasicRecover: BrokerChannel.recover,
    m.BasicRecoverAsync: BrokerChannel.recover,
    m.ChannelFlow: channel_flow,
    m.ChannelFlowOk: ignore,
    m.ConfirmSelect: select_confirms,
    m.ExchangeBind: exchange_bind,
    m.ExchangeDeclare: exchange_declare,
    m.ExchangeDelete: exchange_delete,
    m.ExchangeUnbind: exchange_unbind,
    m.QueueBind: queue_bind,
    m.QueueDeclare: queue_declare,
    m.QueueDelete: queue_delete,
    m.QueuePurge: queue_purge,
    m.QueueUnbind: queue_unbind,
    m.TxCommit: commit,
    m.TxRollback: rollback,
    m.TxSelect: select_transaction,
}
