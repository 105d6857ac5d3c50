"""Checking a table of settings against its type."""

from typing import TypeVar

import msgspec

from ..exceptions import ConfigurationException

StructT = TypeVar("StructT", bound=msgspec.Struct)


def typed(table: object, kind: type[StructT], where: str = "") -> StructT:
    """Return a table as an object of its type.

    Args:
        table: The table, as read from TOML or passed by a program.
        kind: The type to convert it to.
        where: Name of the table, ``"consumer.retry"``; empty for the whole file.

    Raises:
        ConfigurationException: A key is missing or unknown, or a value has a wrong type or is out of range.
    """
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        from .complaints import complaints

        # msgspec's error names neither the keys of a dictionary nor a value that would be right.
        raise ConfigurationException(next(complaints(table, kind, where), str(error))) from None
