"""A service of an application's own, which forwards what it consumes; also a program that runs it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from twisted.application import app
from twisted.application.service import Application
from twisted.internet import reactor as installed_reactor
from twisted.internet import threads

from fedora_messaging import api
from fedora_messaging.message import Message
from fedora_messaging.twisted.service import FedoraMessagingServiceV2

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from fedora_messaging.twisted.consumer import Consumer

reactor: Any = installed_reactor
blockingCallFromThread: Any = threads.blockingCallFromThread


class Bridge(FedoraMessagingServiceV2):
    """Consumes the configured queues while it runs."""

    name = "bridge"

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        api.twisted_consume(self.forward).addCallback(self.consuming_queues)

    def consuming_queues(self, consumers: list[Consumer]) -> None:
        print("consuming", len(consumers), "queue", flush=True)

    def forward(self, message: Message) -> None:
        number = message.body["number"]
        print("begin", number, flush=True)
        outgoing = Message(topic="bridge.forwarded", body={"number": number, "pid": os.getpid()})
        blockingCallFromThread(reactor, api.twisted_publish, outgoing)

    def stopService(self) -> Deferred[None]:
        def stopped(_none: None) -> None:
            print("bridge is down", flush=True)

        return super().stopService().addCallback(stopped)


def make_application() -> Any:
    """An application with the bridge, which is also what `fedora_messaging.api` uses."""
    application = Application("bridge")  # type: ignore[no-untyped-call]
    bridge = Bridge()
    bridge.setServiceParent(application)  # type: ignore[no-untyped-call]
    api._twisted_service = bridge
    return application


if __name__ == "__main__":
    app.startApplication(make_application(), False)  # type: ignore[no-untyped-call]
    reactor.run()
