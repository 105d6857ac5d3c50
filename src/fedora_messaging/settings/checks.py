"""Checking a table of settings against its type."""

from typing import TypeVar

import msgspec

from ..exceptions import ConfigurationException

StructT = TypeVar("StructT", bound=msgspec.Struct)


def typed(table: object, kind: type[StructT], where: str = "") -> StructT:
    """Return a table as an object of its type.

    Args:
        table: As TOML or a program has it.
        kind: What it must be.
        where: Name of the table, ``"consumer.retry"``; empty for the whole file.

    Raises:
        ConfigurationException: A key is missing or not known; a value has the wrong type, or is out of range.
    """
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        from .complaints import complaints

        # The error does not tell the keys of a dictionary, nor what to write in place of what is wrong.
        raise ConfigurationException(next(complaints(table, kind, where), str(error))) from None
