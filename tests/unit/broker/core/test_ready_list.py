"""The order in which messages wait."""

from __future__ import annotations

import pytest

from fedora_messaging.broker.core.ready_list import PriorityReadyList


def test_empty_priority_list_has_nothing_to_take() -> None:
    with pytest.raises(IndexError):
        PriorityReadyList(3).pop()
