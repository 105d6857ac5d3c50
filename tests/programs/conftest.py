"""What the tests of whole programs share: configured processes, and looks into queues."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.programs.support import Programs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.admin import Admin, Names
    from tests.support.proxy import Proxy


@pytest.fixture
def published(admin: Admin, names: Names) -> str:
    """The topic prefix of the programs, and the queue that gets all they publish."""
    return admin.declare(names("published"))


@pytest.fixture
def work(admin: Admin, names: Names) -> str:
    """A queue for programs to consume, bound to nothing."""
    name = names("work")
    admin.channel.queue_declare(name, durable=True)
    return name


@pytest.fixture
def programs(proxy: Proxy, published: str, work: str, tmp_path: Path) -> Iterator[Programs]:
    """Runs programs in an empty directory with a configuration; what still runs after the test is killed."""
    with Programs(tmp_path) as made:
        made.configure(proxy.url(), published, work)
        yield made
