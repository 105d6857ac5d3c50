"""One user who may log in cannot bring the broker down, or have it take all memory, or keep others out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.faults.attacked import watch
from tests.faults.attacks import ATTACKS

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", ATTACKS)
def test_broker_survives(name: str, tmp_path: Path) -> None:
    """It takes no more than its limit and what it needs itself, and answers a new client soon."""
    damage = watch(ATTACKS[name], tmp_path)
    print(damage.row(name))
    assert not damage.complaint, damage.output
