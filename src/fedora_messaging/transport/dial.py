"""Opening network connections."""

import asyncio
import encodings.idna  # noqa: F401 - see `fedora_messaging.forking`: resolving would import it, in a thread
import random
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any

from ..options import ConnectionOptions
from .link import Link
from .tls import client_context

#: Family, type, protocol, canonical name, and what to connect to.
Address = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]


async def dial(options: ConnectionOptions, make_link: Callable[[], Link]) -> Link:
    """Connect a new link.

    The addresses of a host name, which may be those of a cluster's nodes, are tried in random order. Each
    gets its part of the time.

    Raises:
        ConfigurationException: The TLS settings are wrong.
        OSError: The connection cannot be made (``ssl.SSLError`` among them).
    """
    loop = asyncio.get_running_loop()
    if options.unix_path is not None:
        _, link = await loop.create_unix_connection(make_link, options.unix_path)
        return link
    context = None
    server_hostname = None
    if options.tls is not None:
        context = client_context(options.tls)
        server_hostname = options.tls.server_hostname or options.host
    addresses = await _resolve(loop, options.host, options.port)
    last_error: OSError = OSError(f"the host {options.host} has no address")
    for family, _type, protocol, _name, address in random.sample(addresses, len(addresses)):
        try:
            async with asyncio.timeout(options.connect_timeout / len(addresses)):
                _, link = await loop.create_connection(
                    make_link,
                    str(address[0]),
                    int(address[1]),
                    family=family,
                    proto=protocol,
                    ssl=context,
                    server_hostname=server_hostname,
                )
            return link
        except ssl.SSLError:
            raise  # somebody is there, and it is no use to go on
        except OSError as error:
            last_error = error
    raise last_error


async def _resolve(loop: asyncio.AbstractEventLoop, host: str, port: int) -> Sequence[Address]:
    try:
        # An address needs no thread.
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        pass
    try:
        return await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except RuntimeError:
        # While the interpreter ends no thread takes work any more, and nobody else is kept waiting.
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
