"""Arguments of queues: how they are read, and what they mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fedora_messaging.broker.core.declarations import QueueDeclaration
from fedora_messaging.protocol.errors import ChannelError

if TYPE_CHECKING:
    from fedora_messaging.broker.core.vhost import VirtualHost


def test_dead_letter_key_that_no_message_can_bear_is_refused(vhost: VirtualHost) -> None:
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "ä" * 128}
    with pytest.raises(ChannelError, match="longer than 255 bytes"):
        vhost.declare_queue(QueueDeclaration("q", arguments=arguments), owner=None)
    assert vhost.queues == {}
