"""Checks of ``fedora-messaging doctor`` that need no broker."""

import ast
import errno
import os
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from ..exceptions import ConfigurationException
from ..frontends.consuming import check_callback
from ..monitoring.http_server import family_of, shown_address
from ..settings.to_options import (
    binding_options,
    consumer_options,
    outbox_options,
    queue_options,
)
from ..transport.tls import authority_ends, identity_end
from .callbacks import UNDECLARED, load_callback, undeclared_text

OK: Final = "ok"
WARNING: Final = "warning"
FAILURE: Final = "failure"

_DAY: Final = 86400
#: Days before a certificate expires from which doctor warns.
_SOON: Final = 30
_SCHEMES: Final = ("amqp", "amqps")


class Finding(NamedTuple):
    """A line of the output: ``ok``, ``warning`` or ``failure``, and a text."""

    kind: str
    text: str


def check_settings(conf: Mapping[str, Any], callback: str | None) -> Iterator[Finding]:
    """Check the configuration, and the files and ports that it names.

    Args:
        conf: The configuration.
        callback: A callback to check besides the configured one.
    """
    yield Finding(OK, "the settings have the right types")  # otherwise loading would have failed
    yield from _names(conf)
    yield from _urls(conf["amqp_url"])
    for name, settings in conf["queues"].items():
        yield from _queue(name, settings)
    yield from _bindings(conf)
    yield from _callbacks(conf, callback)
    yield from _outbox(conf)
    yield from _monitoring(conf["monitoring"])
    yield from _certificates(conf)


def _names(conf: Mapping[str, Any]) -> Iterator[Finding]:
    """Check settings that the library otherwise checks only when it uses them."""
    checks: dict[str, Callable[[], object]] = {
        "consumer": lambda: consumer_options(conf),
        "queues": lambda: [queue_options(name, one, False) for name, one in conf["queues"].items()],
        "bindings": lambda: [binding_options(conf["bindings"], name) for name in conf["queues"]],
    }
    for name, check in checks.items():
        try:
            check()
        except (ConfigurationException, TypeError) as error:
            yield Finding(FAILURE, str(error))
        else:
            yield Finding(OK, f"[{name}] has only keys and values that are known")


def _urls(urls: Any) -> Iterator[Finding]:
    for url in urls if isinstance(urls, list) else [urls]:
        scheme, separator, _rest = url.partition("://")
        if not separator:
            yield Finding(
                FAILURE,
                'the amqp_url does not begin with "amqp://" or "amqps://": so what else is in it is ignored, '
                "and the broker on this machine is used",
            )
        elif scheme.lower() not in _SCHEMES:
            yield Finding(
                WARNING,
                f'the amqp_url begins with "{scheme}://": write "amqp://", or "amqps://" for TLS',
            )


def _queue(name: str, settings: Mapping[str, Any]) -> Iterator[Finding]:
    what = f"the queue {name!r}" if name else "the queue that the broker names"
    arguments, durable, exclusive = settings["arguments"], settings["durable"], settings["exclusive"]
    if not durable and not exclusive:
        yield Finding(
            WARNING,
            f"{what} is neither durable nor exclusive, which RabbitMQ 4 deprecates and a later one refuses: "
            "set durable = true, and x-expires in its arguments if it is to go when nobody uses it",
        )
    if durable and exclusive:
        yield Finding(
            WARNING,
            f"{what} is durable and exclusive: it ends with its connection, as do the messages in it; "
            "set exclusive = false if it is to survive, or else durable = false",
        )
    if exclusive and arguments.get("x-queue-type", "classic") != "classic":
        yield Finding(FAILURE, f"{what} is exclusive, which a {arguments['x-queue-type']} queue cannot be")
    for argument in ("x-queue-mode", "x-queue-master-locator"):
        if argument in arguments:
            yield Finding(
                WARNING, f"{what} has the argument {argument}, which RabbitMQ 4 ignores or refuses: remove it"
            )


def _bindings(conf: Mapping[str, Any]) -> Iterator[Finding]:
    bound = {binding.get("queue", "") for binding in conf["bindings"]}
    for name in sorted(bound - set(conf["queues"]), key=str):
        yield Finding(
            WARNING, f"a binding names the queue {name!r}, which [queues] does not: it has no effect"
        )


def _callbacks(conf: Mapping[str, Any], callback: str | None) -> Iterator[Finding]:
    paths = (callback, "--callback"), (conf["callback"], "the configuration")
    for path, source in paths:
        if not path:
            continue
        try:
            loaded = load_callback(path, None)
            if not isinstance(loaded, type):  # instantiating a class could do anything
                check_callback(loaded)
        except click.ClickException as error:
            yield Finding(FAILURE, error.message)
        except ValueError as error:
            yield Finding(FAILURE, f"{path} of {source}: {error}")
        else:
            yield Finding(OK, f"the callback {path} can be imported")
            yield from _undeclared(path.strip().partition(":")[0])


def _undeclared(module_name: str) -> Iterator[Finding]:
    """Find imports in the callback's package that only version 3.9's dependencies satisfied."""
    package = sys.modules[module_name.partition(".")[0]]
    directories = [Path(path) for path in getattr(package, "__path__", ())]
    files = [file for directory in directories for file in sorted(directory.rglob("*.py"))]
    if not directories and package.__file__ is not None:
        files = [Path(package.__file__)]
    for name, (file, line) in _first_imports(files).items():
        if _is_missing(name):
            yield Finding(
                WARNING,
                f"{file}, line {line}, imports {name}, which is not installed: {undeclared_text(name)}",
            )


def _first_imports(files: Iterable[Path]) -> dict[str, tuple[Path, int]]:
    """Return the first import of each module that version 3.9 installed."""
    found: dict[str, tuple[Path, int]] = {}
    for file in files:
        try:
            tree = ast.parse(file.read_bytes())
        except (OSError, SyntaxError, ValueError, RecursionError):
            continue  # Python cannot import an unreadable file either
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
                names = [node.module]
            else:
                continue
            for name in (one.partition(".")[0] for one in names):
                if name in UNDECLARED:
                    found.setdefault(name, (file, node.lineno))
    return found


def _is_missing(name: str) -> bool:
    try:
        return find_spec(name) is None
    except ValueError:  # a module in sys.modules that a program made by hand has no spec
        return False


def _outbox(conf: Mapping[str, Any]) -> Iterator[Finding]:
    try:
        options = outbox_options(conf)
    except ConfigurationException as error:
        yield Finding(FAILURE, str(error))
        return
    if options is None or options.path is None:
        return
    path = Path(options.path)
    trouble = _why_not_writable(path)
    if trouble is not None:
        yield Finding(FAILURE, f'"path" in [outbox], {path}, cannot be written: {trouble}')
    else:
        yield Finding(
            OK, f"the outbox {path} can be written, {'and is there' if path.exists() else 'or made'}"
        )


def _why_not_writable(path: Path) -> str | None:
    if path.is_dir():
        return "it is a directory; name a file in it"
    if not path.parent.is_dir():
        return f"there is no directory {path.parent}"
    # SQLite also writes files beside the database.
    for one in (path, path.parent) if path.exists() else (path.parent,):
        if not os.access(one, os.W_OK):
            return f"this user may not write {one}"
    return None


def _monitoring(monitoring: Mapping[str, Any]) -> Iterator[Finding]:
    if not monitoring:
        return
    address, port = monitoring.get("address", ""), monitoring["port"]
    where = shown_address(address, port)
    try:
        with socket.socket(family_of(address)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
    except OSError as error:
        hint = ": a consumer that runs already, perhaps" if error.errno == errno.EADDRINUSE else ""
        yield Finding(
            FAILURE, f"the monitoring address {where} cannot be used: {error.strerror or error}{hint}"
        )
    else:
        yield Finding(OK, f"the monitoring address {where} is free")


def _certificates(conf: Mapping[str, Any]) -> Iterator[Finding]:
    """Report when the certificates of [tls] expire; connecting shows their other faults."""
    table = conf["tls"]
    ca_cert, certfile, keyfile = (table.get(key) for key in ("ca_cert", "certfile", "keyfile"))
    # The check that uses the files reports other errors in them.
    with suppress(OSError, ValueError, TypeError, KeyError):
        if ca_cert:
            for end in authority_ends(ca_cert):
                yield certificate_end(f"a certificate in {ca_cert}", end)
    with suppress(OSError, ValueError, TypeError, KeyError):
        if certfile and keyfile:
            yield certificate_end(f"the client certificate {certfile}", identity_end(certfile, keyfile))


def certificate_end(what: str, end: float) -> Finding:
    """Report when a certificate expires.

    Args:
        what: Which certificate, as text.
        end: When it expires, in seconds since 1970.
    """
    days = (end - time.time()) / _DAY
    date = time.strftime("%Y-%m-%d", time.gmtime(end))
    if days < 0:
        return Finding(FAILURE, f"{what} ended on {date}: get a new one")
    if days < _SOON:
        return Finding(WARNING, f"{what} ends on {date}, in {days:.0f} days: get a new one")
    return Finding(OK, f"{what} is good until {date}")
