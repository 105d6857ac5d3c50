"""The optional tables ``publisher`` and ``outbox``: publishing beyond what version 3.9 did."""

import os
from collections.abc import Mapping
from typing import Any, Final

from ..exceptions import ConfigurationException
from ..options import OutboxOptions
from .checks import check_flag, check_keys, check_number, check_text

#: Overrides ``url`` in ``outbox``, so that a password need not be in the file.
OUTBOX_URL_VARIABLE: Final = "FEDORA_MESSAGING_OUTBOX_URL"

_MESSAGES_MAX: Final = 1_000_000_000
_BYTES_MAX: Final = 1 << 50
_AGE_MAX: Final = 10 * 365 * 86400


def validate_publisher(table: Any) -> None:
    """Check the table ``publisher``.

    Raises:
        ConfigurationException: A setting is wrong.
    """
    check_keys("publisher", table, {"mandatory"})
    check_flag("publisher", table, "mandatory")


def is_mandatory(settings: Mapping[str, Any]) -> bool:
    """Whether publishing fails if no queue is bound for the message, unless the call says otherwise."""
    return bool(settings.get("publisher", {}).get("mandatory", False))


def validate_outbox(table: Any) -> None:
    """Check the table ``outbox``; whether the database can be used turns out when it is.

    Raises:
        ConfigurationException: A setting is wrong.
    """
    check_keys("outbox", table, {"path", "url", "max_messages", "max_bytes", "max_age"})
    check_text("outbox", table, "path")
    check_text("outbox", table, "url")
    check_number("outbox", table, "max_messages", 1, _MESSAGES_MAX, whole=True)
    check_number("outbox", table, "max_bytes", 1, _BYTES_MAX, whole=True)
    check_number("outbox", table, "max_age", 1, _AGE_MAX)
    if ("path" in table) == ("url" in table or OUTBOX_URL_VARIABLE in os.environ):
        raise ConfigurationException(
            '[outbox] needs either "path", the path of an SQLite file, or "url", the URL of a PostgreSQL '
            f"database (or {OUTBOX_URL_VARIABLE} in the environment)"
        )


def outbox_options(settings: Mapping[str, Any]) -> OutboxOptions | None:
    """Read the table ``outbox`` of a configuration; ``None`` if it has none.

    Raises:
        ConfigurationException: A setting is wrong.
    """
    if "outbox" not in settings:
        return None
    table = settings["outbox"]
    validate_outbox(table)
    defaults = OutboxOptions()
    return OutboxOptions(
        path=table.get("path"),
        url=None if "path" in table else os.environ.get(OUTBOX_URL_VARIABLE) or table.get("url"),
        max_messages=table.get("max_messages", defaults.max_messages),
        max_bytes=table.get("max_bytes", defaults.max_bytes),
        max_age=table.get("max_age"),
    )
