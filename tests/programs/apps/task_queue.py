"""A task queue as Celery has it: a master that forks workers, which publish the results of tasks."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
from contextlib import suppress
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

from fedora_messaging import api
from fedora_messaging.message import Message

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess
    from multiprocessing.queues import Queue

    Tasks = Queue[int | None]

WORKERS = 3
TASKS = range(1, 25)
TASKS_PER_WORKER = 4

context = multiprocessing.get_context("fork")


def publish(topic: str, number: int) -> None:
    api.publish(Message(topic=topic, body={"number": number, "pid": os.getpid()}))


def work(tasks: Tasks, results: Tasks) -> None:
    """Do some tasks, then end, so that memory is given back."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for _ in range(TASKS_PER_WORKER):
        task = tasks.get()
        if task is None:
            break
        publish("task.done", task)
        results.put(task)


class Master:
    """Keeps as many workers as there should be."""

    def __init__(self) -> None:
        self.tasks: Tasks = context.Queue()
        self.results: Tasks = context.Queue()
        self.workers: list[BaseProcess] = []
        self.stopping = False

    def replenish(self) -> None:
        """Replace the workers that have ended."""
        self.workers = [worker for worker in self.workers if worker.exitcode is None]
        while len(self.workers) < WORKERS:
            worker = context.Process(target=work, args=(self.tasks, self.results))
            worker.start()
            self.workers.append(worker)

    def next_result(self) -> int | None:
        """Wait for a result, while workers may end."""
        while True:
            self.replenish()
            with suppress(queue.Empty):
                return self.results.get(timeout=0.05)

    def stop(self, *_: object) -> None:
        """Handle SIGTERM."""
        self.stopping = True

    def run(self) -> None:
        """Have all tasks done; on SIGTERM let the workers finish what they have."""
        # The handler takes no lock: it may interrupt whoever has it.
        signal.signal(signal.SIGTERM, self.stop)
        publish("master.ready", 0)
        self.replenish()
        for task in TASKS:
            self.tasks.put(task)
        for _ in TASKS:
            self.next_result()
        publish("master.done", TASKS.stop)
        print("all done", flush=True)
        while not self.stopping:
            wait([worker.sentinel for worker in self.workers], timeout=0.05)
            self.replenish()
        for _ in self.workers:
            self.tasks.put(None)
        for worker in self.workers:
            worker.join()
        publish("master.stopped", TASKS.stop + 1)


if __name__ == "__main__":
    Master().run()
