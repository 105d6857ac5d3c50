"""The nodes of a cluster, to any of which the client may connect."""

import random
from itertools import cycle
from typing import Final

from ..exceptions import BadDeclaration, ConfigurationException, ConnectionException, NoFreeChannels
from ..options import ConnectionOptions
from .amqp.connection import Connection
from .amqp.topology import count

#: Seconds for another node to answer how many messages wait.
_ELSEWHERE: Final = 10.0


class Nodes:
    """Dials the nodes in turn, in a random order, so that clients spread over the cluster.

    Args:
        options: Where to connect, with the alternatives.

    Attributes:
        present: The node that was dialled last.
    """

    def __init__(self, options: ConnectionOptions) -> None:
        self.present: ConnectionOptions = options
        self._all = [options, *options.alternatives]
        random.shuffle(self._all)
        self._turns = cycle(self._all)

    def __len__(self) -> int:
        return len(self._all)

    async def dial(self) -> Connection:
        """Connect to the node whose turn it is; raises what :meth:`.Connection.open` does."""
        self.present = next(self._turns)
        return await Connection.open(self.present)

    async def count_elsewhere(self, queue: str) -> int:
        """Return how many messages wait in a queue, according to the first other node that answers."""
        for options in self._all:
            if options is self.present:
                continue
            try:
                connection = await Connection.open(options._replace(answer_timeout=_ELSEWHERE))
            except (ConnectionException, ConfigurationException):
                continue
            try:
                return await count(connection, queue)
            except (BadDeclaration, ConnectionException, NoFreeChannels):
                continue
            finally:
                await connection.close()
        return 0
