"""The steps of every publish: what is prepared, whom the signals name, and which outcomes they tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from fedora_messaging import config, signals
from fedora_messaging.client.publishing.outgoing import Encoded
from fedora_messaging.exceptions import PublishNacked
from fedora_messaging.frontends import publishing
from fedora_messaging.frontends.publishing import (
    prepare,
    publish_failed,
    publish_started,
    send_signals_as,
    telling_failure,
    telling_outcome,
)
from fedora_messaging.message import Message
from fedora_messaging.wire.methods import BasicPublish

if TYPE_CHECKING:
    from collections.abc import Iterator

SENDER = object()
MESSAGE = Message(topic="a.b", body={"n": 1}, severity=20)


@pytest.fixture(autouse=True)
def sender(monkeypatch: pytest.MonkeyPatch) -> None:
    """All signals name SENDER."""
    monkeypatch.setattr(publishing, "_sender", publishing._sender)
    send_signals_as(lambda: SENDER)


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> config.LazyConfig:
    """The defaults, in a configuration that the test may change."""
    for variable in (config.PATH_VARIABLE, config.URL_VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    fresh = config.LazyConfig()
    fresh.load_config()
    monkeypatch.setattr(config, "conf", fresh)
    return fresh


@pytest.fixture
def heard() -> Iterator[list[tuple[Any, ...]]]:
    """Signals, each with its sender and arguments."""
    found: list[tuple[Any, ...]] = []

    def started(sender: Any, **arguments: Any) -> None:
        found.append(("started", sender, arguments))

    def succeeded(sender: Any, **arguments: Any) -> None:
        found.append(("succeeded", sender, arguments))

    def failed(sender: Any, **arguments: Any) -> None:
        found.append(("failed", sender, arguments))

    with (
        signals.pre_publish_signal.connected_to(started),
        signals.publish_signal.connected_to(succeeded),
        signals.publish_failed_signal.connected_to(failed),
    ):
        yield found


def test_start_is_told(heard: list[tuple[Any, ...]]) -> None:
    publish_started(MESSAGE)
    assert heard == [("started", SENDER, {"message": MESSAGE})]


@pytest.mark.parametrize(("wrong", "name"), [("text", "str"), (None, "NoneType"), (Message, "type")])
def test_what_is_no_message(heard: list[tuple[Any, ...]], wrong: Any, name: str) -> None:
    with pytest.raises(TypeError) as caught:
        publish_started(wrong)
    assert str(caught.value) == f"publish() takes a fedora_messaging.message.Message, not a {name}"
    assert heard == []


def prepared(*arguments: Any) -> tuple[str, str, bytes, bytes, bool]:
    got = prepare(MESSAGE, *arguments)
    assert isinstance(got, Encoded)
    return got.exchange, got.routing_key, got.method, got.body, got.mandatory


def test_configuration_supplies_the_defaults(settings: config.LazyConfig) -> None:
    assert prepared(None) == (
        "amq.topic",
        "a.b",
        BasicPublish("amq.topic", "a.b", False).encode(),
        b'{"n": 1}',
        False,
    )
    settings["publish_exchange"] = "e"
    settings["topic_prefix"] = "org"
    settings["publisher"] = {"mandatory": True}
    assert prepared(None) == ("e", "org.a.b", BasicPublish("e", "org.a.b", True).encode(), b'{"n": 1}', True)


def test_arguments_win_over_the_configuration(settings: config.LazyConfig) -> None:
    settings["publisher"] = {"mandatory": True}
    exchange, _key, method, _body, mandatory = prepared("", False)
    assert (exchange, method, mandatory) == ("", BasicPublish("", "a.b", False).encode(), False)
    settings["publisher"] = {"mandatory": False}
    assert prepared("", True)[4] is True


def test_message_is_validated_first(settings: config.LazyConfig) -> None:
    with pytest.raises(jsonschema.ValidationError, match="'text' is not of type 'object'"):
        # The topic is too long as well, which encoding would tell.
        prepare(Message(topic="x" * 256, body="text"), None)


@pytest.mark.parametrize(("telling", "told"), [(telling_failure, []), (telling_outcome, ["succeeded"])])
def test_block_that_succeeds(
    heard: list[tuple[Any, ...]], telling: type[telling_failure], told: list[str]
) -> None:
    with telling(MESSAGE):
        assert heard == []
    assert heard == [(name, SENDER, {"message": MESSAGE}) for name in told]


@pytest.mark.parametrize("telling", [telling_failure, telling_outcome])
def test_block_that_fails(
    heard: list[tuple[Any, ...]], telling: type[telling_failure], caplog: pytest.LogCaptureFixture
) -> None:
    error = PublishNacked("the queue is\nfull")
    error.add_note("canary")
    with pytest.raises(PublishNacked) as caught, telling(MESSAGE):
        raise error
    assert caught.value is error
    assert heard == [("failed", SENDER, {"message": MESSAGE, "reason": error})]
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("fedora_messaging.api", "ERROR")
    assert record.getMessage() == (
        f"Publishing message {MESSAGE.id} on topic 'a.b' failed: PublishNacked: the queue is\\nfull; canary"
    )


@pytest.mark.parametrize("telling", [telling_failure, telling_outcome])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_interrupted_block_is_no_failure(
    heard: list[tuple[Any, ...]],
    telling: type[telling_failure],
    kind: type[BaseException],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(kind), telling(MESSAGE):
        raise kind
    assert (heard, caplog.messages) == ([], [])


def test_failure_of_a_message_that_is_not_whole(
    heard: list[tuple[Any, ...]], caplog: pytest.LogCaptureFixture
) -> None:
    """A receiver, or a class of the program's, may have spoilt it."""
    spoilt = Message.__new__(Message)
    error = TypeError("no topic")
    publish_failed(spoilt, error)
    assert heard == [("failed", SENDER, {"message": spoilt, "reason": error})]
    assert caplog.messages == ["Publishing message None on topic '' failed: TypeError: no topic"]


@pytest.mark.parametrize(
    ("publisher", "given", "expected"),
    [
        (None, None, False),
        ({}, None, False),
        ({"mandatory": True}, None, True),
        ({"mandatory": True}, False, False),
        ({"mandatory": False}, True, True),
    ],
)
def test_setting_says_whether_a_queue_must_be_bound(
    settings: config.LazyConfig, publisher: dict[str, bool] | None, given: bool | None, expected: bool
) -> None:
    if publisher is not None:
        settings["publisher"] = publisher
    assert prepare(MESSAGE, None, given).mandatory is expected
