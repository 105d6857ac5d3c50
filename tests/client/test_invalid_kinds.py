"""Invalid deliveries are counted by what is wrong with them (P08)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pika
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.client.support import Consuming, plan
from tests.support.waiting import eventually

from fedora_messaging import api, message
from fedora_messaging.monitoring import endpoints

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.admin import Admin

pytestmark = pytest.mark.usefixtures("service")


class Failing(message.Message):
    """A schema class with a mistake."""

    @property
    def body_schema(self) -> dict[str, Any]:  # type: ignore[override]
        raise ZeroDivisionError("canary")


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The class is known, as one of a schema package is."""
    message.get_class("base.message")
    monkeypatch.setitem(message._schema_name_to_class, "failing", Failing)
    monkeypatch.setitem(message._class_to_schema_name, Failing, "failing")
    yield


def properties(schema: Any = "base.message", **fields: Any) -> pika.BasicProperties:
    return pika.BasicProperties(**{"headers": {"fedora_messaging_schema": schema}, **fields})


@pytest.mark.parametrize(
    ("kind", "body", "given"),
    [
        ("json", b"{", properties()),
        ("json", b"[" * 100 + b"]" * 100, properties()),
        ("encoding", b"{}", properties(content_encoding="gzip")),
        ("encoding", b"\xff", properties(content_encoding="utf-8")),
        ("headers", b"{}", properties(schema=[1, 2])),
        ("schema", b'"text"', properties()),
        ("class", b"{}", properties(schema="failing")),
    ],
)
def test_p08_kinds(admin: Admin, queue: str, kind: str, body: bytes, given: pika.BasicProperties) -> None:
    def invalid() -> int:
        service = api._twisted_service
        return 0 if service is None else service.snapshot().consumed.invalid

    with Consuming(print, **plan(queue)):
        admin.publish(queue, body, given)
        eventually(invalid)
        snapshot = api._twisted_service.snapshot()
    assert snapshot.consumed.invalid_kinds == {kind: 1}
    families = text_string_to_metric_families(endpoints.metrics(snapshot).body.decode())
    (family,) = [family for family in families if family.name == "fedora_messaging_invalid"]
    assert [(sample.labels, sample.value) for sample in family.samples] == [({"kind": kind}, 1)]
