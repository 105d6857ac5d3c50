"""SASL mechanisms of AMQP 0-9-1: PLAIN (RFC 4616), AMQPLAIN, EXTERNAL (RFC 4422), ANONYMOUS (RFC 4505)."""

from typing import Final

from ..exceptions import EncodingError
from ..wire.errors import WireError
from ..wire.fields import decode_table, encode_longstr, encode_table

PLAIN: Final = "PLAIN"
AMQPLAIN: Final = "AMQPLAIN"
EXTERNAL: Final = "EXTERNAL"
ANONYMOUS: Final = "ANONYMOUS"


def initial_response(mechanism: str, username: str, password: str) -> bytes:
    """Compose the client's response for one of the four mechanisms.

    Raises:
        EncodingError: The name or the password cannot be encoded as UTF-8.
    """
    if mechanism == PLAIN:
        try:
            return f"\0{username}\0{password}".encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raise EncodingError("user name or password cannot be encoded as UTF-8") from None
    if mechanism == AMQPLAIN:
        # The table is sent without its length, because the long string around it has one.
        return encode_table({"LOGIN": username, "PASSWORD": password})[4:]
    return b""


def parse_response(mechanism: str, response: bytes) -> tuple[str, str] | None:
    """Read (user name, password) from a client's PLAIN or AMQPLAIN response; ``None`` if it is neither."""
    if mechanism == PLAIN:
        parts = response.split(b"\0")
        if len(parts) != 3:
            return None
        return _text(parts[1]), _text(parts[2])
    if mechanism == AMQPLAIN:
        try:
            table, _ = decode_table(encode_longstr(response))
        except (WireError, IndexError):
            return None
        login, password = table.get("LOGIN"), table.get("PASSWORD")
        if isinstance(login, str) and isinstance(password, str):
            return login, password
    return None


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
