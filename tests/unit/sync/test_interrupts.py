"""Stopping consumers when the process gets SIGTERM."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

import pytest

from fedora_messaging.client.consuming.hooks import Hooks
from fedora_messaging.options import ConnectionOptions, ConsumerOptions, QosOptions, QueueOptions
from fedora_messaging.sync.interrupts import stop_on_sigterm
from fedora_messaging.sync.service import Service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fedora_messaging.sync.consumers import BlockingConsumers


@pytest.fixture
def consumers() -> Iterator[BlockingConsumers]:
    """Consumers that wait for a broker for ever, unless they are stopped."""
    service = Service(ConnectionOptions("127.0.0.1", 1))
    plan = [(QueueOptions("q"), ())]
    made = service.consumers(lambda _message: None, plan, QosOptions(), ConsumerOptions(), Hooks())
    yield made
    made.close()
    service.close()


@pytest.fixture(autouse=True)
def default_handler() -> Iterator[None]:
    """The program does not handle SIGTERM."""
    previous = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, previous)


def test_signal_stops_the_consumers(consumers: BlockingConsumers) -> None:
    with stop_on_sigterm(consumers) as received:
        assert received == []
        signal.raise_signal(signal.SIGTERM)
        assert received == [signal.SIGTERM]
        # A second one would end the process.
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        consumers.start()
        assert consumers.wait() is None
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_signal_while_consumers_wait_for_a_broker(consumers: BlockingConsumers) -> None:
    waiting = threading.Timer(0.05, signal.raise_signal, [signal.SIGTERM])
    with stop_on_sigterm(consumers) as received:
        waiting.start()
        consumers.start()
        assert consumers.wait() is None
    waiting.join()
    assert received == [signal.SIGTERM]


def test_default_comes_back_after_an_error(consumers: BlockingConsumers) -> None:
    with pytest.raises(ValueError, match="canary"), stop_on_sigterm(consumers):
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        raise ValueError("canary")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize("handler", [signal.SIG_IGN, lambda _number, _frame: None])
def test_handler_of_the_program_is_left_alone(consumers: BlockingConsumers, handler: signal.Handlers) -> None:
    signal.signal(signal.SIGTERM, handler)
    with stop_on_sigterm(consumers) as received:
        assert signal.getsignal(signal.SIGTERM) is handler
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is handler
    assert received == []


def test_other_threads_do_not_handle_signals(consumers: BlockingConsumers) -> None:
    found: list[object] = []

    def work() -> None:
        with stop_on_sigterm(consumers) as received:
            found.extend((signal.getsignal(signal.SIGTERM), received))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.SIG_DFL, []]
