"""The values of settings that a configuration does not set."""

from typing import Any

from .._version import __version__ as _fedora_version

#: The empty name, for which the broker chooses a queue's name.
SERVER_NAMED = ""

DEFAULTS: dict[str, Any] = {
    "amqp_url": "amqp://?connection_attempts=3&retry_delay=5",
    "client_properties": {
        "app": "Unknown",
        "product": "Fedora Messaging",
        "information": "https://fedora-messaging.readthedocs.io/en/stable/",
        "version": f"fedora_messaging-{_fedora_version}",
    },
    "publish_exchange": "amq.topic",
    "topic_prefix": "",
    "publish_priority": None,
    "passive_declares": False,
    "exchanges": {"amq.topic": {"type": "topic", "durable": True, "auto_delete": False, "arguments": {}}},
    "queues": {SERVER_NAMED: {"durable": False, "auto_delete": True, "exclusive": True, "arguments": {}}},
    "bindings": [{"queue": SERVER_NAMED, "exchange": "amq.topic", "routing_keys": ["#"]}],
    "qos": {"prefetch_size": 0, "prefetch_count": 10},
    "callback": None,
    "monitoring": {},
    "consumer_config": {},
    "tls": {"ca_cert": None, "certfile": None, "keyfile": None},
    "log_config": {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"simple": {"format": "[%(name)s %(levelname)s] %(message)s"}},
        "handlers": {
            "console": {
                "class": "logging.StreamHandler",
                "formatter": "simple",
                "stream": "ext://sys.stdout",
            }
        },
        "loggers": {"fedora_messaging": {"level": "INFO", "propagate": False, "handlers": ["console"]}},
        "root": {"level": "WARNING", "handlers": ["console"]},
    },
}
