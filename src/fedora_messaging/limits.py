"""Limits of connections and channels that clients and brokers agree on."""

#: Largest frame we offer to handle, in bytes; also what RabbitMQ proposes.
FRAME_MAX = 131072
#: RabbitMQ 4.1 and newer refuse less; we never offer or accept less (promise P29).
FRAME_MAX_FLOOR = 8192
CHANNEL_MAX = 65535
PREFETCH_MAX = 65535
