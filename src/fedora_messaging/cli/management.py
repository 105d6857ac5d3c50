"""``fedora-messaging queues`` and its like: a broker, as its management API shows it."""

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import click

from ..printable import printable
from .terminal import counted, log_to_stderr, table

if TYPE_CHECKING:
    from ..web.dashboard.management import Management

Result = TypeVar("Result")
Command = Callable[..., Any]

_VARIABLE: Final = "FEDORA_MESSAGING_MANAGEMENT_URL"
_DEFAULT_URL: Final = "http://guest:guest@127.0.0.1:15672"
#: Objects that a list asks for at once.
_PAGE: Final = 500
#: Messages that `peek` shows, by default and at most.
_SHOWN, _MOST_SHOWN = 10, 100
_DEFAULT_EXCHANGE: Final = "amq.default"


class _Column(NamedTuple):
    title: str
    path: str


class _Kind(NamedTuple):
    """A kind of object that a broker has.

    Attributes:
        name: The part of the path after ``/api``.
        columns: What a list shows.
        is_paged: Whether the broker pages the list.
    """

    name: str
    columns: tuple[_Column, ...]
    is_paged: bool = True


_QUEUES: Final = _Kind(
    "queues",
    (
        _Column("queue", "name"),
        _Column("ready", "messages_ready"),
        _Column("unacked", "messages_unacknowledged"),
        _Column("consumers", "consumers"),
        _Column("in/s", "message_stats.publish_details.rate"),
        _Column("out/s", "message_stats.deliver_get_details.rate"),
        _Column("type", "type"),
    ),
)
_EXCHANGES: Final = _Kind(
    "exchanges",
    (
        _Column("exchange", "name"),
        _Column("type", "type"),
        _Column("in", "message_stats.publish_in"),
        _Column("to queues", "message_stats.publish_out"),
    ),
)
_BINDINGS: Final = _Kind(
    "bindings",
    (
        _Column("exchange", "source"),
        _Column("routing key", "routing_key"),
        _Column("leads to", "destination"),
        _Column("kind", "destination_type"),
    ),
    is_paged=False,
)
_CONNECTIONS: Final = _Kind(
    "connections",
    (
        _Column("connection", "name"),
        _Column("client", "client_properties.connection_name"),
        _Column("program", "client_properties.product"),
        _Column("user", "user"),
        _Column("channels", "channels"),
        _Column("state", "state"),
    ),
)


def _url_option(command: Command) -> Command:
    return click.option(
        "--management-url",
        "url",
        envvar=_VARIABLE,
        default=_DEFAULT_URL,
        help=f"The broker's management API; by default ${_VARIABLE}, or {_DEFAULT_URL}.",
    )(command)


def _vhost_option(command: Command) -> Command:
    return click.option("--vhost", default="/", show_default=True, help="Virtual host.")(command)


def _json_option(command: Command) -> Command:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def _list_options(command: Command) -> Command:
    for option in (
        click.option("--watch", type=click.FloatRange(min=0.1), help="Show it again every so many seconds."),
        click.option("--name", default="", help="Only those with this text in their names."),
        click.option("--vhost", help="Only this virtual host."),
        _json_option,
        _url_option,
    ):
        command = option(command)
    return command


def _run(url: str, work: "Callable[[Management], Awaitable[Result]]") -> Result:
    """Do something with the management API.

    Raises:
        click.ClickException: The broker refuses it, or does not answer.
    """
    from ..web.dashboard.management import ManagementError, connect

    log_to_stderr()

    async def connected() -> Result:
        management = connect(url)
        try:
            return await work(management)
        finally:
            await management.close()

    try:
        return asyncio.run(connected())
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    except ManagementError as error:
        hint = (
            f"; set --management-url or ${_VARIABLE}, or start a broker with --http-port"
            if error.status == 0
            else ""
        )
        said = "" if error.status == 0 else "The broker says: "
        raise click.ClickException(f"{said}{printable(error.reason)}{hint}") from error


def _show_list(
    kind: _Kind, url: str, as_json: bool, vhost: str | None, name: str, watch: float | None
) -> None:
    while True:
        found = _run(url, lambda management: _all(management, kind, vhost, name))
        if watch is not None and not as_json and sys.stdout.isatty():
            click.clear()
        if as_json:
            click.echo(json.dumps(found))
        else:
            _print(kind, found)
        if watch is None:
            return
        time.sleep(watch)


async def _all(management: "Management", kind: _Kind, vhost: str | None, name: str) -> list[Any]:
    path: tuple[str, ...] = (kind.name,) if vhost is None else (kind.name, vhost)
    if kind.name == "connections" and vhost is not None:
        path = ("vhosts", vhost, "connections")
    if not kind.is_paged or path[0] == "vhosts":
        found = await management.get(*path)
        return [one for one in found if name.lower() in _named(one, kind).lower()]
    items: list[Any] = []
    page, pages = 1, 1
    while page <= pages:
        answer = await management.get(*path, page=page, page_size=_PAGE, name=name or None)
        items += answer["items"]
        page, pages = page + 1, answer["page_count"]
    return items


def _named(one: dict[str, Any], kind: _Kind) -> str:
    if kind is _BINDINGS:
        return " ".join((one["source"], one["routing_key"], one["destination"]))
    return str(one["name"])


def _print(kind: _Kind, found: Sequence[Any]) -> None:
    with table(*(column.title for column in kind.columns)) as show_row:
        for one in found:
            show_row([_cell(one, column.path) for column in kind.columns])
    click.echo(counted(len(found), kind.name.removesuffix("s")), err=True)


def _cell(one: Any, path: str) -> str:
    for part in path.split("."):
        one = one.get(part) if isinstance(one, dict) else None
    if path.endswith("name") and one == "":
        return "(default)"
    return "" if one is None else str(one)


def _show_one(url: str, as_json: bool, *path: str) -> None:
    found = _run(url, lambda management: management.get(*path))
    if as_json:
        click.echo(json.dumps(found))
        return
    with table("property", "value", between=": ") as show_row:
        for name, value in sorted(found.items()):
            if not name.endswith("_details"):
                show_row([name, value if isinstance(value, str) else json.dumps(value)])


def _delete(url: str, yes: bool, question: str, *path: str) -> None:
    if not yes:
        click.confirm(question, abort=True)
    _run(url, lambda management: management.send("DELETE", *path))


_yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


def _group(kind: _Kind, help: str) -> click.Group:
    """Make a group whose first command, ``list``, is what it does without one."""

    @click.group(kind.name, invoke_without_command=True, help=help)
    @click.pass_context
    def group(context: click.Context) -> None:
        if context.invoked_subcommand is None:
            url = os.environ.get(_VARIABLE) or _DEFAULT_URL
            _show_list(kind, url, as_json=False, vhost=None, name="", watch=None)

    @group.command("list")
    @_list_options
    def list_(url: str, as_json: bool, vhost: str | None, name: str, watch: float | None) -> None:
        """List them."""
        _show_list(kind, url, as_json, vhost, name, watch)

    return group


queues = _group(_QUEUES, "Show the broker's queues, look into them, and delete them.")
exchanges = _group(_EXCHANGES, "Show the broker's exchanges, and delete them.")
bindings = _group(_BINDINGS, "Show the broker's bindings.")
connections = _group(_CONNECTIONS, "Show the connections of clients, and close them.")


@queues.command("show")
@_url_option
@_json_option
@_vhost_option
@click.argument("name")
def show_queue(url: str, as_json: bool, vhost: str, name: str) -> None:
    """Show all properties of the queue NAME."""
    _show_one(url, as_json, "queues", vhost, name)


@queues.command("peek")
@_url_option
@_json_option
@_vhost_option
@click.option("-n", "--number", default=_SHOWN, show_default=True, type=click.IntRange(1, _MOST_SHOWN))
@click.argument("name")
def peek_queue(url: str, as_json: bool, vhost: str, number: int, name: str) -> None:
    """Show the first messages of the queue NAME, and leave them in it.

    The broker marks them as redelivered. On RabbitMQ 3.10 a quorum queue counts each look as a delivery, and
    one with a delivery limit may drop a message after several.
    """
    body = {"count": number, "ackmode": "ack_requeue_true", "encoding": "auto"}
    found = _run(url, lambda management: management.send("POST", "queues", vhost, name, "get", body=body))
    if as_json:
        click.echo(json.dumps(found))
        return
    with table("id", "topic", "redelivered", "body") as show_row:
        for one in found:
            properties = one["properties"] or {}  # an empty list, if there are none
            redelivered = "yes" if one["redelivered"] else "no"
            show_row([str(properties.get("message_id", "")), one["routing_key"], redelivered, one["payload"]])
    click.echo(counted(len(found)), err=True)


@queues.command("purge")
@_url_option
@_vhost_option
@_yes_option
@click.argument("name")
def purge_queue(url: str, vhost: str, yes: bool, name: str) -> None:
    """Delete the messages of the queue NAME."""
    question = f"Delete all messages of the queue {printable(name)} for good?"
    _delete(url, yes, question, "queues", vhost, name, "contents")
    click.echo(f"The messages of {printable(name)} are deleted.")


@queues.command("delete")
@_url_option
@_vhost_option
@_yes_option
@click.argument("name")
def delete_queue(url: str, vhost: str, yes: bool, name: str) -> None:
    """Delete the queue NAME with its messages."""
    question = f"Delete the queue {printable(name)} with its messages for good?"
    _delete(url, yes, question, "queues", vhost, name)
    click.echo(f"The queue {printable(name)} is deleted.")


@exchanges.command("show")
@_url_option
@_json_option
@_vhost_option
@click.argument("name")
def show_exchange(url: str, as_json: bool, vhost: str, name: str) -> None:
    """Show all properties of the exchange NAME."""
    _show_one(url, as_json, "exchanges", vhost, name or _DEFAULT_EXCHANGE)


@exchanges.command("delete")
@_url_option
@_vhost_option
@_yes_option
@click.argument("name")
def delete_exchange(url: str, vhost: str, yes: bool, name: str) -> None:
    """Delete the exchange NAME with its bindings."""
    question = f"Delete the exchange {printable(name)} with its bindings for good?"
    _delete(url, yes, question, "exchanges", vhost, name)
    click.echo(f"The exchange {printable(name)} is deleted.")


@connections.command("show")
@_url_option
@_json_option
@click.argument("name")
def show_connection(url: str, as_json: bool, name: str) -> None:
    """Show all properties of the connection NAME."""
    _show_one(url, as_json, "connections", name)


@connections.command("delete")
@_url_option
@_yes_option
@click.argument("name")
def close_connection(url: str, yes: bool, name: str) -> None:
    """Close the connection NAME; most clients connect again at once."""
    _delete(url, yes, f"Close the connection {printable(name)}?", "connections", name)
    click.echo(f"The connection {printable(name)} is closed.")
