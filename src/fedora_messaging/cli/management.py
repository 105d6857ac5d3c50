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
        is_in_vhost: Whether the path of an object names its virtual host.
    """

    name: str
    columns: tuple[_Column, ...]
    is_paged: bool = True
    is_in_vhost: bool = True

    @property
    def noun(self) -> str:
        """The word for one of them."""
        return self.name.removesuffix("s")

    def path(self, vhost: str, name: str) -> tuple[str, ...]:
        """Return the path of an object."""
        if not self.is_in_vhost:
            return self.name, name
        return self.name, vhost, name or _DEFAULT_EXCHANGE


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
    is_in_vhost=False,
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
    click.echo(counted(len(found), kind.noun), err=True)


def _cell(one: Any, path: str) -> str:
    for part in path.split("."):
        one = one.get(part) if isinstance(one, dict) else None
    if path.endswith("name") and one == "":
        return "(default)"
    return "" if one is None else str(one)


def _add_show(group: click.Group, kind: _Kind) -> None:
    """Add the command that shows all properties of one object."""

    @group.command("show", help=f"Show all properties of the {kind.noun} NAME.")
    @_url_option
    @_json_option
    @_vhost_option
    @click.argument("name")
    def show(url: str, as_json: bool, vhost: str, name: str) -> None:
        found = _run(url, lambda management: management.get(*kind.path(vhost, name)))
        if as_json:
            click.echo(json.dumps(found))
            return
        with table("property", "value", between=": ") as show_row:
            for key, value in sorted(found.items()):
                if not key.endswith("_details"):
                    show_row([key, value if isinstance(value, str) else json.dumps(value)])


def _add_deletion(group: click.Group, name: str, kind: _Kind, help: str, done: str, *below: str) -> None:
    """Add a command that deletes something for good, after a question.

    Args:
        group: The group.
        name: Name of the command.
        kind: Kind of the object.
        help: What the command does, with NAME for the object's.
        done: What it says when it has done it, likewise.
        below: What follows the path of the object.
    """

    @group.command(name, help=f"{help}.")
    @_url_option
    @_vhost_option
    @click.option("--yes", is_flag=True, help="Do not ask.")
    @click.argument("name")
    def delete(url: str, vhost: str, yes: bool, name: str) -> None:
        shown = printable(name)
        if not yes:
            click.confirm(help.replace("NAME", shown) + "?", abort=True)
        _run(url, lambda management: management.send("DELETE", *kind.path(vhost, name), *below))
        click.echo(done.replace("NAME", shown))


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


queues: click.Group = _group(_QUEUES, "Show the broker's queues, look into them, and delete them.")
exchanges: click.Group = _group(_EXCHANGES, "Show the broker's exchanges, and delete them.")
bindings: click.Group = _group(_BINDINGS, "Show the broker's bindings.")
connections: click.Group = _group(_CONNECTIONS, "Show the connections of clients, and close them.")


for _kind, _commands in ((_QUEUES, queues), (_EXCHANGES, exchanges), (_CONNECTIONS, connections)):
    _add_show(_commands, _kind)
_add_deletion(
    queues,
    "purge",
    _QUEUES,
    "Delete the messages of the queue NAME for good",
    "The messages of NAME are deleted.",
    "contents",
)
_add_deletion(
    queues,
    "delete",
    _QUEUES,
    "Delete the queue NAME with its messages for good",
    "The queue NAME is deleted.",
)
_add_deletion(
    exchanges,
    "delete",
    _EXCHANGES,
    "Delete the exchange NAME with its bindings for good",
    "The exchange NAME is deleted.",
)
_add_deletion(
    connections,
    "delete",
    _CONNECTIONS,
    "Close the connection NAME; most clients connect again at once",
    "The connection NAME is closed.",
)


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
