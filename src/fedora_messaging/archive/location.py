"""Opens the archive that a location names: the path of a file, or the URL of a PostgreSQL database."""

import os
from pathlib import Path

from .archive import Archive
from .database import ArchiveError, Database
from .sqlite import SqliteDatabase, is_sqlite

#: Environment variable with the location to use where none is given.
VARIABLE = "FEDORA_MESSAGING_ARCHIVE"


def default_location() -> str:
    """Return the location to use where none is given: that of the environment, or a file of the user."""
    given = os.environ.get(VARIABLE)
    if given:
        return given
    data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return str(Path(data) / "fedora-messaging" / "archive.db")


def exists(location: str) -> bool:
    """Whether there may be an archive: a database is taken to be there."""
    return not is_sqlite(location) or Path(location).exists()


def open_archive(location: str, create: bool = True) -> Archive:
    """Open an archive.

    Args:
        location: Path of a file, or ``postgresql://user:password@host/database``.
        create: Whether to make a missing file.

    Raises:
        ArchiveError: It cannot be opened.
    """
    return Archive(_database(location, create))


def _database(location: str, create: bool) -> Database:
    if is_sqlite(location):
        return SqliteDatabase(location, create)
    scheme = location.partition("://")[0]
    if scheme.partition("+")[0] not in ("postgresql", "postgres"):
        raise ArchiveError(f"An archive is a file or a postgresql:// URL, and {scheme}:// is neither")
    try:
        from .postgresql import PostgresqlDatabase
    except ModuleNotFoundError as error:
        raise ArchiveError(
            f"An archive in PostgreSQL needs {error.name}: pip install 'fedora-messaging[sql]'"
        ) from error
    return PostgresqlDatabase(location)
