"""Every message class of every installed schema package, from its construction to its arrival.

The bodies come from the classes' schemas, which allow more than the applications send. So an accessor may
fail; it must then be the package's own code that does, and in the same way at the sender, after a file and
at the receiver.
"""

from __future__ import annotations

import inspect
import logging
import traceback
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema.exceptions import ValidationError
from tests.client.support import Consuming, queue_settings
from tests.dependents.bodies import Style, body_for
from tests.dependents.packages import PINNED, SCHEMAS, distribution_of
from tests.support.admin import Names, connect

import fedora_messaging
from fedora_messaging import api
from fedora_messaging.exceptions import HaltConsumer
from fedora_messaging.message import (
    INFO,
    SEVERITIES,
    Message,
    _get_distribution_from_module,
    dumps,
    get_class,
    get_message,
    get_name,
    loads,
)
from fedora_messaging.schema_utils import user_avatar_url
from fedora_messaging.wire.properties import BasicProperties

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from importlib.metadata import EntryPoint

    from tests.conftest import BrokerUnderTest

    from fedora_messaging import config

pytestmark = [
    # By the package's own word.
    pytest.mark.filterwarnings("ignore:.* is deprecated, please use:DeprecationWarning"),
]

each_schema = pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.name)
each_style = pytest.mark.parametrize("style", Style, ids=lambda style: style.value)

#: The owner of a build may be null, and then its `usernames` is None instead of a list. The constructor
#: of a message raises TypeError for that, as it did in version 3.9.
_BUILD = "koji_fedoramessaging.build.BuildStateChangeV1"

#: What an accessor may raise about a body that its application would not send.
_ABOUT_THE_BODY = (AttributeError, LookupError, TypeError, ValueError)

_FILTERS = {
    "usernames": "user",
    "groups": "group",
    "packages": "rpm",
    "containers": "container",
    "modules": "module",
    "flatpaks": "flatpak",
}
_PLAIN: dict[str, Callable[[Message], Any]] = {
    "summary": lambda message: message.topic,
    "url": lambda message: None,
    "app_name": lambda message: None,
    "app_icon": lambda message: None,
    "agent_name": lambda message: None,
    "agent_avatar": lambda message: message.agent_name and user_avatar_url(message.agent_name),
    **dict.fromkeys(_FILTERS, lambda message: []),
}


def is_constructible(schema: EntryPoint, style: Style) -> bool:
    return (schema.name, style) != (_BUILD, Style.SPARSE)


def build(schema: EntryPoint, style: Style) -> Message:
    """A message as the application would send it."""
    cls = schema.load()
    built: Message = cls(body=body_for(cls.body_schema, style), topic=cls.topic or schema.name)
    return built


def accessors(cls: type[Message]) -> list[str]:
    names = (name for name in dir(cls) if not name.startswith("_"))
    return [name for name in names if isinstance(inspect.getattr_static(cls, name), property)]


def readings(message: Message) -> dict[str, Any]:
    """What each accessor says: its value, or the type and text of the error that it raises."""
    readers: dict[str, Callable[[], Any]] = {
        name: partial(getattr, message, name) for name in accessors(type(message))
    }
    readers["str"] = partial(str, message)
    readers["repr"] = partial(repr, message)
    found = {}
    for name, read in readers.items():
        try:
            found[name] = read()
        except Exception as error:
            found[name] = (type(error), str(error))
            assert_is_about_the_body(error, message)
    return found


def assert_is_about_the_body(error: Exception, message: Message) -> None:
    """It was raised by the package, over what is in the body, and not over something that we lack."""
    assert isinstance(error, _ABOUT_THE_BODY)
    assert getattr(error, "obj", None) is not message, error
    package = type(message).__module__.partition(".")[0]
    modules = [frame.f_globals["__name__"] for frame, _ in traceback.walk_tb(error.__traceback__)]
    [*_, last] = [name for name in modules if name.partition(".")[0] in (package, fedora_messaging.__name__)]
    assert last.partition(".")[0] == package, "".join(traceback.format_exception(error))


def assert_same(arrived: Message, sent: Message) -> None:
    assert type(arrived) is type(sent)
    assert arrived == sent
    assert sent == arrived
    assert (arrived.topic, arrived.body, arrived.id) == (sent.topic, sent.body, sent.id)
    assert arrived._headers == sent._headers
    assert (arrived.severity, arrived.priority) == (sent.severity, sent.priority)
    assert readings(arrived) == readings(sent)


@pytest.mark.parametrize("package", PINNED)
def test_package_contributes_schemas(package: str) -> None:
    assert [schema for schema in SCHEMAS if distribution_of(schema) == package]


@each_schema
def test_class_is_registered_under_its_name(schema: EntryPoint, caplog: pytest.LogCaptureFixture) -> None:
    cls = schema.load()
    assert issubclass(cls, Message)
    assert get_class(schema.name) is cls
    assert get_name(cls) == schema.name
    assert not caplog.records


@each_style
@each_schema
def test_message_is_valid(schema: EntryPoint, style: Style, caplog: pytest.LogCaptureFixture) -> None:
    if not is_constructible(schema, style):
        pytest.raises(TypeError, build, schema, style)
        return
    message = build(schema, style)
    message.validate()
    headers = {
        "fedora_messaging_schema": schema.name,
        "fedora_messaging_severity": message.severity,
        "priority": message.priority,
    }
    package = _get_distribution_from_module(schema.module)
    if package:
        headers["fedora_messaging_schema_package"] = package
    unreadable = []
    for accessor, word in _FILTERS.items():
        try:
            names = getattr(message, accessor)
        except _ABOUT_THE_BODY:
            unreadable.append(f"Header {accessor} not found in message")
        else:
            headers |= {f"fedora_messaging_{word}_{name}": True for name in names}
    assert {key: value for key, value in message._headers.items() if key != "sent-at"} == headers
    assert message.severity in SEVERITIES
    assert caplog.messages == unreadable
    assert all(record.levelno == logging.WARNING for record in caplog.records)


@each_schema
def test_what_the_schema_excludes_is_refused(schema: EntryPoint) -> None:
    """Without any one of its required properties a body is not valid."""
    cls = schema.load()
    body = body_for(cls.body_schema, Style.FULL)
    for missing in cls.body_schema.get("required", []):
        less = {key: value for key, value in body.items() if key != missing}
        message = cls(body=less, properties=BasicProperties(headers={}))
        with pytest.raises(ValidationError, match=f"'{missing}' is a required property"):
            message.validate()


@each_style
@each_schema
def test_accessors(schema: EntryPoint, style: Style) -> None:
    """What a class does not override is as in `Message`; what fails is the package's."""
    if not is_constructible(schema, style):
        return
    message = build(schema, style)
    read = readings(message)
    for name, expected in _PLAIN.items():
        if getattr(type(message), name) is getattr(Message, name) and not is_error(read[name]):
            assert read[name] == expected(message), name
    if type(message).__str__ is Message.__str__:
        assert read["str"].startswith(f"Id: {message.id}\nTopic: {message.topic}\nHeaders: {{\n")


def is_error(reading: Any) -> bool:
    return isinstance(reading, tuple) and isinstance(reading[0], type)


@each_style
@each_schema
def test_file_round_trip(schema: EntryPoint, style: Style) -> None:
    if not is_constructible(schema, style):
        return
    message = build(schema, style)
    message.queue = "a queue"
    message.priority = 3
    text = dumps(message)
    [loaded] = loads(text)
    assert_same(loaded, message)
    assert loaded.queue == "a queue"
    assert dumps(loaded) == text


def test_list_that_is_none_does_not_keep_a_message_from_arriving() -> None:
    """The receiver of a message computes no filter headers."""
    cls = get_class(_BUILD)
    sent = cls(
        body=body_for(cls.body_schema, Style.SPARSE),
        properties=BasicProperties(
            content_encoding="utf-8",
            headers={"fedora_messaging_schema": _BUILD, "fedora_messaging_severity": INFO},
        ),
    )
    arrived = get_message("t", sent._properties, sent._encoded_body)
    assert type(arrived) is cls
    assert arrived.usernames is None


@pytest.mark.parametrize(("tag", "priority"), [("f44-rebuild", 0), ("eln", 1), ("f44", 2)])
def test_constructor_that_sets_the_priority(tag: str, priority: int) -> None:
    """Koji's messages of tags do, according to the tag."""
    cls = get_class("koji_fedoramessaging.tag.TagV1")
    message = cls(body={**body_for(cls.body_schema, Style.FULL), "tag": tag})
    assert message.priority == priority
    assert message._properties.priority == priority
    assert message._headers["priority"] == priority


@pytest.fixture
def queue(broker: BrokerUnderTest) -> Iterator[str]:
    """A queue that gets everything."""
    names = Names(broker.url)
    name = names()
    with connect(broker.url) as connection:
        channel = connection.channel()
        channel.queue_declare(name, durable=True)
        channel.queue_bind(name, "amq.topic", "#")
    yield name
    names.delete_all()


@pytest.fixture
def service(broker: BrokerUnderTest, settings: config.LazyConfig) -> Iterator[None]:
    """`api` is set up for the broker, and closed afterwards."""
    settings["amqp_url"] = broker.url
    yield
    api.close()


class Inbox:
    """A callback that halts when it has had so many messages."""

    def __init__(self, expected: int) -> None:
        self.messages: list[Message] = []
        self._expected = expected

    def __call__(self, message: Message) -> None:
        self.messages.append(message)
        if len(self.messages) == self._expected:
            raise HaltConsumer


def test_over_a_broker(queue: str, service: None, caplog: pytest.LogCaptureFixture) -> None:
    sent = [build(schema, style) for schema in SCHEMAS for style in Style if is_constructible(schema, style)]
    caplog.clear()
    for message in sent:
        api.publish(message)
    inbox = Inbox(len(sent))
    with Consuming(inbox, bindings=[], queues={queue: queue_settings()}) as consuming:
        error = consuming.ended()
    assert isinstance(error, HaltConsumer)
    for arrived, message in zip(inbox.messages, sent, strict=True):
        assert_same(arrived, message)
        assert arrived.queue == queue
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
