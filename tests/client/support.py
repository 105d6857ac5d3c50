"""What the client tests share: running coroutines and consumers, and watching queues from outside."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Self, TypeVar

from tests.support.waiting import WAIT

from fedora_messaging import aio, api
from fedora_messaging.message import Message

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

    from fedora_messaging.config import BindingConfig, QueueConfig

Result = TypeVar("Result")


_ROOT = Path(__file__).parents[2]


def run(main: Coroutine[Any, Any, Result], within: float = 3 * WAIT) -> Result:
    """Run a test's coroutine in an event loop of its own; what hangs is cancelled, and fails."""

    async def limited() -> Result:
        async with asyncio.timeout(within):
            return await main

    return asyncio.run(limited())


def message(name: str, number: int = 0, **body: Any) -> Message:
    """A message that goes to the queue of :func:`plan` with the same name."""
    return Message(topic=f"{name}.test", body={"number": number, **body})


def numbers(messages: Iterable[Message]) -> list[int]:
    """What :func:`message` numbered."""
    return [one.body["number"] for one in messages]


def queue_settings(**arguments: Any) -> QueueConfig:
    """A queue that lives as long as its broker."""
    return {"durable": True, "auto_delete": False, "exclusive": False, "arguments": arguments}


def plan(*names: str, **arguments: Any) -> dict[str, Any]:
    """Arguments of the consume functions: queues, each bound for its own messages."""
    bindings: list[BindingConfig] = [
        {"exchange": "amq.topic", "queue": name, "routing_keys": [f"{name}.#"]} for name in names
    ]
    return {"queues": {name: queue_settings(**arguments) for name in names}, "bindings": bindings}


class Consuming:
    """`api.consume` in a thread; a context manager that ends it by `api.close` if need be.

    Attributes:
        error: What it raised.
    """

    def __init__(self, callback: Any, **arguments: Any) -> None:
        self.error: BaseException | None = None
        self._callback = callback
        self._arguments = arguments
        self._thread = threading.Thread(target=self._run, name="api.consume", daemon=True)

    def _consume(self) -> None:
        api.consume(self._callback, **self._arguments)

    def _run(self) -> None:
        try:
            self._consume()
        except BaseException as error:
            self.error = error

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def ended(self, timeout: float = WAIT) -> BaseException | None:
        """Wait until it has ended, and return what it raised."""
        self._thread.join(timeout)
        assert not self._thread.is_alive(), "consuming did not end"
        return self.error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._thread.is_alive():
            self.stop()
        self._thread.join(WAIT)
        assert not self._thread.is_alive(), "the consumer does not stop"

    def stop(self) -> None:
        """Have it end, as a program does that is done."""
        api.close()


class AioConsuming(Consuming):
    """`aio.Bus.consume` in an event loop of its own, in a thread; ended by cancelling it."""

    def __init__(self, url: str, callback: Any, **arguments: Any) -> None:
        super().__init__(callback, **arguments)
        self._url = url
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None

    def _consume(self) -> None:
        # SystemExit of a coroutine leaves the loop itself.
        asyncio.run(self._main())

    async def _main(self) -> None:
        async with aio.connect(self._url) as bus:
            self._loop = asyncio.get_running_loop()
            self._task = asyncio.create_task(bus.consume(self._callback, **self._arguments))
            await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.result()

    def stop(self) -> None:
        if self._loop is not None and self._task is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._task.cancel)


class Program:
    """One of `tests.client.programs` in a process; a context manager that leaves none running."""

    def __init__(self, name: str, *arguments: str) -> None:
        self._command = [sys.executable, "-W", "error", "-m", "tests.client.programs", name, *arguments]
        self._lines: SimpleQueue[str | None] = SimpleQueue()

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command,
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
            start_new_session=True,
        )
        self._errors: list[str] = []
        self._readers = [
            threading.Thread(target=self._read_output, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for reader in self._readers:
            reader.start()
        return self

    def __exit__(self, *exception: object) -> None:
        # The processes it may have forked hold its output open.
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for reader in self._readers:
            reader.join(WAIT)
        with self._process:
            pass

    def _read_output(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        self._errors.extend(self._process.stderr)

    def line(self) -> str:
        """The next line it says."""
        line = self._lines.get(timeout=2 * WAIT)
        assert line is not None, f"the program ended:\n{''.join(self._errors)}"
        return line

    def tell(self) -> None:
        """Send it a line."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def status(self) -> int:
        """Wait for its end, and return its exit status."""
        return self._process.wait(2 * WAIT)

    @property
    def errors(self) -> str:
        """What it wrote to standard error; complete once it has ended."""
        self._readers[1].join(WAIT)
        return "".join(self._errors)
