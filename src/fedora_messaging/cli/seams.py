"""Looks up functions that tests may replace, as attributes of the package ``cli``."""

import sys
from typing import Any


def seam(name: str) -> Any:
    """Return the current value of an attribute of the package."""
    return getattr(sys.modules[__package__], name)
