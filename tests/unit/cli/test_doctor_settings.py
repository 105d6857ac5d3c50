"""What doctor finds in settings alone: each finding's kind and its words."""

from __future__ import annotations

import copy
import os
import re
import time
from typing import TYPE_CHECKING, Any

import pytest

from fedora_messaging.cli.doctor_settings import FAILURE, OK, WARNING, certificate_end, check_settings
from fedora_messaging.config import DEFAULTS

if TYPE_CHECKING:
    from pathlib import Path

DAY = 86_400
#: A queue of which there is nothing to say.
GOOD = {"durable": True, "auto_delete": False, "exclusive": False, "arguments": {}}


def findings(kind: str, **changes: Any) -> list[str]:
    conf = {**copy.deepcopy(DEFAULTS), **changes}
    return [finding.text for finding in check_settings(conf, None) if finding.kind == kind]


def test_nothing_is_wrong_with_the_defaults() -> None:
    assert findings(WARNING) == findings(FAILURE) == []
    assert findings(OK) == [
        "the settings have the right types",
        "[consumer] has only keys and values that are known",
        "[queues] has only keys and values that are known",
        "[bindings] has only keys and values that are known",
    ]


@pytest.mark.parametrize(
    ("argument", "value"), [("x-queue-mode", "lazy"), ("x-queue-master-locator", "min-masters")]
)
def test_arguments_that_rabbitmq_4_does_not_have(argument: str, value: str) -> None:
    queue = {**GOOD, "arguments": {argument: value}}
    assert findings(WARNING, queues={"q": queue}, bindings=[]) == [
        f"the queue 'q' has the argument {argument}, which RabbitMQ 4 ignores or refuses: remove it"
    ]


@pytest.mark.parametrize(
    ("kind", "fits"), [("classic", True), (None, True), ("quorum", False), ("stream", False)]
)
def test_kinds_of_queues_that_cannot_be_exclusive(kind: str | None, fits: bool) -> None:
    arguments = {} if kind is None else {"x-queue-type": kind}
    queue = {"durable": False, "auto_delete": True, "exclusive": True, "arguments": arguments}
    expected = [] if fits else [f"the queue 'q' is exclusive, which a {kind} queue cannot be"]
    assert findings(FAILURE, queues={"q": queue}, bindings=[]) == expected


def test_queue_that_the_broker_names_is_called_so() -> None:
    (warning,) = findings(WARNING, queues={"": {**GOOD, "durable": False}})
    assert warning.startswith("the queue that the broker names is neither durable nor exclusive, ")


def test_each_url_of_a_list_is_looked_at() -> None:
    urls = ["amqp://a", "AMQPS://b", "http://c", "canary"]
    (warning,) = findings(WARNING, amqp_url=urls)
    assert warning == 'the amqp_url begins with "http://": write "amqp://", or "amqps://" for TLS'
    (failure,) = findings(FAILURE, amqp_url=urls)
    assert failure.startswith('the amqp_url does not begin with "amqp://" or "amqps://"')
    assert "canary" not in failure


def test_queues_of_bindings_are_told_once() -> None:
    def binding(queue: str) -> dict[str, Any]:
        return {"queue": queue, "exchange": "e", "routing_keys": []}

    bindings = [binding("b"), binding("a"), binding("b"), binding("q")]
    assert findings(WARNING, queues={"q": GOOD}, bindings=bindings) == [
        f"a binding names the queue '{name}', which [queues] does not: it has no effect" for name in "ab"
    ]


def test_outbox_that_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    assert f"the outbox {path} can be written, or made" in findings(OK, outbox={"path": str(path)})
    # To look is not to make it.
    assert not path.exists()
    path.touch()
    assert f"the outbox {path} can be written, and is there" in findings(OK, outbox={"path": str(path)})


def test_outbox_beside_which_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "outbox.db"
    path.touch()
    # Root, who may run the tests, may write everywhere.
    monkeypatch.setattr(os, "access", lambda asked, _mode: asked != tmp_path)
    (failure,) = findings(FAILURE, outbox={"path": str(path)})
    assert failure.endswith(f"this user may not write {tmp_path}")


def test_outbox_in_a_directory_that_is_not_there(tmp_path: Path) -> None:
    (failure,) = findings(FAILURE, outbox={"path": str(tmp_path / "none" / "outbox.db")})
    assert failure.endswith(f"there is no directory {tmp_path}/none")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("table", [{"ca_cert": "no/such"}, {"certfile": "no/such", "keyfile": "no/such"}])
def test_certificates_that_cannot_be_read_are_left_to_the_connection(table: dict[str, str]) -> None:
    """Which tells of them; two errors would say the same."""
    expected = findings(OK)
    tls = {"ca_cert": None, "certfile": None, "keyfile": None, **table}
    assert findings(OK, tls=tls) == expected
    assert findings(FAILURE, tls=tls) == findings(WARNING, tls=tls) == []


@pytest.mark.parametrize(
    ("days", "kind", "words"),
    [
        (-400, FAILURE, "ended on DATE: get a new one"),
        (-0.01, FAILURE, "ended on DATE: get a new one"),
        (0.01, WARNING, "ends on DATE, in 0 days: get a new one"),
        (7.2, WARNING, "ends on DATE, in 7 days: get a new one"),
        (29.99, WARNING, "ends on DATE, in 30 days: get a new one"),
        (30.01, OK, "is good until DATE"),
        (5000, OK, "is good until DATE"),
    ],
)
def test_end_of_a_certificate(days: float, kind: str, words: str) -> None:
    finding = certificate_end("the certificate of x", time.time() + days * DAY)
    assert finding.kind == kind
    assert re.sub(r"\d{4}-\d\d-\d\d", "DATE", finding.text) == f"the certificate of x {words}"


def test_day_is_that_of_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC-14")
    time.tzset()
    try:
        # 2040-01-01 at 23:00:00
        assert certificate_end("it", 2_209_071_600.0).text == "it is good until 2040-01-01"
    finally:
        monkeypatch.undo()
        time.tzset()
