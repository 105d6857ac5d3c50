"""The programs that publish and consume, as processes that may be killed and started again."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from tests.faults.children import Child, wait_until
from tests.faults.soak import journal as j
from tests.faults.soak import load
from tests.support.processes import environment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_ROOT: Final = Path(__file__).parents[3]
#: Seconds in which a worker ends after SIGTERM, whatever has happened to its connection. Less than the time
#: after which the library gives callbacks up: those here are short.
_STOP_PATIENCE: Final = 50.0

_CONFIG: Final = """
amqp_url = {urls}
bindings = [{{queue = "{queue}", exchange = "amq.topic", routing_keys = ["{queue}.#"]}}]

[queues."{queue}"]
durable = true
auto_delete = false
exclusive = false
arguments = {{{arguments}}}
"""


class Worker:
    """A program with a journal.

    Args:
        name: Unique name.
        command: Module and its arguments.
        work: Event in its journal that shows that it does its work.
        config: Its configuration.
        directory: For everything it writes.

    Attributes:
        lock: Held by whoever does something to it.
        starts: How often it was started.
        unexpected: Ends that should not have been.
        slowest_end: Longest time in seconds from SIGTERM to the end.
    """

    def __init__(self, name: str, command: Sequence[str], work: str, config: str, directory: Path) -> None:
        self.name = name
        self.journal = directory / f"{name}.journal"
        self.lock = threading.Lock()
        self.starts = 0
        self.unexpected: list[str] = []
        self.slowest_end = 0.0
        self._command = [sys.executable, "-m", *command, "--journal", str(self.journal)]
        self._config = directory / f"{name}.toml"
        self._config.write_text(config, encoding="utf-8")
        self._output = directory / f"{name}.out"
        self._work = work
        self._begin = 0
        self._child: Child | None = None

    def start(self) -> None:
        """Start it; it is ready later."""
        self.close()
        self._begin = self.written
        self._child = Child(
            self._command,
            directory=_ROOT,
            environment=environment(FEDORA_MESSAGING_CONF=str(self._config)),
            output=self._output,
        )
        self.starts += 1

    @property
    def child(self) -> Child:
        """The process that was started last."""
        assert self._child is not None
        return self._child

    @property
    def is_ready(self) -> bool:
        """Whether it has been set up since it was started: from then on it handles SIGTERM."""
        return self._has_written(j.READY, self._begin)

    @property
    def written(self) -> int:
        """Size of its journal."""
        return self.journal.stat().st_size if self.journal.exists() else 0

    def works_since(self, position: int) -> bool:
        """Whether it has published or consumed since its journal had a size."""
        return self._has_written(self._work, position)

    def _has_written(self, event: str, since: int) -> bool:
        if not self.journal.exists():
            return False
        with self.journal.open("rb") as file:
            file.seek(since)
            return re.search(rf" {event}\b".encode(), file.read()) is not None

    def attend(self) -> None:
        """Start it again if it has ended, unless somebody is doing something to it."""
        if self.lock.acquire(blocking=False):
            try:
                if self.child.status is not None:
                    self._note_end(self.child.status)
                    self.start()
            finally:
                self.lock.release()

    def kill(self) -> None:
        """End it by SIGKILL; the lock is held."""
        if self.child.status is not None:
            self._note_end(self.child.status)
        self.child.kill()

    def stop(self) -> None:
        """End it by SIGTERM; the lock is held, and it was ready."""
        begin = time.monotonic()
        status = self.child.end(_STOP_PATIENCE)
        self.slowest_end = max(self.slowest_end, time.monotonic() - begin)
        if status is None:
            self.unexpected.append(f"{self.name} does not end by SIGTERM\n{self.child.last_words()}")
        else:
            self._note_end(status)
        self.child.kill()

    def pause(self) -> None:
        self.child.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.child.signal(signal.SIGCONT)

    def _note_end(self, status: int) -> None:
        # It may say that there was no broker when it was started.
        if status != 0 and not (status == os.EX_TEMPFAIL and not self.is_ready):
            self.unexpected.append(f"{self.name} ended with status {status}\n{self.child.last_words()}")

    def close(self) -> None:
        """End it whatever it does."""
        if self._child is not None:
            self._child.kill()


def _config(urls: Sequence[str], queue: str, arguments: Mapping[str, str], policy: str = "") -> str:
    listed = ", ".join(f"{name} = {json.dumps(value)}" for name, value in arguments.items())
    return _CONFIG.format(urls=json.dumps(list(urls)), queue=queue, arguments=listed) + policy


class Workforce:
    """All workers of a soak; a context manager that ends them.

    Args:
        directory: For everything they write.
        urls: What they connect to.
        queue_arguments: What their queues are declared with.
        run: Name of the soak.
        rate: Messages per second, all publishers together.

    Attributes:
        publishers: These publish.
        consumers: Some with a policy, some without.
    """

    def __init__(
        self, directory: Path, urls: Sequence[str], queue_arguments: Mapping[str, str], run: str, rate: float
    ) -> None:
        plain = _config(urls, load.PLAIN, queue_arguments)
        policies = [
            _config(urls, load.POLICY, queue_arguments, load.POLICY_TABLE.format(concurrency=concurrency))
            for concurrency in (4, 8)
        ]

        def consumer(name: str, face: str, config: str) -> Worker:
            command = ["tests.faults.soak.consumer", "--face", face]
            return Worker(name, command, j.DELIVERED, config, directory)

        def publisher(name: str) -> Worker:
            command = ["tests.faults.soak.publisher", "--name", name, "--run", run, "--rate", str(rate / 2)]
            return Worker(name, command, j.CONFIRMED, plain, directory)

        self.publishers = [publisher("publisher-1"), publisher("publisher-2")]
        self.consumers = [
            consumer("plain-function", "function", plain),
            consumer("plain-coroutine", "coroutine", plain),
            consumer("plain-subscription", "subscription", plain),
            consumer("policy-function", "function", policies[0]),
            consumer("policy-coroutine", "coroutine", policies[1]),
        ]

    @property
    def all(self) -> list[Worker]:
        return [*self.publishers, *self.consumers]

    @property
    def unexpected(self) -> list[str]:
        """Ends that should not have been."""
        return [end for worker in self.all for end in worker.unexpected]

    def attend(self) -> None:
        """Start again what has ended."""
        for worker in self.all:
            worker.attend()

    def attend_consumers(self) -> None:
        """Likewise, when the publishers have been stopped."""
        for consumer in self.consumers:
            consumer.attend()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        with ExitStack() as stack:
            for worker in self.all:
                stack.callback(worker.close)


def start(workers: Sequence[Worker], patience: float) -> list[Worker]:
    """Start workers and wait until they are ready; returns those that are not."""
    for worker in workers:
        worker.start()
    return _await(workers, lambda worker: worker.is_ready, patience)


def await_work(workers: Sequence[Worker], patience: float) -> list[Worker]:
    """Wait until each worker does its work, from now on; returns those that do not."""
    positions = {worker.name: worker.written for worker in workers}
    return _await(workers, lambda worker: worker.works_since(positions[worker.name]), patience)


def _await(workers: Sequence[Worker], condition: Callable[[Worker], bool], patience: float) -> list[Worker]:
    """Wait for all of them, as a service manager does, which starts again what ends."""
    missing = list(workers)

    def met() -> bool:
        for worker in workers:
            worker.attend()
        missing[:] = [worker for worker in missing if not condition(worker)]
        return not missing

    wait_until(met, patience)
    return missing


def stop(workers: Sequence[Worker]) -> None:
    """End workers by SIGTERM, all at the same time."""
    threads = [threading.Thread(target=worker.stop) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
