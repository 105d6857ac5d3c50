"""The error that malformed bytes from the peer raise, and its AMQP reply codes."""


class WireError(Exception):
    """Bytes from the peer that the specification does not allow.

    Args:
        reply_code: AMQP reply code to close the connection with (501 frame error, 502 syntax error, ...).
        text: Description of the fault; may be sent to the peer.
    """

    def __init__(self, reply_code: int, text: str) -> None:
        super().__init__(reply_code, text)
        self.reply_code = reply_code
        self.text = text


FRAME_ERROR = 501
SYNTAX_ERROR = 502
NOT_IMPLEMENTED = 540


def truncated(what: str) -> WireError:
    """Return the error for data that ends inside ``what``."""
    return WireError(SYNTAX_ERROR, f"{what} reaches beyond the end of its frame")
