"""Consumes a number of messages with a function that does nothing: ``python -m … QUEUE NUMBER``.

The configuration says where the broker is, and how many messages it sends ahead.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

from fedora_messaging import api
from fedora_messaging.exceptions import HaltConsumer

if TYPE_CHECKING:
    from fedora_messaging.message import Message


def _main() -> None:
    queue, number = sys.argv[1], int(sys.argv[2])
    seen = 0
    began = 0.0

    def callback(_message: Message) -> None:
        nonlocal seen, began
        if not seen:
            began = time.perf_counter()
        seen += 1
        if seen == number:
            raise HaltConsumer

    try:
        api.consume(
            callback,
            bindings=[],
            queues={queue: {"durable": True, "auto_delete": False, "exclusive": False, "arguments": {}}},
        )
    except HaltConsumer:
        print(json.dumps({"rate": number / (time.perf_counter() - began)}))


if __name__ == "__main__":
    _main()
