"""Programs that the tests run as processes of their own.

``python -m tests.client.programs NAME ARGUMENT...``: each says what it does by lines on its standard output.
"""

from __future__ import annotations

import asyncio
import atexit
import builtins
import logging
import multiprocessing
import os
import signal
import sqlite3
import sys
import threading
import warnings
from typing import Any

from fedora_messaging import api, config
from fedora_messaging.exceptions import ConfigurationException, HaltConsumer
from fedora_messaging.message import Message


def say(*words: object) -> None:
    print(*words, flush=True)


def use(url: str) -> None:
    config.conf["amqp_url"] = url


def publish(queue: str, number: int, timeout: float = 15) -> None:
    api.publish(Message(topic=f"{queue}.test", body={"number": number}), timeout=timeout)


def queue_arguments(queue: str) -> dict[str, Any]:
    settings = {"durable": True, "auto_delete": False, "exclusive": False, "arguments": {}}
    return {
        "queues": {queue: settings},
        "bindings": {"exchange": "amq.topic", "queue": queue, "routing_keys": [f"{queue}.#"]},
    }


def fork(url: str, queue: str, published_before: str) -> None:
    """Publish before (or not) and after `os.fork`, in the parent and in children and grandchildren."""
    use(url)
    if published_before == "yes":
        publish(queue, 0)
    children = []
    for number in (1, 2):
        child = os.fork()
        if child == 0:
            publish(queue, 10 * number)
            grandchild = os.fork()
            if grandchild == 0:
                publish(queue, 10 * number + 1)
                api.close()
                os._exit(0)
            _, status = os.waitpid(grandchild, 0)
            publish(queue, 10 * number + 2)
            # The ordinary end of a process, with its exit handlers.
            sys.exit(os.waitstatus_to_exitcode(status))
        children.append(child)
    publish(queue, 1)
    for child in children:
        _, status = os.waitpid(child, 0)
        say("child", os.waitstatus_to_exitcode(status))
    publish(queue, 2)
    say("done")


def fork_while_publishing(url: str, queue: str) -> None:
    """Fork while other threads publish: a child must not inherit what they hold."""
    use(url)
    stop = threading.Event()
    failures: list[BaseException] = []

    def work() -> None:
        while not stop.is_set():
            try:
                publish(queue, 0)
            except BaseException as error:
                failures.append(error)
                return

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    statuses = []
    for number in range(1, 9):
        child = os.fork()
        if child == 0:
            try:
                publish(queue, number)
            except BaseException as error:
                say("child", number, repr(error))
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        statuses.append(os.waitstatus_to_exitcode(status))
    stop.set()
    for thread in threads:
        thread.join()
    say("children", statuses, "failures", failures)


def fork_in_first_validation() -> None:
    """Fork while another thread's first validation has jsonschema-rs import what it needs."""
    importing, go_on = threading.Event(), threading.Event()
    real_import = builtins.__import__

    def slow_import(name: str, *arguments: Any) -> Any:
        if name == "decimal" and threading.current_thread() is not threading.main_thread():
            importing.set()
            go_on.wait(0.5)  # time enough to fork, for a process that does not wait for this
        return real_import(name, *arguments)

    builtins.__import__ = slow_import  # type: ignore[assignment]
    validating = threading.Thread(target=Message(body={"number": 1}).validate)
    validating.start()
    importing.wait(15)
    child = os.fork()
    if child == 0:
        signal.alarm(15)  # ends a child that waits for ever
        Message(body={"number": 1}).validate()
        os._exit(0)
    go_on.set()
    validating.join()
    say("imported", importing.is_set(), "child", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def publish_interrupted(url: str, queue: str) -> None:
    """Publish while the handler of a signal raises, at ever other moments."""
    use(url)

    class Interrupt(BaseException):
        pass

    def interrupt(_number: int, _frame: object) -> None:
        raise Interrupt

    logging.getLogger("fedora_messaging").setLevel(logging.CRITICAL)
    signal.signal(signal.SIGALRM, interrupt)
    publish(queue, 0)
    confirmed = []
    interrupted = 0
    for number in range(1, 301):
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.00002 * (number % 50 + 1))
            publish(queue, number)
            signal.setitimer(signal.ITIMER_REAL, 0)
            confirmed.append(number)
        except Interrupt:
            interrupted += 1
            # The next one tells whether all is well again.
            publish(queue, 1000 + number)
            confirmed.append(1000 + number)
    say("confirmed", *confirmed)
    say("interrupted", interrupted)


def _publish_from_pool(arguments: tuple[str, int]) -> int:
    queue, number = arguments
    publish(queue, number)
    return os.getpid()


def pool(url: str, queue: str) -> None:
    """Publish from the processes of a multiprocessing pool that forks."""
    use(url)
    publish(queue, 0)
    context = multiprocessing.get_context("fork")
    with context.Pool(3) as workers:
        pids = workers.map(_publish_from_pool, [(queue, number) for number in range(1, 31)], chunksize=1)
        workers.close()
        workers.join()
    publish(queue, 31)
    say("processes", len(set(pids)), os.getpid() in pids)


def outbox_outlives_parent(url: str, queue: str, path: str, end: str) -> None:
    """Publish to an outbox in a parent, and in its child before and after the parent's end."""
    use(url)
    config.conf["outbox"] = {"path": path}
    publish(queue, 1)
    parent_alive, parent = os.pipe()
    stored, child = os.pipe()
    if os.fork() == 0:
        os.close(parent)
        publish(queue, 2)
        os.write(child, b"x")
        os.read(parent_alive, 1)
        for number in (3, 4, 5):
            publish(queue, number)
        say("stored")
        sys.stdin.readline()
        api.close()
        os._exit(0)
    os.read(stored, 1)
    if end == "closed":
        api.close()
    os._exit(0)


def outbox_fork_while_publishing(url: str, queue: str, path: str) -> None:
    """Fork children that publish to the outbox, while other threads do."""
    use(url)
    config.conf["outbox"] = {"path": path}
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            publish(queue, 0)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    children = []
    for number in range(1, 31):
        child = os.fork()
        if child == 0:
            publish(queue, number)
            os._exit(0)
        children.append(child)
    statuses = {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children}
    stop.set()
    for thread in threads:
        thread.join()
    say("children", statuses)


def outbox_is_busy_at_fork(url: str, queue: str, path: str) -> None:
    """Fork while somebody else's transaction is under way, and another thread waits for its end."""
    use(url)
    config.conf["outbox"] = {"path": path}
    publish(queue, 1)
    say("ready")
    sys.stdin.readline()
    waiting = threading.Thread(target=publish, args=(queue, 2))
    waiting.start()
    child = os.fork()
    if child == 0:
        say("forked")
        publish(queue, 3)
        os._exit(0)
    waiting.join()
    _, status = os.waitpid(child, 0)
    publish(queue, 4)
    say("child", os.waitstatus_to_exitcode(status))


def outbox_is_open_at_fork(url: str, queue: str, path: str) -> None:
    """Fork while the application has a connection of its own to the file."""
    use(url)
    config.conf["outbox"] = {"path": path}
    publish(queue, 1)
    application = sqlite3.connect(path)
    application.execute("PRAGMA user_version").fetchone()
    child = os.fork()
    if child == 0:
        try:
            publish(queue, 2)
        except ConfigurationException as error:
            say(error)
        application.close()
        publish(queue, 3)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    application.close()
    publish(queue, 4)
    say("child", os.waitstatus_to_exitcode(status))


def fork_in_callback(url: str, queue: str) -> None:
    """A callback forks a process that publishes, as one that starts a job does."""
    use(url)

    def callback(received: Message) -> None:
        child = os.fork()
        if child == 0:
            publish(queue + "x", received.body["number"])
            os._exit(0)
        _, status = os.waitpid(child, 0)
        say("child", os.waitstatus_to_exitcode(status))
        raise HaltConsumer

    try:
        api.consume(callback, **queue_arguments(queue))
    except HaltConsumer:
        say("done")


class StopNotice(logging.Handler):
    """Says that the program waits for a callback to end, and begins no more."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith("Stopping waits for the callback"):
            say("stopping")


def consume(url: str, queue: str, kind: str) -> None:
    """Consume; a line from standard input ends each callback."""
    use(url)
    logger = logging.getLogger("fedora_messaging")
    logger.setLevel(logging.INFO)
    logger.addHandler(StopNotice())
    # With a handler of its own, a program no longer prints warnings by itself.
    warnings_ = logging.StreamHandler()
    warnings_.setLevel(logging.WARNING)
    logger.addHandler(warnings_)

    def plain(received: Message) -> None:
        say("begin", received.body["number"])
        sys.stdin.readline()
        say("end", received.body["number"])

    async def coroutine(received: Message) -> None:
        say("begin", received.body["number"])
        await asyncio.to_thread(sys.stdin.readline)
        say("end", received.body["number"])

    say("start")
    try:
        api.consume(plain if kind == "function" else coroutine, **queue_arguments(queue))
    except KeyboardInterrupt:
        say("interrupted")
    finally:
        say("left")


def publish_at_exit(url: str, queue: str) -> None:
    """Publish and leave without closing anything."""
    use(url)
    publish(queue, 1)
    say("done")


def reconnect_at_exit(url: str, queue: str) -> None:
    """Publish in an exit handler, having lost the connection since the interpreter began to end."""
    use(url)
    publish(queue, 0)

    def at_exit() -> None:
        say("leaving")
        sys.stdin.readline()
        publish(queue, 1)
        say("done")

    atexit.register(at_exit)


def names_are_resolved() -> None:
    """Say whether resolving names has nothing left to import."""
    use("amqp://127.0.0.1:9")
    api._twisted_publish_wrapper(Message(topic="test"), None)
    say("encodings.idna" in sys.modules)
    os._exit(0)


def publish_without_waiting(url: str, queue: str) -> None:
    """Leave while publishes wait, before there is even a connection."""
    use(url)
    for number in range(100):
        api._twisted_publish_wrapper(Message(topic=f"{queue}.test", body={"number": number}), None)
    say("done")


def publish_in_daemon_thread(url: str, queue: str) -> None:
    """The interpreter ends while threads publish."""
    use(url)
    publish(queue, 1)

    def work() -> None:
        while True:
            publish(queue, 2)

    for _ in range(4):
        threading.Thread(target=work, daemon=True).start()
    publish(queue, 3)
    say("done")


if __name__ == "__main__":
    # Python 3.12 warns of every fork with threads about.
    warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*fork")
    globals()[sys.argv[1]](*sys.argv[2:])
