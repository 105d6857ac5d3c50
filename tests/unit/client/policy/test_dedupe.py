"""Which messages were processed, and who is processing one: claims in a file that several share."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from fedora_messaging.client.policy.dedupe import Claim, SeenMessages
from fedora_messaging.exceptions import ConfigurationException
from fedora_messaging.options import DedupeOptions

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where the messages are remembered."""
    return str(tmp_path / "folder" / "ids.db")


def test_message_is_claimed_once_until_it_is_released(path: str) -> None:
    async def main() -> None:
        seen, other = (SeenMessages(DedupeOptions(60, path)) for _ in range(2))
        assert await seen.claim("q", "one") is Claim.OURS
        assert await seen.claim("q", "one") is Claim.BUSY
        assert await other.claim("q", "one") is Claim.BUSY
        # Who does not have it does not release it.
        await other.release("q", "one")
        assert await other.claim("q", "one") is Claim.BUSY
        await seen.release("q", "one")
        assert await other.claim("q", "one") is Claim.OURS
        await seen.close()
        await other.close()

    asyncio.run(main())


def test_queues_and_messages_have_claims_of_their_own(path: str) -> None:
    async def main() -> None:
        seen = SeenMessages(DedupeOptions(60, path))
        for queue, message_id in (("q", "one"), ("q", "two"), ("other", "one")):
            assert await seen.claim(queue, message_id) is Claim.OURS
        await seen.add("q", "one")
        assert await seen.claim("q", "one") is Claim.PROCESSED
        assert await seen.claim("q", "two") is Claim.BUSY
        assert await seen.claim("other", "one") is Claim.BUSY
        await seen.close()

    asyncio.run(main())


def test_what_was_processed_is_remembered_in_the_file(path: str) -> None:
    async def main() -> None:
        for expected in (Claim.OURS, Claim.PROCESSED):
            seen = SeenMessages(DedupeOptions(60, path))
            assert await seen.claim("q", "one") is expected
            await seen.add("q", "one")
            await seen.close()

    asyncio.run(main())


def test_what_is_older_than_the_window_may_come_again(path: str) -> None:
    def let_pass(seconds: float) -> None:
        with closing(sqlite3.connect(path)) as database, database:
            database.execute("UPDATE seen SET at = at - ?", (seconds,))

    async def main() -> None:
        seen = SeenMessages(DedupeOptions(3600, path))
        assert await seen.claim("q", "one") is Claim.OURS
        await seen.add("q", "one")
        let_pass(3000)
        assert await seen.claim("q", "one") is Claim.PROCESSED
        let_pass(601)
        assert await seen.claim("q", "one") is Claim.OURS
        # It is remembered from its last time on.
        await seen.add("q", "one")
        assert await seen.claim("q", "one") is Claim.PROCESSED
        await seen.close()

    asyncio.run(main())


def test_closing_releases_what_is_claimed(path: str, tmp_path: Path) -> None:
    async def main() -> None:
        first, second = (SeenMessages(DedupeOptions(60, path)) for _ in range(2))
        assert await first.claim("q", "one") is Claim.OURS
        assert len(list((tmp_path / "folder").glob("ids.db.*.claims"))) == 2
        await first.close()
        assert await second.claim("q", "one") is Claim.OURS
        await second.close()
        assert list((tmp_path / "folder").glob("*.claims")) == []

    asyncio.run(main())


def test_locks_of_the_dead_are_removed_at_the_next_start(path: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    dead = tmp_path / "folder" / "ids.db.0123.claims"
    others = [tmp_path / "folder" / name for name in ("ids.db.backup", "other.db.0123.claims")]
    for file in (dead, *others):
        file.touch()

    async def main() -> None:
        await SeenMessages(DedupeOptions(60, path)).close()

    asyncio.run(main())
    assert not dead.exists()
    assert all(file.exists() for file in others)


def test_file_that_cannot_be_used(tmp_path: Path) -> None:
    path = tmp_path / "ids.db"
    path.write_text("This is no database, but a text that is longer than the header of one." * 20)
    with pytest.raises(ConfigurationException) as caught:
        SeenMessages(DedupeOptions(60, str(path)))
    assert str(caught.value) == (
        f'Configuration error: "path" in [consumer.dedupe] is {path}, which cannot be used: '
        "file is not a database"
    )
    with pytest.raises(ConfigurationException, match=r'"path" in \[consumer.dedupe\] is .* cannot be used'):
        SeenMessages(DedupeOptions(60, str(path / "below a file")))
