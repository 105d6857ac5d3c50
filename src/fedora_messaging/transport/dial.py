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

#: Family, type, protocol, canonical name and socket address, as ``getaddrinfo`` returns them.
Address = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]


async def dial(options: ConnectionOptions, make_link: Callable[[], Link]) -> Link:
    """Connect a new link.

    A host name may stand for the nodes of a cluster, so its addresses are tried in random order. Each
    attempt gets a share of the time.

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
            raise  # a server is there, so trying other addresses is of no use
        except OSError as error:
            last_error = error
    raise last_error


async def _resolve(loop: asyncio.AbstractEventLoop, host: str, port: int) -> Sequence[Address]:
    try:
        # A numeric address resolves without blocking, so it needs no thread.
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        pass
    try:
        return await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except RuntimeError:
        # When the interpreter exits, executors take no more work. Blocking here delays no other task then.
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
