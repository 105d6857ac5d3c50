"""Opening network connections."""

import asyncio
from collections.abc import Callable

from ..options import ConnectionOptions
from .link import Link
from .tls import client_context


async def dial(options: ConnectionOptions, make_link: Callable[[], Link]) -> Link:
    """Connect a new link.

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
    _, link = await loop.create_connection(
        make_link, options.host, options.port, ssl=context, server_hostname=server_hostname
    )
    return link
