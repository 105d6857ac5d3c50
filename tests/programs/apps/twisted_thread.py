"""A program with the reactor in a thread of its own, which the main thread uses."""

from __future__ import annotations

import sys
import threading
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet import threads

from fedora_messaging import api, config
from fedora_messaging.message import Message

reactor: Any = installed_reactor
blockingCallFromThread: Any = threads.blockingCallFromThread


def publish(number: int) -> None:
    blockingCallFromThread(
        reactor, api.twisted_publish, Message(topic="thread.event", body={"number": number})
    )


def forward(message: Message) -> None:
    publish(message.body["number"])
    # The blocking face serves as well.
    api.publish(Message(topic="thread.event", body={"number": 100 + message.body["number"]}))
    print("forwarded", message.body["number"], flush=True)


if __name__ == "__main__":
    config.conf.setup_logging()
    thread = threading.Thread(target=reactor.run, kwargs={"installSignalHandlers": False})
    thread.start()
    consumers = blockingCallFromThread(reactor, api.twisted_consume, forward)
    publish(1)
    api.publish(Message(topic="thread.event", body={"number": 2}))
    sys.stdin.readline()
    for consumer in consumers:
        blockingCallFromThread(reactor, consumer.cancel)
    publish(3)
    reactor.callFromThread(reactor.stop)
    thread.join()
    print("left", flush=True)
