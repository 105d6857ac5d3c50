"""Has suites that connect to AMQP's port come to the broker under test, and keeps them on this machine."""

import ipaddress
import os
import socket
from typing import Any

_PORT = int(os.environ["BROKER_PORT"])


class _Redirected(socket.socket):
    def connect(self, address: Any, /) -> None:
        if isinstance(address, tuple):
            host, port, *rest = address
            if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
                raise ConnectionRefusedError(f"{host} is not this machine")
            address = (host, _PORT if port == 5672 else port, *rest)
        super().connect(address)


socket.socket = _Redirected  # type: ignore[misc]
