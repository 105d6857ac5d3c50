"""Verdicts of other threads are reported in the event loop."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

from fedora_messaging.client.consuming.delivery import Raw
from fedora_messaging.client.consuming.verdict import ACKED, REFUSED, Verdict
from fedora_messaging.client.consuming.verdict_mailbox import VerdictMailbox

if TYPE_CHECKING:
    from collections.abc import Callable

DELIVERIES = [Raw(0, tag, "q", "", "q", False, b"\x00\x00", b"{}") for tag in range(4)]


def in_a_thread(call: Callable[[], None]) -> None:
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()


def test_verdicts_of_a_thread_are_reported_in_order_and_in_the_loop() -> None:
    reported: list[tuple[int, Verdict, threading.Thread]] = []

    async def main() -> None:
        done = asyncio.Event()
        mailbox = VerdictMailbox(
            lambda raw, verdict: reported.append((raw.tag, verdict, threading.current_thread())), done.set
        )

        def put() -> None:
            mailbox.put(DELIVERIES[1], ACKED)
            mailbox.put(DELIVERIES[2], REFUSED)

        in_a_thread(put)
        assert reported == []
        await done.wait()

    asyncio.run(main())
    here = threading.current_thread()
    assert reported == [(1, ACKED, here), (2, REFUSED, here)]


def test_a_burst_is_one_wake_up() -> None:
    events: list[int | str] = []

    async def main() -> None:
        done = asyncio.Event()

        def after() -> None:
            events.append("after")
            done.set()

        mailbox = VerdictMailbox(lambda raw, _verdict: events.append(raw.tag), after)
        for burst in (DELIVERIES[:2], DELIVERIES[2:]):
            for raw in burst:
                in_a_thread(lambda raw=raw: mailbox.put(raw, ACKED))  # type: ignore[misc]
            await done.wait()
            done.clear()

    asyncio.run(main())
    assert events == [0, 1, "after", 2, 3, "after"]


def test_verdict_that_comes_of_a_report_is_reported_at_once() -> None:
    reported: list[int] = []

    async def main() -> None:
        def report(raw: Raw, _verdict: Verdict) -> None:
            reported.append(raw.tag)
            if raw.tag < 3:
                mailbox.put(DELIVERIES[raw.tag + 1], ACKED)

        mailbox = VerdictMailbox(report)
        mailbox.put(DELIVERIES[0], ACKED)
        mailbox.hand_over()
        assert reported == [0, 1, 2, 3]

    asyncio.run(main())
    # The wake-ups found nothing more.
    assert reported == [0, 1, 2, 3]


def test_verdict_after_the_loop_has_closed_is_nobodys() -> None:
    reported: list[int] = []

    async def main() -> VerdictMailbox:
        return VerdictMailbox(lambda raw, _verdict: reported.append(raw.tag))

    mailbox = asyncio.run(main())
    mailbox.put(DELIVERIES[0], ACKED)
    in_a_thread(lambda: mailbox.put(DELIVERIES[1], ACKED))
    assert reported == []
