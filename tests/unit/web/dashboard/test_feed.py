"""Messages as they pass: each reader sees every message once, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.support.waiting import WAIT, soon
from tests.unit.web.dashboard.support import NOON, archive_in, entry, run_quickly

from fedora_messaging.web.dashboard.feed import MOST_BEHIND, Dropped, Feed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from fedora_messaging.archive.archive import Archive
    from fedora_messaging.archive.entry import Stored

QUICK: Final = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with archive_in(tmp_path) as made:
        yield made


class Reader:
    """Follows a feed, leaves it, and comes back with the place of the last message it has seen.

    Args:
        feed: The feed.
        seq: Place of the last message that it has seen; ``None`` begins with now.
    """

    def __init__(self, feed: Feed, seq: int | None = None) -> None:
        self._feed = feed
        self._messages: AsyncIterator[list[Stored]] | None = None
        self.place = seq
        self.seen: list[int] = []

    async def join(self) -> None:
        """Begin to follow; what is stored from now on is seen."""
        if self.place is None:
            self.place = await self._feed.start()
        if self._messages is None:
            self._messages = self._feed.follow(self.place)

    async def read(self, most: int = 1) -> None:
        """See what comes together, at most so many times; less if there is nothing for a while."""
        await self.join()
        assert self._messages is not None
        for _ in range(most):
            some = await anext(self._messages)
            if not some:
                return
            self.place = some[-1].seq
            self.seen += [one.seq for one in some]

    async def read_until(self, seq: int) -> None:
        """See all until a place."""
        async with asyncio.timeout(WAIT * 50):
            while self.place is None or self.place < seq:
                await self.read()

    async def leave(self) -> None:
        """Stop following."""
        if self._messages is not None:
            await self._messages.aclose()  # type: ignore[attr-defined]
            self._messages = None


# What may happen, in any order

#: Each is a name and a number, of messages or of the reader.
STEPS: Final = st.lists(
    st.one_of(
        st.tuples(st.just("store"), st.integers(1, 5)),
        st.tuples(st.just("store and delete"), st.integers(1, 3)),
        st.tuples(st.just("delete"), st.just(0)),
        st.tuples(st.just("wait"), st.just(0)),
        st.tuples(st.sampled_from(["join", "read", "read one", "leave"]), st.integers(0, 2)),
    ),
    max_size=25,
)


class Story:
    """An archive that some store to and delete from while three readers come and go.

    Messages that are deleted were sent before ``NOON``, as retention by age deletes them.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._feed = Feed(archive)
        self._deleted: set[int] = set()
        # The third one has seen what came before all others.
        self._readers = [Reader(self._feed), Reader(self._feed), Reader(self._feed, 0)]

    async def tell(self, steps: list[tuple[str, int]]) -> None:
        """Carry out the steps, have all readers see the rest, and check what each has seen."""
        begins = [await self._feed.start()] * len(self._readers)
        self._readers[0].place = self._readers[1].place = begins[0]
        begins[2] = 0
        for name, number in steps:
            await self._do(name, number)
        left = await asyncio.to_thread(self._archive.stored_after, 0, 10_000)
        for reader, begin in zip(self._readers, begins, strict=True):
            await reader.read_until(left[-1].seq if left else 0)
            await reader.leave()
            self._check(reader.seen, begin)
        await self._feed.close()

    async def _do(self, name: str, number: int) -> None:
        match name:
            case "store":
                await self._store(number, NOON)
            case "store and delete":
                await self._store(number, NOON - 1000)
                await self._delete()
            case "delete":
                await self._delete()
            case "wait":
                await asyncio.sleep(0.5)
            case "join":
                await self._readers[number].join()
            case "read":
                await self._readers[number].read(100)
            case "read one":
                await self._readers[number].read()
            case "leave":
                await self._readers[number].leave()

    async def _store(self, number: int, sent: float) -> None:
        await asyncio.to_thread(self._archive.store, [entry(sent=sent) for _ in range(number)])

    async def _delete(self) -> None:
        def delete() -> None:
            before = {one.seq for one in self._archive.stored_after(0, 10_000)}
            self._archive.prune(before=NOON - 500)
            self._deleted |= before - {one.seq for one in self._archive.stored_after(0, 10_000)}

        await asyncio.to_thread(delete)

    def _check(self, seen: list[int], begin: int) -> None:
        newest = self._archive.newest_seq()
        assert seen == sorted(set(seen)), "seen twice, or in another order"
        missing = set(range(begin + 1, newest + 1)) - set(seen) - self._deleted
        assert not missing, "not seen"


@QUICK
@example(steps=[("read", 0), ("store and delete", 1), ("store", 1), ("wait", 0), ("read", 0)])
@example(steps=[("store", 3), ("read one", 0), ("leave", 0), ("store and delete", 2), ("read", 0)])
@given(steps=STEPS)
def test_no_gap_and_no_duplicate(steps: list[tuple[str, int]]) -> None:
    """Readers come, read, leave and resume while others store and delete: each sees what is left, once."""
    with tempfile.TemporaryDirectory() as directory, archive_in(Path(directory)) as archive:
        run_quickly(Story(archive).tell(steps))


def test_messages_stored_while_many_others_catch_up(archive: Archive) -> None:
    """What is stored between looking into the archive and into memory is neither lost nor seen twice."""

    async def main() -> None:
        feed = Feed(archive)
        archive.store([entry() for _ in range(1200)])
        readers = [Reader(feed, seq) for seq in (0, 0, 600, 1199)]

        async def store() -> None:
            for _ in range(60):
                await asyncio.to_thread(archive.store, [entry() for _ in range(5)])

        await asyncio.gather(store(), *(reader.read_until(1500) for reader in readers))
        assert [reader.seen for reader in readers] == [
            [*range(1, 1501)],
            [*range(1, 1501)],
            [*range(601, 1501)],
            [*range(1200, 1501)],
        ]
        for reader in readers:
            await reader.leave()
        await feed.close()

    run_quickly(main())


# Places


def test_by_default_following_begins_now(archive: Archive) -> None:
    async def main() -> None:
        archive.store([entry(), entry()])
        feed = Feed(archive)
        messages = feed.follow()
        assert await anext(messages) == []
        archive.store([entry(id="news")])
        assert [one.id async for one in _until(messages, 1)] == ["news"]
        await feed.close()

    run_quickly(main())


@pytest.mark.parametrize("seq", [3, 10**17])
def test_a_place_of_the_future(archive: Archive, seq: int) -> None:
    """After a backup was put back, readers may have seen more than there is: they go on with what comes."""

    async def main() -> None:
        archive.store([entry(), entry()])
        feed = Feed(archive)
        messages = feed.follow(seq)
        assert await anext(messages) == []
        archive.store([entry(id="news")])
        assert [one.id async for one in _until(messages, 1)] == ["news"]
        await feed.close()

    run_quickly(main())


def test_a_place_whose_followers_were_deleted(archive: Archive) -> None:
    async def main() -> None:
        archive.store([entry(sent=NOON - 1000) for _ in range(5)])
        archive.store([entry(id="left")])
        archive.prune(before=NOON - 500)
        feed = Feed(archive)
        assert [one.id async for one in _until(feed.follow(2), 1)] == ["left"]
        await feed.close()

    run_quickly(main())


def test_all_after_a_place_were_deleted(archive: Archive) -> None:
    async def main() -> None:
        archive.store([entry(sent=NOON - 1000) for _ in range(5)])
        archive.prune(before=NOON - 500)
        feed = Feed(archive)
        messages = feed.follow(2)
        assert await anext(messages) == []
        archive.store([entry(id="news")])
        assert [one.seq async for one in _until(messages, 1)] == [6]
        await feed.close()

    run_quickly(main())


# Readers that are slow, and the end


def test_a_reader_far_behind_is_dropped_and_finds_the_rest_when_it_resumes(archive: Archive) -> None:
    """Only it is: one that keeps up meanwhile sees all."""

    async def main() -> None:
        feed = Feed(archive)
        slow, quick = Reader(feed, 0), Reader(feed, 0)
        archive.store([entry()])
        await slow.read_until(1)
        # Nothing: from now on it waits for what comes.
        await slow.read()
        newest = 1
        while newest < 3 * MOST_BEHIND:
            newest += await asyncio.to_thread(archive.store, [entry() for _ in range(500)])
            await quick.read_until(newest)
        with pytest.raises(Dropped, match=f"more than {MOST_BEHIND} messages behind"):
            await slow.read_until(newest)
        await slow.leave()
        await slow.read_until(newest)
        assert slow.seen == quick.seen == [*range(1, newest + 1)]
        await feed.close()

    run_quickly(main())


def test_readers_that_are_behind_but_not_far_are_not_dropped(archive: Archive) -> None:
    async def main() -> None:
        feed = Feed(archive)
        slow = Reader(feed, 0)
        archive.store([entry()])
        await slow.read_until(1)
        archive.store([entry() for _ in range(MOST_BEHIND)])
        quick = Reader(feed, MOST_BEHIND)
        await quick.read_until(MOST_BEHIND + 1)
        await slow.read_until(MOST_BEHIND + 1)
        assert slow.seen == [*range(1, MOST_BEHIND + 2)]
        await feed.close()

    run_quickly(main())


def test_memory_is_bounded(archive: Archive) -> None:
    async def main() -> None:
        feed = Feed(archive)
        reader = Reader(feed, 0)
        await reader.join()
        for newest in range(500, 6001, 500):
            archive.store([entry() for _ in range(500)])
            await reader.read_until(newest)
            assert len(feed._recent) <= 2 * MOST_BEHIND
        await feed.close()

    run_quickly(main())


@pytest.mark.parametrize("state", ["new", "waiting", "catching up"])
def test_close_ends_readers_in_every_state(archive: Archive, state: str) -> None:
    async def main() -> None:
        archive.store([entry() for _ in range(1000)])
        feed = Feed(archive)
        messages = feed.follow(0 if state == "catching up" else None)
        if state == "waiting":
            assert await anext(messages) == []
            waits = asyncio.ensure_future(anext(messages))
            await asyncio.sleep(0)
        elif state == "catching up":
            assert await anext(messages)
        await feed.close()
        with pytest.raises(Dropped, match="the server stops"):
            if state == "waiting":
                await waits
            async for _ in messages:
                pass

    run_quickly(main())


def test_close_wakes_a_reader_at_once(archive: Archive) -> None:
    """In a loop of ordinary speed, not only when its second is over; and closing twice does no harm."""

    async def main() -> None:
        feed = Feed(archive)
        messages = feed.follow()
        waits = asyncio.ensure_future(anext(messages))
        await soon(lambda: feed._readers == 1)
        await feed.close()
        await feed.close()
        with pytest.raises(Dropped):
            await waits

    asyncio.run(main())


def test_nobody_joins_a_closed_feed(archive: Archive) -> None:
    async def main() -> None:
        feed = Feed(archive)
        await feed.close()
        with pytest.raises(Dropped, match="the server stops"):
            await feed.start()

    run_quickly(main())


def test_looking_ends_without_readers_and_begins_with_the_next(archive: Archive) -> None:
    async def main() -> None:
        feed = Feed(archive)
        await feed.start()
        # The clock of the feed is not the loop's.
        looking = feed._task
        assert looking is not None
        looking.cancel()
        await asyncio.wait([looking])
        archive.store([entry()])
        messages = feed.follow(0)
        assert [one.seq async for one in _until(messages, 1)] == [1]
        archive.store([entry()])
        assert [one.seq async for one in _until(messages, 1)] == [2]
        await feed.close()

    run_quickly(main())


def test_an_archive_that_fails_for_a_while(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The feed says so in the log, and goes on when the archive does."""

    async def main(archive: Archive) -> None:
        feed = Feed(archive)
        messages = feed.follow()
        assert await anext(messages) == []
        with archive._database.writing() as writer:
            writer.run("ALTER TABLE messages RENAME TO hidden", {})
        while "cannot be used" not in caplog.text:
            assert await anext(messages) == []
        with archive._database.writing() as writer:
            writer.run("ALTER TABLE hidden RENAME TO messages", {})
        archive.store([entry(id="news")])
        assert [one.id async for one in _until(messages, 1)] == ["news"]
        await feed.close()

    with archive_in(tmp_path) as archive:
        run_quickly(main(archive))


async def _until(messages: AsyncIterator[list[Stored]], number: int) -> AsyncIterator[Any]:
    """Yield messages until it is a number."""
    while number > 0:
        some = await anext(messages)
        number -= len(some)
        for one in some:
            yield one
