"""The optional table ``publisher``: how messages are published beyond what version 3.9 did."""

from collections.abc import Mapping
from typing import Any

from .tables import check_flag, check_keys


def validate_publisher(table: Any) -> None:
    """Check the table.

    Raises:
        ConfigurationException: A setting is wrong.
    """
    check_keys("publisher", table, {"mandatory"})
    check_flag("publisher", table, "mandatory")


def is_mandatory(settings: Mapping[str, Any]) -> bool:
    """Whether publishing fails if no queue is bound for the message, unless the call says otherwise."""
    return bool(settings.get("publisher", {}).get("mandatory", False))
