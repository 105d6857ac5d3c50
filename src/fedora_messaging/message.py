"""Messages, their schema classes, and conversion to and from bytes and files.

A message class is registered as an entry point of the group ``fedora.messages``. The header
``fedora_messaging_schema`` carries the entry point's name, so that the consumer builds an object of the same
class.
"""

import datetime
import json
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar, Union

from . import config, schema_utils
from .exceptions import ValidationError
from .forking import setting_up
from .logs import logger
from .printable import LIMIT, printable
from .validation import json_body
from .validation.validator import validate as _validate
from .wire.fields import MAX_DEPTH as TABLE_DEPTH
from .wire.properties import BasicProperties
from .wire.property_codec import PERSISTENT, Properties

DEBUG = 10
INFO = 20
WARNING = 30
ERROR = 40
SEVERITIES = (DEBUG, INFO, WARNING, ERROR)

HeaderType = dict[str, Union[str, int, bool]]  # noqa: UP007 - the compatible interface has it at run time

_log = logger(__name__)

_SCHEMA_HEADER = "fedora_messaging_schema"
_PACKAGE_HEADER = "fedora_messaging_schema_package"
_SEVERITY_HEADER = "fedora_messaging_severity"
_SENT_AT_HEADER = "sent-at"
_PRIORITY_HEADER = "priority"
#: Entry points of this group announce message classes.
_GROUP = "fedora.messages"
#: What our own distribution announces; written down here, so that a publisher need not look it up.
_BASE_NAME = "base.message"
_BASE_PACKAGE = "fedora_messaging"
#: Each accessor, and the word for it in the names of filter headers.
_FILTERS = (
    ("usernames", "user"),
    ("groups", "group"),
    ("packages", "rpm"),
    ("containers", "container"),
    ("modules", "module"),
    ("flatpaks", "flatpak"),
)
_DRAFT_4 = "http://json-schema.org/draft-04/schema#"
#: Writes what :func:`json.dumps` does, without noting each container to find one that contains itself.
_encode_json = json.JSONEncoder(check_circular=False).encode

MessageClass = TypeVar("MessageClass", bound="Message")
if TYPE_CHECKING:
    # A type checker knows it without its being installed. The default lets programs go on to say `Message`.
    import typing_extensions

    Body = typing_extensions.TypeVar("Body", default=Any)
else:
    Body = TypeVar("Body")

_registry_loaded = False
_schema_name_to_class: dict[str, type["Message"]] = {}
_class_to_schema_name: dict[type["Message"], str] = {}
_schema_name_to_package: dict[str, str] = {}


class Message(Generic[Body]):
    """A message: a topic and a JSON body, which a JSON Schema describes.

    Subclasses set ``body_schema`` and override the accessors. One that names the type of its body, as in
    ``class Greeting(Message[GreetingBody])`` with a ``TypedDict``, has it checked by type checkers wherever
    ``body`` is used; otherwise the body may be anything.

    Args:
        body: JSON object (``dict``); a false value means an empty one. The message keeps it without copying.
        headers: Further headers, which are copied. The library's own headers win.
        topic: Routing key; a false value means the class's ``topic``.
        properties: AMQP properties to use unchanged; ``headers`` is ignored then.
        severity: One of :data:`SEVERITIES`; a false value means the class's ``severity``.

    Raises:
        TypeError: The class is not registered and no ``properties`` are given.

    Attributes:
        queue: Name of the queue that a received message came from, otherwise ``None``.
    """

    severity: int = INFO
    topic: str = ""
    deprecated: bool = False
    headers_schema: Mapping[str, Any] = {
        "$schema": _DRAFT_4,
        "description": "Schema for message headers",
        "type": "object",
        "properties": {
            _SEVERITY_HEADER: {"type": "number", "enum": list(SEVERITIES)},
            _SCHEMA_HEADER: {"type": "string"},
            _PACKAGE_HEADER: {"type": "string"},
            _SENT_AT_HEADER: {"type": "string"},
        },
    }
    body_schema: Mapping[str, Any] = {
        "$schema": _DRAFT_4,
        "description": "Schema for message body",
        "type": "object",
    }

    def __init__(
        self,
        body: Any = None,
        headers: Mapping[str, Any] | None = None,
        topic: str | None = None,
        properties: Properties | None = None,
        severity: int | None = None,
    ) -> None:
        given: Any = body or {}
        self.body: Body = given
        if topic:
            self.topic = topic
        if severity:
            self.severity = severity
        self._properties: Properties = properties or self._build_properties(headers or {})
        self.queue: str | None = None

    def _build_properties(self, headers: Mapping[str, Any]) -> Properties:
        priority = config.conf["publish_priority"]
        return BasicProperties(
            content_type="application/json",
            content_encoding="utf-8",
            delivery_mode=PERSISTENT,
            headers=self._build_headers(headers, priority),
            message_id=str(uuid.uuid4()),
            priority=priority,
        )

    def _build_headers(self, headers: Mapping[str, Any], priority: int | None) -> dict[str, Any]:
        built = dict(headers)
        name = _name_to_publish(type(self))
        built[_SCHEMA_HEADER] = name
        package = _schema_name_to_package.get(name)
        if package is not None:
            built[_PACKAGE_HEADER] = package
        now = datetime.datetime.now(tz=datetime.timezone.utc)  # noqa: UP017 - tests replace `datetime.datetime`
        built[_SENT_AT_HEADER] = now.replace(microsecond=0).isoformat()
        built[_SEVERITY_HEADER] = self.severity
        built[_PRIORITY_HEADER] = priority or 0
        built.update(self._filter_headers())
        return built

    def _filter_headers(self) -> dict[str, bool]:
        """Return the headers that brokers can filter by: ``fedora_messaging_<word>_<name>``."""
        headers = {}
        for accessor, word in _FILTERS:
            try:
                values = getattr(self, accessor)
            except Exception:  # an accessor is application code and may raise anything
                _log.warning("Header %s not found in message", accessor)
                continue
            for value in values:
                headers[f"fedora_messaging_{word}_{value}"] = True
        return headers

    @property
    def _headers(self) -> dict[str, Any]:
        return self._properties.headers or {}

    @_headers.setter
    def _headers(self, headers: dict[str, Any]) -> None:
        self._properties.headers = headers

    @property
    def id(self) -> str | None:
        """Unique identity; it stays the same when the message is redelivered, recorded or replayed."""
        return self._properties.message_id

    @id.setter
    def id(self, value: str) -> None:
        self._properties.message_id = value

    @property
    def priority(self) -> int:
        """AMQP priority."""
        return self._properties.priority or 0

    @priority.setter
    def priority(self, value: int | None) -> None:
        self._properties.priority = value or 0
        self._headers[_PRIORITY_HEADER] = value or 0

    @property
    def _encoded_routing_key(self) -> str:
        prefix = config.conf["topic_prefix"]
        return f"{prefix.rstrip('.')}.{self.topic}" if prefix else self.topic

    @property
    def _encoded_body(self) -> bytes:
        try:
            return _encode_json(self.body).encode("utf-8")
        except RecursionError:
            return json.dumps(self.body).encode("utf-8")  # it tells a body that contains itself

    # Accessors for people and for filters; schema classes override them.

    @property
    def summary(self) -> str:
        """Summary for people, in one line."""
        return self.topic

    @property
    def url(self) -> str | None:
        """URL of a page with more information."""
        return None

    @property
    def app_name(self) -> str | None:
        """Name of the application that sent the message."""
        return None

    @property
    def app_icon(self) -> str | None:
        """URL of the application's icon."""
        return None

    @property
    def agent_name(self) -> str | None:
        """Name of the user who caused the message."""
        return None

    @property
    def agent_avatar(self) -> str | None:
        """URL of the agent's avatar."""
        name = self.agent_name
        return None if name is None else schema_utils.user_avatar_url(name)

    @property
    def usernames(self) -> list[str]:
        """Users the message is about."""
        return []

    @property
    def groups(self) -> list[str]:
        """Groups the message is about."""
        return []

    @property
    def packages(self) -> list[str]:
        """RPM packages the message is about."""
        return []

    @property
    def containers(self) -> list[str]:
        """Containers the message is about."""
        return []

    @property
    def modules(self) -> list[str]:
        """Modules the message is about."""
        return []

    @property
    def flatpaks(self) -> list[str]:
        """Flatpaks the message is about."""
        return []

    def validate(self) -> None:
        """Check headers and body against the class's schemas and those of :class:`Message`.

        Raises:
            jsonschema.ValidationError: The first violation.
            jsonschema.SchemaError: A schema is wrong.
        """
        self._validate_part("headers", self._headers, self.headers_schema, Message.headers_schema)
        self._validate_part("body", self.body, self.body_schema, Message.body_schema)

    def _validate_part(
        self, part: str, value: Any, schema: Mapping[str, Any], base: Mapping[str, Any]
    ) -> None:
        _log.debug("Validating the %s of message %r", part, self)
        _validate(value, schema)
        if schema is not base:
            _validate(value, base)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, type(self)):
            return False
        return (
            self.topic == other.topic
            and self.body == other.body
            and _without_sent_at(self._headers) == _without_sent_at(other._headers)
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(id={self.id!r}, topic={self.topic!r}, body={self.body!r})"

    def __str__(self) -> str:
        return (
            f"Id: {printable(self.id)}\nTopic: {printable(self.topic)}\nHeaders: {_pretty(self._headers)}\n"
            f"Body: {_pretty(self.body)}"
        )


def _without_sent_at(headers: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in headers.items() if name != _SENT_AT_HEADER}


def _pretty(value: Any) -> str:
    # Headers from other clients may hold timestamps and bytes, for which JSON has no type.
    return json.dumps(value, sort_keys=True, indent=4, separators=(",", ": "), default=str)


SERIALIZED_MESSAGE_SCHEMA: dict[str, Any] = {
    "$schema": _DRAFT_4,
    "description": "Schema for the JSON object used to represent messages in a file",
    "type": "object",
    "properties": {
        "topic": {"type": "string", "description": "The message topic"},
        "headers": {
            "type": "object",
            "properties": Message.headers_schema["properties"],
            "description": "The message headers",
        },
        "id": {"type": "string", "description": "The message's UUID"},
        "body": {"type": "object", "description": "The message body"},
        "queue": {
            "type": ["string", "null"],
            "description": "The queue the message arrived on, null for a message that was not received",
        },
        "priority": {"type": ["integer", "null"], "description": "The AMQP priority"},
    },
    "required": ["topic", "body"],
}


# The registry of message classes


def load_message_classes() -> None:
    """Register every message class that an installed distribution announces.

    If a package cannot be imported, log that and leave the package out.
    """
    global _registry_loaded
    from importlib.metadata import entry_points

    for entry_point in entry_points(group=_GROUP):
        try:
            package = _get_distribution_from_module(entry_point.module)
            _register(entry_point.name, entry_point.load(), package)
        except Exception:
            _log.exception(
                "The schema %r (%s) cannot be loaded and is left out", entry_point.name, entry_point.value
            )
    _registry_loaded = True


def register(schema_name: str) -> Callable[[type[MessageClass]], type[MessageClass]]:
    """Register a message class without an installed package that announces it.

    This is for scripts, tests and first steps. Every process that imports the module publishes such messages
    with the schema's name and receives them as this class. Other programs need a schema package;
    ``fedora-messaging schema new`` writes one.

    >>> @register("tutorial.greeting")
    ... class Greeting(Message):
    ...     body_schema = {"type": "object", "required": ["name"]}

    Args:
        schema_name: Name of the class on the bus, such as "tutorial.greeting".

    Raises:
        TypeError: The decorated object is not a subclass of :class:`Message`.
        ValueError: Another class has this name.
    """

    def registered(cls: type[MessageClass]) -> type[MessageClass]:
        if not (isinstance(cls, type) and issubclass(cls, Message)):
            raise TypeError(f"register() decorates subclasses of Message, and {cls!r} is none")
        _ensure_registry()
        known = _schema_name_to_class.get(schema_name, cls)
        # Running a notebook cell again, or reloading a module, defines the same class again.
        if (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(f"the schema name {schema_name!r} belongs to {known!r}: choose another one")
        _schema_name_to_class[schema_name] = cls
        _class_to_schema_name[cls] = schema_name
        return cls

    return registered


def schema_names() -> list[str]:
    """Return the names of all registered schemas, in alphabetical order."""
    _ensure_registry()
    return sorted(_schema_name_to_class)


def _register(name: str, cls: type[Message], package: str | None) -> None:
    known = _schema_name_to_class.get(name)
    if known is not None and known is not cls:
        _log.warning("The schema name %r belongs to %r and to %r; the latter is used", name, known, cls)
    _class_to_schema_name[cls] = name
    _schema_name_to_class[name] = cls
    if package is not None:
        _schema_name_to_package[name] = package


def _get_distribution_from_module(module: str) -> str | None:
    """Return the name of the distribution that is called like the module, or like its nearest parent."""
    from importlib.metadata import PackageNotFoundError, distribution

    while module:
        try:
            name = distribution(module).metadata["Name"]
        except PackageNotFoundError:
            name = None
        # The remains of an interrupted installation have no name.
        if name:
            return _normalise(name)
        module = module.rpartition(".")[0]
    return None


def _normalise(name: str) -> str:
    import re

    return re.sub(r"[-_.]+", "_", name).lower()


def _ensure_registry() -> None:
    if not _registry_loaded:
        with setting_up:
            if not _registry_loaded:
                load_message_classes()


def get_class(schema_name: str) -> type[Message]:
    """Return the class of a schema name; if there is none, log a warning and return :class:`Message`."""
    return _find_class(schema_name, None)


def _find_class(schema_name: str, package: Any) -> type[Message]:
    _ensure_registry()
    cls = _schema_name_to_class.get(schema_name)
    if cls is not None:
        return cls
    hint = (
        f"You can install the missing schema from package {printable(repr(package))}"
        if package
        else "Either install the package with its schema definition or define a schema"
    )
    _log.warning(
        'The schema "%s" is not in the schema registry! %s. Falling back to the default schema...',
        printable(schema_name),
        hint,
    )
    return Message


def _name_to_publish(cls: type[Message]) -> str:
    """Return the schema name of a class without loading all other classes, if that is possible.

    A program that publishes one message need not wait until the packages of all applications are imported.

    Raises:
        TypeError: The class is not registered.
    """
    if cls not in _class_to_schema_name and not _registry_loaded:
        with setting_up:
            if cls is Message:
                _register(_BASE_NAME, Message, _BASE_PACKAGE)
            else:
                _register_alone(cls)
    return _class_to_schema_name.get(cls) or get_name(cls)


def _register_alone(cls: type[Message]) -> None:
    """Register a class if an installed distribution announces it, once; the others are left alone."""
    from importlib.metadata import entry_points

    value = f"{cls.__module__}:{cls.__qualname__}"
    announced = [one for one in entry_points(group=_GROUP) if one.value == value]
    if len(announced) == 1:
        _register(announced[0].name, cls, _get_distribution_from_module(announced[0].module))


def get_name(cls: type[Message]) -> str:
    """Return the schema name of a class.

    Raises:
        TypeError: The class is not registered.
    """
    _ensure_registry()
    try:
        return _class_to_schema_name[cls]
    except KeyError:
        raise TypeError(
            f"The class {cls!r} is not in the message registry, which indicates it is not in the current "
            'list of entry points for "fedora.messages". Please check that the class has been added to your '
            "package's entry points, and that the package is installed, or decorate the class with "
            'fedora_messaging.message.register("name.of.the.schema").'
        ) from None


def _get_class_from_headers(headers: Mapping[str, Any]) -> type[Message]:
    return _find_class(headers[_SCHEMA_HEADER], headers.get(_PACKAGE_HEADER))


# From the wire


def get_message(routing_key: str, properties: Properties, body: bytes) -> Message:
    """Build a received message and validate it.

    Args:
        routing_key: Becomes the topic.
        properties: Become the message's properties; missing headers and encoding are filled in.
        body: Encoded JSON.

    Raises:
        ValidationError: Something is wrong with the message or its schema class. Both kinds of fault raise
            this error, so that only this message suffers.
    """
    cls, severity = _read_headers(routing_key, properties, body)
    value = _decode_body(routing_key, properties, body)
    try:
        message = cls(body=value, topic=routing_key, properties=properties, severity=severity)
        message.validate()
        deprecated = cls.deprecated
    except Exception as error:
        from jsonschema.exceptions import ValidationError as SchemaViolation

        if isinstance(error, SchemaViolation):
            text = printable(error.message)
            _log.error("Message %s is not valid: %s", _origin(routing_key, properties), text)
            raise ValidationError(error) from error
        _log.exception("The schema class %s cannot read %s", cls, _origin(routing_key, properties))
        raise ValidationError(error).of_kind("class") from error
    if deprecated:
        _log.warning(
            "A message with a deprecated schema (%s.%s) has been received on topic %r. You should check the "
            "emitting application's documentation to upgrade to the newer schema version.",
            cls.__module__,
            cls.__name__,
            routing_key,
        )
    return message


def _read_headers(routing_key: str, properties: Properties, body: bytes) -> tuple[type[Message], Any]:
    if properties.headers is None:
        _log.error(
            "Message (headers=%r, body=%s) arrived without headers. A publisher is misbehaving!",
            properties.headers,
            printable(repr(body[:LIMIT])),
        )
        properties.headers = {}
    headers = properties.headers
    if not isinstance(headers, Mapping):
        error = TypeError(f"the headers are no table but a {type(headers).__name__}")
        raise ValidationError(error).of_kind("headers") from error
    if _SCHEMA_HEADER not in headers:
        _log.error("Message %s arrived without a schema header.", _origin(routing_key, properties))
        cls = Message
    else:
        try:
            cls = _get_class_from_headers(headers)
        except TypeError as error:
            _log.error("Message %s has a schema header that is no text", _origin(routing_key, properties))
            raise ValidationError(error).of_kind("headers") from error
    if _SEVERITY_HEADER not in headers:
        _log.error(
            "Message %s arrived without a severity. Defaulting to INFO.", _origin(routing_key, properties)
        )
        return cls, INFO
    return cls, headers[_SEVERITY_HEADER]


def _decode_body(routing_key: str, properties: Properties, body: bytes) -> Any:
    if properties.content_encoding is None:
        _log.error("Message %s arrived without a content encoding.", _origin(routing_key, properties))
        properties.content_encoding = "utf-8"
    try:
        return json_body.decode(body, properties.content_encoding)
    except ValueError as error:
        _log.error("Message %s cannot be decoded: %s", _origin(routing_key, properties), printable(error))
        kind = "encoding" if isinstance(error, json_body.EncodingError | UnicodeError) else "json"
        raise ValidationError(error).of_kind(kind) from error


def _origin(routing_key: str, properties: Properties) -> str:
    return f"{printable(properties.message_id)} on {printable(repr(routing_key))}"


# To and from files


#: How deep a line may nest: headers may nest deeper than a body, and the line itself is a level.
_LINE_DEPTH = max(json_body.MAX_DEPTH, TABLE_DEPTH) + 1


def dumps(messages: Message | Iterable[Message]) -> str:
    """Write messages as lines of JSON.

    Headers of types that JSON lacks (times, decimals, bytes, floats that are not finite) are written as text.
    The key ``header_types`` then maps a JSON pointer to each such header to its type.

    Raises:
        ValidationError: An item is not a valid message.
        TypeError: A body holds a value that JSON lacks.
    """
    items = [messages] if isinstance(messages, Message) else messages
    return "\n".join([_dump(item) for item in items]) + "\n"


def _dump(message: Message) -> str:
    from jsonschema.exceptions import ValidationError as SchemaViolation

    try:
        message.validate()
    except (SchemaViolation, AttributeError) as error:
        raise ValidationError(error) from error
    return to_line(message)


def to_line(message: Message) -> str:
    """Write a message as :func:`dumps` does, without a line end and without validating it.

    Raises:
        TypeError: The body holds a value that JSON lacks.
    """
    from . import table_json  # programs that only publish do not need it

    headers, header_types = table_json.to_json(message._headers)
    data = {
        "topic": message.topic,
        "headers": headers,
        "id": message.id,
        "body": message.body,
        "queue": message.queue,
        "priority": message.priority,
    }
    if header_types:
        data["header_types"] = header_types
    return table_json.encodable(json.dumps(data, ensure_ascii=False, sort_keys=True))


def loads(serialized_messages: str) -> list[Message]:
    """Read messages that :func:`dumps` wrote; a message whose id is missing or null gets a new one.

    Raises:
        ValidationError: A line is not JSON, or not a serialised message.
    """
    # Only a line feed ends a line; `splitlines` would also split at characters that JSON strings may hold.
    lines = serialized_messages.split("\n")
    if not lines[-1]:
        lines.pop()
    return [_load(line) for line in lines]


def _load(line: str) -> Message:
    try:
        data = json_body.decode_text(line, _LINE_DEPTH)
        if isinstance(data, dict):
            json_body.check_depth(data.get("body"))
    except ValueError as error:
        raise ValidationError(error) from error
    if isinstance(data, dict) and data.get("id", "") is None:
        # `dumps` writes null for a message that arrived without an id. Here it gets a new one.
        del data["id"]
    return load_message(data)


def load_message(message_dict: Mapping[str, Any]) -> Message:
    """Build a message from its serialised form, without checking the body against the class's schema.

    Raises:
        ValidationError: The dictionary is not a serialised message.
    """
    from jsonschema.exceptions import ValidationError as SchemaViolation

    try:
        _validate(message_dict, SERIALIZED_MESSAGE_SCHEMA)
    except SchemaViolation as error:
        raise ValidationError(error) from error
    headers = message_dict.get("headers", {})
    if "header_types" in message_dict:
        from . import table_json

        try:
            headers = table_json.from_json(headers, message_dict["header_types"])
        except ValueError as error:
            raise ValidationError(error) from error
    cls = _get_class_from_headers(headers) if _SCHEMA_HEADER in headers else Message
    message = cls(
        body=message_dict["body"],
        topic=message_dict["topic"],
        headers=headers,
        severity=headers.get(_SEVERITY_HEADER),
    )
    if _SENT_AT_HEADER in headers:
        message._headers[_SENT_AT_HEADER] = headers[_SENT_AT_HEADER]
    if "id" in message_dict:
        message.id = message_dict["id"]
    message.queue = message_dict.get("queue")
    message.priority = message_dict.get("priority")
    return message
