"""A publish whose outcome a task waits for."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

from fedora_messaging.client.publishing.awaited import AwaitedPublish
from fedora_messaging.client.publishing.outgoing import Encoded
from fedora_messaging.exceptions import PublishNacked

ENCODED = Encoded("amq.topic", "a.b", b"method", b"properties", b"body", True)


def test_confirmed() -> None:
    async def main() -> None:
        with AwaitedPublish(ENCODED) as publish:
            assert not publish.confirmed.done()
            publish.out.on_outcome(None)
            assert publish.confirmed.done()
            await publish.confirmed

    asyncio.run(main())


def test_refused() -> None:
    error = PublishNacked("the queue is full")

    async def main() -> None:
        with AwaitedPublish(ENCODED) as publish:
            publish.out.on_outcome(error)
            with pytest.raises(PublishNacked) as caught:
                await publish.confirmed
            assert caught.value is error

    asyncio.run(main())


def test_only_the_first_outcome_counts() -> None:
    async def main() -> None:
        with AwaitedPublish(ENCODED) as publish:
            publish.set_outcome(None)
            publish.set_outcome(PublishNacked("too late"))
            await publish.confirmed
        with AwaitedPublish(ENCODED) as publish:
            # Whoever waits is cancelled, and then the broker answers.
            publish.confirmed.cancel()
            publish.set_outcome(None)
            publish.set_outcome(PublishNacked("too late"))
            assert publish.confirmed.cancelled()

    asyncio.run(main())


def test_whoever_leaves_has_given_it_up() -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError), AwaitedPublish(ENCODED) as publish:
            out = publish.out
            assert out.begin()
            raise TimeoutError
        assert out.abandoned
        assert not out.begin()
        # The body is freed; the rest tells a returned message from others.
        assert (out.body, out.properties) == (b"", b"properties")

    asyncio.run(main())


def test_refusal_that_nobody_asks_for_is_no_complaint() -> None:
    complaints: list[dict[str, Any]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
        with AwaitedPublish(ENCODED) as publish:
            publish.set_outcome(PublishNacked("the queue is full"))
        del publish
        gc.collect()

    asyncio.run(main())
    assert complaints == []


def test_publish_that_is_over_leaves_no_garbage() -> None:
    """A cycle for each message would cost the garbage collector a tenth of the time of publishing."""

    async def main() -> None:
        with AwaitedPublish(ENCODED) as publish:
            gone = weakref.ref(publish.confirmed)
        del publish
        assert gone() is None

    gc.disable()
    try:
        asyncio.run(main())
    finally:
        gc.enable()
