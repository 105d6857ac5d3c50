"""Forwards what it consumes: ``twisted_forwarder.py {default,asyncio} {function,coroutine}``."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

if sys.argv[1] == "asyncio":
    from twisted.internet import asyncioreactor

    asyncioreactor.install()  # type: ignore[no-untyped-call]

from twisted.internet import reactor as installed_reactor
from twisted.internet import threads

from fedora_messaging import api, config
from fedora_messaging.exceptions import HaltConsumer
from fedora_messaging.message import Message

if TYPE_CHECKING:
    from fedora_messaging.twisted.consumer import Consumer

reactor: Any = installed_reactor
blockingCallFromThread: Any = threads.blockingCallFromThread


class Forwarder:
    """Forwards messages, each when a line comes on the standard input.

    Attributes:
        exit_code: What the last consumer ended with.
    """

    def __init__(self) -> None:
        self.exit_code = 0

    def function(self, message: Message) -> None:
        """Called in one of the reactor's threads."""
        number = message.body["number"]
        print("begin", number, flush=True)
        sys.stdin.readline()
        outgoing = Message(topic="forwarded", body={"number": number})
        blockingCallFromThread(reactor, api.twisted_publish, outgoing)
        self.end(message)

    async def coroutine(self, message: Message) -> None:
        """Awaited in the reactor's event loop."""
        number = message.body["number"]
        print("begin", number, flush=True)
        loop = asyncio.get_event_loop()
        await loop.run_in_executor(None, sys.stdin.readline)
        outgoing = Message(topic="forwarded", body={"number": number})
        await api.twisted_publish(outgoing).asFuture(loop)
        self.end(message)

    def end(self, message: Message) -> None:
        print("end", message.body["number"], flush=True)
        if "halt" in message.body:
            raise HaltConsumer(message.body["halt"])

    def registered(self, consumers: list[Consumer]) -> None:
        for consumer in consumers:
            consumer.result.addErrback(self.failed)

    def failed(self, failure: Any) -> None:
        """Stop when a consumer fails, or cannot be registered."""
        if failure.check(HaltConsumer):
            self.exit_code = failure.value.exit_code
        else:
            failure.printTraceback()
            self.exit_code = 1
        reactor.stop()


if __name__ == "__main__":
    config.conf.setup_logging()
    forwarder = Forwarder()
    queues = config.conf["queues"]
    api.twisted_consume(
        getattr(forwarder, sys.argv[2]),
        bindings=[{"exchange": "amq.topic", "queue": name, "routing_keys": [name]} for name in queues],
        queues=queues,
    ).addCallbacks(forwarder.registered, forwarder.failed)
    reactor.run()
    print("left", flush=True)
    sys.exit(forwarder.exit_code)
