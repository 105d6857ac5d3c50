"""AMQP 0-9-1 state machines: bytes in, events out. No socket, loop, thread or clock."""
