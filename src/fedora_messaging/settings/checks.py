"""Checking the optional tables of the configuration: what is wrong is told with the table and the key."""

from collections.abc import Iterable, Mapping
from typing import Any

from ..exceptions import ConfigurationException


def check_keys(where: str, table: Any, known: set[str], required: Iterable[str] = ()) -> None:
    """Check that a value is a table with no keys but the known ones, and with the required ones.

    Raises:
        ConfigurationException: It is not.
    """
    if not isinstance(table, dict):
        raise ConfigurationException(f'"{where}" must be a table; write it as [{where}]')
    unknown = sorted(set(table) - known)
    if unknown:
        raise ConfigurationException(
            f"[{where}] does not know {', '.join(unknown)}; it knows {', '.join(sorted(known))}"
        )
    missing = sorted(set(required) - set(table))
    if missing:
        raise ConfigurationException(f"[{where}] lacks {', '.join(missing)}")


def check_number(
    where: str, table: Mapping[str, Any], key: str, low: float, high: float, whole: bool = False
) -> None:
    """Check a number, if it is given.

    Raises:
        ConfigurationException: It is none, or out of range.
    """
    value = table.get(key, low)
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        kind = "whole number" if whole else "number"
        raise ConfigurationException(f'"{key}" in [{where}] must be a {kind} from {low:g} to {high:g}')


def check_text(where: str, table: Mapping[str, Any], key: str) -> None:
    """Check a text, if it is given.

    Raises:
        ConfigurationException: It is none, or empty.
    """
    value = table.get(key, "x")
    if not isinstance(value, str) or not value:
        raise ConfigurationException(f'"{key}" in [{where}] must be a text that is not empty')


def check_flag(where: str, table: Mapping[str, Any], key: str) -> None:
    """Check a truth value, if it is given.

    Raises:
        ConfigurationException: It is none.
    """
    if not isinstance(table.get(key, False), bool):
        raise ConfigurationException(f'"{key}" in [{where}] must be true or false')
