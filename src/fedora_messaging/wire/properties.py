"""The properties of a message as an object (AMQP 0-9-1 section 1.8).

The bytes are the business of :mod:`.property_codec`, which is compiled; programs may set any attribute here,
which compiled classes do not let them.
"""

from typing import Any, Self

from .property_codec import NAMES, decode_into, encode_properties, replace_headers, split_headers


class BasicProperties:
    """The properties of one message; ``None`` means that a property is absent from the wire.

    Instances are mutable and compare by value; every function that takes or returns properties uses them.
    The class has a ``__dict__``, because programs serialise it with a message and may set further attributes.

    Attributes:
        headers: Table of application headers.
        delivery_mode: 1 transient, 2 persistent.
        priority: 0 to 255.
        timestamp: Seconds since 1970 (``int``).
    """

    def __init__(
        self,
        content_type: str | None = None,
        content_encoding: str | None = None,
        headers: dict[str, Any] | None = None,
        delivery_mode: int | None = None,
        priority: int | None = None,
        correlation_id: str | None = None,
        reply_to: str | None = None,
        expiration: str | None = None,
        message_id: str | None = None,
        timestamp: int | None = None,
        type: str | None = None,  # noqa: A002 - the name of the property
        user_id: str | None = None,
        app_id: str | None = None,
        cluster_id: str | None = None,
    ) -> None:
        self.content_type = content_type
        self.content_encoding = content_encoding
        self.headers = headers
        self.delivery_mode = delivery_mode
        self.priority = priority
        self.correlation_id = correlation_id
        self.reply_to = reply_to
        self.expiration = expiration
        self.message_id = message_id
        self.timestamp = timestamp
        self.type = type
        self.user_id = user_id
        self.app_id = app_id
        self.cluster_id = cluster_id

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BasicProperties):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in NAMES)

    def encode(self) -> list[bytes]:
        """Return flags and values in the format of a content header, as pieces for the caller to join.

        Raises:
            EncodingError: A value does not fit its property.
        """
        return [encode_properties(self)]

    def decode(self, encoded: bytes, offset: int = 0) -> Self:
        """Read flags and values from ``offset`` to the end of the bytes into this object, and return it.

        Raises:
            WireError: The bytes are not what the flags announce.
        """
        decoded = decode_properties(encoded, offset)
        for name in NAMES:
            setattr(self, name, getattr(decoded, name))
        return self

    def __repr__(self) -> str:
        given = ((name, getattr(self, name)) for name in NAMES)
        shown = ", ".join(f"{name}={value!r}" for name, value in given if value is not None)
        return f"BasicProperties({shown})"


def decode_properties(data: bytes, offset: int = 0) -> BasicProperties:
    """Read property flags and values up to the end of ``data``.

    Raises:
        WireError: The bytes are not what the flags announce.
    """
    props = BasicProperties()
    decode_into(props, data, offset)
    return props


def with_text_property(data: bytes, name: str, value: str | None) -> bytes:
    """Set or remove one of the properties that are short strings.

    Headers keep their bytes, even if these do not decode.

    Raises:
        WireError: The other properties do not decode.
        EncodingError: The value is too long.
    """
    headers, rest = split_headers(data)
    props = decode_properties(rest)
    setattr(props, name, value)
    changed = encode_properties(props)
    return changed if headers is None else replace_headers(changed, headers)
