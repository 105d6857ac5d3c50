"""Field values in JSON: AMQP has more types, which RabbitMQ's API writes as follows."""

import base64
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from ..exceptions import EncodingError
from ..wire.fields import MAX_DEPTH, encode_table
from ..wire.int64 import Int64
from .administration import bad_request

_LONGEST_NAME: Final = 255


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
    """Convert the arguments or headers of a request; integers become those of 64 bits, as in RabbitMQ.

    Raises:
        AdministrationError: They are no object, one of them is null, or AMQP has no such value.
    """
    if value == []:
        return {}
    if not isinstance(value, dict):
        bad_request("arguments must be an object")
    table = _table(value, MAX_DEPTH)
    try:
        encode_table(table)
    except EncodingError as error:
        bad_request(str(error))
    return table


def _table(value: dict[str, Any], depth: int) -> dict[str, Any]:
    if depth == 0:
        bad_request(f"arguments nested deeper than {MAX_DEPTH} levels")
    for name in value:
        if (size := len(_encodable(name))) > _LONGEST_NAME:
            bad_request(f"names of arguments should be less than {_LONGEST_NAME} bytes, actually was {size}")
    return {name: _from_json(element, depth - 1) for name, element in value.items()}


def _encodable(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        bad_request("arguments must be Unicode text")


def _from_json(value: Any, depth: int) -> Any:
    if value is None:
        bad_request("null_not_allowed")
    if isinstance(value, str):
        _encodable(value)
    if isinstance(value, dict):
        return _table(value, depth)
    if isinstance(value, list):
        if depth == 0:
            bad_request(f"arguments nested deeper than {MAX_DEPTH} levels")
        return [_from_json(element, depth - 1) for element in value]
    if isinstance(value, int) and not isinstance(value, bool):
        if not -(2**63) <= value < 2**63:
            bad_request(f"{value} is not an integer of 64 bits")
        return Int64(value)
    return value
