"""Configuration: defaults, the TOML file, and what the layers below receive of it.

``conf`` is the process-wide configuration; it reads its file at first use. Programs may rebind it
(``config.conf = config.LazyConfig()``), so the library looks it up on this module at each use.

Settings that version 3.9 did not know are optional: they are absent from :data:`DEFAULTS` and from a
loaded configuration unless the file has them.
"""

import copy
import logging
import logging.config
import os
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn, NotRequired, TypedDict, Union

from ._version import __version__ as _fedora_version
from .exceptions import ConfigurationException
from .logs import logger
from .options import PREFETCH_MAX, BindingOptions, ConnectionOptions, QosOptions, QueueOptions, TLSOptions
from .settings import amqp_url
from .settings.checks import check_number
from .settings.consumer import validate_consumer
from .settings.publisher import validate_outbox, validate_publisher

if TYPE_CHECKING:
    from collections.abc import ItemsView, KeysView, ValuesView

    from .message import Message

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


# The broker chooses the name of a queue declared as "".
_default_queue_name = ""

DEFAULTS: dict[str, Any] = {
    "amqp_url": "amqp://?connection_attempts=3&retry_delay=5",
    "client_properties": {
        "app": "Unknown",
        "product": "Fedora Messaging",
        "information": "https://fedora-messaging.readthedocs.io/en/stable/",
        "version": f"fedora_messaging-{_fedora_version}",
    },
    "publish_exchange": "amq.topic",
    "topic_prefix": "",
    "publish_priority": None,
    "passive_declares": False,
    "exchanges": {"amq.topic": {"type": "topic", "durable": True, "auto_delete": False, "arguments": {}}},
    "queues": {
        _default_queue_name: {"durable": False, "auto_delete": True, "exclusive": True, "arguments": {}}
    },
    "bindings": [{"queue": _default_queue_name, "exchange": "amq.topic", "routing_keys": ["#"]}],
    "qos": {"prefetch_size": 0, "prefetch_count": 10},
    "callback": None,
    "monitoring": {},
    "consumer_config": {},
    "tls": {"ca_cert": None, "certfile": None, "keyfile": None},
    "log_config": {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"simple": {"format": "[%(name)s %(levelname)s] %(message)s"}},
        "handlers": {
            "console": {
                "class": "logging.StreamHandler",
                "formatter": "simple",
                "stream": "ext://sys.stdout",
            }
        },
        "loggers": {"fedora_messaging": {"level": "INFO", "propagate": False, "handlers": ["console"]}},
        "root": {"level": "WARNING", "handlers": ["console"]},
    },
}

#: Settings beyond version 3.9's.
_EXTENSIONS = frozenset({"amqp_url_file", "consumer", "log_timestamps", "outbox", "publisher"})
_RESERVED_PROPERTIES = ("version", "information", "product")
_QUEUE_KEYS = ("durable", "auto_delete", "exclusive", "arguments")
_BINDING_KEYS = ("exchange", "routing_keys")


def validate_bindings(bindings: Any) -> None:
    """Check the value of ``bindings``.

    Raises:
        ConfigurationException: It is not a list of tables with exchange and routing keys.
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
        missing = [key for key in _BINDING_KEYS if key not in binding]
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
        ConfigurationException: It is not a table of complete queue settings.
    """
    if not isinstance(queues, dict):
        raise ConfigurationException("'queues' must be a dictionary mapping queue names to settings.")
    for name, settings in queues.items():
        if not isinstance(settings, dict):
            raise ConfigurationException(
                f"the {name} queue in the 'queues' setting has a value of type {type(settings)}, "
                "but it should be a dictionary of settings."
            )
        missing = [key for key in _QUEUE_KEYS if key not in settings]
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
        ConfigurationException: It has settings, but no port.
    """
    if not monitoring:
        return
    if "port" not in monitoring:
        raise ConfigurationException("The port must be defined in [monitoring] to activate it")
    monitoring.setdefault("address", "")


class LazyConfig(dict[str, Any]):
    """A dictionary that reads the configuration file when it is first used.

    Every access loads it. A load that fails is tried again at the next access.
    """

    loaded = False

    def load_config(self, config_path: str | None = None) -> "LazyConfig":
        """Read the file and replace the contents.

        Args:
            config_path: Path of a TOML file; otherwise the environment variable
                ``FEDORA_MESSAGING_CONF``, otherwise ``/etc/fedora-messaging/config.toml``. A file
                that does not exist means the defaults.

        Raises:
            ConfigurationException: The file is not TOML, or a setting is wrong.
        """
        loaded = _complete(_read(config_path))
        self.loaded = True
        self.clear()
        dict.update(self, loaded)
        return self

    def setup_logging(self) -> None:
        """Configure :mod:`logging` from ``log_config``; ``log_timestamps`` puts the time before each line."""
        settings = self["log_config"]
        if self.get("log_timestamps", False):
            settings = _with_timestamps(settings)
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

    __hash__ = None

    def __repr__(self) -> str:
        shown = dict(dict.items(self))
        shown["amqp_url"] = _redacted(shown.get("amqp_url"))
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
        _validate(self)


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


def _read(config_path: str | None) -> dict[str, Any]:
    path = config_path if config_path is not None else os.environ.get(PATH_VARIABLE, DEFAULT_PATH)
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


def _complete(settings: dict[str, Any]) -> dict[str, Any]:
    merged = copy.deepcopy(DEFAULTS)
    merged.update(settings)
    _validate(merged)
    url = os.environ.get(URL_VARIABLE)
    if url:
        merged["amqp_url"] = url
    elif "amqp_url_file" in merged:
        merged["amqp_url"] = _url_from_file(merged["amqp_url_file"])
    return merged


def _url_from_file(path: Any) -> str:
    if not isinstance(path, str):
        raise ConfigurationException('"amqp_url_file" must be the path of a file that holds the amqp_url')
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123
            url = file.read().strip()
    except (OSError, ValueError) as error:
        # It may be that the URL itself was written where its file's path belongs, and errors name the path.
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


def _validate(settings: dict[str, Any]) -> None:
    for key in settings:
        if key not in DEFAULTS and key not in _EXTENSIONS:
            raise ConfigurationException(
                f"Unknown configuration key {key!r}! Valid configuration keys are {list(DEFAULTS)}"
            )
    validate_queues(settings["queues"])
    validate_bindings(settings["bindings"])
    for key in ("client_properties", "monitoring", "qos", "tls", "consumer_config"):
        if not isinstance(settings[key], dict):
            raise ConfigurationException(
                f'"{key}" must be a table, but was a {type(settings[key])}; write it as [{key}]'
            )
    # Version 3.9 lost the default of `app` when the table had other keys only.
    settings["client_properties"].setdefault("app", DEFAULTS["client_properties"]["app"])
    validate_client_properties(settings["client_properties"])
    validate_monitoring(settings["monitoring"])
    check_number("monitoring", settings["monitoring"], "stuck_after", 1, 1e9)
    if not isinstance(settings.get("log_timestamps", False), bool):
        raise ConfigurationException('"log_timestamps" must be true or false')
    if "consumer" in settings:
        validate_consumer(settings["consumer"])
    if "publisher" in settings:
        validate_publisher(settings["publisher"])
    if "outbox" in settings:
        validate_outbox(settings["outbox"])


conf = LazyConfig()


# What the layers below receive


def connection_options(settings: Mapping[str, Any], url: str | None = None) -> ConnectionOptions:
    """Put together how to connect.

    Args:
        settings: A configuration.
        url: Used instead of ``amqp_url``.

    Raises:
        ConfigurationException: The URL or the ``tls`` table is wrong.
    """
    urls = url or settings["amqp_url"]
    if not isinstance(urls, list):
        urls = [urls]
    if not urls:
        raise ConfigurationException('"amqp_url" is an empty list; name one broker at least')
    first, *others = [_options_of(url, settings) for url in urls]
    return replace(first, alternatives=tuple(others))


def _options_of(url: Any, settings: Mapping[str, Any]) -> ConnectionOptions:
    if not isinstance(url, str):
        raise ConfigurationException(
            f'"amqp_url" must be text such as "amqp://localhost", or a list of such, but was a {type(url)}'
        )
    scheme = url.partition("://")[0].lower()
    if scheme in ("http", "https"):
        # Version 3.9 took it so, and so do we.
        _log.warning('"amqp_url" begins with %s://, which is read as amqp%s://', scheme, scheme[4:])
    try:
        options = amqp_url.parse(url)
    except ValueError as error:
        raise ConfigurationException(f'"amqp_url" is invalid: {error}') from None
    if options.tls is not None:
        options = _with_tls(options, settings["tls"])
    if not options.client_properties:
        options = replace(options, client_properties=dict(settings["client_properties"]))
    return options


def _redacted(url: Any) -> Any:
    if isinstance(url, list):
        return [_redacted(each) for each in url]
    return amqp_url.redact(url) if isinstance(url, str) else url


def _with_tls(options: ConnectionOptions, table: Mapping[str, Any]) -> ConnectionOptions:
    certfile, keyfile = table.get("certfile") or None, table.get("keyfile") or None
    external = certfile is not None and keyfile is not None
    for setting, path in table.items():
        if isinstance(path, str) and not path.isprintable():
            raise ConfigurationException(
                f'The "{setting}" setting in the "tls" section is invalid (it must be the path of a file)'
            )
    if external:
        _log.info("Authenticating with the certificate %s and its key %s", certfile, keyfile)
    tls = TLSOptions(
        ca_cert=table.get("ca_cert") or None,
        certfile=certfile if external else None,
        keyfile=keyfile if external else None,
    )
    return replace(options, tls=tls, external=external)


def qos_options(settings: Mapping[str, Any]) -> QosOptions:
    """Read ``qos``, completed from the defaults.

    Raises:
        ConfigurationException: A value is not a number that AMQP can carry.
    """
    table = {**DEFAULTS["qos"], **settings["qos"]}
    for key, most in (("prefetch_count", PREFETCH_MAX), ("prefetch_size", 4294967295)):
        value = table[key]
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            raise ConfigurationException(f'"{key}" in [qos] must be a whole number from 0 to {most}')
    return QosOptions(table["prefetch_count"], table["prefetch_size"])


def queue_options(name: str, settings: Mapping[str, Any], passive: bool) -> QueueOptions:
    """Read one value of ``queues``.

    Raises:
        TypeError: The settings have a key that queues do not know, or the arguments are no table.
    """
    unknown = set(settings) - {*_QUEUE_KEYS, "passive"}
    if unknown:
        raise TypeError(f"the {name} queue has unknown settings: {', '.join(sorted(unknown))}")
    if not isinstance(settings["arguments"] or {}, Mapping):
        raise TypeError(f'"arguments" of the {name} queue must be a table, as in {{x-expires = 60000}}')
    return QueueOptions(
        name=name,
        durable=bool(settings["durable"]),
        auto_delete=bool(settings["auto_delete"]),
        exclusive=bool(settings["exclusive"]),
        arguments=settings["arguments"] or {},
        passive=bool(settings.get("passive", passive)),
    )


def binding_options(bindings: Sequence[Mapping[str, Any]], queue: str) -> list[BindingOptions]:
    """Read the bindings of one queue, one per routing key; a binding without queue is queue ``""``'s.

    Raises:
        TypeError: A binding has a key that bindings do not know.
    """
    result = []
    for binding in bindings:
        if binding.get("queue", _default_queue_name) != queue:
            continue
        unknown = set(binding) - {*_BINDING_KEYS, "queue", "arguments"}
        if unknown:
            raise TypeError(f"a binding has unknown settings: {', '.join(sorted(unknown))}")
        result += [
            BindingOptions(binding["exchange"], key, binding.get("arguments"))
            for key in binding["routing_keys"]
        ]
    return result
