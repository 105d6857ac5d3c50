"""Deliveries that wait to be taken one by one."""

from __future__ import annotations

import asyncio

from fedora_messaging.client.consuming.delivery import Raw
from fedora_messaging.client.consuming.inbox import Inbox


def delivery(tag: int) -> Raw:
    return Raw(0, tag, "q", "", "q", False, b"\x00\x00", b"{}")


ONE, TWO = delivery(1), delivery(2)


async def waiting(inbox: Inbox) -> asyncio.Task[Raw | None]:
    """A task that waits for a delivery by now."""
    task = asyncio.create_task(inbox.take())
    await asyncio.sleep(0)
    assert not task.done()
    return task


def test_deliveries_are_taken_in_order_of_arrival() -> None:
    async def main() -> None:
        inbox = Inbox()
        inbox.put(ONE)
        inbox.put(TWO)
        assert await inbox.take() is ONE
        assert await inbox.take() is TWO

    asyncio.run(main())


def test_what_is_given_back_is_taken_next() -> None:
    async def main() -> None:
        inbox = Inbox()
        inbox.put(ONE)
        inbox.put(TWO)
        assert await inbox.take() is ONE
        inbox.put_back(ONE)
        assert await inbox.take() is ONE
        assert await inbox.take() is TWO
        # Whoever waits is woken.
        task = await waiting(inbox)
        inbox.put_back(TWO)
        assert await task is TWO

    asyncio.run(main())


def test_each_delivery_goes_to_one_of_those_who_wait() -> None:
    async def main() -> None:
        inbox = Inbox()
        tasks = [await waiting(inbox) for _ in range(3)]
        inbox.put(ONE)
        inbox.put(TWO)
        done, _pending = await asyncio.wait(tasks[:2])
        assert {task.result() for task in done} == {ONE, TWO}
        assert not tasks[2].done()
        inbox.halt()
        assert await tasks[2] is None

    asyncio.run(main())


def test_who_is_cancelled_takes_nothing_along() -> None:
    async def main() -> None:
        inbox = Inbox()
        cancelled, other = await waiting(inbox), await waiting(inbox)
        # It is woken and cancelled in the same breath.
        inbox.put(ONE)
        cancelled.cancel()
        assert await other is ONE
        await asyncio.wait([cancelled])
        assert cancelled.cancelled()

    asyncio.run(main())


def test_after_the_end_nothing_is_given_out() -> None:
    async def main() -> None:
        inbox = Inbox()
        inbox.put(ONE)
        assert await inbox.take() is ONE
        inbox.put(TWO)
        await inbox.finish()
        assert await inbox.take() is None
        inbox.put_back(ONE)
        assert await inbox.take() is None

    asyncio.run(main())


def test_what_comes_after_the_end_is_given_to_nobody() -> None:
    async def main() -> None:
        inbox = Inbox()
        inbox.halt()
        inbox.put(ONE)
        inbox.put_back(TWO)
        assert await inbox.take() is None

    asyncio.run(main())
