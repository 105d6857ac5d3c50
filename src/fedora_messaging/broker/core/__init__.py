"""The virtual host and its messages. No asyncio, socket, thread or clock: see `server` for those."""
