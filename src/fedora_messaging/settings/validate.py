"""Checking a whole configuration.

Settings that version 3.9 refused are refused with its error texts. All others are checked against the types.
"""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from ..exceptions import ConfigurationException
from .defaults import DEFAULTS

if TYPE_CHECKING:
    from .types import Outbox

#: Overrides ``url`` in ``outbox``, so that a password need not be in the file.
OUTBOX_URL_VARIABLE: Final = "FEDORA_MESSAGING_OUTBOX_URL"

_RESERVED_PROPERTIES: Final = ("version", "information", "product")
QUEUE_KEYS: Final = ("durable", "auto_delete", "exclusive", "arguments")
BINDING_KEYS: Final = ("exchange", "routing_keys")


def validate_bindings(bindings: Any) -> None:
    """Check the value of ``bindings``.

    Raises:
        ConfigurationException: The value is not a list of tables with exchange and routing keys.
    """
    if not isinstance(bindings, list | tuple):
        raise ConfigurationException(
            f"bindings must be a list or tuple of dictionaries, but was a {type(bindings)}"
        )
    for binding in bindings:
        if not isinstance(binding, Mapping):
            raise ConfigurationException(
                f"bindings must be a list or tuple of dictionaries, but holds a {type(binding)}"
            )
        missing = [key for key in BINDING_KEYS if key not in binding]
        if missing:
            raise ConfigurationException(
                f"a binding is missing the following keys from its settings value: {missing}"
            )
        keys = binding["routing_keys"]
        if not isinstance(keys, list | tuple):
            raise ConfigurationException(f"routing_keys must be a list or tuple, but was a {type(keys)}")


def validate_queues(queues: Any) -> None:
    """Check the value of ``queues``.

    Raises:
        ConfigurationException: The value is not a table of complete queue settings.
    """
    if not isinstance(queues, dict):
        raise ConfigurationException("'queues' must be a dictionary mapping queue names to settings.")
    for name, settings in queues.items():
        if not isinstance(settings, dict):
            raise ConfigurationException(
                f"the {name} queue in the 'queues' setting has a value of type {type(settings)}, "
                "but it should be a dictionary of settings."
            )
        missing = [key for key in QUEUE_KEYS if key not in settings]
        if missing:
            raise ConfigurationException(
                f"the {name} queue is missing the following keys from its settings value: {missing}"
            )


def validate_client_properties(props: dict[str, Any]) -> None:
    """Check ``client_properties`` and fill in the three reserved ones.

    Raises:
        ConfigurationException: A reserved property has another value than its default.
    """
    for key in _RESERVED_PROPERTIES:
        default = DEFAULTS["client_properties"][key]
        if props.setdefault(key, default) != default:
            raise ConfigurationException(f'"{key}" is a reserved keyword in client_properties')


def validate_monitoring(monitoring: dict[str, Any]) -> None:
    """Check ``monitoring`` and fill in the address.

    Raises:
        ConfigurationException: The table has settings, but no port.
    """
    if not monitoring:
        return
    if "port" not in monitoring:
        raise ConfigurationException("The port must be defined in [monitoring] to activate it")
    monitoring.setdefault("address", "")


def validate(settings: dict[str, Any], path: str | None = None) -> None:
    """Check a configuration, and add the keys that programs expect and its tables lack.

    Args:
        settings: The whole configuration.
        path: The file that it comes from, for error texts.

    Raises:
        ConfigurationException: A setting is wrong.
    """
    # Imported here, because only programs that load a configuration need the types.
    from . import types
    from .checks import typed

    _refuse_unknown_keys(settings)
    validate_queues(settings["queues"])
    validate_bindings(settings["bindings"])
    checked = dict(settings)
    if settings["monitoring"] == {}:
        del checked["monitoring"]
    elif isinstance(settings["monitoring"], dict):
        validate_monitoring(settings["monitoring"])
    if isinstance(settings["client_properties"], dict):
        # Version 3.9 lost the default of `app` when the table had other keys only.
        settings["client_properties"].setdefault("app", DEFAULTS["client_properties"]["app"])
        validate_client_properties(settings["client_properties"])
    # TOML has no None; in defaults and in programs it means that the setting is left out.
    checked = {key: value for key, value in checked.items() if value is not None}
    try:
        found = typed(checked, types.Configuration)
        if found.outbox is not None:
            require_one_place(found.outbox)
    except ConfigurationException as error:
        raise ConfigurationException(f"{error.message} (in {path})" if path else error.message) from None


def require_one_place(outbox: "Outbox") -> None:
    """Check that exactly one place is given for the outbox.

    Raises:
        ConfigurationException: No place is given, or two are.
    """
    if (outbox.path is not None) == bool(outbox.url or os.environ.get(OUTBOX_URL_VARIABLE)):
        raise ConfigurationException(
            '[outbox] needs either "path", the path of an SQLite file, or "url", the URL of a PostgreSQL '
            f"database (or {OUTBOX_URL_VARIABLE} in the environment)"
        )


def _refuse_unknown_keys(settings: Mapping[str, Any]) -> None:
    from .types import Configuration

    known = Configuration.__struct_fields__
    for key in settings:
        if key not in known:
            from .complaints import did_you_mean

            hint = did_you_mean(key, known)
            # Version 3.9 listed its own keys. If the key resembles a known one, the text lists all keys.
            raise ConfigurationException(
                f"Unknown configuration key {key!r}! Valid configuration keys are "
                f"{list(known) if hint else list(DEFAULTS)}{hint}"
            )
