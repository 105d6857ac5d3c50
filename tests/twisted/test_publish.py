"""Publishing with signals: the Deferred for event loops of any thread, and where the work is done.

A process runs one reactor once, so the reactor runs in a process of each test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.processes import Processes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START = """
import asyncio, sys, threading
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import blockingCallFromThread
from fedora_messaging.message import Message
from fedora_messaging.twisted.hosting import run_in_background
from fedora_messaging.twisted.publish import AnyThreadDeferred, publish_with_signals

run_in_background()
[in_reactor] = [one for one in threading.enumerate() if one.name == "reactor"]
"""

# A factory whose publishes end when the program wants it.
SERVICE = """
class Factory:
    def __init__(self):
        self.calls = []
        self.published = []
        self.cancelled = []
        self.came = threading.Event()
    def publish(self, message, exchange=None):
        self.calls.append((message, exchange, threading.current_thread()))
        self.published.append(Deferred(self.cancelled.append))
        self.came.set()
        return self.published[-1]
class Service:
    factory = Factory()
service = Service()
factory = service.factory
message = Message(topic="x")
"""


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    with Processes(tmp_path) as made:
        yield made


def run(processes: Processes, *parts: str) -> None:
    """Run a program to its end, which is a good one."""
    ended = processes.python("-c", "\n".join((START, *parts))).end()
    assert (ended.status, ended.stderr) == (0, []), ended.output


def test_a_future_gets_the_outcome_in_its_own_loop(processes: Processes) -> None:
    run(
        processes,
        """
async def main():
    loop = asyncio.get_running_loop()
    good, bad, late = AnyThreadDeferred(), AnyThreadDeferred(), AnyThreadDeferred()
    futures = [one.asFuture(loop) for one in (good, bad)]
    reactor.callFromThread(good.callback, None)
    reactor.callFromThread(bad.errback, KeyError("canary"))
    assert await futures[0] is None
    try:
        await futures[1]
    except KeyError as error:
        assert error.args == ("canary",)
    else:
        raise AssertionError("no error")
    # One that has fired before it is asked for a future.
    blockingCallFromThread(reactor, late.callback, None)
    assert await late.asFuture(loop) is None
asyncio.run(main())
""",
    )


def test_cancelling_the_future_cancels_the_deferred_in_the_reactor(processes: Processes) -> None:
    run(
        processes,
        """
cancelled = threading.Event()
where = []
def cancel(_deferred):
    where.append(threading.current_thread())
    cancelled.set()
async def main():
    promised = AnyThreadDeferred(cancel)
    future = promised.asFuture(asyncio.get_running_loop())
    future.cancel()
    try:
        await future
    except asyncio.CancelledError:
        pass
    assert await asyncio.to_thread(cancelled.wait, 20)
    assert where == [in_reactor]
asyncio.run(main())
""",
    )


def test_the_factory_is_called_in_the_reactors_thread(processes: Processes) -> None:
    """Whatever thread publishes; the configuration names the exchange unless the program does."""
    run(
        processes,
        SERVICE,
        """
from fedora_messaging import config
config.conf["publish_exchange"] = "configured"
promised = publish_with_signals(service, message, None)
assert isinstance(promised, AnyThreadDeferred)
assert factory.came.wait(20)
assert factory.calls == [(message, "configured", in_reactor)]
def publish_there():
    publish_with_signals(service, message, "")
blockingCallFromThread(reactor, publish_there)
assert factory.calls[1:] == [(message, "", in_reactor)]
""",
    )


def test_cancelling_reaches_the_factorys_deferred(processes: Processes) -> None:
    run(
        processes,
        SERVICE,
        """
import logging
logging.disable()  # it is a failed publish, which the library logs
promised = publish_with_signals(service, message, "e")
assert factory.came.wait(20)
errors = []
def cancel():
    promised.addErrback(lambda failure: errors.append(failure.type))
    promised.cancel()
blockingCallFromThread(reactor, cancel)
assert factory.cancelled == factory.published
assert errors == [CancelledError]
""",
    )
