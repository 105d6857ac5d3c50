"""The blocking face without a broker: its names, and how it lets go of the process's service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fedora_messaging import api, message, signals
from fedora_messaging.testing import mock_sends

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Any]:
    """Have an object be the service of the process, as programs that bring their own do."""

    def use(service: Any) -> Any:
        monkeypatch.setattr(api, "_twisted_service", service)
        return service

    return use


# Names


@pytest.mark.parametrize("name", ["Message", "SERIALIZED_MESSAGE_SCHEMA", "SEVERITIES", "dumps", "loads"])
def test_names_of_messages_are_those_of_their_module(name: str) -> None:
    assert getattr(api, name) is getattr(message, name)


@pytest.mark.parametrize("name", ["pre_publish_signal", "publish_signal", "publish_failed_signal"])
def test_names_of_signals_are_those_of_their_module(name: str) -> None:
    assert getattr(api, name) is getattr(signals, name)


@pytest.mark.parametrize("name", ["no_such_name", "Twisted", "Reactor"])
def test_a_name_that_is_missing(name: str) -> None:
    with pytest.raises(AttributeError) as caught:
        getattr(api, name)
    assert str(caught.value) == f"module 'fedora_messaging.api' has no attribute {name!r}"
    assert getattr(api, name, 7) == 7


def test_all_names_are_there_and_named_once() -> None:
    assert len(set(api.__all__)) == len(api.__all__)
    for name in api.__all__:
        assert getattr(api, name) is not None


# Recorded publishes


def test_a_recorded_publish_sends_no_signal_and_makes_no_service(use: Callable[[Any], Any]) -> None:
    use(None)
    sent: list[Any] = []

    def receive(_sender: Any, **arguments: Any) -> None:
        sent.append(arguments)

    one = message.Message(topic="x")
    with (
        api.pre_publish_signal.connected_to(receive),
        api.publish_signal.connected_to(receive),
        mock_sends(one),
    ):
        api.publish(one, "no.such", timeout=0)
    assert sent == []
    assert api._twisted_service is None


# Closing


class Closable:
    """A service whose running callbacks look, while it closes, at what the process has."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def close(self) -> None:
        self.seen.append(api._twisted_service)


def test_the_service_stays_in_place_until_it_is_closed(use: Callable[[Any], Any]) -> None:
    service = use(Closable())
    api.close()
    assert service.seen == [service]
    assert api._twisted_service is None
    api.close()
    assert service.seen == [service]


def test_a_service_of_the_programs_own_is_dropped(use: Callable[[Any], Any]) -> None:
    """It has no `close`: its owner stops it."""
    use(object())
    api.close()
    assert api._twisted_service is None


def test_a_service_that_came_during_the_close_stays(use: Callable[[Any], Any]) -> None:
    successor = object()

    class Replaced:
        def close(self) -> None:
            use(successor)

    use(Replaced())
    api.close()
    assert api._twisted_service is successor


def test_a_service_that_cannot_be_closed_stays(use: Callable[[Any], Any]) -> None:
    class Stuck:
        def close(self) -> None:
            raise OSError("canary")

    service = use(Stuck())
    with pytest.raises(OSError, match="canary"):
        api.close()
    assert api._twisted_service is service


@pytest.mark.parametrize("closed", [False, None, "yes"])
def test_a_service_is_used_on_unless_it_says_that_it_is_closed(
    use: Callable[[Any], Any], closed: Any
) -> None:
    """All attributes of a mock are something; that does not make it closed."""

    class Service:
        def __init__(self) -> None:
            self.closed = closed

    service = use(Service())
    assert api._init_twisted_service() is service
