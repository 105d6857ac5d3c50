"""Reading a data directory without serving it."""

import asyncio
from pathlib import Path
from typing import Any

from .accounts import Accounts
from .core.profile import find_profile
from .definitions import export_definitions
from .server import BrokerError, Server


async def read_definitions(data: str, vhost: str | None = None, profile: str = "4") -> dict[str, Any]:
    """Return the definitions in a data directory, or those of one of its virtual hosts.

    Args:
        data: The directory.
        vhost: Name of the virtual host.
        profile: The profile that the broker was run with.

    Raises:
        BrokerError: The directory cannot be used, or has no such virtual host.
    """
    server = Server(accounts=Accounts(guest=False), data=Path(data), profile=find_profile(profile))
    server.open(asyncio.get_running_loop())
    try:
        if vhost is not None and vhost not in server.vhosts:
            raise BrokerError(f"There is no virtual host {vhost!r}; there are {', '.join(server.vhosts)}")
        return export_definitions(server, None if vhost is None else server.vhosts[vhost])
    finally:
        await server.stop()
