"""Topic exchange (AMQP 0-9-1 section 3.1.3.3): patterns of words."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ....protocol.errors import PRECONDITION_FAILED, ChannelError
from .base import Binding, Destination, Exchange
from .topic_trie import TopicTrie

if TYPE_CHECKING:
    from ..message import BrokerMessage


class TopicExchange(Exchange):
    """Routes to the bindings whose pattern matches the routing key."""

    type = "topic"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._trie: TopicTrie[Binding] = TopicTrie()

    def _added(self, binding: Binding) -> None:
        pattern, most = binding.routing_key, self.profile.max_hash_wildcards
        wildcards = pattern.split(".").count("#")
        if most is not None and wildcards > most:
            raise ChannelError(
                PRECONDITION_FAILED,
                f"Topic binding key '{pattern}' uses {wildcards} '#' wildcards, at most {most} are allowed",
            )
        self._trie.add(binding.routing_key, binding)

    def _removed(self, binding: Binding) -> None:
        self._trie.remove(binding.routing_key, binding)

    def _find(self, routing_key: str, message: "BrokerMessage") -> Iterable[Destination]:
        return [binding.destination for binding in self._trie.match(routing_key, message.count_effort)]
