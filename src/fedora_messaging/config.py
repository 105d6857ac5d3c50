"""Configuration: defaults, the TOML file, and what the layers below receive of it.

``conf`` is the process-wide configuration; it reads its file at first use. Programs may rebind it
(``config.conf = config.LazyConfig()``), so the library looks it up on this module at each use.

Settings that version 3.9 did not know are optional: they are absent from :data:`DEFAULTS` and from a
loaded configuration unless the file has them.
"""

import copy
import os
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn, NotRequired, TypedDict, Union

from ._version import __version__ as _fedora_version  # noqa: F401 - a name of version 3.9
from .exceptions import ConfigurationException
from .forking import setting_up
from .logs import logger
from .settings.defaults import DEFAULTS
from .settings.defaults import SERVER_NAMED as _default_queue_name  # noqa: F401 - likewise
from .settings.origins import origins_of
from .settings.validate import (
    validate,
    validate_bindings,
    validate_client_properties,
    validate_monitoring,
    validate_queues,
)

if TYPE_CHECKING:
    from collections.abc import ItemsView, KeysView, ValuesView

    from .message import Message

__all__ = [
    "DEFAULTS",
    "BaseBinding",
    "BaseExchangeConfig",
    "BindingConfig",
    "BindingsType",
    "CallbackType",
    "ClientProperties",
    "ConfigType",
    "ExchangeConfig",
    "ExchangeDefinition",
    "LazyConfig",
    "NamedQueueConfig",
    "QOSConfig",
    "QueueConfig",
    "TLSConfig",
    "conf",
    "validate_bindings",
    "validate_client_properties",
    "validate_monitoring",
    "validate_queues",
]

_log = logger(__name__)

DEFAULT_PATH = "/etc/fedora-messaging/config.toml"
PATH_VARIABLE = "FEDORA_MESSAGING_CONF"
#: Overrides ``amqp_url``, so that a password need not be in the file.
URL_VARIABLE = "FEDORA_MESSAGING_AMQP_URL"

CallbackType = Union[  # noqa: UP007 - a run-time fact of the compatible interface
    Callable[["Message"], None], Callable[["Message"], Coroutine[Any, Any, None]]
]


class BaseBinding(TypedDict):
    """Where a binding starts."""

    exchange: str
    queue: NotRequired[str]


class BindingConfig(TypedDict):
    """An entry of ``bindings``."""

    exchange: str
    routing_keys: Sequence[str]
    queue: NotRequired[str]


BindingsType = Union[BindingConfig, list[BindingConfig]]  # noqa: UP007


class QueueConfig(TypedDict):
    """A value of ``queues``."""

    durable: bool
    auto_delete: bool
    exclusive: bool
    arguments: Mapping[str, Any]
    passive: NotRequired[bool]


class NamedQueueConfig(QueueConfig):
    """Queue settings with the queue's name."""

    queue: str


class BaseExchangeConfig(TypedDict):
    """What all exchange settings have in common."""

    durable: bool
    auto_delete: bool
    arguments: Mapping[str, Any] | None


class ExchangeConfig(BaseExchangeConfig):
    """A value of ``exchanges``."""

    type: str


class ExchangeDefinition(BaseExchangeConfig):
    """Exchange settings with the exchange's name."""

    exchange: str
    exchange_type: str
    passive: NotRequired[bool]


class ClientProperties(TypedDict):
    """What the broker shows beside our connection."""

    app: str
    product: str
    information: str
    version: str


class QOSConfig(TypedDict):
    """The ``qos`` table."""

    prefetch_size: int
    prefetch_count: int


class TLSConfig(TypedDict):
    """The ``tls`` table."""

    ca_cert: str | None
    certfile: str | None
    keyfile: str | None


class ConfigType(TypedDict):
    """A whole configuration."""

    amqp_url: str
    client_properties: ClientProperties
    publish_exchange: str
    topic_prefix: str
    publish_priority: int | None
    passive_declares: bool
    exchanges: dict[str, ExchangeConfig]
    queues: dict[str, QueueConfig]
    bindings: list[BindingConfig]
    qos: QOSConfig
    callback: str | None
    monitoring: dict[str, Any]
    consumer_config: dict[str, Any]
    tls: TLSConfig
    log_config: dict[str, Any]


class LazyConfig(dict[str, Any]):
    """A dictionary that reads the configuration file when it is first used.

    Every access loads it. A load that fails is tried again at the next access.

    Attributes:
        loaded: Whether it has been read.
        path: The file that was read last, or would have been if it existed.
        origins: Where that load took each setting from, by its dotted name; all others are defaults.
    """

    loaded: bool = False
    path: str = ""
    origins: Mapping[str, str] = MappingProxyType({})

    def load_config(self, config_path: str | None = None) -> "LazyConfig":
        """Read the file and replace the contents.

        Args:
            config_path: Path of a TOML file; otherwise the environment variable
                ``FEDORA_MESSAGING_CONF``, otherwise ``/etc/fedora-messaging/config.toml``. A file
                that does not exist means the defaults.

        Raises:
            ConfigurationException: The file is not TOML, or a setting is wrong.
        """
        path = config_path if config_path is not None else os.environ.get(PATH_VARIABLE, DEFAULT_PATH)
        given = _read(path)
        origins = origins_of(given, path)
        loaded = _complete(given, path)
        if os.environ.get(URL_VARIABLE):
            origins["amqp_url"] = URL_VARIABLE
        elif "amqp_url_file" in given:
            origins["amqp_url"] = given["amqp_url_file"]
        self.loaded = True
        self.path, self.origins = path, origins
        self.clear()
        dict.update(self, loaded)
        return self

    def setup_logging(self) -> None:
        """Configure :mod:`logging` from ``log_config``; ``log_timestamps`` puts the time before each line."""
        settings = self["log_config"]
        if self.get("log_timestamps", False):
            settings = _with_timestamps(settings)
        with setting_up:
            import logging.config

        logging.config.dictConfig(settings)

    def copy(self) -> dict[str, Any]:
        """Return a shallow copy as a plain dictionary."""
        self._load()
        return dict(dict.items(self))

    def pop(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: every key is needed."""
        raise ConfigurationException("Configuration keys cannot be removed!")

    def popitem(self) -> NoReturn:
        """Refuse: every key is needed."""
        raise ConfigurationException("Configuration keys cannot be removed!")

    def _load(self) -> None:
        if not self.loaded:
            self.load_config()

    # Programs of 3.9 may compare, iterate or change the configuration before anything has read it;
    # each of these shows, or changes, what is loaded.

    def __getitem__(self, key: str) -> Any:
        self._load()
        return dict.__getitem__(self, key)

    def __setitem__(self, key: str, value: Any) -> None:
        self._load()
        dict.__setitem__(self, key, value)

    def __delitem__(self, key: str) -> None:
        self._load()
        dict.__delitem__(self, key)

    def __contains__(self, key: object) -> bool:
        self._load()
        return dict.__contains__(self, key)

    def __len__(self) -> int:
        self._load()
        return dict.__len__(self)

    def __iter__(self) -> Iterator[str]:
        self._load()
        return dict.__iter__(self)

    def __eq__(self, other: object) -> bool:
        self._load()
        return dict.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __repr__(self) -> str:
        with setting_up:
            from .settings import amqp_url

        shown = dict(dict.items(self))
        shown["amqp_url"] = amqp_url.redacted(shown.get("amqp_url"))
        if isinstance(shown.get("outbox"), dict) and "url" in shown["outbox"]:
            shown["outbox"] = {**shown["outbox"], "url": amqp_url.redact(str(shown["outbox"]["url"]))}
        if isinstance(shown.get("tls"), dict):
            shown["tls"] = {
                name: "***" if isinstance(path, str) and not path.isprintable() else path
                for name, path in shown["tls"].items()
            }
        return f"LazyConfig({shown!r})"

    def __reversed__(self) -> Iterator[str]:
        self._load()
        return dict.__reversed__(self)

    def __or__(self, other: Any) -> dict[str, Any]:  # type: ignore[override]
        return {**self.copy(), **other}

    def __ror__(self, other: Any) -> dict[str, Any]:  # type: ignore[override]
        return {**other, **self.copy()}

    def __ior__(self, other: Any) -> "LazyConfig":  # type: ignore[override]
        self.update(other)
        return self

    def get(self, key: str, default: Any = None) -> Any:
        """Return a setting, or ``default``."""
        self._load()
        return dict.get(self, key, default)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Return a setting, setting it first if it is missing."""
        self._load()
        return dict.setdefault(self, key, default)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Change settings; nothing is validated."""
        self._load()
        dict.update(self, *args, **kwargs)

    def keys(self) -> "KeysView[str]":  # type: ignore[override]
        """Return the names of the settings."""
        self._load()
        return dict.keys(self)

    def values(self) -> "ValuesView[Any]":  # type: ignore[override]
        """Return the values of the settings."""
        self._load()
        return dict.values(self)

    def items(self) -> "ItemsView[str, Any]":  # type: ignore[override]
        """Return the settings as pairs."""
        self._load()
        return dict.items(self)

    def _validate(self) -> None:
        """Check the whole configuration, as loading does."""
        validate(self)


#: The time of a log line, in each style that :mod:`logging` knows.
_TIME = {"%": "%(asctime)s", "{": "{asctime}", "$": "${asctime}"}


def _with_timestamps(log_config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy whose formatters begin with the time, if they do not show it anyway."""
    changed = copy.deepcopy(dict(log_config))
    for formatter in changed.get("formatters", {}).values():
        text = formatter.get("format")
        if isinstance(text, str) and "asctime" not in text:
            formatter["format"] = f"{_TIME[formatter.get('style', '%')]} {text}"
    return changed


def _read(path: str) -> dict[str, Any]:
    if not os.path.exists(path):  # noqa: PTH110 - a seam that tests of applications replace
        # A file that somebody named is expected to be there. The default one need not be.
        tell = _log.info if path in ("", DEFAULT_PATH) else _log.warning
        tell(f"The configuration file, {path}, does not exist.")
        return {}
    _log.info(f"Loading configuration from {path}")  # noqa: G004
    import tomllib

    with open(path, "rb") as file:  # noqa: PTH123 - likewise
        try:
            return {key.lower(): value for key, value in tomllib.load(file).items()}
        except tomllib.TOMLDecodeError as error:
            raise ConfigurationException(f"Failed to parse {path}: {error}") from error
        except UnicodeDecodeError as error:
            # The error itself holds the whole file.
            raise ConfigurationException(f"Failed to parse {path}: {_not_utf8(error)}") from None


def _complete(settings: dict[str, Any], path: str) -> dict[str, Any]:
    merged = copy.deepcopy(DEFAULTS)
    merged.update(settings)
    if settings:
        validate(merged, path)
    url = os.environ.get(URL_VARIABLE)
    if url:
        merged["amqp_url"] = url
    elif "amqp_url_file" in merged:
        merged["amqp_url"] = _url_from_file(merged["amqp_url_file"])
    return merged


def _url_from_file(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123
            url = file.read().strip()
    except (OSError, ValueError) as error:
        # It may be that the URL itself was written where its file's path belongs, and errors name the path.
        with setting_up:
            from .settings import amqp_url
        why = _not_utf8(error) if isinstance(error, UnicodeDecodeError) else getattr(error, "strerror", error)
        raise ConfigurationException(
            f'"amqp_url_file" names {amqp_url.redact(path)}, which cannot be read: {why}'
        ) from None
    if not url:
        raise ConfigurationException(
            f'"amqp_url_file" names {path}, which is empty; write the amqp_url into it'
        )
    return url


def _not_utf8(error: UnicodeDecodeError) -> str:
    return f"it is not UTF-8 text (byte {error.start})"


conf: LazyConfig = LazyConfig()


def __getattr__(name: str) -> Any:
    # Programs replace `config.logging.config.dictConfig` in their tests; others need not wait for its import.
    if name != "logging":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with setting_up:
        import logging.config
    return logging
