"""Exceptions beyond version 3.9: proper constructors, and nothing lost by pickling."""

from __future__ import annotations

import builtins
import copy
import inspect
import json
import pickle
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from fedora_messaging import config, exceptions
from fedora_messaging.message import get_message
from fedora_messaging.validation import json_body, validator
from fedora_messaging.wire.properties import BasicProperties

if TYPE_CHECKING:
    from collections.abc import Callable

CLASSES = [
    cls
    for cls in vars(exceptions).values()
    if inspect.isclass(cls) and issubclass(cls, exceptions.BaseException) and not cls.__name__.startswith("_")
]
CLOSED = exceptions.ChannelClosed(404, "NOT_FOUND - no exchange 'x'")

EXAMPLES: list[exceptions.BaseException] = [
    exceptions.BaseException(),
    exceptions.BaseException("a", 1, None),
    exceptions.NoFreeChannels("65535 channels"),
    exceptions.ConfigurationException("wrong"),
    exceptions.PermissionException(),
    exceptions.PermissionException("queue", "name", "ACCESS_REFUSED"),
    exceptions.PermissionException(reason="ACCESS_REFUSED"),
    exceptions.BadDeclaration("queue", {"queue": "q"}, CLOSED),
    exceptions.BadDeclaration(obj_type="queue", reason=CLOSED),
    exceptions.PublishException(),
    exceptions.PublishException("text"),
    exceptions.PublishException(reason=CLOSED),
    exceptions.PublishReturned(exceptions.DeliveryRefused(312, "nack")),
    exceptions.PublishNacked(exceptions.DeliveryRefused(312, "nack")),
    exceptions.PublishTimeout(reason="no confirm within 30 s"),
    exceptions.PublishForbidden(reason=CLOSED),
    exceptions.ExchangeNotFound(reason=CLOSED),
    exceptions.OutboxError("the disk is full"),
    exceptions.OutboxFull("it holds 100000 messages"),
    exceptions.ConnectionException(),
    exceptions.ConnectionException("lost", 5),
    exceptions.ConnectionException("lost", reason=OSError(111, "refused"), other=1),
    exceptions.ConsumeException("x"),
    exceptions.ConsumerCanceled("queue deleted"),
    exceptions.Nack("later"),
    exceptions.Drop("never"),
    exceptions.HaltConsumer(),
    exceptions.HaltConsumer(3, "enough", True),
    exceptions.HaltConsumer(exit_code=3, reason="enough", requeue=True),
    exceptions.ValidationError("text"),
    exceptions.ValidationError(ValueError("wrong")),
    exceptions.AMQPError(),
    exceptions.AMQPError(541, "INTERNAL_ERROR"),
    exceptions.ChannelClosed(404, "NOT_FOUND"),
    exceptions.ConnectionClosed(320, "CONNECTION_FORCED"),
    exceptions.DeliveryRefused(312, "nack"),
    exceptions.Unroutable(312, "NO_ROUTE"),
    exceptions.EncodingError("topic is longer than 255 bytes"),
]

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def shown(value: Any) -> Any:
    """An exception as a value that can be compared."""
    if not isinstance(value, builtins.BaseException):
        return value
    state = {name: shown(item) for name, item in vars(value).items() if not name.startswith("_")}
    return type(value), str(value), repr(value), tuple(shown(item) for item in value.args), state


def test_there_is_an_example_of_every_class() -> None:
    assert {type(error) for error in EXAMPLES} == set(CLASSES)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("error", EXAMPLES, ids=repr)
def test_pickling(error: exceptions.BaseException, protocol: int) -> None:
    assert shown(pickle.loads(pickle.dumps(error, protocol))) == shown(error)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
@pytest.mark.parametrize("error", EXAMPLES, ids=repr)
def test_copying(error: exceptions.BaseException, duplicate: Callable[[Any], Any]) -> None:
    twin = duplicate(error)
    assert twin is not error
    assert shown(twin) == shown(error)


@pytest.mark.parametrize("error", EXAMPLES, ids=repr)
def test_notes_and_extra_attributes_are_pickled(error: exceptions.BaseException) -> None:
    marked = copy.copy(error)
    marked.add_note("while testing")
    marked.extra = 5  # type: ignore[attr-defined]
    twin = pickle.loads(pickle.dumps(marked))
    assert twin.__notes__ == ["while testing"]
    assert twin.extra == 5


class Impatient(exceptions.HaltConsumer):
    """A program's subclass with a constructor of its own."""

    def __init__(self, seconds: float) -> None:
        super().__init__(exit_code=9, reason=f"waited {seconds} s")
        self.seconds = seconds


class Rejected(exceptions.PublishReturned):
    """A program's subclass with two required arguments."""

    def __init__(self, topic: str, reason: Any) -> None:
        super().__init__(reason)
        self.topic = topic


@pytest.mark.parametrize("error", [Impatient(2.5), Rejected("a.b", CLOSED)], ids=repr)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_subclasses_of_programs_can_be_pickled(error: exceptions.BaseException, protocol: int) -> None:
    assert shown(pickle.loads(pickle.dumps(error, protocol))) == shown(error)


@pytest.mark.parametrize(
    "cls",
    [
        exceptions.PublishException,
        exceptions.PublishReturned,
        exceptions.PublishTimeout,
        exceptions.PublishForbidden,
        exceptions.ExchangeNotFound,
        exceptions.HaltConsumer,
    ],
)
def test_unknown_keywords_are_refused_by_name(cls: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match="colour"):
        cls(reason="x", colour="red")


def test_a_configuration_error_needs_its_text() -> None:
    with pytest.raises(TypeError):
        exceptions.ConfigurationException()  # type: ignore[call-arg]


def test_a_halt_can_be_shown_with_its_reason() -> None:
    halt = exceptions.HaltConsumer(3, "enough", requeue=True)
    assert (halt.exit_code, halt.reason, halt.requeue) == (3, "enough", True)


def test_the_brokers_words_are_kept() -> None:
    assert (CLOSED.reply_code, CLOSED.reply_text) == CLOSED.args == (404, "NOT_FOUND - no exchange 'x'")
    assert str(CLOSED) == "(404) NOT_FOUND - no exchange 'x'"


def test_an_encoding_error_is_a_value_error() -> None:
    assert issubclass(exceptions.EncodingError, ValueError)


@pytest.mark.parametrize("cls", [c for c in CLASSES if c is not exceptions.BaseException])
def test_one_parent_catches_everything(cls: type[exceptions.BaseException]) -> None:
    assert issubclass(cls, exceptions.BaseException)
    assert issubclass(cls, Exception)


# What really is inside a ValidationError

DRAFTS = [
    "http://json-schema.org/draft-04/schema#",
    "http://json-schema.org/draft-06/schema#",
    "http://json-schema.org/draft-07/schema#",
    "https://json-schema.org/draft/2020-12/schema",
]


def found_by_validation(schema: dict[str, Any], instance: Any) -> Exception:
    with pytest.raises((jsonschema.ValidationError, jsonschema.SchemaError)) as caught:
        validator.validate(instance, schema)
    error: Exception = caught.value
    return error


def found_by_decoding(body: bytes, encoding: str) -> Exception:
    with pytest.raises(ValueError, match=".") as caught:
        json_body.decode(body, encoding)
    return caught.value


CAUSES: dict[str, Callable[[], Exception]] = {
    **{
        f"violation of {draft}": lambda draft=draft: found_by_validation(  # type: ignore[misc]
            {"$schema": draft, "properties": {"a": {"type": "integer"}}}, {"a": "x"}
        )
        for draft in DRAFTS
    },
    **{
        f"schema error by {draft}": lambda draft=draft: found_by_validation(  # type: ignore[misc]
            {"$schema": draft, "type": 5}, {}
        )
        for draft in DRAFTS
    },
    "unresolvable reference": lambda: found_by_validation({"$ref": "#/nowhere"}, {}),
    "not JSON": lambda: found_by_decoding(b"{", "utf-8"),
    "not UTF-8": lambda: found_by_decoding(b"\xff", "utf-8"),
    "unknown encoding": lambda: found_by_decoding(b"{}", "nonsense"),
    "too deep": lambda: found_by_decoding(b"[" * 1000 + b"]" * 1000, "utf-8"),
    "far too deep": lambda: found_by_decoding(b"[" * 100_000, "utf-8"),
}


@pytest.mark.parametrize("cause", CAUSES.values(), ids=CAUSES)
def test_validation_errors_can_be_pickled_whatever_they_hold(cause: Callable[[], Exception]) -> None:
    error = exceptions.ValidationError(cause())
    for protocol in PROTOCOLS:
        twin = pickle.loads(pickle.dumps(error, protocol))
        assert type(twin) is exceptions.ValidationError
        assert str(twin) == str(error)
        assert twin.summary == error.summary


@pytest.mark.parametrize(
    ("headers", "encoding", "body"),
    [
        ({}, "utf-8", b"{"),
        ({}, "utf-8", b"\xff"),
        ({}, "gzip", b"{}"),
        ({}, "utf-8", b"[" * 1000 + b"]" * 1000),
        ({}, "utf-8", b"[1]"),
        ({"fedora_messaging_severity": 5}, "utf-8", b"{}"),
        ({"fedora_messaging_schema": []}, "utf-8", b"{}"),
    ],
)
def test_errors_of_bad_deliveries_can_be_pickled(
    headers: dict[str, Any], encoding: str, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "conf", config.LazyConfig().load_config(""))
    properties = BasicProperties(content_encoding=encoding, headers=headers)
    with pytest.raises(exceptions.ValidationError) as caught:
        get_message("t", properties, body)
    twin = pickle.loads(pickle.dumps(caught.value))
    assert (str(twin), twin.summary) == (str(caught.value), caught.value.summary)


def test_summary_without_a_cause_is_an_index_error() -> None:
    with pytest.raises(IndexError):
        _ = exceptions.ValidationError().summary


def test_summary_leaves_schema_and_instance_out() -> None:
    error = exceptions.ValidationError(found_by_validation({"properties": {"a": {"type": "null"}}}, {"a": 1}))
    assert error.summary == "1 is not of type 'null'"
    assert "On instance" in str(error)


def test_summary_of_a_json_error() -> None:
    with pytest.raises(json.JSONDecodeError) as caught:
        json.loads("{")
    assert exceptions.ValidationError(caught.value).summary == str(caught.value)
