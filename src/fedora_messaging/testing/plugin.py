"""Fixtures for pytest, available as soon as the library is installed.

``bus`` runs a broker and points the configuration at it; ``published`` records messages instead of sending
them. With the setting ``fedora_messaging_forbid_publish = true``, a publish in a test that uses neither fails
the test at once, instead of looking for a broker.
"""

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ..broker import Broker
    from ..message import Message

_FORBID = "fedora_messaging_forbid_publish"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add our setting."""
    parser.addini(
        _FORBID,
        "Fail a test that publishes without the fixture `bus` or `published` or `mock_sends`.",
        type="bool",
        default=False,
    )


def pytest_configure(config: pytest.Config) -> None:
    """Forbid publishing if the setting says so."""
    if config.getini(_FORBID):
        config.pluginmanager.register(_ForbidPublish(), "fedora-messaging-forbid-publish")


class _ForbidPublish:
    """Fails tests that publish without ``bus`` or ``published``."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Iterator[None]:
        yield from self._watch(item)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        yield from self._watch(item)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Iterator[None]:
        yield from self._watch(item)

    def _watch(self, item: pytest.Item) -> Iterator[None]:
        if {"bus", "published"} & set(getattr(item, "fixturenames", ())):
            return (yield)
        from ..frontends.recording import recording

        unheard: list[str] = []

        def complain(message: "Message") -> None:
            complaint = (
                f"a message with topic {message.topic!r} was published in a test that has no broker: use the "
                "fixture `published` or `bus`, or `fedora_messaging.testing.mock_sends`"
            )
            if threading.current_thread() is not threading.main_thread():
                unheard.append(complaint)
            # This does not raise an Exception, which programs might catch.
            pytest.fail(complaint)

        with recording(complain):
            result = yield
        if unheard:
            pytest.fail(unheard[0])
        return result


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> "Iterator[Broker]":
    """A running, empty broker; the configuration, also that of child processes, points to it."""
    from .. import api, config
    from ..broker import Broker

    with Broker() as broker:
        monkeypatch.setenv(config.URL_VARIABLE, broker.amqp_url)
        monkeypatch.setitem(config.conf, "amqp_url", broker.amqp_url)
        monkeypatch.setattr(api, "_twisted_service", None)
        yield broker
        broker.faults.clear()
        api.close()


@pytest.fixture
def published(request: pytest.FixtureRequest) -> "Iterator[list[Message]]":
    """The messages published so far, in order.

    With ``bus`` these are the ones that the broker has confirmed. Without ``bus`` no broker is needed: the
    library validates each message and sends the signals, and does nothing else.
    """
    from .. import signals
    from ..frontends.publishing import prepare, publish_started, telling_outcome
    from .mocking import recording_instead

    messages: list[Message] = []

    def confirmed(_sender: object, message: "Message") -> None:
        messages.append(message)

    def record(message: "Message") -> None:
        publish_started(message)
        with telling_outcome(message):
            prepare(message, None)
            messages.append(message)

    if "bus" in request.fixturenames:
        request.getfixturevalue("bus")
        with signals.publish_signal.connected_to(confirmed):
            yield messages
    else:
        with recording_instead(record):
            yield messages
