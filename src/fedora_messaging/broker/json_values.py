"""Field values in JSON: AMQP has more types, which RabbitMQ's API writes as follows."""

import base64
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from .administration import bad_request


def to_json(value: Any) -> Any:
    """Convert a field value for an answer, in which the type of some values is lost."""
    if isinstance(value, str | bytes):
        return _text(value)
    if value is None:
        return "undefined"
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, datetime):
        return int(value.timestamp())
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, Mapping):
        return {_text(name): to_json(element) for name, element in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(element) for element in value]
    return value


def _text(value: str | bytes) -> str:
    try:
        return value.decode() if isinstance(value, bytes) else value.encode().decode()
    except UnicodeError:
        raw = value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
        return f"Not UTF-8, base64 is: {base64.b64encode(raw).decode()}"


def table_from_json(value: Any) -> dict[str, Any]:
    """Convert the arguments or headers of a request.

    Raises:
        AdministrationError: They are no object, or one of them is null.
    """
    if value == []:
        return {}
    if not isinstance(value, dict):
        bad_request("arguments must be an object")
    return {name: _from_json(element) for name, element in value.items()}


def _from_json(value: Any) -> Any:
    if value is None:
        bad_request("null_not_allowed")
    if isinstance(value, dict):
        return table_from_json(value)
    if isinstance(value, list):
        return [_from_json(element) for element in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        bad_request(f"{value} is not an integer of 64 bits")
    return value
