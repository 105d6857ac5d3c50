"""A Celery application, for a worker and for those who send it tasks."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from celery import Celery
from kombu.entity import Exchange, Queue

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Queues of tasks; the second one has priorities.
TASKS: Final = "tasks"
RANKED: Final = "ranked"
LEAVING: Final = "leaving"
#: Highest priority.
URGENT: Final = 10
#: Seconds between two looks at what another process does.
_POLL: Final = 0.01


def make_app(url: str, name: str, kind: str, results: str) -> Celery:
    """Make an application.

    Args:
        url: Of the broker.
        name: Of its connections.
        kind: Type of the queue of tasks: "classic" or "quorum".
        results: URL of the backend for results.
    """
    app = Celery("interop", broker=url, backend=results)
    app.conf.update(
        task_queues=[
            # Celery delays tasks for quorum queues in the broker if the exchange is not a direct one.
            Queue(TASKS, Exchange(TASKS, type="topic"), TASKS, queue_arguments={"x-queue-type": kind}),
            Queue(RANKED, Exchange(RANKED, type="topic"), RANKED, max_priority=URGENT),
            Queue(LEAVING, Exchange(LEAVING, type="topic"), LEAVING, queue_arguments={"x-queue-type": kind}),
        ],
        task_default_queue=TASKS,
        task_default_exchange=TASKS,
        task_default_exchange_type="topic",
        task_default_routing_key=TASKS,
        task_acks_late=True,
        task_track_started=True,
        task_send_sent_event=True,
        worker_prefetch_multiplier=1,
        worker_send_task_events=True,
        result_chord_retry_interval=0.1,
        result_extended=True,
        broker_transport_options={
            "confirm_publish": True,
            "client_properties": {"connection_name": name},
        },
        broker_connection_retry_on_startup=True,
        control_exchange="interop",
    )

    @app.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    @app.task(name="total")
    def total(numbers: Iterable[int]) -> int:
        return sum(numbers)

    @app.task(name="fail")
    def fail(reason: str) -> None:
        raise ValueError(reason)

    @app.task(name="retry", bind=True, max_retries=5)
    def retry(self: Any, times: int, countdown: float) -> int:
        """Fail so many times."""
        if self.request.retries < times:
            raise self.retry(countdown=countdown)
        return int(self.request.retries)

    @app.task(name="now")
    def now() -> float:
        return time.time()

    @app.task(name="redelivered", bind=True)
    def redelivered(self: Any) -> bool:
        """Tell whether the task was delivered before."""
        return bool(self.request.delivery_info["redelivered"])

    @app.task(name="meet")
    def meet(directory: str, name: str, other: str) -> int:
        """Run until another task runs, too; returns the process."""
        Path(directory, name).touch()
        while not Path(directory, other).exists():
            time.sleep(_POLL)
        return os.getpid()

    app.finalize()
    return app


# What `celery --app tasks` finds; a test, which imports the module, makes its own.
if "INTEROP_URL" in os.environ:
    app = make_app(*(os.environ[f"INTEROP_{word}"] for word in ("URL", "NAME", "KIND", "RESULTS")))
