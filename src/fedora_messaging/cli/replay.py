"""``fedora-messaging replay``."""

import click

from .. import config
from ..printable import printable
from .datagrepper import datagrepper_option
from .publish import publish_or_exit
from .seams import seam


@click.command()
@datagrepper_option
@click.argument("message_id")
def replay(message_id: str, datagrepper_url: str) -> None:
    """Publish the archived message MESSAGE_ID again."""
    message = seam("_get_message")(message_id, datagrepper_url)
    if message is None:
        return
    # The archive has the full topic.
    config.conf["topic_prefix"] = ""
    publish_or_exit(message)
    click.echo(f"Message with ID {printable(message_id)} has been successfully replayed.")
