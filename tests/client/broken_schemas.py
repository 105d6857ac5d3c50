"""Message classes of a careless schema package; registered by test_invalid_deliveries.py."""

from __future__ import annotations

from typing import Any

from fedora_messaging.message import Message


class CanaryError(Exception):
    """Raised by everything here."""


class Constructor(Message):
    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        raise CanaryError


class ConstructorWithOtherArguments(Message):
    def __init__(self) -> None:
        super().__init__()


class WrongBodySchema(Message):
    body_schema = {"type": "nonsense"}


class SchemaOfTheWrongType(Message):
    body_schema = "nonsense"  # type: ignore[assignment]


class SchemaElsewhere(Message):
    body_schema = {"$ref": "http://127.0.0.1:1/schema"}


class SchemaWithoutEnd(Message):
    body_schema = {"$ref": "#"}


class Validate(Message):
    def validate(self) -> None:
        raise CanaryError


class BodySchemaProperty(Message):
    @property
    def body_schema(self) -> Any:  # type: ignore[override]
        raise CanaryError


class TopicProperty(Message):
    @property
    def topic(self) -> str:
        raise CanaryError

    @topic.setter
    def topic(self, value: str) -> None:
        pass


class TopicWithoutSetter(Message):
    topic = property(lambda _self: "constant")


class IdProperty(Message):
    @property
    def id(self) -> str | None:
        raise CanaryError

    @id.setter
    def id(self, value: str) -> None:
        pass


class QueueProperty(Message):
    @property
    def queue(self) -> str | None:
        return None

    @queue.setter
    def queue(self, value: str | None) -> None:
        if value is not None:
            raise CanaryError


class Recursive(Message):
    def validate(self) -> None:
        self.validate()


class _Meta(type):
    @property
    def deprecated(cls) -> bool:
        raise CanaryError


class Deprecated(Message, metaclass=_Meta):
    pass


class ReprRaises(Message):
    def __repr__(self) -> str:
        raise CanaryError


#: What no delivery of these classes can be valid with.
INVALID = [
    Constructor,
    ConstructorWithOtherArguments,
    WrongBodySchema,
    SchemaOfTheWrongType,
    SchemaElsewhere,
    Validate,
    BodySchemaProperty,
    TopicProperty,
    TopicWithoutSetter,
    IdProperty,
    QueueProperty,
    Recursive,
    Deprecated,
]
#: Valid or not, whoever consumes them lives.
DOUBTFUL = [SchemaWithoutEnd, ReprRaises]


class NotAMessage:
    """Registered by mistake."""


def not_a_class() -> None:
    """Registered by mistake."""
