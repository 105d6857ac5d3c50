"""A FastStream application with all sorts of exchanges and queues. Handlers reply to who asks for it."""

# FastStream reads the annotations of handlers while it runs: they must not be postponed.

import asyncio
import os
from typing import Annotated, Any, Final

import anyio
from faststream import AckPolicy, BaseMiddleware, Context, FastStream, Header, Path
from faststream.exceptions import RejectMessage
from faststream.rabbit import (
    Channel,
    ExchangeType,
    QueueType,
    RabbitBroker,
    RabbitExchange,
    RabbitMessage,
    RabbitQueue,
    RabbitRouter,
)

DEAD: Final = RabbitQueue("shop.dead")
DELIVERY_LIMIT: Final = 2
#: How many orders are worked on at the same time.
PREFETCH: Final = 2
DEAD_LETTERS: Final[Any] = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": DEAD.name}


class Stamp(BaseMiddleware):
    """Counts the messages of a type, and writes into what is published how many came before."""

    count = 0

    async def consume_scope(self, call_next: Any, msg: Any) -> Any:
        if "x-count" in msg.headers:
            Stamp.count += 1
        return await call_next(msg)

    async def publish_scope(self, call_next: Any, cmd: Any) -> Any:
        cmd.headers["x-stamp"] = Stamp.count
        return await call_next(cmd)


router = RabbitRouter(prefix="shop.")


@router.subscriber("double")
async def double(number: int) -> int:
    return 2 * number


# A chain: the second handler gets what the first one returns


@router.subscriber("raw", no_reply=True)
@router.publisher("cooked")
async def cook(name: str) -> str:
    return f"cooked {name}"


@router.subscriber("cooked", no_reply=True)
@router.publisher("served")
async def serve(name: str) -> str:
    return f"served {name}"


# Exchanges

logs = RabbitExchange("shop.logs", type=ExchangeType.TOPIC)


@router.subscriber(RabbitQueue("logs", routing_key="log.{level}.{unit}"), logs)
async def log(text: str, level: Annotated[str, Path()], unit: Annotated[str, Path()]) -> str:
    return f"{level} of {unit}: {text}"


parcels = RabbitExchange("shop.parcels", type=ExchangeType.HEADERS)


@router.subscriber(
    RabbitQueue("large", bind_arguments={"x-match": "all", "size": 3, "fragile": True}), parcels
)
async def large_and_fragile(name: str, size: Annotated[int, Header()]) -> str:
    return f"large and fragile, {size}: {name}"


@router.subscriber(RabbitQueue("any", bind_arguments={"x-match": "any", "size": 1, "colour": "red"}), parcels)
async def small_or_red(name: str) -> str:
    return f"small or red: {name}"


news = RabbitExchange("shop.news", type=ExchangeType.FANOUT)


@router.subscriber("left", news)
async def left(text: str) -> str:
    return f"left {text}"


@router.subscriber("right", news)
async def right(text: str) -> str:
    return f"right {text}"


# Acknowledgements and retries


@router.subscriber(
    RabbitQueue("orders", queue_type=QueueType.QUORUM, arguments=DEAD_LETTERS), ack_policy=AckPolicy.MANUAL
)
async def settle(verdict: str, message: RabbitMessage) -> str:
    """Do with the message what it says."""
    again = message.raw_message.redelivered
    if verdict == "reject":
        await message.reject()
        return "rejected"
    if verdict == "nack" and not again:
        await message.nack()
        return "returned"
    await message.ack()
    return "acknowledged" if not again else "acknowledged after its return"


@router.subscriber(
    RabbitQueue(
        "hopeless",
        queue_type=QueueType.QUORUM,
        arguments=DEAD_LETTERS | {"x-delivery-limit": DELIVERY_LIMIT},
    ),
    no_reply=True,
)
async def fail(text: str, message: RabbitMessage, broker: Annotated[RabbitBroker, Context()]) -> None:
    """Tell of each attempt."""
    await broker.publish(f"attempt at {text}", message.reply_to)
    raise RejectMessage(requeue=True)


@router.subscriber("slow", channel=Channel(prefetch_count=PREFETCH))
async def work(name: str, message: RabbitMessage, broker: Annotated[RabbitBroker, Context()]) -> str:
    """Begin, and end when there is a file of this name."""
    await broker.publish(f"begun {name}", message.reply_to)
    while not await anyio.Path(name).exists():  # noqa: ASYNC110 - another process makes it
        await asyncio.sleep(0.01)
    return f"done {name}"


# Streams


@router.subscriber(
    RabbitQueue("journal", queue_type=QueueType.STREAM),
    channel=Channel(prefetch_count=5),
    consume_args={"x-stream-offset": "first"},
)
async def journal(line: str, offset: Annotated[int, Header("x-stream-offset")]) -> str:
    return f"{offset}: {line}"


def make_broker(url: str, name: str) -> RabbitBroker:
    """Make FastStream's client, with a name for its connection."""
    return RabbitBroker(
        f"{url}?name={name}",
        reconnect_interval=0.1,
        graceful_timeout=30,
        middlewares=[Stamp] if name == "shop" else [],
    )


async def main() -> None:
    broker = make_broker(os.environ["INTEROP_URL"], "shop")
    broker.include_router(router)

    async def declare() -> None:
        await broker.declare_queue(DEAD)

    await FastStream(broker, after_startup=[declare]).run()


if __name__ == "__main__":
    asyncio.run(main())
