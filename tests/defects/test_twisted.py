"""Defects of version 3.9 in Twisted applications, where tests/twisted does not show them mended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.proxy import BASIC_CONSUME, QUEUE_DECLARE, Proxy
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.support.admin import Admin
    from tests.support.brokers import Broker
    from tests.support.processes import Process, Processes

pytest.importorskip("twisted")
# What happens without a connection does not depend on the broker.
EMBEDDED = pytest.mark.parametrize("broker", ["embedded"], indirect=True)
REACTORS = pytest.mark.parametrize("reactor", ["asyncioreactor", "epollreactor"])

HEAD = """
import sys, threading
import fedora_messaging.api, fedora_messaging.cli
from twisted.internet import {reactor} as chosen
chosen.install()
from twisted.internet import reactor, defer, task, threads
from fedora_messaging import api, config
from fedora_messaging.message import Message

url, queue, exchange = sys.argv[1:]
config.conf["amqp_url"] = url
config.conf.setup_logging()
queues = {{queue: {{"durable": True, "auto_delete": False, "exclusive": False, "arguments": {{}}}}}}
bindings = {{"exchange": exchange, "queue": queue, "routing_keys": ["#"]}}


def say(*words):
    print(*words, flush=True)


def on_line(call):
    def wait():
        sys.stdin.readline()
        reactor.callFromThread(call)

    threading.Thread(target=wait, daemon=True).start()


def fail(failure):
    say("failure", failure.getTraceback())
    reactor.stop()


"""


def start(processes: Processes, program: str, reactor: str, *arguments: str) -> Process:
    (processes.directory / "app.py").write_text(HEAD.format(reactor=reactor) + program)
    return processes.python("-W", "error", "app.py", *arguments)


PRINT = """
def callback(message):
    say("got", message.body["number"])


reactor.callWhenRunning(lambda: api.twisted_consume(callback, bindings, queues).addErrback(fail))
reactor.run()
say("left")
"""


@REACTORS
def test_binding_that_fails_while_registering_again(
    broker: Broker, proxy: Proxy, admin: Admin, name: str, processes: Processes, reactor: str
) -> None:
    """The library tries again until the exchange is back, and reports nothing as unhandled."""
    exchange = f"{name}.exchange"
    admin.channel.exchange_declare(exchange, "topic")
    try:
        process = start(processes, PRINT, reactor, proxy.url(), name, exchange)
        eventually(lambda: proxy.count(BASIC_CONSUME) == 1)
        # One that has been delivered shows that consuming has begun: until then a missing exchange ends it.
        admin.channel.basic_publish(exchange, "any", b'{"number": 0}')
        process.wait_for("^got 0$")
        proxy.refuse()
        proxy.cut()
        admin.channel.exchange_delete(exchange)
        proxy.resume()
        eventually(lambda: proxy.count(QUEUE_DECLARE) >= 3)
        admin.channel.exchange_declare(exchange, "topic")
        eventually(lambda: admin.consumers(name) == 1)
        admin.channel.basic_publish(exchange, "any", b'{"number": 5}')
        process.wait_for("^got 5$")
        ended = process.terminate()
        assert (ended.stdout[-1], ended.stderr) == ("left", [])
        assert "Unhandled" not in ended.output
    finally:
        admin.channel.exchange_delete(exchange)


PUBLISH_AFTERWARDS = """
def publish(number):
    return Message(topic=queue, body={"number": number})


@defer.inlineCallbacks
def main():
    yield threads.deferToThread(api.publish, publish(0), "")
    yield api.twisted_publish(publish(1), "")
    reactor.stop()


reactor.callWhenRunning(lambda: main().addErrback(fail))
reactor.run()
say("stopped")
api.publish(publish(2), "", timeout=10)
api.close()
api.publish(publish(3), "", timeout=10)
say("left")
"""


@REACTORS
def test_publishing_after_the_reactor_has_stopped(
    broker: Broker, admin: Admin, name: str, queue: str, processes: Processes, reactor: str
) -> None:
    """A program may publish after its reactor has stopped."""
    process = start(processes, PUBLISH_AFTERWARDS, reactor, broker.url, queue, "amq.topic")
    process.wait_for("^stopped$")
    ended = process.end()
    assert (ended.status, ended.stdout[-1], ended.stderr) == (0, "left", [])
    assert sorted(admin.take(queue)) == [f'{{"number": {n}}}'.encode() for n in range(4)]


COROUTINE = """
import asyncio


async def callback(message):
    try:
        api.publish(Message(topic=exchange, body={"number": 1}), "", timeout=10)
    except RuntimeError as error:
        say("refused")
    else:
        say("published")
    on_line(reactor.stop)
    await asyncio.sleep(0)


reactor.callWhenRunning(lambda: api.twisted_consume(callback, [], queues).addErrback(fail))
reactor.run()
say("left")
"""


@REACTORS
def test_blocking_publish_in_a_coroutine_callback(
    broker: Broker, admin: Admin, name: str, queue: str, processes: Processes, reactor: str
) -> None:
    """The publish is refused before anything is sent, or it is done; the process ends as it should."""
    answers = admin.declare(f"{name}.answers")
    try:
        admin.publish(queue, b"{}")
        process = start(processes, COROUTINE, reactor, broker.url, queue, answers)
        outcome = process.wait_for("^(refused|published)$")[1]
        process.say("stop")
        ended = process.end()
        assert (ended.status, ended.stdout[-1], ended.stderr) == (0, "left", [])
        assert admin.ready(answers) == (1 if outcome == "published" else 0)
        eventually(lambda: admin.ready(queue) == 0)
    finally:
        admin.delete(answers)


SIGTERM_WHILE_PUBLISHING = """
def callback(message):
    say("begun")
    sys.stdin.readline()
    api.publish(Message(topic="answer"), timeout=None)


reactor.callWhenRunning(lambda: api.twisted_consume(callback, [], queues).addErrback(fail))
reactor.run()
say("left")
"""


@EMBEDDED
@REACTORS
def test_sigterm_while_a_callback_publishes_without_connection(
    broker: Broker, proxy: Proxy, admin: Admin, queue: str, processes: Processes, reactor: str
) -> None:
    """The callback's publish fails, so that the process can end; the message comes again."""
    admin.publish(queue, b"{}")
    process = start(processes, SIGTERM_WHILE_PUBLISHING, reactor, proxy.url(), queue, "amq.topic")
    process.wait_for("^begun$")
    proxy.refuse()
    proxy.cut()
    process.say("go on")
    process.wait_for("trying again")
    ended = process.terminate(15)
    assert ended.stdout[-1] == "left"
    eventually(lambda: admin.ready(queue) == 1)
