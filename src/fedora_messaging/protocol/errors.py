"""Reply codes (AMQP 0-9-1 section 1.2 and RabbitMQ), and the errors for mistakes of the peer."""

from typing import Final

from ..wire.methods import Method

REPLY_SUCCESS: Final = 200
CONTENT_TOO_LARGE: Final = 311
NO_ROUTE: Final = 312
NO_CONSUMERS: Final = 313
CONNECTION_FORCED: Final = 320
INVALID_PATH: Final = 402
ACCESS_REFUSED: Final = 403
NOT_FOUND: Final = 404
RESOURCE_LOCKED: Final = 405
PRECONDITION_FAILED: Final = 406
FRAME_ERROR: Final = 501
SYNTAX_ERROR: Final = 502
COMMAND_INVALID: Final = 503
CHANNEL_ERROR: Final = 504
UNEXPECTED_FRAME: Final = 505
RESOURCE_ERROR: Final = 506
NOT_ALLOWED: Final = 530
NOT_IMPLEMENTED: Final = 540
INTERNAL_ERROR: Final = 541

NAMES: Final = {
    CONTENT_TOO_LARGE: "CONTENT_TOO_LARGE",
    NO_ROUTE: "NO_ROUTE",
    NO_CONSUMERS: "NO_CONSUMERS",
    CONNECTION_FORCED: "CONNECTION_FORCED",
    INVALID_PATH: "INVALID_PATH",
    ACCESS_REFUSED: "ACCESS_REFUSED",
    NOT_FOUND: "NOT_FOUND",
    RESOURCE_LOCKED: "RESOURCE_LOCKED",
    PRECONDITION_FAILED: "PRECONDITION_FAILED",
    FRAME_ERROR: "FRAME_ERROR",
    SYNTAX_ERROR: "SYNTAX_ERROR",
    COMMAND_INVALID: "COMMAND_INVALID",
    CHANNEL_ERROR: "CHANNEL_ERROR",
    UNEXPECTED_FRAME: "UNEXPECTED_FRAME",
    RESOURCE_ERROR: "RESOURCE_ERROR",
    NOT_ALLOWED: "NOT_ALLOWED",
    NOT_IMPLEMENTED: "NOT_IMPLEMENTED",
    INTERNAL_ERROR: "INTERNAL_ERROR",
}


class PeerError(Exception):
    """The peer did something that ends its channel or connection.

    Args:
        reply_code: One of the codes above.
        explanation: Text after ``NAME - ``.
        method: The offending method; the answer to the peer contains its class and method index.
    """

    def __init__(self, reply_code: int, explanation: str, method: type[Method] | None = None) -> None:
        super().__init__(reply_code, explanation)
        self.reply_code = reply_code
        self.explanation = explanation
        self.method = method

    @property
    def reply_text(self) -> str:
        """``NAME - explanation``, cut to the length of a short string."""
        return reply_text(self.reply_code, self.explanation)


class ChannelError(PeerError):
    """A mistake that ends the channel; the connection goes on."""


class ConnectionError(PeerError):  # noqa: A001 - the specification's term
    """A mistake that ends the connection."""


def reply_text(code: int, explanation: str) -> str:
    """Compose a reply text that fits into a short string."""
    return short_text(f"{NAMES[code]} - {explanation}")


def short_text(text: str) -> str:
    """Cut a text to the length of a short string."""
    raw = text.encode("utf-8", "surrogateescape")
    if len(raw) <= 255:
        return text
    return raw[:252].decode("utf-8", "ignore") + "..."
