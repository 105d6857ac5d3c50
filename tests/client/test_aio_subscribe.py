"""`aio.Bus.subscribe`: iterating over deliveries and deciding their fate."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.client.scripted import ScriptedBroker
from tests.client.support import message, numbers, run
from tests.support.proxy import BASIC_CONSUME, DOWN, QUEUE_DECLARE, Proxy
from tests.support.waiting import WAIT, soon

from fedora_messaging import aio
from fedora_messaging.exceptions import BadDeclaration, ConnectionException, ConsumerCanceled, EncodingError
from fedora_messaging.wire import methods as m

if TYPE_CHECKING:
    from tests.support.admin import Admin, Names
    from tests.support.brokers import Broker


async def publish(bus: aio.Bus, queue: str, *which: int) -> None:
    for number in which:
        await bus.publish(message(queue, number))


async def take(subscription: aio.Subscription, count: int) -> list[aio.Delivery]:
    """The next deliveries."""
    return [await anext(subscription) for _ in range(count)]


def test_messages_arrive_in_order_and_are_acknowledged(broker: Broker, admin: Admin, name: str) -> None:
    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            async with bus.subscribe(f"{name}.#", queue=name) as subscription:
                await publish(bus, name, *range(20))
                found = []
                async for delivery in subscription:
                    assert delivery.message.queue == name
                    assert delivery.message.topic == f"{name}.test"
                    assert not delivery.redelivered
                    assert not delivery.settled
                    found.append(delivery.message)
                    if len(found) == 20:
                        await delivery.ack()
                        break
            assert numbers(found) == list(range(20))
            await soon(lambda: admin.consumers(name) == 0)
        assert admin.ready(name) == 0

    run(main())


def test_auto_ack_comes_with_the_next_request(broker: Broker, admin: Admin, queue: str) -> None:
    """The message in hand is not yet acknowledged; prefetch 1 shows when it is."""

    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            await publish(bus, queue, 0, 1)
            async with bus.subscribe(queue=queue, prefetch=1) as subscription:
                first = await anext(subscription)
                assert not first.settled
                assert admin.ready(queue) == 1
                second = await anext(subscription)
                assert first.settled
                assert numbers([first.message, second.message]) == [0, 1]
        assert numbers_left(admin, queue) == 1

    run(main())


def numbers_left(admin: Admin, queue: str) -> int:
    return len(admin.take(queue))


def test_explicit_fates(broker: Broker, admin: Admin, names: Names) -> None:
    """Ack, nack and reject; each only once."""
    dead, name = names("dead"), names()
    admin.declare(dead)
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
    admin.declare(name, **arguments)

    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            await publish(bus, name, 0, 1, 2)
            async with bus.subscribe(
                queue=name, auto_ack=False, prefetch=1, arguments=arguments
            ) as subscription:
                acked = await anext(subscription)
                await acked.ack()
                nacked = await anext(subscription)
                await nacked.nack()
                again = await anext(subscription)
                assert numbers([acked.message, nacked.message, again.message]) == [0, 1, 1]
                assert (nacked.redelivered, again.redelivered) == (False, True)
                await again.ack()
                rejected = await anext(subscription)
                await rejected.reject()
                for delivery in (acked, nacked, again, rejected):
                    assert delivery.settled
                    for settle in (delivery.ack, delivery.nack, delivery.reject):
                        with pytest.raises(RuntimeError, match="decided already"):
                            await settle()
                await soon(lambda: admin.ready(dead) == 1)
        assert admin.ready(name) == 0

    run(main())
    assert admin.take(dead) == [b'{"number": 2}']


def test_explicit_fate_before_the_next_message_wins_over_auto_ack(
    broker: Broker, admin: Admin, queue: str
) -> None:
    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            await publish(bus, queue, 0, 1)
            async with bus.subscribe(queue=queue, prefetch=1) as subscription:
                await (await anext(subscription)).nack()
                again = await anext(subscription)
                assert (again.message.body["number"], again.redelivered) == (0, True)
                await again.reject()
                last = await anext(subscription)
                await last.ack()
        assert admin.ready(queue) == 0

    run(main())


def test_fates_out_of_order(broker: Broker, admin: Admin, queue: str) -> None:
    """Acknowledging a late message says nothing of earlier ones."""

    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            await publish(bus, queue, *range(5))
            async with bus.subscribe(queue=queue, auto_ack=False) as subscription:
                deliveries = await take(subscription, 5)
                await deliveries[4].ack()
                await deliveries[1].ack()
        await soon(lambda: admin.ready(queue) == 3)
        assert admin.take(queue) == [f'{{"number": {n}}}'.encode() for n in (0, 2, 3)]

    run(main())


@pytest.mark.parametrize("auto_ack", [True, False])
def test_break_leaves_the_message_in_the_queue(
    broker: Broker, admin: Admin, queue: str, auto_ack: bool
) -> None:
    """Leaving the loop decides nothing; the message comes again, marked as redelivered."""

    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            await publish(bus, queue, 0, 1)
            async with bus.subscribe(queue=queue, auto_ack=auto_ack) as subscription:
                async for delivery in subscription:
                    assert delivery.message.body == {"number": 0}
                    break
            await soon(lambda: admin.ready(queue) == 2)
            async with bus.subscribe(queue=queue, auto_ack=auto_ack) as subscription:
                again = await anext(subscription)
                assert (again.message.body, again.redelivered) == ({"number": 0}, True)
        assert admin.ready(queue) == 2

    run(main())


def test_exception_in_the_loop_leaves_the_message_in_the_queue(
    broker: Broker, admin: Admin, queue: str
) -> None:
    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            await publish(bus, queue, 0)
            with pytest.raises(LookupError):
                async for _ in bus.subscribe(queue=queue):
                    raise LookupError

    run(main())
    assert admin.ready(queue) == 1


def test_cancelled_loop_leaves_the_message_in_the_queue(broker: Broker, admin: Admin, queue: str) -> None:
    async def main() -> None:
        started = asyncio.Event()

        async def loop() -> None:
            async with bus.subscribe(queue=queue) as subscription:
                async for _ in subscription:
                    started.set()
                    await asyncio.Event().wait()

        async with aio.connect(broker.url) as bus:
            await publish(bus, queue, 0)
            task = asyncio.create_task(loop())
            await started.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await soon(lambda: admin.consumers(queue) == 0)
            assert admin.ready(queue) == 1

    run(main())


def test_prefetch_bounds_what_is_out(broker: Broker, admin: Admin, queue: str) -> None:
    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            await publish(bus, queue, *range(9))
            async with bus.subscribe(queue=queue, auto_ack=False, prefetch=4) as subscription:
                await take(subscription, 4)
                assert admin.ready(queue) == 5
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(anext(subscription), 0.1)
        assert admin.ready(queue) == 9

    run(main())


def test_waiting_for_a_message_may_be_given_up_and_taken_up_again(
    broker: Broker, admin: Admin, queue: str
) -> None:
    """`asyncio.wait_for(anext(...))` is how programs look at something else now and then."""

    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            async with bus.subscribe(queue=queue) as subscription:
                found = []
                for number in range(5):
                    with pytest.raises(TimeoutError):
                        await asyncio.wait_for(anext(subscription), 0.01)
                    await publish(bus, queue, number)
                    found.append((await anext(subscription)).message)
                assert numbers(found) == list(range(5))

    run(main())


def test_first_wait_may_be_given_up_while_the_broker_is_away(
    broker: Broker, proxy: Proxy, admin: Admin, queue: str
) -> None:
    """Giving up while the queue is being declared must not leave a subscription that never delivers."""

    async def main() -> None:
        async with aio.connect(proxy.url()) as bus:
            await publish(bus, queue, 1)
            subscription = bus.subscribe(queue=queue)
            proxy.stall(DOWN)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(subscription), 0.2)
            proxy.resume()
            delivery = await asyncio.wait_for(anext(subscription), WAIT)
            assert delivery.message.body == {"number": 1}
            assert admin.consumers(queue) == 1
            await subscription.close()
            await soon(lambda: admin.consumers(queue) == 0)

    run(main())


def test_two_subscriptions_share_a_queue(broker: Broker, admin: Admin, queue: str) -> None:
    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            first, second = (bus.subscribe(queue=queue, prefetch=1) for _ in range(2))
            async with first, second:
                assert admin.consumers(queue) == 2
                await publish(bus, queue, 0, 1)
                found = [await anext(first), await anext(second)]
                assert sorted(numbers(delivery.message for delivery in found)) == [0, 1]
                for delivery in found:
                    await delivery.ack()

    run(main())
    assert admin.ready(queue) == 0


def test_several_topics(broker: Broker, admin: Admin, names: Names) -> None:
    name, other, third = names(), names(), names()

    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            async with bus.subscribe(f"{name}.*", f"{other}.test", queue=name) as subscription:
                await publish(bus, name, 1)
                await publish(bus, third, 2)
                await publish(bus, other, 3)
                found = await take(subscription, 2)
                assert numbers(delivery.message for delivery in found) == [1, 3]

    run(main())


def test_server_named_queue_goes_with_the_subscription(broker: Broker, admin: Admin, name: str) -> None:
    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            subscription = bus.subscribe(f"{name}.#")
            assert subscription.queue_name == ""
            async with subscription:
                queue = subscription.queue_name
                assert queue.startswith("amq.gen-")
                await publish(bus, name, 5)
                delivery = await anext(subscription)
                assert delivery.message.queue == queue
                assert delivery.message.body == {"number": 5}
            async with bus.subscribe(queue=queue, durable=False) as again:
                await publish(bus, name, 6)
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(anext(again), 0.05)
        admin.delete(queue)

    # A name of this kind may be declared again on neither broker.
    with pytest.raises(BadDeclaration) as caught:
        run(main())
    assert caught.value.reason.reply_code == 403


def test_server_named_queue_is_gone_when_the_bus_is_closed(broker: Broker, admin: Admin) -> None:
    async def main() -> str:
        async with aio.connect(broker.url) as bus:
            async with bus.subscribe("x") as subscription:
                name = subscription.queue_name
                with pytest.raises(BadDeclaration):
                    async with aio.connect(broker.url) as other, other.subscribe(queue=name):
                        pass
                return name

    name = run(main())
    with pytest.raises(Exception, match="404|NOT_FOUND"):
        admin.ready(name)


def test_durable_and_arguments_reach_the_broker(broker: Broker, admin: Admin, name: str) -> None:
    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            async with bus.subscribe(queue=name, durable=False, arguments={"x-max-length": 1}):
                pass
            with pytest.raises(BadDeclaration) as caught:
                await anext(bus.subscribe(queue=name, arguments={"x-max-length": 1}))
            assert "durable" in str(caught.value)
            with pytest.raises(BadDeclaration) as caught:
                await anext(bus.subscribe(queue=name, durable=False))
            assert "x-max-length" in str(caught.value)

    run(main())


# Refusals


async def refused(bus: aio.Bus, *topics: str, **settings: Any) -> BadDeclaration:
    """Subscribe in vain."""
    with pytest.raises(BadDeclaration) as caught:
        async with bus.subscribe(*topics, **settings):
            raise AssertionError("subscribed")
    return caught.value


def test_bad_declarations(broker: Broker, proxy: Proxy, admin: Admin, queue: str) -> None:
    """Each is told at once, with the broker's words, and the bus stays usable."""

    async def main() -> None:
        async with aio.connect(proxy.url()) as bus:
            unequal = await refused(bus, queue=queue, arguments={"x-max-length": 5})
            assert unequal.obj_type == "queue"
            assert unequal.description["queue"] == queue
            assert unequal.reason.reply_code == 406
            assert f"inequivalent arg 'x-max-length' for queue '{queue}'" in str(unequal)
            unknown = await refused(bus, "topic", queue=queue, exchange="nowhere")
            assert unknown.obj_type == "binding"
            assert unknown.description["exchange"] == "nowhere"
            assert (unknown.description["queue"], unknown.description["routing_key"]) == (queue, "topic")
            assert unknown.reason.args[0] == 404
            reserved = await refused(bus, queue="amq.mine")
            assert reserved.reason.reply_code == 403
            assert proxy.count(BASIC_CONSUME) == 0
            await publish(bus, queue, 3)
            async with bus.subscribe(queue=queue) as subscription:
                assert (await anext(subscription)).message.body == {"number": 3}
            assert proxy.accepted == 1

    run(main())


def test_refused_subscription_does_not_hang_when_asked_again(broker: Broker, queue: str) -> None:
    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            subscription = bus.subscribe(queue=queue, arguments={"x-max-length": 5})
            for _ in range(2):
                with pytest.raises((BadDeclaration, StopAsyncIteration)):
                    await asyncio.wait_for(anext(subscription), WAIT)

    run(main())


def test_queue_in_exclusive_use_by_another_consumer(broker: Broker, admin: Admin, queue: str) -> None:
    """basic.consume is refused: told once, and not tried again and again behind our back."""
    admin.channel.basic_consume(queue, lambda *_: None, exclusive=True)

    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            subscription = bus.subscribe(queue=queue)
            with pytest.raises(Exception, match=queue) as caught:
                await anext(subscription)
            assert type(caught.value).__name__ == "PermissionException"
            await bus.publish(message(queue))

    run(main())


def test_topic_or_queue_name_of_256_bytes(broker: Broker, admin: Admin, queue: str) -> None:
    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            with pytest.raises(EncodingError):
                await anext(bus.subscribe(queue="x" * 256))
            with pytest.raises(EncodingError):
                await anext(bus.subscribe("x" * 256, queue=queue))
            await publish(bus, queue, 3)
            async with bus.subscribe(queue=queue) as subscription:
                assert (await anext(subscription)).message.body == {"number": 3}

    run(main())


@pytest.mark.parametrize("prefetch", [-1, 65536])
def test_prefetch_that_amqp_cannot_carry(
    broker: Broker, proxy: Proxy, admin: Admin, queue: str, prefetch: int
) -> None:
    """A clear error, and no channel stays behind."""

    async def main() -> None:
        async with aio.connect(proxy.url(channel_max=2)) as bus:
            for _ in range(3):
                with pytest.raises(ValueError, match="prefetch"):
                    await anext(bus.subscribe(queue=queue, prefetch=prefetch))
            await publish(bus, queue, 3)
            async with bus.subscribe(queue=queue) as subscription:
                assert (await anext(subscription)).message.body == {"number": 3}

    run(main())


# The end


def test_deleted_queue_ends_the_iteration(broker: Broker, admin: Admin, queue: str) -> None:
    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            async with bus.subscribe(queue=queue) as subscription:
                await publish(bus, queue, 1)
                delivery = await anext(subscription)
                admin.delete(queue)
                with pytest.raises(ConsumerCanceled, match=queue):
                    await anext(subscription)
                with pytest.raises((ConsumerCanceled, StopAsyncIteration)):
                    await anext(subscription)
                # Too late to matter, and harmless.
                if not delivery.settled:
                    await delivery.ack()
            await bus.publish(message(queue))

    run(main())


def test_deleted_queue_wakes_a_waiting_iteration(broker: Broker, admin: Admin, queue: str) -> None:
    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            async with bus.subscribe(queue=queue) as subscription:
                waiting = asyncio.create_task(anext(subscription))
                await asyncio.sleep(0)
                admin.delete(queue)
                with pytest.raises(ConsumerCanceled):
                    await waiting

    run(main())


def test_closing_ends_the_iteration(broker: Broker, admin: Admin, queue: str) -> None:
    """By the subscription's close, or the bus's."""

    async def drain(subscription: aio.Subscription) -> int:
        return len([delivery async for delivery in subscription])

    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            by_itself, by_bus = bus.subscribe(queue=queue), bus.subscribe(queue=queue)
            tasks = [asyncio.create_task(drain(one)) for one in (by_itself, by_bus)]
            await soon(lambda: admin.consumers(queue) == 2)
            await by_itself.close()
            assert await tasks[0] == 0
            assert admin.consumers(queue) == 1
        assert await tasks[1] == 0
        with pytest.raises(StopAsyncIteration):
            await anext(by_itself)
        with pytest.raises(ConnectionException):
            await anext(bus.subscribe(queue=queue))

    run(main())
    assert admin.consumers(queue) == 0


def test_closing_ends_the_iteration_while_the_broker_has_not_confirmed_the_subscription() -> None:
    """The task that iterates was not cancelled, so it is not told that it was."""
    broker = ScriptedBroker()
    broker.on_method = lambda _link, _channel, method: isinstance(method, m.BasicConsume)

    async def main() -> None:
        async with broker, aio.connect(broker.url) as bus:
            subscription = bus.subscribe(queue="q")
            waiting = asyncio.create_task(anext(subscription))
            await soon(
                lambda: (
                    bool(broker.links)
                    and any(isinstance(one, m.BasicConsume) for _, one in broker.link.methods)
                )
            )
            await subscription.close()
            with pytest.raises(StopAsyncIteration):
                await waiting

    run(main())


def test_closing_a_subscription_that_was_never_begun(broker: Broker, proxy: Proxy, queue: str) -> None:
    async def main() -> None:
        async with aio.connect(proxy.url()) as bus:
            subscription = bus.subscribe(queue=queue)
            await subscription.close()
            await subscription.close()
            assert proxy.count(QUEUE_DECLARE) == 0
            with pytest.raises((StopAsyncIteration, RuntimeError)):
                await asyncio.wait_for(anext(subscription), WAIT)

    run(main())


def test_fate_told_after_the_subscription_is_closed_is_dropped(
    broker: Broker, admin: Admin, queue: str
) -> None:
    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            await publish(bus, queue, 1)
            async with bus.subscribe(queue=queue, auto_ack=False) as subscription:
                delivery = await anext(subscription)
            await delivery.ack()
            await soon(lambda: admin.ready(queue) == 1)
            await bus.publish(message(queue, 2))
        assert admin.ready(queue) == 2

    run(main())


def test_publishing_within_the_loop(broker: Broker, admin: Admin, names: Names) -> None:
    name, answers = admin.declare(names()), admin.declare(names())

    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            await publish(bus, name, *range(10))
            count = 0
            async with bus.subscribe(queue=name) as subscription:
                async for delivery in subscription:
                    await bus.publish(message(answers, delivery.message.body["number"]))
                    count += 1
                    if count == 10:
                        await delivery.ack()
                        break

    run(main())
    assert (admin.ready(name), admin.ready(answers)) == (0, 10)


@pytest.mark.parametrize(
    "arguments",
    [
        {"topics": ("x" * 256,)},
        {"topics": ("#",), "exchange": "x" * 256},
        {"queue": "x" * 256},
        {"arguments": {"x-note": "x" * 131_072}},
        {"consumer_arguments": {"x-note": "x" * 131_072}},
    ],
    ids=lambda arguments: next(reversed(arguments)),
)
def test_what_fits_into_no_frame_is_told_and_costs_no_connection(
    broker: Broker, names: Names, arguments: dict[str, Any]
) -> None:
    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            given = {"queue": names(), **arguments}
            with pytest.raises(EncodingError):
                async with bus.subscribe(*given.pop("topics", ()), **given):
                    pass
            assert bus._supervisor.connected
            assert bus._supervisor.reconnects == 0
            async with bus.subscribe("#", queue=None):
                pass

    run(main())


async def plain_next(subscription: aio.Subscription) -> aio.Delivery:
    return await anext(subscription)


async def next_within(subscription: aio.Subscription) -> aio.Delivery:
    async with asyncio.timeout(WAIT):
        return await anext(subscription)


async def next_by_wait_for(subscription: aio.Subscription) -> aio.Delivery:
    return await asyncio.wait_for(anext(subscription), WAIT)


@pytest.mark.parametrize("size", [10, 70_000, 300_000])
@pytest.mark.parametrize("others", [0, 1])
@pytest.mark.parametrize("next_of", [plain_next, next_within, next_by_wait_for])
def test_p38_cancelled_wait_loses_no_delivery(
    broker: Broker, admin: Admin, queue: str, size: int, others: int, next_of: Any
) -> None:
    """Cancelled after any number of turns of the loop; with prefetch 1 a lost delivery makes it deaf."""

    async def main() -> None:
        found, cancelled = [], 0
        async with aio.connect(broker.url) as bus:
            async with bus.subscribe(queue=queue, prefetch=1, auto_ack=False) as subscription:
                inbox = subscription._inbox
                for turns in range(25):
                    await bus.publish(message(queue, turns, padding="x" * size))
                    await soon(lambda: inbox._raws)
                    waits = [asyncio.ensure_future(next_of(subscription)) for _ in range(1 + others)]
                    for _ in range(turns):
                        await asyncio.sleep(0)
                    waits[0].cancel()
                    await asyncio.wait(waits[:1])
                    cancelled += waits[0].cancelled()
                    if not waits[0].cancelled():
                        delivery = waits[0].result()
                    elif others:
                        delivery = await waits[1]
                    else:
                        delivery = await asyncio.wait_for(anext(subscription), WAIT)
                    found.append(delivery.message)
                    assert not delivery.redelivered
                    for wait in waits:
                        wait.cancel()
                    await asyncio.wait(waits)
                    await delivery.ack()
                assert subscription._consumer.stats.received == 25
        assert numbers(found) == list(range(25))
        assert cancelled

    run(main())


def test_all_who_wait_for_deliveries_get_one(broker: Broker, queue: str) -> None:
    async def main() -> None:
        async with aio.connect(broker.url) as bus, bus.subscribe(queue=queue, auto_ack=False) as subscription:
            waits = [asyncio.ensure_future(anext(subscription)) for _ in range(3)]
            await soon(lambda: subscription._consumer.connected)
            await publish(bus, queue, 0, 1, 2)
            async with asyncio.timeout(WAIT):
                found = await asyncio.gather(*waits)
            assert sorted(numbers([one.message for one in found])) == [0, 1, 2]

    run(main())
