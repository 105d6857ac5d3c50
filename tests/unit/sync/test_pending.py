"""Waiting in a thread for a publish, and for a record in the outbox."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from tests.support.waiting import WAIT

from fedora_messaging.client.publishing.outgoing import Encoded, Outgoing
from fedora_messaging.exceptions import OutboxFull, PublishNacked, PublishTimeout
from fedora_messaging.sync.pending import PendingPublish, PendingRecord

ENCODED = Encoded("amq.topic", "a.b", b"method", b"properties", b"body", True)
EXPIRED = PublishTimeout("canary")


@pytest.fixture
def given_up() -> list[tuple[Outgoing, float]]:
    """Publishes that were given up, with the time limit that was over."""
    return []


@pytest.fixture
def pending(given_up: list[tuple[Outgoing, float]]) -> PendingPublish:
    """A publish that nobody has settled."""

    def expire(out: Outgoing, timeout: float) -> PublishTimeout:
        given_up.append((out, timeout))
        return EXPIRED

    return PendingPublish(ENCODED, expire, lambda _confirmed, _timeout: None)


def test_message_is_handed_over_as_it_was_encoded(pending: PendingPublish) -> None:
    out = pending.outgoing
    assert (out.exchange, out.routing_key, out.method) == ("amq.topic", "a.b", b"method")
    assert (out.properties, out.body, out.mandatory) == (b"properties", b"body", True)
    assert pending.outgoing is out


@pytest.mark.parametrize("timeout", [None, WAIT, 0.001])
def test_publish_that_was_settled_before(
    pending: PendingPublish, given_up: list[object], timeout: float | None
) -> None:
    pending.outgoing.on_outcome(None)
    pending.wait(timeout)
    assert given_up == []


@pytest.mark.parametrize("timeout", [None, WAIT])
def test_publish_that_another_thread_settles(pending: PendingPublish, timeout: float | None) -> None:
    error = PublishNacked("the queue is full")
    waiting = threading.Event()

    def wait() -> None:
        waiting.set()
        pending.wait(timeout)

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(wait)
        assert waiting.wait(WAIT)
        assert not future.done()
        pending.outgoing.on_outcome(error)
        assert future.exception(WAIT) is error


@pytest.mark.parametrize("timeout", [0.001, 0, -1])
def test_publish_that_takes_too_long(
    pending: PendingPublish, given_up: list[tuple[Outgoing, float]], timeout: float
) -> None:
    with pytest.raises(PublishTimeout) as caught:
        pending.wait(timeout)
    assert caught.value is EXPIRED
    assert given_up == [(pending.outgoing, timeout)]
    # The outcome comes too late, and harms nobody.
    pending.outgoing.on_outcome(None)


def test_timeout_of_zero_is_over_even_if_the_confirm_is_there(
    pending: PendingPublish, given_up: list[tuple[Outgoing, float]]
) -> None:
    pending.outgoing.on_outcome(None)
    with pytest.raises(PublishTimeout):
        pending.wait(0)
    assert given_up == [(pending.outgoing, 0)]


def test_record_that_is_on_disk() -> None:
    future: Future[None] = Future()
    future.set_result(None)
    for timeout in (None, WAIT, 0):
        PendingRecord(future).wait(timeout)


def test_record_that_is_refused() -> None:
    future: Future[None] = Future()
    error = OutboxFull("the outbox is full")
    future.set_exception(error)
    with pytest.raises(OutboxFull) as caught:
        PendingRecord(future).wait(None)
    assert caught.value is error


@pytest.mark.parametrize("is_running", [False, True])
def test_record_that_takes_too_long(is_running: bool) -> None:
    future: Future[None] = Future()
    if is_running:
        future.set_running_or_notify_cancel()
    with pytest.raises(PublishTimeout) as caught:
        PendingRecord(future).wait(0.001)
    assert str(caught.value) == "Publishing timed out after waiting 0.001 seconds."
    # What is not being written yet will not be.
    assert future.cancelled() is not is_running


def test_record_that_fails_with_a_timeout_of_its_own() -> None:
    future: Future[None] = Future()
    error = TimeoutError("the disk does not answer")
    future.set_exception(error)
    with pytest.raises(TimeoutError) as caught:
        PendingRecord(future).wait(WAIT)
    assert caught.value is error


def test_record_that_was_given_up_by_somebody_else() -> None:
    future: Future[None] = Future()
    with pytest.raises(PublishTimeout):
        PendingRecord(future).wait(0)
    assert future.cancelled()
