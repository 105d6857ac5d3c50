"""Fetches archived messages from Datagrepper."""

import os
import ssl
from pathlib import Path
from typing import Any, Final

import click

from ..exceptions import ValidationError
from ..message import Message, load_message
from ..printable import printable
from ..validation import json_body

DEFAULT_DATAGREPPER_URL: Final = "https://apps.fedoraproject.org/datagrepper"
#: Seconds to wait for the connection, and again for each part of the answer.
_TIMEOUT: Final = 10.0
#: Environment variables, of which the first that is set names a file or directory of trusted authorities.
#: Version 3.9 used requests, which reads them; httpx does not.
_BUNDLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def datagrepper_option(command: Any) -> Any:
    """Add the option for the URL of the archive."""
    return click.option(
        "--datagrepper-url",
        default=DEFAULT_DATAGREPPER_URL,
        show_default=True,
        help="URL of the archive of messages.",
    )(command)


def fetch_message(message_id: str, url: str) -> Message | None:
    """Return an archived message, or ``None`` if the archive has no message with this id.

    Raises:
        click.ClickException: The archive does not answer as it should.
    """
    import httpx

    try:
        address = httpx.URL(f"{url.rstrip('/')}/v2/id")
        response = httpx.get(
            # Errors and httpx's own log show the URL, so it must not contain a password.
            address.copy_with(userinfo=b""),
            auth=(address.username, address.password) if address.userinfo else None,
            params={"id": message_id, "is_raw": "true"},
            verify=_trusted(),
            timeout=_TIMEOUT,
            follow_redirects=True,
        )
        response.raise_for_status()
        data = json_body.decode_text(response.text)
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


def _trusted() -> ssl.SSLContext | bool:
    """Return a context for the authorities that the environment names, or ``True`` for httpx's default.

    Raises:
        click.ClickException: The file or directory cannot be read.
    """
    for variable in _BUNDLES:
        path = os.environ.get(variable)
        if not path:
            continue
        try:
            if Path(path).is_dir():
                return ssl.create_default_context(capath=path)
            return ssl.create_default_context(cafile=path)
        except OSError as error:
            raise click.ClickException(
                f"{variable} names {printable(path)}, which holds no certificates that can be read: "
                f"{error.strerror or error}; name a file or directory of certificates, or unset it"
            ) from error
    return True
