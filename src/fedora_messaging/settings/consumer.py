"""The optional table ``consumer``: what becomes of messages beyond what version 3.9 did."""

import builtins
import importlib
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Final

from .. import exceptions
from ..exceptions import ConfigurationException
from ..options import ConsumerOptions, DedupeOptions, RetryOptions
from .checks import check_flag, check_keys, check_number, check_text

_KEYS: Final = {
    "arguments",
    "concurrency",
    "dead_letter",
    "dedupe",
    "ordering_key",
    "resubscribe",
    "retry",
    "stop_timeout",
    "timeout",
    "watchdog",
}
_CONCURRENCY_MAX: Final = 1000
_ATTEMPTS_MAX: Final = 1_000_000
#: RabbitMQ takes times to live below 2^32 milliseconds.
_DELAY_MAX: Final = 4_000_000.0


def validate_consumer(table: Any) -> None:
    """Check the table; what it names is looked for when it is used.

    Raises:
        ConfigurationException: A setting is wrong.
    """
    check_keys("consumer", table, _KEYS)
    check_number("consumer", table, "concurrency", 1, _CONCURRENCY_MAX, whole=True)
    check_number("consumer", table, "timeout", 0.001, _DELAY_MAX)
    check_text("consumer", table, "ordering_key")
    check_flag("consumer", table, "resubscribe")
    check_number("consumer", table, "stop_timeout", 0, _DELAY_MAX)
    check_number("consumer", table, "watchdog", 0, _DELAY_MAX)
    if "arguments" in table and not isinstance(table["arguments"], dict):
        raise ConfigurationException(
            '"arguments" in [consumer] must be a table; write it as [consumer.arguments]'
        )
    if "retry" in table:
        retry = table["retry"]
        check_keys("consumer.retry", retry, {"attempts", "delay", "max_delay", "on"})
        check_number("consumer.retry", retry, "attempts", 1, _ATTEMPTS_MAX, whole=True)
        check_number("consumer.retry", retry, "delay", 0.001, _DELAY_MAX)
        check_number("consumer.retry", retry, "max_delay", 0.001, _DELAY_MAX)
        on = retry.get("on", [])
        if not isinstance(on, list) or not all(isinstance(name, str) and name for name in on):
            raise ConfigurationException(
                '"on" in [consumer.retry] must be a list of exception names, such as ["Nack", "mine:Error"]'
            )
    if "dead_letter" in table:
        check_keys("consumer.dead_letter", table["dead_letter"], {"queue"}, required={"queue"})
        check_text("consumer.dead_letter", table["dead_letter"], "queue")
    if "dedupe" in table:
        check_keys("consumer.dedupe", table["dedupe"], {"window", "path"}, required={"path"})
        check_number("consumer.dedupe", table["dedupe"], "window", 1, 10 * 365 * 86400)
        check_text("consumer.dedupe", table["dedupe"], "path")


def consumer_options(settings: Mapping[str, Any]) -> ConsumerOptions:
    """Read the table of a configuration.

    Raises:
        ConfigurationException: A setting is wrong, or names what cannot be imported.
    """
    table = settings.get("consumer", {})
    validate_consumer(table)
    defaults = ConsumerOptions()
    dedupe = table.get("dedupe")
    return ConsumerOptions(
        concurrency=table.get("concurrency", defaults.concurrency),
        ordering_key=_ordering_key(table["ordering_key"]) if "ordering_key" in table else None,
        timeout=table.get("timeout"),
        retry=_retry(table["retry"]) if "retry" in table else None,
        dead_letter=table["dead_letter"]["queue"] if "dead_letter" in table else None,
        dedupe=DedupeOptions(dedupe.get("window", 86400), dedupe["path"]) if dedupe is not None else None,
        arguments=table.get("arguments", {}),
        resubscribe=table.get("resubscribe", defaults.resubscribe),
        stop_timeout=table.get("stop_timeout", defaults.stop_timeout),
        watchdog=table.get("watchdog", defaults.watchdog),
    )


def _retry(table: Mapping[str, Any]) -> RetryOptions:
    defaults = RetryOptions()
    return RetryOptions(
        attempts=table.get("attempts", defaults.attempts),
        delay=table.get("delay", defaults.delay),
        max_delay=table.get("max_delay", defaults.max_delay),
        on=tuple(_exception(name) for name in table["on"]) if "on" in table else defaults.on,
    )


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
