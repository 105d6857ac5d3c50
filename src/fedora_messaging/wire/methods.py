"""AMQP 0-9-1 methods with RabbitMQ's additions, one class each.

Written by tools/generate_methods.py; change the grammar there, not this file.
"""

import struct
from typing import Any, ClassVar, Final, Self

from ..exceptions import EncodingError
from .errors import NOT_IMPLEMENTED, SYNTAX_ERROR, WireError, truncated
from .fields import (
    decode_longstr,
    decode_shortstr,
    decode_table,
    encode_longstr,
    encode_shortstr,
    encode_table,
)
from .frames import METHOD, UNKNOWN_FRAME, frame_error

Table = dict[str, Any]
_KEY = struct.Struct(">HH")


def surplus(method: "type[Method]") -> WireError:
    """Bytes follow behind the arguments of a method."""
    return WireError(SYNTAX_ERROR, f"bytes follow after the arguments of {method.name}")


class Method:
    """One method; its class and method index are in ``key``.

    Attributes:
        key: (class index, method index).
        name: As in the specification, for example ``basic.publish``.
        has_content: A content header and body follow the method.
    """

    __slots__: tuple[str, ...] = ()
    __match_args__: ClassVar[tuple[str, ...]] = ()
    key: ClassVar[tuple[int, int]]
    name: ClassVar[str]
    has_content: ClassVar[bool] = False

    def encode(self) -> bytes:
        """Write the payload of a method frame, indexes included.

        Raises:
            EncodingError: A value does not fit its field.
        """
        try:
            return self._encode()
        except (struct.error, TypeError) as error:
            raise EncodingError(f"{self.name} has a value that AMQP cannot carry: {error}") from None

    def _encode(self) -> bytes:
        raise NotImplementedError  # every generated class has its own

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        """Read the arguments, which begin at ``offset``."""
        raise NotImplementedError  # every generated class has its own

    def __repr__(self) -> str:
        shown = ", ".join([f"{name}={getattr(self, name)!r}" for name in self.__match_args__])
        return f"{type(self).__name__}({shown})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__match_args__)


class ConnectionStart(Method):
    """connection.start."""

    __slots__ = (
        "version_major",
        "version_minor",
        "server_properties",
        "mechanisms",
        "locales",
    )
    __match_args__: ClassVar[tuple[str, ...]] = (
        "version_major",
        "version_minor",
        "server_properties",
        "mechanisms",
        "locales",
    )
    key: ClassVar[tuple[int, int]] = (10, 10)
    name: ClassVar[str] = "connection.start"

    def __init__(
        self,
        version_major: int = 0,
        version_minor: int = 0,
        server_properties: Table | None = None,
        mechanisms: bytes = b"",
        locales: bytes = b"",
    ) -> None:
        self.version_major: int = version_major
        self.version_minor: int = version_minor
        self.server_properties: Table = server_properties if server_properties is not None else {}
        self.mechanisms: bytes = mechanisms
        self.locales: bytes = locales

    def _encode(self) -> bytes:
        return b"".join(
            (
                b"\x00\n\x00\n",
                struct.pack(">BB", self.version_major, self.version_minor),
                encode_table(self.server_properties),
                encode_longstr(self.mechanisms),
                encode_longstr(self.locales),
            )
        )

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        version_major, version_minor = struct.unpack_from(">BB", data, offset)
        offset += 2
        server_properties, offset = decode_table(data, offset)
        mechanisms, offset = decode_longstr(data, offset)
        locales, offset = decode_longstr(data, offset)
        if offset != len(data):
            raise surplus(cls)
        return cls(version_major, version_minor, server_properties, mechanisms, locales)


class ConnectionStartOk(Method):
    """connection.start-ok."""

    __slots__ = (
        "client_properties",
        "mechanism",
        "response",
        "locale",
    )
    __match_args__: ClassVar[tuple[str, ...]] = (
        "client_properties",
        "mechanism",
        "response",
        "locale",
    )
    key: ClassVar[tuple[int, int]] = (10, 11)
    name: ClassVar[str] = "connection.start-ok"

    def __init__(
        self,
        client_properties: Table | None = None,
        mechanism: str = "",
        response: bytes = b"",
        locale: str = "",
    ) -> None:
        self.client_properties: Table = client_properties if client_properties is not None else {}
        self.mechanism: str = mechanism
        self.response: bytes = response
        self.locale: str = locale

    def _encode(self) -> bytes:
        return b"".join(
            (
                b"\x00\n\x00\x0b",
                encode_table(self.client_properties),
                encode_shortstr(self.mechanism),
                encode_longstr(self.response),
                encode_shortstr(self.locale),
            )
        )

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        client_properties, offset = decode_table(data, offset)
        mechanism, offset = decode_shortstr(data, offset)
        response, offset = decode_longstr(data, offset)
        locale, offset = decode_shortstr(data, offset)
        if offset != len(data):
            raise surplus(cls)
        return cls(client_properties, mechanism, response, locale)


class ConnectionSecure(Method):
    """connection.secure."""

    __slots__ = ("challenge",)
    __match_args__: ClassVar[tuple[str, ...]] = ("challenge",)
    key: ClassVar[tuple[int, int]] = (10, 20)
    name: ClassVar[str] = "connection.secure"

    def __init__(self, challenge: bytes = b"") -> None:
        self.challenge: bytes = challenge

    def _encode(self) -> bytes:
        return b"".join((b"\x00\n\x00\x14", encode_longstr(self.challenge)))

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        challenge, offset = decode_longstr(data, offset)
        if offset != len(data):
            raise surplus(cls)
        return cls(challenge)


class ConnectionSecureOk(Method):
    """connection.secure-ok."""

    __slots__ = ("response",)
    __match_args__: ClassVar[tuple[str, ...]] = ("response",)
    key: ClassVar[tuple[int, int]] = (10, 21)
    name: ClassVar[str] = "connection.secure-ok"

    def __init__(self, response: bytes = b"") -> None:
        self.response: bytes = response

    def _encode(self) -> bytes:
        return b"".join((b"\x00\n\x00\x15", encode_longstr(self.response)))

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        response, offset = decode_longstr(data, offset)
        if offset != len(data):
            raise surplus(cls)
        return cls(response)


class ConnectionTune(Method):
    """connection.tune."""

    __slots__ = (
        "channel_max",
        "frame_max",
        "heartbeat",
    )
    __match_args__: ClassVar[tuple[str, ...]] = (
        "channel_max",
        "frame_max",
        "heartbeat",
    )
    key: ClassVar[tuple[int, int]] = (10, 30)
    name: ClassVar[str] = "connection.tune"

    def __init__(self, channel_max: int = 0, frame_max: int = 0, heartbeat: int = 0) -> None:
        self.channel_max: int = channel_max
        self.frame_max: int = frame_max
        self.heartbeat: int = heartbeat

    def _encode(self) -> bytes:
        return b"".join(
            (b"\x00\n\x00\x1e", struct.pack(">HIH", self.channel_max, self.frame_max, self.heartbeat))
        )

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        channel_max, frame_max, heartbeat = struct.unpack_from(">HIH", data, offset)
        offset += 8
        if offset != len(data):
            raise surplus(cls)
        return cls(channel_max, frame_max, heartbeat)


class ConnectionTuneOk(Method):
    """connection.tune-ok."""

    __slots__ = (
        "channel_max",
        "frame_max",
        "heartbeat",
    )
    __match_args__: ClassVar[tuple[str, ...]] = (
        "channel_max",
        "frame_max",
        "heartbeat",
    )
    key: ClassVar[tuple[int, int]] = (10, 31)
    name: ClassVar[str] = "connection.tune-ok"

    def __init__(self, channel_max: int = 0, frame_max: int = 0, heartbeat: int = 0) -> None:
        self.channel_max: int = channel_max
        self.frame_max: int = frame_max
        self.heartbeat: int = heartbeat

    def _encode(self) -> bytes:
        return b"".join(
            (b"\x00\n\x00\x1f", struct.pack(">HIH", self.channel_max, self.frame_max, self.heartbeat))
        )

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        channel_max, frame_max, heartbeat = struct.unpack_from(">HIH", data, offset)
        offset += 8
        if offset != len(data):
            raise surplus(cls)
        return cls(channel_max, frame_max, heartbeat)


class ConnectionOpen(Method):
    """connection.open."""

    __slots__ = ("virtual_host",)
    __match_args__: ClassVar[tuple[str, ...]] = ("virtual_host",)
    key: ClassVar[tuple[int, int]] = (10, 40)
    name: ClassVar[str] = "connection.open"

    def __init__(self, virtual_host: str = "") -> None:
        self.virtual_host: str = virtual_host

    def _encode(self) -> bytes:
        return b"".join((b"\x00\n\x00(", encode_shortstr(self.virtual_host), b"\x00", bytes((0,))))

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        virtual_host, offset = decode_shortstr(data, offset)
        if offset < len(data):
            _, offset = decode_shortstr(data, offset)
        offset = min(offset + 1, len(data))
        if offset != len(data):
            raise surplus(cls)
        return cls(virtual_host)


class ConnectionOpenOk(Method):
    """connection.open-ok."""

    __slots__ = ()
    __match_args__: ClassVar[tuple[str, ...]] = ()
    key: ClassVar[tuple[int, int]] = (10, 41)
    name: ClassVar[str] = "connection.open-ok"

    def _encode(self) -> bytes:
        return b"".join((b"\x00\n\x00)", b"\x00"))

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        if offset < len(data):
            _, offset = decode_shortstr(data, offset)
        if offset != len(data):
            raise surplus(cls)
        return cls()


class ConnectionClose(Method):
    """connection.close."""

    __slots__ = (
        "reply_code",
        "reply_text",
        "class_id",
        "method_id",
    )
    __match_args__: ClassVar[tuple[str, ...]] = (
        "reply_code",
        "reply_text",
        "class_id",
        "method_id",
    )
    key: ClassVar[tuple[int, int]] = (10, 50)
    name: ClassVar[str] = "connection.close"

    def __init__(
        self, reply_code: int = 0, reply_text: str = "", class_id: int = 0, method_id: int = 0
    ) -> None:
        self.reply_code: int = reply_code
        self.reply_text: str = reply_text
        self.class_id: int = class_id
        self.method_id: int = method_id

    def _encode(self) -> bytes:
        return b"".join(
            (
                b"\x00\n\x002",
                struct.pack(">H", self.reply_code),
                encode_shortstr(self.reply_text),
                struct.pack(">HH", self.class_id, self.method_id),
            )
        )

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        (reply_code,) = struct.unpack_from(">H", data, offset)
        offset += 2
        reply_text, offset = decode_shortstr(data, offset)
        class_id, method_id = struct.unpack_from(">HH", data, offset)
        offset += 4
        if offset != len(data):
            raise surplus(cls)
        return cls(reply_code, reply_text, class_id, method_id)


class ConnectionCloseOk(Method):
    """connection.close-ok."""

    __slots__ = ()
    __match_args__: ClassVar[tuple[str, ...]] = ()
    key: ClassVar[tuple[int, int]] = (10, 51)
    name: ClassVar[str] = "connection.close-ok"

    def _encode(self) -> bytes:
        return b"\x00\n\x003"

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        if offset != len(data):
            raise surplus(cls)
        return cls()


class ConnectionBlocked(Method):
    """connection.blocked."""

    __slots__ = ("reason",)
    __match_args__: ClassVar[tuple[str, ...]] = ("reason",)
    key: ClassVar[tuple[int, int]] = (10, 60)
    name: ClassVar[str] = "connection.blocked"

    def __init__(self, reason: str = "") -> None:
        self.reason: str = reason

    def _encode(self) -> bytes:
        return b"".join((b"\x00\n\x00<", encode_shortstr(self.reason)))

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        reason, offset = decode_shortstr(data, offset)
        if offset != len(data):
            raise surplus(cls)
        return cls(reason)


class ConnectionUnblocked(Method):
    """connection.unblocked."""

    __slots__ = ()
    __match_args__: ClassVar[tuple[str, ...]] = ()
    key: ClassVar[tuple[int, int]] = (10, 61)
    name: ClassVar[str] = "connection.unblocked"

    def _encode(self) -> bytes:
        return b"\x00\n\x00="

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        if offset != len(data):
            raise surplus(cls)
        return cls()


class ConnectionUpdateSecret(Method):
    """connection.update-secret."""

    __slots__ = (
        "new_secret",
        "reason",
    )
    __match_args__: ClassVar[tuple[str, ...]] = (
        "new_secret",
        "reason",
    )
    key: ClassVar[tuple[int, int]] = (10, 70)
    name: ClassVar[str] = "connection.update-secret"

    def __init__(self, new_secret: bytes = b"", reason: str = "") -> None:
        self.new_secret: bytes = new_secret
        self.reason: str = reason

    def _encode(self) -> bytes:
        return b"".join((b"\x00\n\x00F", encode_longstr(self.new_secret), encode_shortstr(self.reason)))

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        new_secret, offset = decode_longstr(data, offset)
        reason, offset = decode_shortstr(data, offset)
        if offset != len(data):
            raise surplus(cls)
        return cls(new_secret, reason)


class ConnectionUpdateSecretOk(Method):
    """connection.update-secret-ok."""

    __slots__ = ()
    __match_args__: ClassVar[tuple[str, ...]] = ()
    key: ClassVar[tuple[int, int]] = (10, 71)
    name: ClassVar[str] = "connection.update-secret-ok"

    def _encode(self) -> bytes:
        return b"\x00\n\x00G"

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        if offset != len(data):
            raise surplus(cls)
        return cls()


class ChannelOpen(Method):
    """channel.open."""

    __slots__ = ()
    __match_args__: ClassVar[tuple[str, ...]] = ()
    key: ClassVar[tuple[int, int]] = (20, 10)
    name: ClassVar[str] = "channel.open"

    def _encode(self) -> bytes:
        return b"".join((b"\x00\x14\x00\n", b"\x00"))

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        if offset < len(data):
            _, offset = decode_shortstr(data, offset)
        if offset != len(data):
            raise surplus(cls)
        return cls()


class ChannelOpenOk(Method):
    """channel.open-ok."""

    __slots__ = ()
    __match_args__: ClassVar[tuple[str, ...]] = ()
    key: ClassVar[tuple[int, int]] = (20, 11)
    name: ClassVar[str] = "channel.open-ok"

    def _encode(self) -> bytes:
        return b"".join((b"\x00\x14\x00\x0b", b"\x00\x00\x00\x00"))

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        if offset < len(data):
            _, offset = decode_longstr(data, offset)
        if offset != len(data):
            raise surplus(cls)
        return cls()


class ChannelFlow(Method):
    """channel.flow."""

    __slots__ = ("active",)
    __match_args__: ClassVar[tuple[str, ...]] = ("active",)
    key: ClassVar[tuple[int, int]] = (20, 20)
    name: ClassVar[str] = "channel.flow"

    def __init__(self, active: bool = False) -> None:
        self.active: bool = active

    def _encode(self) -> bytes:
        return b"".join((b"\x00\x14\x00\x14", bytes((self.active,))))

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        bits = data[offset]
        offset += 1
        active = bits & 1 != 0
        if offset != len(data):
            raise surplus(cls)
        return cls(active)


class ChannelFlowOk(Method):
    """channel.flow-ok."""

    __slots__ = ("active",)
    __match_args__: ClassVar[tuple[str, ...]] = ("active",)
    key: ClassVar[tuple[int, int]] = (20, 21)
    name: ClassVar[str] = "channel.flow-ok"

    def __init__(self, active: bool = False) -> None:
        self.active: bool = active

    def _encode(self) -> bytes:
        return b"".join((b"\x00\x14\x00\x15", bytes((self.active,))))

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        bits = data[offset]
        offset += 1
        active = bits & 1 != 0
        if offset != len(data):
            raise surplus(cls)
        return cls(active)


class ChannelClose(Method):
    """channel.close."""

    __slots__ = (
        "reply_code",
        "reply_text",
        "class_id",
        "method_id",
    )
    __match_args__: ClassVar[tuple[str, ...]] = (
        "reply_code",
        "reply_text",
        "class_id",
        "method_id",
    )
    key: ClassVar[tuple[int, int]] = (20, 40)
    name: ClassVar[str] = "channel.close"

    def __init__(
        self, reply_code: int = 0, reply_text: str = "", class_id: int = 0, method_id: int = 0
    ) -> None:
        self.reply_code: int = reply_code
        self.reply_text: str = reply_text
        self.class_id: int = class_id
        self.method_id: int = method_id

    def _encode(self) -> bytes:
        return b"".join(
            (
                b"\x00\x14\x00(",
                struct.pack(">H", self.reply_code),
                encode_shortstr(self.reply_text),
                struct.pack(">HH", self.class_id, self.method_id),
            )
        )

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        (reply_code,) = struct.unpack_from(">H", data, offset)
        offset += 2
        reply_text, offset = decode_shortstr(data, offset)
        class_id, method_id = struct.unpack_from(">HH", data, offset)
        offset += 4
        if offset != len(data):
            raise surplus(cls)
        return cls(reply_code, reply_text, class_id, method_id)


class ChannelCloseOk(Method):
    """channel.close-ok."""

    __slots__ = ()
    __match_args__: ClassVar[tuple[str, ...]] = ()
    key: ClassVar[tuple[int, int]] = (20, 41)
    name: ClassVar[str] = "channel.close-ok"

    def _encode(self) -> bytes:
        return b"\x00\x14\x00)"

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        if offset != len(data):
            raise surplus(cls)
        return cls()


class ExchangeDeclare(Method):
    """exchange.declare."""

    __slots__ = (
        "exchange",
        "type",
        "passive",
        "durable",
        "auto_delete",
        "internal",
        "no_wait",
        "arguments",
    )
    __match_args__: ClassVar[tuple[str, ...]] = (
        "exchange",
        "type",
        "passive",
        "durable",
        "auto_delete",
        "internal",
        "no_wait",
        "arguments",
    )
    key: ClassVar[tuple[int, int]] = (40, 10)
    name: ClassVar[str] = "exchange.declare"

    def __init__(
        self,
        exchange: str = "",
        type: str = "",
        passive: bool = False,
        durable: bool = False,
        auto_delete: bool = False,
        internal: bool = False,
        no_wait: bool = False,
        arguments: Table | None = None,
    ) -> None:
        self.exchange: str = exchange
        self.type: str = type
        self.passive: bool = passive
        self.durable: bool = durable
        self.auto_delete: bool = auto_delete
        self.internal: bool = internal
        self.no_wait: bool = no_wait
        self.arguments: Table = arguments if arguments is not None else {}

    def _encode(self) -> bytes:
        return b"".join(
            (
                b"\x00(\x00\n",
                b"\x00\x00",
                encode_shortstr(self.exchange),
                encode_shortstr(self.type),
                bytes(
                    (
                        self.passive
                        | self.durable << 1
                        | self.auto_delete << 2
                        | self.internal << 3
                        | self.no_wait << 4,
                    )
                ),
                encode_table(self.arguments),
            )
        )

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        offset += 2
        exchange, offset = decode_shortstr(data, offset)
        type, offset = decode_shortstr(data, offset)
        bits = data[offset]
        offset += 1
        passive = bits & 1 != 0
        durable = bits & 2 != 0
        auto_delete = bits & 4 != 0
        internal = bits & 8 != 0
        no_wait = bits & 16 != 0
        arguments, offset = decode_table(data, offset)
        if offset != len(data):
            raise surplus(cls)
        return cls(exchange, type, passive, durable, auto_delete, internal, no_wait, arguments)


class ExchangeDeclareOk(Method):
    """exchange.declare-ok."""

    __slots__ = ()
    __match_args__: ClassVar[tuple[str, ...]] = ()
    key: ClassVar[tuple[int, int]] = (40, 11)
    name: ClassVar[str] = "exchange.declare-ok"

    def _encode(self) -> bytes:
        return b"\x00(\x00\x0b"

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        if offset != len(data):
            raise surplus(cls)
        return cls()


class ExchangeDelete(Method):
    """exchange.delete."""

    __slots__ = (
        "exchange",
        "if_unused",
        "no_wait",
    )
    __match_args__: ClassVar[tuple[str, ...]] = (
        "exchange",
        "if_unused",
        "no_wait",
    )
    key: ClassVar[tuple[int, int]] = (40, 20)
    name: ClassVar[str] = "exchange.delete"

    def __init__(self, exchange: str = "", if_unused: bool = False, no_wait: bool = False) -> None:
        self.exchange: str = exchange
        self.if_unused: bool = if_unused
        self.no_wait: bool = no_wait

    def _encode(self) -> bytes:
        return b"".join(
            (
                b"\x00(\x00\x14",
                b"\x00\x00",
                encode_shortstr(self.exchange),
                bytes((self.if_unused | self.no_wait << 1,)),
            )
        )

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        offset += 2
        exchange, offset = decode_shortstr(data, offset)
        bits = data[offset]
        offset += 1
        if_unused = bits & 1 != 0
        no_wait = bits & 2 != 0
        if offset != len(data):
            raise surplus(cls)
        return cls(exchange, if_unused, no_wait)


class ExchangeDeleteOk(Method):
    """exchange.delete-ok."""

    __slots__ = ()
    __match_args__: ClassVar[tuple[str, ...]] = ()
    key: ClassVar[tuple[int, int]] = (40, 21)
    name: ClassVar[str] = "exchange.delete-ok"

    def _encode(self) -> bytes:
        return b"\x00(\x00\x15"

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        if offset != len(data):
            raise surplus(cls)
        return cls()


class ExchangeBind(Method):
    """exchange.bind."""

    __slots__ = (
        "destination",
        "source",
        "routing_key",
        "no_wait",
        "arguments",
    )
    __match_args__: ClassVar[tuple[str, ...]] = (
        "destination",
        "source",
        "routing_key",
        "no_wait",
        "arguments",
    )
    key: ClassVar[tuple[int, int]] = (40, 30)
    name: ClassVar[str] = "exchange.bind"

    def __init__(
        self,
        destination: str = "",
        source: str = "",
        routing_key: str = "",
        no_wait: bool = False,
        arguments: Table | None = None,
    ) -> None:
        self.destination: str = destination
        self.source: str = source
        self.routing_key: str = routing_key
        self.no_wait: bool = no_wait
        self.arguments: Table = arguments if arguments is not None else {}

    def _encode(self) -> bytes:
        return b"".join(
            (
                b"\x00(\x00\x1e",
                b"\x00\x00",
                encode_shortstr(self.destination),
                encode_shortstr(self.source),
                encode_shortstr(self.routing_key),
                bytes((self.no_wait,)),
                encode_table(self.arguments),
            )
        )

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        offset += 2
        destination, offset = decode_shortstr(data, offset)
        source, offset = decode_shortstr(data, offset)
        routing_key, offset = decode_shortstr(data, offset)
        bits = data[offset]
        offset += 1
        no_wait = bits & 1 != 0
        arguments, offset = decode_table(data, offset)
        if offset != len(data):
            raise surplus(cls)
        return cls(destination, source, routing_key, no_wait, arguments)


class ExchangeBindOk(Method):
    """exchange.bind-ok."""

    __slots__ = ()
    __match_args__: ClassVar[tuple[str, ...]] = ()
    key: ClassVar[tuple[int, int]] = (40, 31)
    name: ClassVar[str] = "exchange.bind-ok"

    def _encode(self) -> bytes:
        return b"\x00(\x00\x1f"

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        if offset != len(data):
            raise surplus(cls)
        return cls()


class ExchangeUnbind(Method):
    """exchange.unbind."""

    __slots__ = (
        "destination",
        "source",
        "routing_key",
        "no_wait",
        "arguments",
    )
    __match_args__: ClassVar[tuple[str, ...]] = (
        "destination",
        "source",
        "routing_key",
        "no_wait",
        "arguments",
    )
    key: ClassVar[tuple[int, int]] = (40, 40)
    name: ClassVar[str] = "exchange.unbind"

    def __init__(
        self,
        destination: str = "",
        source: str = "",
        routing_key: str = "",
        no_wait: bool = False,
        arguments: Table | None = None,
    ) -> None:
        self.destination: str = destination
        self.source: str = source
        self.routing_key: str = routing_key
        self.no_wait: bool = no_wait
        self.arguments: Table = arguments if arguments is not None else {}

    def _encode(self) -> bytes:
        return b"".join(
            (
                b"\x00(\x00(",
                b"\x00\x00",
                encode_shortstr(self.destination),
                encode_shortstr(self.source),
                encode_shortstr(self.routing_key),
                bytes((self.no_wait,)),
                encode_table(self.arguments),
            )
        )

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        offset += 2
        destination, offset = decode_shortstr(data, offset)
        source, offset = decode_shortstr(data, offset)
        routing_key, offset = decode_shortstr(data, offset)
        bits = data[offset]
        offset += 1
        no_wait = bits & 1 != 0
        arguments, offset = decode_table(data, offset)
        if offset != len(data):
            raise surplus(cls)
        return cls(destination, source, routing_key, no_wait, arguments)


class ExchangeUnbindOk(Method):
    """exchange.unbind-ok."""

    __slots__ = ()
    __match_args__: ClassVar[tuple[str, ...]] = ()
    key: ClassVar[tuple[int, int]] = (40, 51)
    name: ClassVar[str] = "exchange.unbind-ok"

    def _encode(self) -> bytes:
        return b"\x00(\x003"

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        if offset != len(data):
            raise surplus(cls)
        return cls()


class QueueDeclare(Method):
    """queue.declare."""

    __slots__ = (
        "queue",
        "passive",
        "durable",
        "exclusive",
        "auto_delete",
        "no_wait",
        "arguments",
    )
    __match_args__: ClassVar[tuple[str, ...]] = (
        "queue",
        "passive",
        "durable",
        "exclusive",
        "auto_delete",
        "no_wait",
        "arguments",
    )
    key: ClassVar[tuple[int, int]] = (50, 10)
    name: ClassVar[str] = "queue.declare"

    def __init__(
        self,
        queue: str = "",
        passive: bool = False,
        durable: bool = False,
        exclusive: bool = False,
        auto_delete: bool = False,
        no_wait: bool = False,
        arguments: Table | None = None,
    ) -> None:
        self.queue: str = queue
        self.passive: bool = passive
        self.durable: bool = durable
        self.exclusive: bool = exclusive
        self.auto_delete: bool = auto_delete
        self.no_wait: bool = no_wait
        self.arguments: Table = arguments if arguments is not None else {}

    def _encode(self) -> bytes:
        return b"".join(
            (
                b"\x002\x00\n",
                b"\x00\x00",
                encode_shortstr(self.queue),
                bytes(
                    (
                        self.passive
                        | self.durable << 1
                        | self.exclusive << 2
                        | self.auto_delete << 3
                        | self.no_wait << 4,
                    )
                ),
                encode_table(self.arguments),
            )
        )

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        offset += 2
        queue, offset = decode_shortstr(data, offset)
        bits = data[offset]
        offset += 1
        passive = bits & 1 != 0
        durable = bits & 2 != 0
        exclusive = bits & 4 != 0
        auto_delete = bits & 8 != 0
        no_wait = bits & 16 != 0
        arguments, offset = decode_table(data, offset)
        if offset != len(data):
            raise surplus(cls)
        return cls(queue, passive, durable, exclusive, auto_delete, no_wait, arguments)


class QueueDeclareOk(Method):
    """queue.declare-ok."""

    __slots__ = (
        "queue",
        "message_count",
        "consumer_count",
    )
    __match_args__: ClassVar[tuple[str, ...]] = (
        "queue",
        "message_count",
        "consumer_count",
    )
    key: ClassVar[tuple[int, int]] = (50, 11)
    name: ClassVar[str] = "queue.declare-ok"

    def __init__(self, queue: str = "", message_count: int = 0, consumer_count: int = 0) -> None:
        self.queue: str = queue
        self.message_count: int = message_count
        self.consumer_count: int = consumer_count

    def _encode(self) -> bytes:
        return b"".join(
            (
                b"\x002\x00\x0b",
                encode_shortstr(self.queue),
                struct.pack(">II", self.message_count, self.consumer_count),
            )
        )

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        queue, offset = decode_shortstr(data, offset)
        message_count, consumer_count = struct.unpack_from(">II", data, offset)
        offset += 8
        if offset != len(data):
            raise surplus(cls)
        return cls(queue, message_count, consumer_count)


class QueueBind(Method):
    """queue.bind."""

    __slots__ = (
        "queue",
        "exchange",
        "routing_key",
        "no_wait",
        "arguments",
    )
    __match_args__: ClassVar[tuple[str, ...]] = (
        "queue",
        "exchange",
        "routing_key",
        "no_wait",
        "arguments",
    )
    key: ClassVar[tuple[int, int]] = (50, 20)
    name: ClassVar[str] = "queue.bind"

    def __init__(
        self,
        queue: str = "",
        exchange: str = "",
        routing_key: str = "",
        no_wait: bool = False,
        arguments: Table | None = None,
    ) -> None:
        self.queue: str = queue
        self.exchange: str = exchange
        self.routing_key: str = routing_key
        self.no_wait: bool = no_wait
        self.arguments: Table = arguments if arguments is not None else {}

    def _encode(self) -> bytes:
        return b"".join(
            (
                b"\x002\x00\x14",
                b"\x00\x00",
                encode_shortstr(self.queue),
                encode_shortstr(self.exchange),
                encode_shortstr(self.routing_key),
                bytes((self.no_wait,)),
                encode_table(self.arguments),
            )
        )

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        offset += 2
        queue, offset = decode_shortstr(data, offset)
        exchange, offset = decode_shortstr(data, offset)
        routing_key, offset = decode_shortstr(data, offset)
        bits = data[offset]
        offset += 1
        no_wait = bits & 1 != 0
        arguments, offset = decode_table(data, offset)
        if offset != len(data):
            raise surplus(cls)
        return cls(queue, exchange, routing_key, no_wait, arguments)


class QueueBindOk(Method):
    """queue.bind-ok."""

    __slots__ = ()
    __match_args__: ClassVar[tuple[str, ...]] = ()
    key: ClassVar[tuple[int, int]] = (50, 21)
    name: ClassVar[str] = "queue.bind-ok"

    def _encode(self) -> bytes:
        return b"\x002\x00\x15"

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        if offset != len(data):
            raise surplus(cls)
        return cls()


class QueuePurge(Method):
    """queue.purge."""

    __slots__ = (
        "queue",
        "no_wait",
    )
    __match_args__: ClassVar[tuple[str, ...]] = (
        "queue",
        "no_wait",
    )
    key: ClassVar[tuple[int, int]] = (50, 30)
    name: ClassVar[str] = "queue.purge"

    def __init__(self, queue: str = "", no_wait: bool = False) -> None:
        self.queue: str = queue
        self.no_wait: bool = no_wait

    def _encode(self) -> bytes:
        return b"".join((b"\x002\x00\x1e", b"\x00\x00", encode_shortstr(self.queue), bytes((self.no_wait,))))

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        offset += 2
        queue, offset = decode_shortstr(data, offset)
        bits = data[offset]
        offset += 1
        no_wait = bits & 1 != 0
        if offset != len(data):
            raise surplus(cls)
        return cls(queue, no_wait)


class QueuePurgeOk(Method):
    """queue.purge-ok."""

    __slots__ = ("message_count",)
    __match_args__: ClassVar[tuple[str, ...]] = ("message_count",)
    key: ClassVar[tuple[int, int]] = (50, 31)
    name: ClassVar[str] = "queue.purge-ok"

    def __init__(self, message_count: int = 0) -> None:
        self.message_count: int = message_count

    def _encode(self) -> bytes:
        return b"".join((b"\x002\x00\x1f", struct.pack(">I", self.message_count)))

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        (message_count,) = struct.unpack_from(">I", data, offset)
        offset += 4
        if offset != len(data):
            raise surplus(cls)
        return cls(message_count)


class QueueDelete(Method):
    """queue.delete."""

    __slots__ = (
        "queue",
        "if_unused",
        "if_empty",
        "no_wait",
    )
    __match_args__: ClassVar[tuple[str, ...]] = (
        "queue",
        "if_unused",
        "if_empty",
        "no_wait",
    )
    key: ClassVar[tuple[int, int]] = (50, 40)
    name: ClassVar[str] = "queue.delete"

    def __init__(
        self, queue: str = "", if_unused: bool = False, if_empty: bool = False, no_wait: bool = False
    ) -> None:
        self.queue: str = queue
        self.if_unused: bool = if_unused
        self.if_empty: bool = if_empty
        self.no_wait: bool = no_wait

    def _encode(self) -> bytes:
        return b"".join(
            (
                b"\x002\x00(",
                b"\x00\x00",
                encode_shortstr(self.queue),
                bytes((self.if_unused | self.if_empty << 1 | self.no_wait << 2,)),
            )
        )

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        offset += 2
        queue, offset = decode_shortstr(data, offset)
        bits = data[offset]
        offset += 1
        if_unused = bits & 1 != 0
        if_empty = bits & 2 != 0
        no_wait = bits & 4 != 0
        if offset != len(data):
            raise surplus(cls)
        return cls(queue, if_unused, if_empty, no_wait)


class QueueDeleteOk(Method):
    """queue.delete-ok."""

    __slots__ = ("message_count",)
    __match_args__: ClassVar[tuple[str, ...]] = ("message_count",)
    key: ClassVar[tuple[int, int]] = (50, 41)
    name: ClassVar[str] = "queue.delete-ok"

    def __init__(self, message_count: int = 0) -> None:
        self.message_count: int = message_count

    def _encode(self) -> bytes:
        return b"".join((b"\x002\x00)", struct.pack(">I", self.message_count)))

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        (message_count,) = struct.unpack_from(">I", data, offset)
        offset += 4
        if offset != len(data):
            raise surplus(cls)
        return cls(message_count)


class QueueUnbind(Method):
    """queue.unbind."""

    __slots__ = (
        "queue",
        "exchange",
        "routing_key",
        "arguments",
    )
    __match_args__: ClassVar[tuple[str, ...]] = (
        "queue",
        "exchange",
        "routing_key",
        "arguments",
    )
    key: ClassVar[tuple[int, int]] = (50, 50)
    name: ClassVar[str] = "queue.unbind"

    def __init__(
        self, queue: str = "", exchange: str = "", routing_key: str = "", arguments: Table | None = None
    ) -> None:
        self.queue: str = queue
        self.exchange: str = exchange
        self.routing_key: str = routing_key
        self.arguments: Table = arguments if arguments is not None else {}

    def _encode(self) -> bytes:
        return b"".join(
            (
                b"\x002\x002",
                b"\x00\x00",
                encode_shortstr(self.queue),
                encode_shortstr(self.exchange),
                encode_shortstr(self.routing_key),
                encode_table(self.arguments),
            )
        )

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        offset += 2
        queue, offset = decode_shortstr(data, offset)
        exchange, offset = decode_shortstr(data, offset)
        routing_key, offset = decode_shortstr(data, offset)
        arguments, offset = decode_table(data, offset)
        if offset != len(data):
            raise surplus(cls)
        return cls(queue, exchange, routing_key, arguments)


class QueueUnbindOk(Method):
    """queue.unbind-ok."""

    __slots__ = ()
    __match_args__: ClassVar[tuple[str, ...]] = ()
    key: ClassVar[tuple[int, int]] = (50, 51)
    name: ClassVar[str] = "queue.unbind-ok"

    def _encode(self) -> bytes:
        return b"\x002\x003"

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        if offset != len(data):
            raise surplus(cls)
        return cls()


class BasicQos(Method):
    """basic.qos."""

    __slots__ = (
        "prefetch_size",
        "prefetch_count",
        "global_",
    )
    __match_args__: ClassVar[tuple[str, ...]] = (
        "prefetch_size",
        "prefetch_count",
        "global_",
    )
    key: ClassVar[tuple[int, int]] = (60, 10)
    name: ClassVar[str] = "basic.qos"

    def __init__(self, prefetch_size: int = 0, prefetch_count: int = 0, global_: bool = False) -> None:
        self.prefetch_size: int = prefetch_size
        self.prefetch_count: int = prefetch_count
        self.global_: bool = global_

    def _encode(self) -> bytes:
        return b"".join(
            (
                b"\x00<\x00\n",
                struct.pack(">IH", self.prefetch_size, self.prefetch_count),
                bytes((self.global_,)),
            )
        )

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        prefetch_size, prefetch_count = struct.unpack_from(">IH", data, offset)
        offset += 6
        bits = data[offset]
        offset += 1
        global_ = bits & 1 != 0
        if offset != len(data):
            raise surplus(cls)
        return cls(prefetch_size, prefetch_count, global_)


class BasicQosOk(Method):
    """basic.qos-ok."""

    __slots__ = ()
    __match_args__: ClassVar[tuple[str, ...]] = ()
    key: ClassVar[tuple[int, int]] = (60, 11)
    name: ClassVar[str] = "basic.qos-ok"

    def _encode(self) -> bytes:
        return b"\x00<\x00\x0b"

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        if offset != len(data):
            raise surplus(cls)
        return cls()


class BasicConsume(Method):
    """basic.consume."""

    __slots__ = (
        "queue",
        "consumer_tag",
        "no_local",
        "no_ack",
        "exclusive",
        "no_wait",
        "arguments",
    )
    __match_args__: ClassVar[tuple[str, ...]] = (
        "queue",
        "consumer_tag",
        "no_local",
        "no_ack",
        "exclusive",
        "no_wait",
        "arguments",
    )
    key: ClassVar[tuple[int, int]] = (60, 20)
    name: ClassVar[str] = "basic.consume"

    def __init__(
        self,
        queue: str = "",
        consumer_tag: str = "",
        no_local: bool = False,
        no_ack: bool = False,
        exclusive: bool = False,
        no_wait: bool = False,
        arguments: Table | None = None,
    ) -> None:
        self.queue: str = queue
        self.consumer_tag: str = consumer_tag
        self.no_local: bool = no_local
        self.no_ack: bool = no_ack
        self.exclusive: bool = exclusive
        self.no_wait: bool = no_wait
        self.arguments: Table = arguments if arguments is not None else {}

    def _encode(self) -> bytes:
        return b"".join(
            (
                b"\x00<\x00\x14",
                b"\x00\x00",
                encode_shortstr(self.queue),
                encode_shortstr(self.consumer_tag),
                bytes((self.no_local | self.no_ack << 1 | self.exclusive << 2 | self.no_wait << 3,)),
                encode_table(self.arguments),
            )
        )

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        offset += 2
        queue, offset = decode_shortstr(data, offset)
        consumer_tag, offset = decode_shortstr(data, offset)
        bits = data[offset]
        offset += 1
        no_local = bits & 1 != 0
        no_ack = bits & 2 != 0
        exclusive = bits & 4 != 0
        no_wait = bits & 8 != 0
        arguments, offset = decode_table(data, offset)
        if offset != len(data):
            raise surplus(cls)
        return cls(queue, consumer_tag, no_local, no_ack, exclusive, no_wait, arguments)


class BasicConsumeOk(Method):
    """basic.consume-ok."""

    __slots__ = ("consumer_tag",)
    __match_args__: ClassVar[tuple[str, ...]] = ("consumer_tag",)
    key: ClassVar[tuple[int, int]] = (60, 21)
    name: ClassVar[str] = "basic.consume-ok"

    def __init__(self, consumer_tag: str = "") -> None:
        self.consumer_tag: str = consumer_tag

    def _encode(self) -> bytes:
        return b"".join((b"\x00<\x00\x15", encode_shortstr(self.consumer_tag)))

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        consumer_tag, offset = decode_shortstr(data, offset)
        if offset != len(data):
            raise surplus(cls)
        return cls(consumer_tag)


class BasicCancel(Method):
    """basic.cancel."""

    __slots__ = (
        "consumer_tag",
        "no_wait",
    )
    __match_args__: ClassVar[tuple[str, ...]] = (
        "consumer_tag",
        "no_wait",
    )
    key: ClassVar[tuple[int, int]] = (60, 30)
    name: ClassVar[str] = "basic.cancel"

    def __init__(self, consumer_tag: str = "", no_wait: bool = False) -> None:
        self.consumer_tag: str = consumer_tag
        self.no_wait: bool = no_wait

    def _encode(self) -> bytes:
        return b"".join((b"\x00<\x00\x1e", encode_shortstr(self.consumer_tag), bytes((self.no_wait,))))

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        consumer_tag, offset = decode_shortstr(data, offset)
        bits = data[offset]
        offset += 1
        no_wait = bits & 1 != 0
        if offset != len(data):
            raise surplus(cls)
        return cls(consumer_tag, no_wait)


class BasicCancelOk(Method):
    """basic.cancel-ok."""

    __slots__ = ("consumer_tag",)
    __match_args__: ClassVar[tuple[str, ...]] = ("consumer_tag",)
    key: ClassVar[tuple[int, int]] = (60, 31)
    name: ClassVar[str] = "basic.cancel-ok"

    def __init__(self, consumer_tag: str = "") -> None:
        self.consumer_tag: str = consumer_tag

    def _encode(self) -> bytes:
        return b"".join((b"\x00<\x00\x1f", encode_shortstr(self.consumer_tag)))

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        consumer_tag, offset = decode_shortstr(data, offset)
        if offset != len(data):
            raise surplus(cls)
        return cls(consumer_tag)


class BasicPublish(Method):
    """basic.publish."""

    __slots__ = (
        "exchange",
        "routing_key",
        "mandatory",
        "immediate",
    )
    __match_args__: ClassVar[tuple[str, ...]] = (
        "exchange",
        "routing_key",
        "mandatory",
        "immediate",
    )
    key: ClassVar[tuple[int, int]] = (60, 40)
    name: ClassVar[str] = "basic.publish"
    has_content: ClassVar[bool] = True

    def __init__(
        self, exchange: str = "", routing_key: str = "", mandatory: bool = False, immediate: bool = False
    ) -> None:
        self.exchange: str = exchange
        self.routing_key: str = routing_key
        self.mandatory: bool = mandatory
        self.immediate: bool = immediate

    def _encode(self) -> bytes:
        return b"".join(
            (
                b"\x00<\x00(",
                b"\x00\x00",
                encode_shortstr(self.exchange),
                encode_shortstr(self.routing_key),
                bytes((self.mandatory | self.immediate << 1,)),
            )
        )

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        offset += 2
        exchange, offset = decode_shortstr(data, offset)
        routing_key, offset = decode_shortstr(data, offset)
        bits = data[offset]
        offset += 1
        mandatory = bits & 1 != 0
        immediate = bits & 2 != 0
        if offset != len(data):
            raise surplus(cls)
        return cls(exchange, routing_key, mandatory, immediate)


class BasicReturn(Method):
    """basic.return."""

    __slots__ = (
        "reply_code",
        "reply_text",
        "exchange",
        "routing_key",
    )
    __match_args__: ClassVar[tuple[str, ...]] = (
        "reply_code",
        "reply_text",
        "exchange",
        "routing_key",
    )
    key: ClassVar[tuple[int, int]] = (60, 50)
    name: ClassVar[str] = "basic.return"
    has_content: ClassVar[bool] = True

    def __init__(
        self, reply_code: int = 0, reply_text: str = "", exchange: str = "", routing_key: str = ""
    ) -> None:
        self.reply_code: int = reply_code
        self.reply_text: str = reply_text
        self.exchange: str = exchange
        self.routing_key: str = routing_key

    def _encode(self) -> bytes:
        return b"".join(
            (
                b"\x00<\x002",
                struct.pack(">H", self.reply_code),
                encode_shortstr(self.reply_text),
                encode_shortstr(self.exchange),
                encode_shortstr(self.routing_key),
            )
        )

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        (reply_code,) = struct.unpack_from(">H", data, offset)
        offset += 2
        reply_text, offset = decode_shortstr(data, offset)
        exchange, offset = decode_shortstr(data, offset)
        routing_key, offset = decode_shortstr(data, offset)
        if offset != len(data):
            raise surplus(cls)
        return cls(reply_code, reply_text, exchange, routing_key)


class BasicDeliver(Method):
    """basic.deliver."""

    __slots__ = (
        "consumer_tag",
        "delivery_tag",
        "redelivered",
        "exchange",
        "routing_key",
    )
    __match_args__: ClassVar[tuple[str, ...]] = (
        "consumer_tag",
        "delivery_tag",
        "redelivered",
        "exchange",
        "routing_key",
    )
    key: ClassVar[tuple[int, int]] = (60, 60)
    name: ClassVar[str] = "basic.deliver"
    has_content: ClassVar[bool] = True

    def __init__(
        self,
        consumer_tag: str = "",
        delivery_tag: int = 0,
        redelivered: bool = False,
        exchange: str = "",
        routing_key: str = "",
    ) -> None:
        self.consumer_tag: str = consumer_tag
        self.delivery_tag: int = delivery_tag
        self.redelivered: bool = redelivered
        self.exchange: str = exchange
        self.routing_key: str = routing_key

    def _encode(self) -> bytes:
        return b"".join(
            (
                b"\x00<\x00<",
                encode_shortstr(self.consumer_tag),
                struct.pack(">Q", self.delivery_tag),
                bytes((self.redelivered,)),
                encode_shortstr(self.exchange),
                encode_shortstr(self.routing_key),
            )
        )

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        consumer_tag, offset = decode_shortstr(data, offset)
        (delivery_tag,) = struct.unpack_from(">Q", data, offset)
        offset += 8
        bits = data[offset]
        offset += 1
        redelivered = bits & 1 != 0
        exchange, offset = decode_shortstr(data, offset)
        routing_key, offset = decode_shortstr(data, offset)
        if offset != len(data):
            raise surplus(cls)
        return cls(consumer_tag, delivery_tag, redelivered, exchange, routing_key)


class BasicGet(Method):
    """basic.get."""

    __slots__ = (
        "queue",
        "no_ack",
    )
    __match_args__: ClassVar[tuple[str, ...]] = (
        "queue",
        "no_ack",
    )
    key: ClassVar[tuple[int, int]] = (60, 70)
    name: ClassVar[str] = "basic.get"

    def __init__(self, queue: str = "", no_ack: bool = False) -> None:
        self.queue: str = queue
        self.no_ack: bool = no_ack

    def _encode(self) -> bytes:
        return b"".join((b"\x00<\x00F", b"\x00\x00", encode_shortstr(self.queue), bytes((self.no_ack,))))

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        offset += 2
        queue, offset = decode_shortstr(data, offset)
        bits = data[offset]
        offset += 1
        no_ack = bits & 1 != 0
        if offset != len(data):
            raise surplus(cls)
        return cls(queue, no_ack)


class BasicGetOk(Method):
    """basic.get-ok."""

    __slots__ = (
        "delivery_tag",
        "redelivered",
        "exchange",
        "routing_key",
        "message_count",
    )
    __match_args__: ClassVar[tuple[str, ...]] = (
        "delivery_tag",
        "redelivered",
        "exchange",
        "routing_key",
        "message_count",
    )
    key: ClassVar[tuple[int, int]] = (60, 71)
    name: ClassVar[str] = "basic.get-ok"
    has_content: ClassVar[bool] = True

    def __init__(
        self,
        delivery_tag: int = 0,
        redelivered: bool = False,
        exchange: str = "",
        routing_key: str = "",
        message_count: int = 0,
    ) -> None:
        self.delivery_tag: int = delivery_tag
        self.redelivered: bool = redelivered
        self.exchange: str = exchange
        self.routing_key: str = routing_key
        self.message_count: int = message_count

    def _encode(self) -> bytes:
        return b"".join(
            (
                b"\x00<\x00G",
                struct.pack(">Q", self.delivery_tag),
                bytes((self.redelivered,)),
                encode_shortstr(self.exchange),
                encode_shortstr(self.routing_key),
                struct.pack(">I", self.message_count),
            )
        )

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        (delivery_tag,) = struct.unpack_from(">Q", data, offset)
        offset += 8
        bits = data[offset]
        offset += 1
        redelivered = bits & 1 != 0
        exchange, offset = decode_shortstr(data, offset)
        routing_key, offset = decode_shortstr(data, offset)
        (message_count,) = struct.unpack_from(">I", data, offset)
        offset += 4
        if offset != len(data):
            raise surplus(cls)
        return cls(delivery_tag, redelivered, exchange, routing_key, message_count)


class BasicGetEmpty(Method):
    """basic.get-empty."""

    __slots__ = ()
    __match_args__: ClassVar[tuple[str, ...]] = ()
    key: ClassVar[tuple[int, int]] = (60, 72)
    name: ClassVar[str] = "basic.get-empty"

    def _encode(self) -> bytes:
        return b"".join((b"\x00<\x00H", b"\x00"))

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        if offset < len(data):
            _, offset = decode_shortstr(data, offset)
        if offset != len(data):
            raise surplus(cls)
        return cls()


class BasicAck(Method):
    """basic.ack."""

    __slots__ = (
        "delivery_tag",
        "multiple",
    )
    __match_args__: ClassVar[tuple[str, ...]] = (
        "delivery_tag",
        "multiple",
    )
    key: ClassVar[tuple[int, int]] = (60, 80)
    name: ClassVar[str] = "basic.ack"

    def __init__(self, delivery_tag: int = 0, multiple: bool = False) -> None:
        self.delivery_tag: int = delivery_tag
        self.multiple: bool = multiple

    def _encode(self) -> bytes:
        return b"".join((b"\x00<\x00P", struct.pack(">Q", self.delivery_tag), bytes((self.multiple,))))

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        (delivery_tag,) = struct.unpack_from(">Q", data, offset)
        offset += 8
        bits = data[offset]
        offset += 1
        multiple = bits & 1 != 0
        if offset != len(data):
            raise surplus(cls)
        return cls(delivery_tag, multiple)


class BasicReject(Method):
    """basic.reject."""

    __slots__ = (
        "delivery_tag",
        "requeue",
    )
    __match_args__: ClassVar[tuple[str, ...]] = (
        "delivery_tag",
        "requeue",
    )
    key: ClassVar[tuple[int, int]] = (60, 90)
    name: ClassVar[str] = "basic.reject"

    def __init__(self, delivery_tag: int = 0, requeue: bool = False) -> None:
        self.delivery_tag: int = delivery_tag
        self.requeue: bool = requeue

    def _encode(self) -> bytes:
        return b"".join((b"\x00<\x00Z", struct.pack(">Q", self.delivery_tag), bytes((self.requeue,))))

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        (delivery_tag,) = struct.unpack_from(">Q", data, offset)
        offset += 8
        bits = data[offset]
        offset += 1
        requeue = bits & 1 != 0
        if offset != len(data):
            raise surplus(cls)
        return cls(delivery_tag, requeue)


class BasicRecoverAsync(Method):
    """basic.recover-async."""

    __slots__ = ("requeue",)
    __match_args__: ClassVar[tuple[str, ...]] = ("requeue",)
    key: ClassVar[tuple[int, int]] = (60, 100)
    name: ClassVar[str] = "basic.recover-async"

    def __init__(self, requeue: bool = False) -> None:
        self.requeue: bool = requeue

    def _encode(self) -> bytes:
        return b"".join((b"\x00<\x00d", bytes((self.requeue,))))

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        bits = data[offset]
        offset += 1
        requeue = bits & 1 != 0
        if offset != len(data):
            raise surplus(cls)
        return cls(requeue)


class BasicRecover(Method):
    """basic.recover."""

    __slots__ = ("requeue",)
    __match_args__: ClassVar[tuple[str, ...]] = ("requeue",)
    key: ClassVar[tuple[int, int]] = (60, 110)
    name: ClassVar[str] = "basic.recover"

    def __init__(self, requeue: bool = False) -> None:
        self.requeue: bool = requeue

    def _encode(self) -> bytes:
        return b"".join((b"\x00<\x00n", bytes((self.requeue,))))

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        bits = data[offset]
        offset += 1
        requeue = bits & 1 != 0
        if offset != len(data):
            raise surplus(cls)
        return cls(requeue)


class BasicRecoverOk(Method):
    """basic.recover-ok."""

    __slots__ = ()
    __match_args__: ClassVar[tuple[str, ...]] = ()
    key: ClassVar[tuple[int, int]] = (60, 111)
    name: ClassVar[str] = "basic.recover-ok"

    def _encode(self) -> bytes:
        return b"\x00<\x00o"

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        if offset != len(data):
            raise surplus(cls)
        return cls()


class BasicNack(Method):
    """basic.nack."""

    __slots__ = (
        "delivery_tag",
        "multiple",
        "requeue",
    )
    __match_args__: ClassVar[tuple[str, ...]] = (
        "delivery_tag",
        "multiple",
        "requeue",
    )
    key: ClassVar[tuple[int, int]] = (60, 120)
    name: ClassVar[str] = "basic.nack"

    def __init__(self, delivery_tag: int = 0, multiple: bool = False, requeue: bool = False) -> None:
        self.delivery_tag: int = delivery_tag
        self.multiple: bool = multiple
        self.requeue: bool = requeue

    def _encode(self) -> bytes:
        return b"".join(
            (b"\x00<\x00x", struct.pack(">Q", self.delivery_tag), bytes((self.multiple | self.requeue << 1,)))
        )

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        (delivery_tag,) = struct.unpack_from(">Q", data, offset)
        offset += 8
        bits = data[offset]
        offset += 1
        multiple = bits & 1 != 0
        requeue = bits & 2 != 0
        if offset != len(data):
            raise surplus(cls)
        return cls(delivery_tag, multiple, requeue)


class ConfirmSelect(Method):
    """confirm.select."""

    __slots__ = ("no_wait",)
    __match_args__: ClassVar[tuple[str, ...]] = ("no_wait",)
    key: ClassVar[tuple[int, int]] = (85, 10)
    name: ClassVar[str] = "confirm.select"

    def __init__(self, no_wait: bool = False) -> None:
        self.no_wait: bool = no_wait

    def _encode(self) -> bytes:
        return b"".join((b"\x00U\x00\n", bytes((self.no_wait,))))

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        bits = data[offset]
        offset += 1
        no_wait = bits & 1 != 0
        if offset != len(data):
            raise surplus(cls)
        return cls(no_wait)


class ConfirmSelectOk(Method):
    """confirm.select-ok."""

    __slots__ = ()
    __match_args__: ClassVar[tuple[str, ...]] = ()
    key: ClassVar[tuple[int, int]] = (85, 11)
    name: ClassVar[str] = "confirm.select-ok"

    def _encode(self) -> bytes:
        return b"\x00U\x00\x0b"

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        if offset != len(data):
            raise surplus(cls)
        return cls()


class TxSelect(Method):
    """tx.select."""

    __slots__ = ()
    __match_args__: ClassVar[tuple[str, ...]] = ()
    key: ClassVar[tuple[int, int]] = (90, 10)
    name: ClassVar[str] = "tx.select"

    def _encode(self) -> bytes:
        return b"\x00Z\x00\n"

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        if offset != len(data):
            raise surplus(cls)
        return cls()


class TxSelectOk(Method):
    """tx.select-ok."""

    __slots__ = ()
    __match_args__: ClassVar[tuple[str, ...]] = ()
    key: ClassVar[tuple[int, int]] = (90, 11)
    name: ClassVar[str] = "tx.select-ok"

    def _encode(self) -> bytes:
        return b"\x00Z\x00\x0b"

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        if offset != len(data):
            raise surplus(cls)
        return cls()


class TxCommit(Method):
    """tx.commit."""

    __slots__ = ()
    __match_args__: ClassVar[tuple[str, ...]] = ()
    key: ClassVar[tuple[int, int]] = (90, 20)
    name: ClassVar[str] = "tx.commit"

    def _encode(self) -> bytes:
        return b"\x00Z\x00\x14"

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        if offset != len(data):
            raise surplus(cls)
        return cls()


class TxCommitOk(Method):
    """tx.commit-ok."""

    __slots__ = ()
    __match_args__: ClassVar[tuple[str, ...]] = ()
    key: ClassVar[tuple[int, int]] = (90, 21)
    name: ClassVar[str] = "tx.commit-ok"

    def _encode(self) -> bytes:
        return b"\x00Z\x00\x15"

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        if offset != len(data):
            raise surplus(cls)
        return cls()


class TxRollback(Method):
    """tx.rollback."""

    __slots__ = ()
    __match_args__: ClassVar[tuple[str, ...]] = ()
    key: ClassVar[tuple[int, int]] = (90, 30)
    name: ClassVar[str] = "tx.rollback"

    def _encode(self) -> bytes:
        return b"\x00Z\x00\x1e"

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        if offset != len(data):
            raise surplus(cls)
        return cls()


class TxRollbackOk(Method):
    """tx.rollback-ok."""

    __slots__ = ()
    __match_args__: ClassVar[tuple[str, ...]] = ()
    key: ClassVar[tuple[int, int]] = (90, 31)
    name: ClassVar[str] = "tx.rollback-ok"

    def _encode(self) -> bytes:
        return b"\x00Z\x00\x1f"

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        if offset != len(data):
            raise surplus(cls)
        return cls()


BY_KEY: Final[dict[tuple[int, int], type[Method]]] = {
    method.key: method
    for method in (
        ConnectionStart,
        ConnectionStartOk,
        ConnectionSecure,
        ConnectionSecureOk,
        ConnectionTune,
        ConnectionTuneOk,
        ConnectionOpen,
        ConnectionOpenOk,
        ConnectionClose,
        ConnectionCloseOk,
        ConnectionBlocked,
        ConnectionUnblocked,
        ConnectionUpdateSecret,
        ConnectionUpdateSecretOk,
        ChannelOpen,
        ChannelOpenOk,
        ChannelFlow,
        ChannelFlowOk,
        ChannelClose,
        ChannelCloseOk,
        ExchangeDeclare,
        ExchangeDeclareOk,
        ExchangeDelete,
        ExchangeDeleteOk,
        ExchangeBind,
        ExchangeBindOk,
        ExchangeUnbind,
        ExchangeUnbindOk,
        QueueDeclare,
        QueueDeclareOk,
        QueueBind,
        QueueBindOk,
        QueuePurge,
        QueuePurgeOk,
        QueueDelete,
        QueueDeleteOk,
        QueueUnbind,
        QueueUnbindOk,
        BasicQos,
        BasicQosOk,
        BasicConsume,
        BasicConsumeOk,
        BasicCancel,
        BasicCancelOk,
        BasicPublish,
        BasicReturn,
        BasicDeliver,
        BasicGet,
        BasicGetOk,
        BasicGetEmpty,
        BasicAck,
        BasicReject,
        BasicRecoverAsync,
        BasicRecover,
        BasicRecoverOk,
        BasicNack,
        ConfirmSelect,
        ConfirmSelectOk,
        TxSelect,
        TxSelectOk,
        TxCommit,
        TxCommitOk,
        TxRollback,
        TxRollbackOk,
    )
}


def decode_method(payload: bytes) -> Method:
    """Read the payload of a method frame.

    Raises:
        WireError: 540 for a method that does not exist, 502 for arguments that do not decode, 501 for a
            frame without a method.
    """
    if len(payload) < 4:
        raise frame_error(METHOD, payload, UNKNOWN_FRAME)
    key = _KEY.unpack_from(payload)
    method = BY_KEY.get(key)
    if method is None:
        raise WireError(NOT_IMPLEMENTED, f"no method has the indexes {key[0]}, {key[1]}")
    try:
        return method.decode(payload, 4)
    except (struct.error, IndexError):
        raise truncated(f"method {method.name}") from None
