"""Deliveries beyond version 3.9: nothing but a message or a ValidationError (P01), honest logs (P08, P22)."""

from __future__ import annotations

import copy
import datetime
import json
import logging
import unicodedata
from decimal import Decimal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

import jsonschema
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fedora_messaging import config, message
from fedora_messaging.exceptions import ValidationError
from fedora_messaging.message import ERROR, INFO, Message, get_message
from fedora_messaging.validation.json_body import MAX_DEPTH
from fedora_messaging.wire.properties import BasicProperties

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SETTINGS = settings(
    derandomize=True,
    deadline=None,
    max_examples=250,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module", autouse=True)
def default_configuration() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "conf", config.LazyConfig().load_config(""))
        yield


def headers(schema: Any = "base.message", severity: Any = INFO, **more: Any) -> dict[str, Any]:
    return {"fedora_messaging_schema": schema, "fedora_messaging_severity": severity, **more}


def properties(**given: Any) -> BasicProperties:
    return BasicProperties(
        **{"content_encoding": "utf-8", "headers": headers(), "message_id": "m-1", **given}
    )


def refused(body: bytes = b"{}", **given: Any) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        get_message("topic", properties(**given), body)
    assert caught.value.__cause__ is caught.value.args[0]
    assert caught.value.summary
    assert str(caught.value)
    return caught.value


# Schema classes with mistakes


class Fault(Exception):
    """What an application's code may raise."""


def fail(*_: object, **__: object) -> NoReturn:
    raise Fault("the schema package's mistake")


class FailingConstructor(Message):
    __init__ = fail


class FailingBodySchema(Message):
    body_schema = property(fail)


class FailingHeadersSchema(Message):
    headers_schema = property(fail)


class FailingValidation(Message):
    validate = fail


class OtherSignature(Message):
    def __init__(self, body: Any) -> None:
        super().__init__(body)


class WrongBodySchema(Message):
    body_schema = {"type": "nonsense"}


class WrongHeadersSchema(Message):
    headers_schema = {"$ref": "#/nowhere"}


class RemoteSchema(Message):
    body_schema = {"$ref": "http://127.0.0.1:1/schema"}


class NoSchema(Message):
    body_schema = None  # type: ignore[assignment]


class EndlessSchema(Message):
    body_schema = {"allOf": [{"$ref": "#"}], "type": "string"}


class EndlessValidation(Message):
    def validate(self) -> None:
        self.validate()


class FailingMeta(type):
    @property
    def deprecated(cls) -> bool:
        raise Fault("not even this can be read")


class FailingDeprecation(Message, metaclass=FailingMeta):
    pass


class NoMessage:
    def __init__(self, **_: object) -> None:
        pass


def no_class(**_: object) -> None:
    return None


class Late(Message):
    """Its accessors fail; nothing reads them before a callback does."""

    @property
    def summary(self) -> str:
        raise Fault

    @property
    def usernames(self) -> list[str]:
        raise Fault


class Old(Message):
    deprecated = True


MISTAKEN = [
    FailingConstructor,
    FailingBodySchema,
    FailingHeadersSchema,
    FailingValidation,
    OtherSignature,
    WrongBodySchema,
    WrongHeadersSchema,
    RemoteSchema,
    NoSchema,
    EndlessSchema,
    EndlessValidation,
    FailingDeprecation,
    NoMessage,
    no_class,
]


@pytest.fixture(autouse=True)
def register(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    message.get_class("base.message")

    def add(cls: Any) -> None:
        monkeypatch.setitem(message._schema_name_to_class, "mine", cls)
        monkeypatch.setitem(message._class_to_schema_name, cls, "mine")

    return add


@pytest.mark.parametrize("cls", MISTAKEN)
def test_p01_a_mistake_of_the_schema_class_refuses_the_message(
    cls: Any, register: Callable[[Any], None]
) -> None:
    """The library refuses a message whose schema class has a mistake of any kind."""
    register(cls)
    refused(headers=headers("mine"))
    # The next good message is not harmed.
    assert get_message("topic", properties(), b'{"a": 1}').body == {"a": 1}


@pytest.mark.parametrize("cls", MISTAKEN)
def test_p08_a_mistake_of_the_schema_class_is_logged(
    cls: Any, register: Callable[[Any], None], caplog: pytest.LogCaptureFixture
) -> None:
    register(cls)
    refused(headers=headers("mine"))
    assert [record.levelno for record in caplog.records if record.name == "fedora_messaging.message"] == [
        logging.ERROR
    ]
    assert "m-1" in caplog.records[0].getMessage()


def test_accessors_are_not_read_on_arrival(register: Callable[[Any], None]) -> None:
    register(Late)
    assert type(get_message("topic", properties(headers=headers("mine")), b"{}")) is Late


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_request_to_stop_is_no_fault_of_the_message(
    error: type[BaseException], register: Callable[[Any], None]
) -> None:
    class Stopping(Message):
        def validate(self) -> None:
            raise error

    register(Stopping)
    with pytest.raises(error):
        get_message("topic", properties(headers=headers("mine")), b"{}")


# P01: faults of the sender

UNHASHABLE: list[Any] = [[], {}, ["base.message"], {"a": 1}, bytearray(b"x")]
NO_TEXT: list[Any] = [None, True, 0, 5, 1.5, b"base.message", Decimal(1), datetime.datetime(2020, 1, 1), ()]


@pytest.mark.parametrize("value", UNHASHABLE + NO_TEXT, ids=repr)
def test_p01_schema_header_is_no_text(value: Any) -> None:
    """The library refuses a message whose schema header is a list, a table or anything but a text."""
    refused(headers=headers(value))


@pytest.mark.parametrize("value", UNHASHABLE + NO_TEXT + [0.0, 5, "20", float("nan")], ids=repr)
def test_p01_severity_header_is_no_severity(value: Any) -> None:
    refused(headers=headers(severity=value))


@pytest.mark.parametrize("value", UNHASHABLE + NO_TEXT, ids=repr)
@pytest.mark.parametrize("name", ["fedora_messaging_schema_package", "sent-at"])
def test_p01_other_headers_are_no_text(name: str, value: Any) -> None:
    refused(headers=headers(**{name: value}))
    refused(headers=headers("unknown", **{name: value}))


@pytest.mark.parametrize("value", [5, 1.5, True, "text", b"bytes", ["fedora_messaging_schema"]], ids=repr)
def test_p01_headers_are_no_table(value: Any) -> None:
    refused(headers=value)


@pytest.mark.parametrize(
    "encoding",
    ["", " ", "gzip", "deflate", "utf-8\0", "\0", "nonsense", "base64", "rot13", "x" * 255, "\udc80", "os"],
)
@pytest.mark.parametrize("body", [b"{}", b"", b"\x1f\x8b\x08"])
def test_p01_content_encodings(encoding: str, body: bytes) -> None:
    """The library refuses a message whose content encoding is no text encoding."""
    refused(body, content_encoding=encoding)


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":'])
@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 1000, 5000, 500_000])
def test_p01_nested_bodies(opening: bytes, depth: int) -> None:
    closing = {b"[": b"]", b'{"a":': b"}", b'[{"a":': b"}]"}[opening]
    refused(b'{"a":' + opening * depth + b"1" + closing * depth + b"}")
    refused(opening * depth)


def test_p01_the_deepest_body_can_be_shown_and_sent_on() -> None:
    body = b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH
    arrived = get_message("topic", properties(), body)
    assert json.loads(arrived._encoded_body) == arrived.body
    assert arrived.id is not None
    assert arrived.id in str(arrived)
    assert repr(arrived)
    assert message.loads(message.dumps(arrived)) is not None


@pytest.mark.parametrize("body", [b"", b"\xff", b"{", b"[1]", b"1", b'"x"', b"true", b"{}{}", b"9" * 5000])
def test_p01_bodies(body: bytes) -> None:
    refused(body)


def test_p20_duplicate_keys_the_last_one_wins() -> None:
    assert get_message("topic", properties(), b'{"a": 1, "a": 2}').body == {"a": 2}


def test_p20_numbers_keep_their_value() -> None:
    body = get_message("topic", properties(), b'{"i": 1180591620717411303425, "n": 1e999}').body
    assert body == {"i": 2**70 + 1, "n": float("inf")}


def test_p20_lone_surrogates_travel_through() -> None:
    arrived = get_message("topic", properties(), b'{"\\ud800": "\\udfff"}')
    assert arrived.body == {"\ud800": "\udfff"}
    assert json.loads(arrived._encoded_body) == arrived.body
    str(arrived).encode("utf-8")


# Anything at all

FIELD_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(st.characters(exclude_categories=()), max_size=20)
    | st.binary(max_size=20)
    | st.datetimes()
    | st.decimals(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
SCHEMA_NAMES = st.sampled_from(
    [
        "base.message",
        "mine",
        "unknown",
        "bodhi.update.request.testing.v1",
        "copr.build.end",
        "pagure.issue.new",
        "buildsys.build.state.change",
        "noggin.group.member.sponsor.v1",
    ]
)
ANY_HEADERS = st.none() | st.dictionaries(st.text(max_size=10), FIELD_VALUES, max_size=3).flatmap(
    lambda more: st.fixed_dictionaries(
        {},
        optional={
            "fedora_messaging_schema": SCHEMA_NAMES | FIELD_VALUES,
            "fedora_messaging_schema_package": FIELD_VALUES,
            "fedora_messaging_severity": st.sampled_from(message.SEVERITIES) | FIELD_VALUES,
            "sent-at": FIELD_VALUES,
            "priority": FIELD_VALUES,
        },
    ).map(lambda known: {**more, **known})
)
ENCODINGS = (
    st.none()
    | st.sampled_from(
        ["utf-8", "UTF-8", "utf-16", "latin-1", "gzip", "", "\0", "hex", "unicode_escape", "utf-7"]
    )
    | st.text(max_size=10)
)
SHORT_TEXT = st.none() | st.text(max_size=10)
ANY_PROPERTIES = st.builds(
    BasicProperties,
    content_type=SHORT_TEXT,
    content_encoding=ENCODINGS,
    headers=ANY_HEADERS,
    delivery_mode=st.none() | st.integers(0, 255),
    priority=st.none() | st.integers(0, 255),
    correlation_id=SHORT_TEXT,
    reply_to=SHORT_TEXT,
    expiration=SHORT_TEXT,
    message_id=SHORT_TEXT,
    timestamp=st.none() | st.integers(0, 2**64 - 1),
    type=SHORT_TEXT,
    user_id=SHORT_TEXT,
    app_id=SHORT_TEXT,
    cluster_id=SHORT_TEXT,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
ANY_BODY = (
    st.binary(max_size=30)
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.dictionaries(st.text(max_size=5), JSON, max_size=3).map(lambda value: json.dumps(value).encode())
    | st.integers(150, 2000).map(lambda depth: b'{"a":' * depth + b"1" + b"}" * depth)
)


@SETTINGS
@given(
    st.text(max_size=20),
    ANY_PROPERTIES,
    ANY_BODY,
    st.sampled_from([Message, Late, Old, *MISTAKEN]),
)
@example("t", BasicProperties(headers={"fedora_messaging_schema": []}), b"{}", Message)
@example("t", BasicProperties(headers={"fedora_messaging_severity": {}}), b"{}", Message)
@example("t", BasicProperties(headers={}, content_encoding="gzip"), b"{}", Message)
@example("", BasicProperties(), b"", Message)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the codec unicode_escape
def test_p01_a_message_or_a_validation_error_and_nothing_else(
    register: Callable[[Any], None],
    routing_key: str,
    delivered: BasicProperties,
    body: bytes,
    cls: Any,
) -> None:
    register(cls)
    try:
        arrived = get_message(routing_key, delivered, body)
    except ValidationError as error:
        assert error.summary is not None
        assert isinstance(error.__cause__, Exception)
    else:
        assert isinstance(arrived, Message)
        assert arrived.topic == routing_key
        assert arrived._properties is delivered
        assert arrived.queue is None
        assert isinstance(arrived.body, dict)
        assert arrived.severity in message.SEVERITIES
        if type(arrived) is not EndlessValidation:
            arrived.validate()
        assert repr(arrived)
        assert str(arrived)


# What is kept and filled in


def test_properties_of_other_libraries_are_kept() -> None:
    """Whatever has the fourteen attributes will do."""
    names = vars(BasicProperties())
    foreign: Any = SimpleNamespace(**{name: getattr(properties(), name) for name in names})
    foreign.headers = headers(severity=ERROR)
    arrived = get_message("topic", foreign, b'{"a": 1}')
    assert arrived._properties is foreign
    assert (arrived.id, arrived.severity, arrived.priority) == ("m-1", ERROR, 0)
    arrived.priority = 3
    assert (foreign.priority, foreign.headers["priority"]) == (3, 3)


def test_pikas_properties_are_kept() -> None:
    pika = pytest.importorskip("pika")
    foreign = pika.BasicProperties(content_encoding="utf-8", headers=headers(), message_id="m-2", priority=4)
    arrived = get_message("topic", foreign, b"{}")
    assert arrived._properties is foreign
    assert (arrived.id, arrived.priority) == ("m-2", 4)
    bare = pika.BasicProperties()
    assert get_message("topic", bare, b"{}")._headers == {}
    assert (bare.headers, bare.content_encoding) == ({}, "utf-8")


def test_a_good_delivery_changes_no_property() -> None:
    delivered = properties(priority=3, correlation_id="c", timestamp=5)
    before = copy.deepcopy(delivered)
    get_message("topic", delivered, b'{"a": 1}')
    assert delivered == before


def test_missing_severity_is_not_added_to_the_headers() -> None:
    delivered = properties(headers={"fedora_messaging_schema": "base.message"})
    assert get_message("topic", delivered, b"{}").severity == INFO
    assert delivered.headers == {"fedora_messaging_schema": "base.message"}


def test_violations_of_installed_schemas_are_jsonschemas() -> None:
    error = refused(b'{"a": 1}', headers=headers("pagure.issue.new"))
    assert isinstance(error.args[0], jsonschema.ValidationError)
    assert "is a required property" in error.summary


def test_a_deprecated_class_is_announced_once_per_message(
    register: Callable[[Any], None], caplog: pytest.LogCaptureFixture
) -> None:
    register(Old)
    assert type(get_message("a.b", properties(headers=headers("mine")), b"{}")) is Old
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        f"A message with a deprecated schema ({Old.__module__}.Old) has been received on topic 'a.b'. "
        "You should check the emitting application's documentation to upgrade to the newer schema version."
    )


def test_an_invalid_message_of_a_deprecated_class_is_only_invalid(
    register: Callable[[Any], None], caplog: pytest.LogCaptureFixture
) -> None:
    register(Old)
    refused(b"[1]", headers=headers("mine"))
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


# Logs: short (P08) and without forgeries (P22)

HUGE = b'{"a": "' + b"x" * 20_000 + b'"}'


@pytest.mark.parametrize(
    ("body", "given"),
    [
        pytest.param(HUGE, {"headers": None}, id="no headers"),
        pytest.param(HUGE, {"headers": {}}, id="no schema"),
        pytest.param(HUGE, {"content_encoding": None}, id="no encoding"),
        pytest.param(HUGE, {"content_encoding": "gzip"}, id="wrong encoding"),
        pytest.param(HUGE[:-1], {}, id="no JSON"),
        pytest.param(HUGE[:-1] + b"\xff", {}, id="no UTF-8"),
        pytest.param(b"[" + HUGE + b"]", {}, id="no object"),
        pytest.param(HUGE, {"headers": headers(5)}, id="schema is no text"),
        pytest.param(HUGE, {"headers": headers("y" * 20_000)}, id="huge schema name"),
        pytest.param(HUGE, {"headers": headers(severity="y" * 20_000)}, id="huge severity"),
        pytest.param(HUGE, {"headers": headers("pagure.issue.new")}, id="schema violated"),
    ],
)
def test_p08_log_lines_do_not_hold_the_message(
    body: bytes, given: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    try:
        get_message("topic", properties(**given), body)
    except ValidationError:
        pass
    assert caplog.records
    assert max(len(line) for line in caplog.messages) < 4000


#: Line breaks, terminal control (C0, C1), bidirectional overrides, invisible and unencodable characters.
FORGERY = "x\nERROR\r\x1b[31m\x07\x7f\x9b31m\x85\u2028\u2029\u202e\u2066\u200b\ufeff\udc80\0y"


def dirty_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    assert caplog.messages
    return [
        ascii(line)
        for line in caplog.messages
        if any(unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in line)
    ]


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"headers": headers("pagure.issue.new")}, id="schema violated"),
        pytest.param({"headers": headers("mine")}, id="schema class fails"),
        pytest.param({"headers": headers("old")}, id="deprecated"),
        pytest.param({"headers": None}, id="no headers"),
        pytest.param({"headers": {}}, id="no schema, no severity"),
        pytest.param({"headers": headers([])}, id="schema is no text"),
        pytest.param({"content_encoding": None}, id="no encoding"),
        pytest.param({"content_encoding": "gzip"}, id="wrong encoding"),
    ],
)
def test_p22_message_ids_and_topics_forge_no_log_lines(
    fault: dict[str, Any],
    register: Callable[[Any], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    register(FailingValidation)
    monkeypatch.setitem(message._schema_name_to_class, "old", Old)
    try:
        get_message(FORGERY, properties(message_id=FORGERY, **fault), b"{}")
    except ValidationError:
        pass
    assert dirty_lines(caplog) == []


@pytest.mark.parametrize(
    "name",
    ["fedora_messaging_schema", "fedora_messaging_severity", "fedora_messaging_schema_package", "sent-at"],
)
def test_p22_headers_forge_no_log_lines(name: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ValidationError):
        get_message("topic", properties(headers={**headers("unknown"), name: FORGERY}), b"[1]")
    assert dirty_lines(caplog) == []


def test_p22_encodings_forge_no_log_lines(caplog: pytest.LogCaptureFixture) -> None:
    refused(content_encoding=FORGERY)
    assert dirty_lines(caplog) == []


@pytest.mark.parametrize(
    "body",
    [
        FORGERY.encode("utf-8", "surrogateescape"),
        json.dumps([FORGERY]).encode(),
        json.dumps({FORGERY: FORGERY}).encode(),
    ],
)
@pytest.mark.parametrize("given", [{"headers": None}, {"headers": headers("pagure.issue.new")}])
def test_p22_bodies_forge_no_log_lines(
    body: bytes, given: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    try:
        get_message("topic", properties(**given), body)
    except ValidationError:
        pass
    assert dirty_lines(caplog) == []


def test_p22_a_harmless_schema_name_is_shown_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    get_message("topic", properties(headers=headers("Schéma.v1 \\ 'x'")), b"{}")
    [line] = caplog.messages
    assert line.startswith("The schema \"Schéma.v1 \\ 'x'\" is not in the schema registry!")
