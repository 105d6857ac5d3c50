"""A whole program that publishes one message; also run by the old library."""

from fedora_messaging.api import Message, publish

publish(Message(topic="cold", body={"hello": "world"}))

with open("/proc/self/status") as status:  # noqa: PTH123 - pathlib would be measured too
    print(*[line for line in status if line.startswith("VmHWM:")], end="", flush=True)
