"""Moves bytes between sockets (TCP, TLS, Unix) and protocol machines, with asyncio."""
