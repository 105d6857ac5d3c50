"""Archives in a new file and in a new PostgreSQL database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.archive.support import Places, PostgresPlaces, SqlitePlaces
from tests.support.fixtures import light_heap

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.postgresql import PostgresServer

    from fedora_messaging.archive.archive import Archive

__all__ = ["light_heap"]


@pytest.fixture(params=["sqlite", "postgresql"])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Places]:
    """New places for archives: files, then databases. A test with this fixture holds for both."""
    made: Places
    if request.param == "sqlite":
        made = SqlitePlaces(tmp_path)
    else:
        # Asked for by name, so that the tests of files run on a machine without PostgreSQL.
        server: PostgresServer = request.getfixturevalue("postgresql")
        made = PostgresPlaces(server)
    yield made
    made.close()


@pytest.fixture
def archive(places: Places) -> Archive:
    """An empty archive."""
    return places.archive()


@pytest.fixture
def months(postgresql: PostgresServer) -> Iterator[PostgresPlaces]:
    """New databases of PostgreSQL, for what it alone does."""
    made = PostgresPlaces(postgresql)
    yield made
    made.close()
