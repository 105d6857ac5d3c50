"""The HTTP API over an archive in a file, asked without a socket."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from starlette.applications import Starlette
from tests.web_api.client import Client

from fedora_messaging.archive.entry import entry_of
from fedora_messaging.archive.location import open_archive
from fedora_messaging.web.dashboard import api, datagrepper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from starlette.requests import Request

    from fedora_messaging.archive.archive import Archive
    from fedora_messaging.message import Message

    #: Stores messages in the archive that the client asks.
    Store = Callable[[list[Message]], None]


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    opened = open_archive(str(tmp_path / "archive.db"))
    yield opened
    opened.close()


@pytest.fixture
def store(archive: Archive) -> Store:
    def stored(messages: list[Message]) -> None:
        archive.store([entry_of(message, time.time()) for message in messages])

    return stored


@pytest.fixture
def client(archive: Archive) -> Iterator[Client]:
    async def source(_request: Request) -> Archive:
        return archive

    with Client(Starlette(routes=[*datagrepper.routes(source), *api.routes(source)])) as made:
        yield made
