"""``fedora-messaging replay``."""

import json

import click

from .. import config
from ..archive.query import Query
from ..message import Message, load_message
from ..printable import printable
from .archive_options import opened, other_archive_option, selection_options
from .archived import dry_run_option, for_each, speed_option
from .datagrepper import datagrepper_option
from .publish import publish_or_exit
from .seams import seam
from .terminal import counted


@click.command()
@datagrepper_option
@other_archive_option
@selection_options
@speed_option
@dry_run_option
@click.argument("message_id", required=False)
def replay(
    message_id: str | None,
    datagrepper_url: str,
    location: str | None,
    query: Query,
    speed: float | None,
    dry_run: bool,
) -> None:
    """Publish the archived message MESSAGE_ID again.

    Without --archive it comes from Datagrepper. With --archive, MESSAGE_ID may be left out: then all messages
    that the options choose are published, the oldest first.
    """
    if message_id is None:
        _replay_all(location, query, speed, dry_run)
        return
    message: Message | None = (
        load_archived(location, message_id) if location else seam("_get_message")(message_id, datagrepper_url)
    )
    if message is None:
        return
    # The archive has the full topic.
    config.conf["topic_prefix"] = ""
    if dry_run:
        click.echo(f"Would publish {printable(message_id)} with topic {printable(message.topic)}")
        return
    publish_or_exit(message)
    click.echo(f"Message with ID {printable(message_id)} has been successfully replayed.")


def load_archived(location: str, message_id: str) -> Message:
    """Return a message of an archive.

    Raises:
        click.ClickException: The archive has none with this id, or it is no message.
    """
    with opened(location) as archive:
        one = archive.get(message_id)
    if one is None:
        raise click.ClickException(f"The archive has no message with the id {printable(message_id)}")
    if not one.is_message:
        raise click.ClickException(f"What the archive has for {printable(message_id)} is no message")
    return load_message(json.loads(one.record))


def _replay_all(location: str | None, query: Query, speed: float | None, dry_run: bool) -> None:
    if location is None:
        raise click.UsageError("Missing argument 'MESSAGE_ID', or the option --archive for several messages")
    if query == Query(newest_first=False):
        raise click.UsageError(
            "Say which messages: --since, --until, --topic, --user, --package or --text; --topic '#' is all"
        )
    config.conf["topic_prefix"] = ""
    with opened(location) as archive:
        number = for_each(archive, query, speed, dry_run, "Replaying messages", publish_or_exit)
    click.echo(f"{counted(number)} {'would be ' if dry_run else ''}replayed", err=True)
