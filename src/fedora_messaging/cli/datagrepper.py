"""Fetching archived messages."""

from typing import Any, Final

import click

from ..display import printable
from ..exceptions import ValidationError
from ..message import Message, load_message

DEFAULT_DATAGREPPER_URL: Final = "https://apps.fedoraproject.org/datagrepper"
#: Seconds to connect, and again for each part of the answer.
_TIMEOUT: Final = 10.0


def datagrepper_option(command: Any) -> Any:
    """Add the option that says where messages are archived."""
    return click.option(
        "--datagrepper-url",
        default=DEFAULT_DATAGREPPER_URL,
        show_default=True,
        help="Where messages are archived.",
    )(command)


def fetch_message(message_id: str, url: str) -> Message | None:
    """Return an archived message, or ``None`` if the archive knows none of this id.

    Raises:
        click.ClickException: The archive does not answer as it should.
    """
    import httpx

    try:
        address = httpx.URL(f"{url.rstrip('/')}/v2/id")
        response = httpx.get(
            # Errors and httpx's own log name the URL.
            address.copy_with(userinfo=b""),
            auth=(address.username, address.password) if address.userinfo else None,
            params={"id": message_id, "is_raw": "true"},
            timeout=_TIMEOUT,
            follow_redirects=True,
        )
        response.raise_for_status()
        data = response.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise click.ClickException(
            f"Failed to retrieve message from Datagrepper: {printable(error)}"
        ) from error
    if not data:
        return None
    try:
        return load_message(data)
    except ValidationError as error:
        raise click.ClickException(
            f"What Datagrepper has for {printable(message_id)} is no message: {error.summary}"
        ) from error
