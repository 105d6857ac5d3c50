"""Converting a configuration into typed options for the engine, which never sees the configuration itself."""

import builtins
import importlib
import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .. import exceptions
from ..exceptions import ConfigurationException
from ..limits import PREFETCH_MAX
from ..logs import CONFIG, logger
from ..options import (
    BindingOptions,
    ConnectionOptions,
    ConsumerOptions,
    DedupeOptions,
    OutboxOptions,
    QosOptions,
    QueueOptions,
    RetryOptions,
    TLSOptions,
)
from . import amqp_url
from .defaults import DEFAULTS, SERVER_NAMED
from .validate import BINDING_KEYS, OUTBOX_URL_VARIABLE, QUEUE_KEYS, require_one_place

if TYPE_CHECKING:
    from . import types

_log = logger(CONFIG)


def connection_options(settings: Mapping[str, Any], url: str | None = None) -> ConnectionOptions:
    """Return the options of the connection.

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
    return first._replace(alternatives=tuple(others))


def _options_of(url: Any, settings: Mapping[str, Any]) -> ConnectionOptions:
    if not isinstance(url, str):
        raise ConfigurationException(
            f'"amqp_url" must be text such as "amqp://localhost", or a list of such, but was a {type(url)}'
        )
    scheme = url.partition("://")[0].lower()
    if scheme in ("http", "https"):
        # Version 3.9 accepted such a URL as AMQP, so we do, too.
        _log.warning('"amqp_url" begins with %s://, which is read as amqp%s://', scheme, scheme[4:])
    try:
        options = amqp_url.parse(url)
    except ValueError as error:
        raise ConfigurationException(f'"amqp_url" is invalid: {error}') from None
    if options.tls is not None:
        options = _with_tls(options, settings["tls"])
    if not options.client_properties:
        options = options._replace(client_properties=dict(settings["client_properties"]))
    return options


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
    return options._replace(tls=tls, external=external)


def qos_options(settings: Mapping[str, Any]) -> QosOptions:
    """Read ``qos``, completed from the defaults.

    Raises:
        ConfigurationException: A value is not a number in AMQP's range.
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
        TypeError: The settings have a key that queues do not have, or the arguments are not a table.
    """
    unknown = set(settings) - {*QUEUE_KEYS, "passive"}
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
    """Read the bindings of one queue, one per routing key; a binding that names no queue is for queue ``""``.

    Raises:
        TypeError: A binding has a key that bindings do not have.
    """
    result = []
    for binding in bindings:
        if binding.get("queue", SERVER_NAMED) != queue:
            continue
        unknown = set(binding) - {*BINDING_KEYS, "queue", "arguments"}
        if unknown:
            raise TypeError(f"a binding has unknown settings: {', '.join(sorted(unknown))}")
        result += [
            BindingOptions(binding["exchange"], key, binding.get("arguments"))
            for key in binding["routing_keys"]
        ]
    return result


def consumer_options(settings: Mapping[str, Any]) -> ConsumerOptions:
    """Read the table ``consumer``.

    Raises:
        ConfigurationException: A setting is wrong, or names an object that cannot be imported.
    """
    if "consumer" not in settings:
        return ConsumerOptions()
    from .checks import typed
    from .types import Consumer

    table = typed(settings["consumer"], Consumer, "consumer")
    dedupe, dead_letter = table.dedupe, table.dead_letter
    return ConsumerOptions(
        concurrency=table.concurrency,
        ordering_key=None if table.ordering_key is None else _ordering_key(table.ordering_key),
        timeout=table.timeout,
        retry=None if table.retry is None else _retry(table.retry),
        dead_letter=None if dead_letter is None else dead_letter.queue,
        dedupe=None if dedupe is None else DedupeOptions(dedupe.window, dedupe.path),
        arguments=table.arguments,
        resubscribe=table.resubscribe,
        stop_timeout=table.stop_timeout,
        watchdog=table.watchdog,
    )


def _retry(table: "types.Retry") -> RetryOptions:
    kinds = tuple(_exception(name) for name in table.on)
    return RetryOptions(table.attempts, table.delay, table.max_delay, kinds)


def _exception(name: str) -> type[Exception]:
    if ":" in name:
        found = _import('"on" in [consumer.retry]', name)
    else:
        found = getattr(exceptions, name, None) or getattr(builtins, name, None)
    if not isinstance(found, type) or not issubclass(found, Exception):
        raise ConfigurationException(
            f'"on" in [consumer.retry] names {name!r}, which is no exception; give the name of a '
            "built-in one, of one in fedora_messaging.exceptions, or module:Class"
        )
    return found


def _ordering_key(name: str) -> Callable[[Any], Hashable]:
    if name == "topic":
        return lambda message: message.topic
    if ":" in name:
        found = _import('"ordering_key" in [consumer]', name)
        if not callable(found):
            raise ConfigurationException(f'"ordering_key" in [consumer] names {name!r}, which is no function')
        return found  # type: ignore[no-any-return]
    return lambda message: message._headers.get(name)


def _import(setting: str, path: str) -> Any:
    module_name, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationException(
            f"{setting} names {path!r}, which cannot be imported: {error}"
        ) from error


def outbox_options(settings: Mapping[str, Any]) -> OutboxOptions | None:
    """Read the table ``outbox``; ``None`` if there is none.

    This does not check whether the database is usable.

    Raises:
        ConfigurationException: A setting is wrong.
    """
    if "outbox" not in settings:
        return None
    from .checks import typed
    from .types import Outbox

    table = typed(settings["outbox"], Outbox, "outbox")
    require_one_place(table)
    url = None if table.path is not None else os.environ.get(OUTBOX_URL_VARIABLE) or table.url
    return OutboxOptions(table.path, url, table.max_messages, table.max_bytes, table.max_age)
