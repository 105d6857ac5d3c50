"""The schema packages that these tests look at, and what is installed of them."""

from __future__ import annotations

import re
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Final

from tests.support.packages import pinned

REQUIREMENTS: Final = Path(__file__).with_name("requirements.txt")
BACKENDS: Final = Path(__file__).with_name("backends.txt")

#: Version of each package whose sources are tested, by its normalised name.
PINNED: Final = pinned(REQUIREMENTS)


def normalised(name: str) -> str:
    """A distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def distribution_of(schema: EntryPoint) -> str:
    """Normalised name of the distribution that announces a schema."""
    assert schema.dist is not None
    return normalised(schema.dist.name)


#: Every schema that an installed distribution announces, other than this library's own.
SCHEMAS: Final = sorted(
    (one for one in entry_points(group="fedora.messages") if distribution_of(one) != "fedora-messaging"),
    key=lambda one: one.name,
)
