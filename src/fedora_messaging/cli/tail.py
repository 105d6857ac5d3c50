"""``fedora-messaging tail``."""

import json
import os
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import uuid4

import click

from .. import config
from ..archive.query import Query
from ..exceptions import HaltConsumer
from ..logs import CLI, logger
from ..message import DEBUG, ERROR, INFO, WARNING, Message, dumps, load_message
from ..printable import printable
from . import units
from .archive_options import archive_option, opened
from .reactor import reactor_provided
from .running import consume_until_stopped
from .terminal import log_to_stderr

_log = logger(CLI)

_SEVERITIES: Final = {"debug": DEBUG, "info": INFO, "warning": WARNING, "error": ERROR}
_COLORS: Final = {DEBUG: "blue", WARNING: "yellow", ERROR: "red"}
#: Most characters of a summary in a line.
_LONGEST: Final = 300
_QUEUE: Final = {"durable": False, "auto_delete": True, "exclusive": True, "arguments": {}}


@dataclass(frozen=True)
class Filter:
    """Which messages to show, by what they say of themselves.

    Attributes:
        severity: The lowest severity.
        app: Name of the application, or ``None`` for any, as all that follows.
        user: A user whom the message names.
        package: A package that it names.
        text: Text in its topic, summary or body, in upper or lower case.
    """

    severity: int = DEBUG
    app: str | None = None
    user: str | None = None
    package: str | None = None
    text: str | None = None

    def wants(self, message: Message) -> bool:
        """Whether to show a message."""
        return (
            message.severity >= self.severity
            and (self.app is None or self.app == asked(message, "app_name", None))
            and (self.user is None or self.user in asked(message, "usernames", ()))
            and (self.package is None or self.package in asked(message, "packages", ()))
            and (self.text is None or self.text.casefold() in _all_text(message).casefold())
        )


def asked(message: Message, name: str, otherwise: Any) -> Any:
    """Return what a message says of itself; its class may be wrong, which must not end the command."""
    try:
        value = getattr(message, name)
    except Exception as error:
        _log.warning("%s of %s fails: %s", name, printable(message.topic), printable(error))
        return otherwise
    return otherwise if value is None else value


def _all_text(message: Message) -> str:
    body = json.dumps(message.body, ensure_ascii=False)
    return f"{message.topic}\n{asked(message, 'summary', '')}\n{body}"


def terse(message: Message) -> str:
    """Return one line: time, topic, severity, summary, and who or what it is about."""
    severity = message.severity
    name = next((name for name, value in _SEVERITIES.items() if value == severity), str(severity))
    about = [asked(message, "app_name", "")]
    about += [*asked(message, "usernames", ()), *asked(message, "packages", ())]
    parts: list[tuple[str, dict[str, Any]]] = [
        (_time_of(message), {}),
        (message.topic, {"bold": True}),
        (name.upper() if severity != INFO else "", {"fg": _COLORS.get(severity)}),
        (_told(message), {}),
        (" ".join(dict.fromkeys(str(one) for one in about if one)), {"dim": True}),
    ]
    return "  ".join(click.style(printable(text, _LONGEST), **style) for text, style in parts if text)


def _told(message: Message) -> str:
    """Return the summary, or the body of a message whose class has none to tell."""
    summary = str(asked(message, "summary", ""))
    return summary if summary not in ("", message.topic) else json.dumps(message.body)


def _time_of(message: Message) -> str:
    try:
        sent = datetime.fromisoformat(message._headers["sent-at"])
    except (KeyError, TypeError, ValueError):
        sent = datetime.now().astimezone()
    return sent.astimezone().strftime("%H:%M:%S")


def pretty(message: Message) -> str:
    """Return the whole message for people."""
    return f"{terse(message)}\n{message}\n"


def as_json(message: Message) -> str:
    """Return the message as ``record`` writes it."""
    return dumps(message).rstrip("\n")


_FORMATS: Final[dict[str, Callable[[Message], str]]] = {"terse": terse, "pretty": pretty, "json": as_json}


class Tail:
    """Shows the messages that a filter wants, until there were enough.

    Args:
        show: Returns the text of a message.
        wanted: Says which messages to show.
        number: How many; ``None`` for any number.
    """

    def __init__(self, show: Callable[[Message], str], wanted: Filter, number: int | None) -> None:
        self._show = show
        self._wanted = wanted
        self._left = number
        # With a concurrency above 1, messages come in several threads.
        self._turn = threading.Lock()
        # Colours are for people, and not for all of them: https://no-color.org
        self._color = False if os.environ.get("NO_COLOR") else None

    def __call__(self, message: Message) -> None:
        """Show a message, if it is wanted.

        Raises:
            HaltConsumer: There were enough, or nobody reads them any more (exit code 0).
        """
        if self._wanted.wants(message):
            with self._turn:
                self._tell(message)

    def _tell(self, message: Message) -> None:
        if self._left == 0:
            raise HaltConsumer(exit_code=0)
        try:
            click.echo(self._show(message), color=self._color)
        except BrokenPipeError:
            # Otherwise Python complains when it closes standard output.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise HaltConsumer(exit_code=0) from None
        if self._left is not None:
            self._left -= 1
            if not self._left:
                raise HaltConsumer(exit_code=0)


@click.command()
@click.option("-n", "--number", type=click.IntRange(min=1), help="Stop after this many messages.")
@click.option(
    "--format",
    "form",
    type=click.Choice(list(_FORMATS)),
    default="terse",
    show_default=True,
    help="A line for each message, all of it, or JSON as record writes it.",
)
@click.option("--severity", type=click.Choice(list(_SEVERITIES)), default="debug", help="The lowest to show.")
@click.option("--app", help="Only messages of this application.")
@click.option("--user", help="Only messages that name this user.")
@click.option("--package", help="Only messages that name this package.")
@click.option("--text", help="Only messages with this text in their topic, summary or body.")
@click.option("--exchange", help="Listen here, instead of the exchange that the configuration publishes to.")
@click.option(
    "--since",
    callback=units.moment,
    help="First show what the archive has since then: how long ago (30m, 2h), a time of day or a date.",
)
@archive_option
@click.argument("patterns", metavar="[PATTERN]...", nargs=-1)
def tail(
    number: int | None,
    form: str,
    severity: str,
    app: str | None,
    user: str | None,
    package: str | None,
    text: str | None,
    exchange: str | None,
    since: float | None,
    location: str | None,
    patterns: Sequence[str],
) -> None:
    """Show messages as they pass, for topics that fit a PATTERN; without one, all.

    The command has a queue of its own, which goes with it, so it takes no message from anybody.
    """
    # Standard output must contain nothing but messages.
    log_to_stderr()
    queue = f"tail-{uuid4()}"
    binding = {
        "queue": queue,
        "exchange": exchange or config.conf["publish_exchange"],
        "routing_keys": list(patterns) or ["#"],
    }
    wanted = Filter(_SEVERITIES[severity], app, user, package, text)
    shown = Tail(_FORMATS[form], wanted, number)
    if since is not None:
        try:
            _show_archived(shown, location, since, tuple(patterns))
        except HaltConsumer:
            return
    with reactor_provided():
        consume_until_stopped(shown, [binding], {queue: _QUEUE})


def _show_archived(shown: Tail, location: str | None, since: float, patterns: tuple[str, ...]) -> None:
    """Show the messages of the archive, the oldest first.

    What is published between this and the moment at which the command listens is not shown.

    Raises:
        HaltConsumer: There were enough.
    """
    with opened(location) as archive:
        for one in archive.each(Query(since=since, topics=patterns, newest_first=False)):
            if one.is_message:
                shown(load_message(json.loads(one.record)))
