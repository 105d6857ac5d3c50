"""What a test knows of the broker that the ``broker`` fixture yields."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from fedora_messaging.broker import Broker as EmbeddedBroker


class Broker(Protocol):
    """The embedded broker, or a RabbitMQ; see ``BrokerUnderTest`` in ``tests/conftest.py``."""

    @property
    def kind(self) -> str: ...

    @property
    def version(self) -> tuple[int, int]: ...

    @property
    def url(self) -> str: ...

    @property
    def management_url(self) -> str | None: ...

    @property
    def embedded(self) -> EmbeddedBroker | None: ...
