"""The events that a connection reports to its owner, in order."""

from typing import Any, ClassVar

from ..wire.methods import Method


class Event:
    """Parent of all events."""

    __slots__: tuple[str, ...] = ()
    __match_args__: ClassVar[tuple[str, ...]] = ()

    def __repr__(self) -> str:
        shown = ", ".join([f"{name}={getattr(self, name)!r}" for name in self.__match_args__])
        return f"{type(self).__name__}({shown})"


class LoginRequested(Event):
    """Server: the client wants to log in; answer with ``accept_login`` or ``refuse_login``."""

    __slots__ = ("client_properties", "mechanism", "response")
    __match_args__: ClassVar[tuple[str, ...]] = (
        "mechanism",
        "response",
        "client_properties",
    )

    def __init__(self, mechanism: str, response: bytes, client_properties: dict[str, Any]) -> None:
        self.mechanism: str = mechanism
        self.response: bytes = response
        self.client_properties: dict[str, Any] = client_properties


class OpenRequested(Event):
    """Server: the client wants to open a virtual host; answer with ``accept_open`` or ``close``."""

    __slots__ = ("vhost",)
    __match_args__: ClassVar[tuple[str, ...]] = ("vhost",)

    def __init__(self, vhost: str) -> None:
        self.vhost: str = vhost


class ConnectionOpened(Event):
    """Both ends: channels may be opened now."""

    __slots__ = ()


class ConnectionEnded(Event):
    """The connection has ended; the owner still has to send the rest of ``data_to_send``.

    Attributes:
        reply_code: 200 for an ordinary end; 0 when the peer vanished or broke off the handshake.
        reply_text: Explanation.
        by_peer: Whether the peer closed; otherwise we did, or the peer broke the protocol.
    """

    __slots__ = ("by_peer", "reply_code", "reply_text")
    __match_args__: ClassVar[tuple[str, ...]] = (
        "reply_code",
        "reply_text",
        "by_peer",
    )

    def __init__(self, reply_code: int, reply_text: str, by_peer: bool) -> None:
        self.reply_code: int = reply_code
        self.reply_text: str = reply_text
        self.by_peer: bool = by_peer


class MethodReceived(Event):
    """A method without content on a channel (0 for the few connection methods that are reported)."""

    __slots__ = ("channel", "method")
    __match_args__: ClassVar[tuple[str, ...]] = (
        "channel",
        "method",
    )

    def __init__(self, channel: int, method: Method) -> None:
        self.channel: int = channel
        self.method: Method = method


class ContentReceived(Event):
    """A method with its content.

    Attributes:
        channel: Channel number.
        method: ``basic.publish``, ``deliver``, ``return`` or ``get-ok``.
        properties: Property flags and values as received; not decoded, so that a broken table harms only
            this one message.
        body: The body; ``None`` if it was larger than the limit, and was discarded.
        announced: Bytes of the body, as the content header says; only for one that was discarded.
    """

    __slots__ = ("announced", "body", "channel", "method", "properties")
    __match_args__: ClassVar[tuple[str, ...]] = (
        "channel",
        "method",
        "properties",
        "body",
        "announced",
    )

    def __init__(
        self, channel: int, method: Method, properties: bytes, body: bytes | None, announced: int = 0
    ) -> None:
        self.announced: int = announced
        self.channel: int = channel
        self.method: Method = method
        self.properties: bytes = properties
        self.body: bytes | None = body


class ChannelOpened(Event):
    """Client: the broker opened the channel."""

    __slots__ = ("channel",)
    __match_args__: ClassVar[tuple[str, ...]] = ("channel",)

    def __init__(self, channel: int) -> None:
        self.channel: int = channel


class ChannelEnded(Event):
    """A channel ended; its number is free again.

    Attributes:
        channel: Channel number.
        reply_code: 200 for an ordinary end.
        reply_text: Explanation.
        by_peer: Whether the peer closed it; otherwise we did.
    """

    __slots__ = ("by_peer", "channel", "reply_code", "reply_text")
    __match_args__: ClassVar[tuple[str, ...]] = (
        "channel",
        "reply_code",
        "reply_text",
        "by_peer",
    )

    def __init__(self, channel: int, reply_code: int, reply_text: str, by_peer: bool) -> None:
        self.channel: int = channel
        self.reply_code: int = reply_code
        self.reply_text: str = reply_text
        self.by_peer: bool = by_peer
