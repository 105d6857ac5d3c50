"""asyncio: moves bytes between sockets and protocol machines, over TCP, TLS and Unix sockets."""
