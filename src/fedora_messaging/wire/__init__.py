"""AMQP 0-9-1 codec: bytes to values and back. No I/O, no state, no clock."""
