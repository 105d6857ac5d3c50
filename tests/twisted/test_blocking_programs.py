"""Callbacks that use Twisted in programs that leave running things to the library.

In version 3.9 the reactor ran in every such program, so callbacks of `fedora-messaging consume` and of
`api.consume` wait for Deferreds.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pika
import pytest
from tests.client.support import message
from tests.support.processes import Processes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.admin import Admin, Names
    from tests.support.brokers import Broker

CALLBACKS = """
import asyncio, os, signal
from fedora_messaging import api
from fedora_messaging.exceptions import HaltConsumer

ANSWERS = os.environ["ANSWERS"]

def answer(message):
    return api.Message(topic=f"{ANSWERS}.x", body=message.body)

def plain(message):
    from twisted.internet import reactor, threads
    threads.blockingCallFromThread(reactor, api.twisted_publish, answer(message))
    api.publish(answer(message))
    print("answered", message.body["number"], flush=True)
    if message.body["number"] == 2:
        raise HaltConsumer(exit_code=3)

async def coroutine(message):
    await asyncio.sleep(0.001)
    for _ in range(2):
        await api.twisted_publish(answer(message)).asFuture(asyncio.get_running_loop())
    print("answered", message.body["number"], flush=True)
    if message.body["number"] == 2:
        raise HaltConsumer(exit_code=3)

class Class:
    def __init__(self):
        from twisted.internet import reactor
        self.reactor = reactor

    def __call__(self, message):
        from twisted.internet import defer, task, threads

        @defer.inlineCallbacks
        def work():
            yield task.deferLater(self.reactor, 0.001)
            yield api.twisted_publish(answer(message))

        threads.blockingCallFromThread(self.reactor, work)
        plain(message)

def stuck(message):
    from twisted.internet import reactor, threads
    plain(message)
    handler = signal.getsignal(signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)
    # Only then has it been told to stop: the main thread may be slow to have its turn.
    while signal.getsignal(signal.SIGTERM) is handler:
        os.sched_yield()
    threads.blockingCallFromThread(reactor, api.twisted_publish, answer(message))
"""
PROGRAM = """
import os, sys
import callbacks
from fedora_messaging import api, config
from fedora_messaging.exceptions import HaltConsumer

if sys.argv[1] == "installed":
    from twisted.internet import reactor
config.conf["amqp_url"] = os.environ["URL"]
queue = os.environ["QUEUE"]
settings = {"durable": True, "auto_delete": False, "exclusive": False, "arguments": {}}
try:
    api.consume(getattr(callbacks, sys.argv[2]), bindings=[], queues={queue: settings})
except HaltConsumer as halt:
    sys.exit(halt.exit_code)
"""


@pytest.fixture
def answers(admin: Admin, names: Names) -> str:
    """A queue for what callbacks publish."""
    return admin.declare(names())


@pytest.fixture
def processes(tmp_path: Path, broker: Broker, admin: Admin, queue: str, answers: str) -> Iterator[Processes]:
    """Programs in a directory with the callbacks, and two messages for them."""
    (tmp_path / "callbacks.py").write_text(CALLBACKS)
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "conf.toml").write_text(
        f'amqp_url = "{broker.url}"\nbindings = []\n'
        f'[queues."{queue}"]\ndurable = true\nauto_delete = false\nexclusive = false\narguments = {{}}\n'
    )
    for number in (1, 2, 3):
        one = message(queue, number)
        properties = pika.BasicProperties(headers=one._headers, content_encoding="utf-8")
        admin.publish(queue, one._encoded_body, properties)
    with Processes(tmp_path, URL=broker.url, QUEUE=queue, ANSWERS=answers) as made:
        yield made


def check(admin: Admin, queue: str, answers: str, each: int) -> None:
    """Two messages were answered and acknowledged, the third is back."""
    expected = [b'{"number": %d}' % number for number in (1, 2) for _ in range(each)]
    assert admin.take(answers) == expected
    assert admin.take(queue) == [b'{"number": 3}']


@pytest.mark.parametrize("callback", ["plain", "coroutine", "Class"])
def test_command(processes: Processes, admin: Admin, queue: str, answers: str, callback: str) -> None:
    ended = processes.fedora_messaging(
        "--conf", "conf.toml", "consume", "--callback", f"callbacks:{callback}"
    ).end()
    assert ended.status == 3, ended.output
    assert "Traceback" not in ended.output
    check(admin, queue, answers, 3 if callback == "Class" else 2)


@pytest.mark.parametrize("callback", ["plain", "coroutine", "Class"])
def test_api_consume(processes: Processes, admin: Admin, queue: str, answers: str, callback: str) -> None:
    """The program has imported the reactor, which its main thread then cannot run."""
    ended = processes.python("program.py", "installed", callback).end()
    assert (ended.status, ended.stderr) == (3, []), ended.output
    check(admin, queue, answers, 3 if callback == "Class" else 2)


def test_p10_sigterm_during_a_callback_that_waits_for_the_reactor(
    processes: Processes, admin: Admin, queue: str, answers: str
) -> None:
    """The callback ends, its Deferred fires, its message is acknowledged, the status is 0."""
    process = processes.fedora_messaging("--conf", "conf.toml", "consume", "--callback", "callbacks:stuck")
    ended = process.end()
    assert ended.status == 0, ended.output
    assert "Traceback" not in ended.output
    assert admin.take(answers) == [b'{"number": 1}'] * 3
    assert sorted(admin.take(queue)) == [b'{"number": 2}', b'{"number": 3}']


def test_p10_interrupt_of_an_application(processes: Processes, admin: Admin, queue: str) -> None:
    """Ctrl-C stops the reactor of a Twisted application; the consumer ends gracefully before that."""
    (processes.directory / "application.py").write_text(
        "import os, threading\n"
        "from twisted.internet import reactor\n"
        "from fedora_messaging import api, config\n"
        "config.conf['amqp_url'] = os.environ['URL']\n"
        "queue = os.environ['QUEUE']\n"
        "settings = {'durable': True, 'auto_delete': False, 'exclusive': False, 'arguments': {}}\n"
        "stopping = threading.Event()\n"
        "def callback(message):\n"
        "    print('begun', flush=True)\n"
        "    assert stopping.wait(15)\n"
        "    print('ended', flush=True)\n"
        "def begin():\n"
        "    api.twisted_consume(callback, [], {queue: settings})\n"
        "reactor.callWhenRunning(begin)\n"
        "reactor.addSystemEventTrigger('before', 'shutdown', stopping.set)\n"
        "reactor.run()\n"
        "print('left', flush=True)\n"
    )
    process = processes.python("application.py")
    process.wait_for("^begun$")
    process.signal(signal.SIGINT)
    ended = process.end()
    assert ended.status == 0, ended.output
    assert "Traceback" not in ended.output
    assert ended.stdout[-1] == "left"
    # Another one or two may begin before the consumer is told.
    assert ended.stdout[:-1] == ["begun", "ended"] * ended.stdout.count("begun")
    assert admin.ready(queue) == 3 - ended.stdout.count("begun")


def test_p10_sigterm_of_an_application_whose_broker_is_away(processes: Processes) -> None:
    """What waits for the broker fails, and the process ends."""
    (processes.directory / "application.py").write_text(
        "from twisted.internet import reactor\n"
        "from fedora_messaging import api, config\n"
        "config.conf['amqp_url'] = 'amqp://127.0.0.1:1'\n"
        "def ended(failure):\n"
        "    print(failure.type.__name__, flush=True)\n"
        "def begin():\n"
        "    api.twisted_consume(print, []).addErrback(ended)\n"
        "    api.twisted_publish(api.Message(topic='x')).addErrback(ended)\n"
        "    reactor.callLater(0, print, 'waiting', flush=True)\n"
        "reactor.callWhenRunning(begin)\n"
        "reactor.run()\n"
        "print('left', flush=True)\n"
    )
    process = processes.python("application.py")
    process.wait_for("^waiting$")
    process.signal(signal.SIGTERM)
    ended = process.end()
    # Twisted's own handler of the signal ends the reactor, and then the process by the same signal.
    assert ended.status in (0, -signal.SIGTERM), ended.output
    assert "Traceback" not in ended.output
    assert ended.stdout[:3] == ["waiting", "ConnectionException", "ConnectionException"]
