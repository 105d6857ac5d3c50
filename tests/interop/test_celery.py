"""Celery: its worker as a process, with tasks in classic queues and in quorum queues, on every broker."""

from __future__ import annotations

import json
import os
import signal
import time
import uuid
from collections import defaultdict
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import kombu.pools
import pytest
from celery import chain, chord, group
from celery.exceptions import TaskRevokedError
from tests.interop.apps.tasks import LEAVING, RANKED, TASKS, URGENT, make_app
from tests.interop.support import close_connections, own_vhost
from tests.support.admin import Admin
from tests.support.processes import Process, Processes
from tests.support.waiting import WAIT, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery import Celery
    from celery.result import AsyncResult
    from tests.conftest import BrokerUnderTest

APPS: Final = Path(__file__).parent / "apps"


class Site:
    """An application of Celery, and its workers.

    Attributes:
        broker: Where it is connected.
        app: The application, as those see it who send tasks.
        kind: Type of the queue of tasks.
        directory: Where the workers run.
    """

    def __init__(self, broker: BrokerUnderTest, kind: str, directory: Path) -> None:
        # Workers reply to a queue of the caller, or write files: only the latter can do chords.
        results = "rpc://" if kind == "classic" else directory.as_uri()
        self.broker = broker
        self.kind = kind
        self.directory = directory
        self.app: Celery = make_app(broker.url, "caller", kind, results)
        self._processes = Processes(
            directory,
            PYTHONPATH=str(APPS),
            INTEROP_URL=broker.url,
            INTEROP_KIND=kind,
            INTEROP_RESULTS=results,
        )
        self._workers: list[Process] = []

    def celery(self, *arguments: str, name: str) -> Process:
        """Start the command."""
        return self._processes.python("-m", "celery", "--app", "tasks", *arguments, INTEROP_NAME=name)

    def start_worker(self, name: str, *arguments: str) -> Process:
        """Start a worker, and wait until it consumes."""
        worker = self.celery(
            *("worker", "--loglevel", "INFO", "--hostname", f"{name}@localhost"), *arguments, name=name
        )
        self._workers.append(worker)
        worker.wait_for(rf"{name}@localhost ready\.")
        return worker

    def task(self, name: str) -> Any:
        """Find a task by its name."""
        return self.app.tasks[name]

    def control(self, command: str, **arguments: Any) -> Any:
        """Have the main worker obey a command; returns its reply."""
        (reply,) = self.app.control.broadcast(
            command, arguments, destination=["main@localhost"], reply=True, limit=1, timeout=WAIT
        )
        return reply["main@localhost"]

    def inspect(self) -> Any:
        """Ask the main worker something."""
        return self.app.control.inspect(destination=["main@localhost"], limit=1, timeout=WAIT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            # What it has forked is in the group that it leads.
            with suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGKILL)
        self._processes.__exit__()
        if self.kind == "classic":
            self.app.backend.result_consumer.stop()
        kombu.pools.reset()
        self.app.close()


@pytest.fixture(scope="module", params=["classic", "quorum"])
def celery(
    any_broker: BrokerUnderTest, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """An application with a worker that has two processes."""
    directory = tmp_path_factory.mktemp("celery")
    with own_vhost(any_broker) as broker, Site(broker, request.param, directory) as made:
        made.start_worker("main", "--concurrency", "2", "--queues", TASKS)
        yield made


@pytest.fixture
def admin(celery: Site) -> Iterator[Admin]:
    made = Admin(celery.broker.url)
    yield made
    made.close()


class Events:
    """What workers and senders of tasks tell while they work.

    Args:
        app: The application.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._opened = ExitStack()
        #: Types of events by the task, in their order, and the tasks by the type of event.
        self.types: dict[str, list[str]] = defaultdict(list)
        self.tasks: dict[str, list[str]] = defaultdict(list)

    def _on_event(self, event: dict[str, Any]) -> None:
        if "uuid" in event:
            self.types[event["uuid"]].append(event["type"])
            self.tasks[event["type"]].append(event["uuid"])

    def drain(self, enough: Callable[[], bool]) -> None:
        """Take events until there are enough."""
        deadline = time.monotonic() + WAIT
        while not enough():
            assert time.monotonic() < deadline, f"only these events: {dict(self.types)}"
            with suppress(TimeoutError):
                self._connection.drain_events(timeout=1)

    def __enter__(self) -> Self:
        made = self._opened.enter_context(self._app.connection_for_read())
        receiver = self._app.events.Receiver(made, handlers={"*": self._on_event})
        # It has a connection of its own.
        self._connection, *_ = self._opened.enter_context(receiver.consumer_context(wakeup=False))
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()


def numbered(celery: Site, count: int) -> list[Any]:
    """Signatures of so many sums."""
    return [celery.task("add").s(number, number) for number in range(count)]


# Results


def test_result_and_error(celery: Site) -> None:
    """Both come back from the worker."""
    assert celery.task("add").delay(1, 2).get(timeout=WAIT) == 3
    with pytest.raises(ValueError, match="out of paper"):
        celery.task("fail").delay("out of paper").get(timeout=WAIT)


def test_chain(celery: Site) -> None:
    """Each task of it is published by the worker that has done the one before."""
    add = celery.task("add")
    assert chain(add.s(1, 2), add.s(10), add.s(100)).apply_async().get(timeout=WAIT) == 113


def test_group(celery: Site) -> None:
    result = group(numbered(celery, 30)).apply_async()
    assert result.get(timeout=WAIT) == [2 * number for number in range(30)]


def test_chord(celery: Site) -> None:
    """A task that is retried until the others are done begins the last one."""
    if celery.kind == "classic":
        with pytest.raises(NotImplementedError, match="does not support chords"):
            chord(numbered(celery, 3))(celery.task("total").s())
        return
    assert chord(numbered(celery, 10))(celery.task("total").s()).get(timeout=WAIT) == 90


# Time


def test_retry_with_countdown(celery: Site) -> None:
    """Quorum queues wait in the broker: Celery has 28 queues whose dead letters go from one to the next."""
    begun = time.time()
    assert celery.task("retry").delay(2, 1).get(timeout=WAIT) == 2
    assert time.time() - begun >= 2


def test_eta(celery: Site) -> None:
    eta = datetime.now(UTC) + timedelta(seconds=1.5)
    result: AsyncResult[float] = celery.task("now").apply_async(eta=eta)
    assert result.get(timeout=WAIT) >= eta.timestamp()


def test_expired_task(celery: Site, admin: Admin) -> None:
    """The broker drops it."""
    late = celery.task("add").apply_async((1, 1), queue=LEAVING, expires=0.05)
    eventually(lambda: admin.ready(LEAVING) == 0)
    assert late.state == "PENDING"


# Order


def test_priorities(celery: Site) -> None:
    """What was published while nobody consumed comes by its priority."""
    priorities = [0, 5, URGENT, 5, 0, URGENT, 1]
    sent = [
        (-priority, celery.task("add").apply_async((1, 1), queue=RANKED, priority=priority))
        for priority in priorities
    ]
    with Events(celery.app) as events:
        celery.control("add_consumer", queue=RANKED)
        events.drain(lambda: len(events.tasks["task-received"]) == len(sent))
    by_priority = [result.id for _, result in sorted(sent, key=itemgetter(0))]
    assert events.tasks["task-received"] == by_priority
    assert [result.get(timeout=WAIT) for _, result in sent] == [2] * len(sent)
    celery.control("cancel_consumer", queue=RANKED)


def test_two_tasks_at_a_time(celery: Site, tmp_path: Path) -> None:
    """Each of the worker's processes runs one."""
    meet = celery.task("meet")
    both = [meet.delay(str(tmp_path), *names) for names in (("a", "b"), ("b", "a"))]
    assert len({result.get(timeout=WAIT) for result in both}) == 2


# Remote control, events


def test_revoked_task(celery: Site) -> None:
    """The worker, which was told before, does not run it."""
    task_id = str(uuid.uuid4())
    assert "ok" in celery.control("revoke", task_id=task_id)
    with pytest.raises(TaskRevokedError, match="revoked"):
        celery.task("add").apply_async((1, 1), task_id=task_id).get(timeout=WAIT)


def test_terminated_task(celery: Site, tmp_path: Path) -> None:
    """The process that runs it is killed, and another one takes its place."""
    result = celery.task("meet").delay(str(tmp_path), "here", "nowhere")
    eventually((tmp_path / "here").exists)
    celery.control("revoke", task_id=result.id, terminate=True)
    with pytest.raises(TaskRevokedError, match="terminated"):
        result.get(timeout=WAIT)
    test_two_tasks_at_a_time(celery, tmp_path)


def test_events(celery: Site) -> None:
    """The sender and the worker tell what becomes of a task."""
    with Events(celery.app) as events:
        done = celery.task("add").delay(1, 1)
        failed = celery.task("fail").delay("no ink")
        events.drain(
            lambda: "task-succeeded" in events.types[done.id] and "task-failed" in events.types[failed.id]
        )
    # The sender has a connection of its own.
    assert sorted(events.types[done.id]) == ["task-received", "task-sent", "task-started", "task-succeeded"]
    assert sorted(events.types[failed.id]) == ["task-failed", "task-received", "task-sent", "task-started"]


def test_inspection(celery: Site) -> None:
    """The command finds the worker, which tells what it does."""
    ping = celery.celery("inspect", "ping", "--json", name="inspector")
    ended = ping.end()
    assert json.loads(ended.stdout[-1]) == {"main@localhost": {"ok": "pong"}}
    assert ended.status == 0
    (queues,) = celery.inspect().active_queues().values()
    assert [queue["name"] for queue in queues] == [TASKS]
    (stats,) = celery.inspect().stats().values()
    assert stats["pool"]["max-concurrency"] == 2
    assert stats["broker"]["transport"] == "amqp"


# The end of a worker, and of its connection


def test_tasks_of_a_worker_that_ends(celery: Site, admin: Admin, tmp_path: Path) -> None:
    """After SIGTERM it finishes what it has begun; what it has not acknowledged goes to another worker.

    One is told to stop, the other one, which serves quorum queues, is killed.
    """
    number = signal.SIGTERM if celery.kind == "classic" else signal.SIGKILL
    worker = celery.start_worker(
        "leaving", "--concurrency", "1", "--prefetch-multiplier", "4", "--queues", LEAVING, "--without-mingle"
    )
    begun = celery.task("meet").apply_async((str(tmp_path), "begun", "go on"), queue=LEAVING)
    waiting = [celery.task("redelivered").apply_async(queue=LEAVING) for _ in range(3)]
    eventually((tmp_path / "begun").exists)
    eventually(lambda: admin.ready(LEAVING) == 0)
    worker.signal(number)
    if number == signal.SIGTERM:
        worker.wait_for("Warm shutdown")
        (tmp_path / "go on").touch()
        assert worker.end().status == 0
        assert begun.get(timeout=WAIT) > 0
        assert admin.ready(LEAVING) == 3
    else:
        assert worker.end().status == -signal.SIGKILL
        eventually(lambda: admin.ready(LEAVING) == 4)
        (tmp_path / "go on").touch()
    celery.control("add_consumer", queue=LEAVING)
    assert [result.get(timeout=WAIT) for result in waiting] == [True] * 3
    assert begun.get(timeout=WAIT) > 0
    celery.control("cancel_consumer", queue=LEAVING)


def test_worker_whose_connections_the_operator_closes(celery: Site) -> None:
    """It connects again, and goes on; a worker that only begins to consume would not."""
    assert celery.task("add").delay(1, 2).get(timeout=WAIT) == 3
    close_connections(celery.broker, "main")
    assert celery.task("add").delay(3, 4).get(timeout=WAIT) == 7
    (worker,) = celery.inspect().ping().values()
    assert worker == {"ok": "pong"}
