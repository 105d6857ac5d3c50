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
        BrokerError: The directory has no data, cannot be used, or has no such virtual host.
    """
    from .storage.database_file import FILE_NAME

    if not (Path(data) / FILE_NAME).exists():  # opening it would make one
        raise BrokerError(f"{data} is no data directory of a broker: it has no file {FILE_NAME}")
    server = Server(accounts=Accounts(guest=False), data=Path(data), profile=find_profile(profile))
    server.open(asyncio.get_running_loop())
    try:
        if vhost is not None and vhost not in server.vhosts:
            known = ", ".join(map(repr, sorted(server.vhosts)))
            raise BrokerError(f"There is no virtual host {vhost!r}; there are {known}")
        return export_definitions(server, None if vhost is None else server.vhosts[vhost])
    finally:
        await server.stop()
