"""The exchange types, one file each."""

from .base import Binding, Destination, Exchange
from .consistent_hash import ConsistentHashExchange
from .delayed import ROUTERS, DelayedExchange
from .direct import DirectExchange
from .fanout import FanoutExchange
from .headers import HeadersExchange
from .spreading import LocalRandomExchange, ModulusHashExchange, RandomExchange
from .topic import TopicExchange

#: The types by their name in ``exchange.declare``.
TYPES: dict[str, type[Exchange]] = {
    cls.type: cls
    for cls in (
        DirectExchange,
        FanoutExchange,
        TopicExchange,
        HeadersExchange,
        ConsistentHashExchange,
        LocalRandomExchange,
        ModulusHashExchange,
        RandomExchange,
    )
}

ROUTERS.update(TYPES)
TYPES[DelayedExchange.type] = DelayedExchange

__all__ = [
    "TYPES",
    "Binding",
    "DelayedExchange",
    "Destination",
    "DirectExchange",
    "Exchange",
    "FanoutExchange",
    "HeadersExchange",
    "TopicExchange",
]
