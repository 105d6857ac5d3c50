"""What a virtual host does with messages. No asyncio, socket, thread or clock: see `server` for those."""
