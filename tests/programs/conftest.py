"""What the tests of whole programs share: configured processes, and looks into queues."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.behaviour.support import Names
from tests.client.support import Admin
from tests.programs.support import Programs
from tests.support.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.brokers import Broker


@pytest.fixture
def names(broker: Broker) -> Iterator[Names]:
    """Makes unique names, whose queues are deleted after the test."""
    made = Names(broker.url)
    yield made
    made.delete_all()


@pytest.fixture
def admin(broker: Broker, names: Names) -> Iterator[Admin]:
    """An independent client."""
    made = Admin(broker.url)
    yield made
    made.close()


@pytest.fixture
def proxy(broker: Broker, names: Names) -> Iterator[Proxy]:
    """Between the programs and the broker; counts connections."""
    with Proxy(broker.url) as made:
        yield made


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
