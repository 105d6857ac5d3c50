"""An embedded AMQP 0-9-1 broker: single-node, in memory or with durable data in SQLite.

>>> with Broker() as broker:
...     broker.amqp_url
"""

from .accounts import Accounts, Permissions
from .alarms import ResourceLimits
from .embedded import AsyncBroker, Broker
from .faults import Faults
from .server import BrokerError

__all__ = ["Accounts", "AsyncBroker", "Broker", "BrokerError", "Faults", "Permissions", "ResourceLimits"]
