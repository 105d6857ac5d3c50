"""Signals around publishing (with blinker); the sender is always ``fedora_messaging.api.publish``."""

from blinker import NamedSignal, signal

#: Sent with ``message`` before it is validated; handlers may change the message.
pre_publish_signal: NamedSignal = signal("pre_publish")
#: Sent with ``message`` after the broker has confirmed it, or when it is in the outbox.
publish_signal: NamedSignal = signal("publish_success")
#: Sent with ``message`` and ``reason`` (the exception) when publishing failed.
publish_failed_signal: NamedSignal = signal("publish_failed_signal")

__all__ = ["pre_publish_signal", "publish_failed_signal", "publish_signal"]
