"""What queues show, and which are refused."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.broker.core.support import declare, message
from tests.unit.web.management.support import new_call, new_server

from fedora_messaging.broker.core.declarations import QueueDeclaration
from fedora_messaging.broker.core.message import new_message
from fedora_messaging.broker.core.profile import RABBITMQ_3
from fedora_messaging.web.management import queues
from fedora_messaging.web.management.errors import RequestError
from fedora_messaging.wire.properties import BasicProperties
from fedora_messaging.wire.property_codec import encode_properties


def test_a_transient_queue_keeps_no_messages() -> None:
    call = new_call()
    queue = declare(call.server.vhosts["/"], "a")
    queue.enqueue(message())
    shown = queues.queue_item(call, queue, "/")
    assert (shown["messages"], shown["messages_persistent"], shown["message_bytes_persistent"]) == (1, 0, 0)
    assert shown["message_bytes"] == shown["message_bytes_ready"] > 0
    assert (shown["exclusive"], shown["consumer_capacity"]) == (False, 0)
    assert "owner_pid_details" not in shown


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("2026-01-01T00:00:10+00:00", 1767225610),
        ("2026-01-01T01:00:10+01:00", 1767225610),
        ("2026-01-01T00:00:10", 1767225610),
        ("yesterday", None),
        ("0001-01-01T00:00:00+14:00", -62135647200),
        (5, None),
        (None, None),
    ],
)
def test_when_the_oldest_message_was_sent(sent: Any, shown: int | None) -> None:
    call = new_call(path={"vhost": "/", "queue": "a"})
    queue = declare(call.server.vhosts["/"], "a")
    assert queues.get_queue(call)["head_message_sent_at"] is None
    headers = {} if sent is None else {"sent-at": sent}
    queue.enqueue(new_message("", "a", encode_properties(BasicProperties(headers=headers)), b""))
    assert queues.get_queue(call)["head_message_sent_at"] == shown


@pytest.mark.parametrize(
    ("kind", "reason"), [("classic", "classic_queue_not_supported"), ("stream", "not_quorum_queue")]
)
def test_other_queues_have_no_replicas(kind: str, reason: str) -> None:
    call = new_call(path={"vhost": "/", "queue": "q"})
    declared = QueueDeclaration("q", durable=True, arguments={"x-queue-type": kind})
    call.server.vhosts["/"].declare_queue(declared, None)
    with pytest.raises(RequestError) as caught:
        queues.get_replicas(call)
    assert (caught.value.status, caught.value.body["reason"]) == (503, reason)


def test_a_queue_is_in_the_list_of_its_virtual_host_only() -> None:
    server = new_server()
    declare(server.vhosts["/"], "b")
    declare(server.vhosts["/"], "a")
    listed = queues.list_queues(new_call(path={"vhost": "/"}, query={"columns": "name"}, server=server))
    assert listed == [{"name": "a"}, {"name": "b"}]
    with pytest.raises(RequestError):
        queues.list_queues(new_call(path={"vhost": "nov"}, server=server))


@pytest.mark.parametrize("field", queues._SORTED_OFTEN)
def test_an_order_by_what_is_counted_is_that_of_what_is_shown(field: str) -> None:
    server = new_server()
    for name, number in (("a", 2), ("b", 0), ("c", 3), ("d", 1)):
        queue = declare(server.vhosts["/"], name)
        for _ in range(number):
            queue.enqueue(message())
        for _ in range((number + 1) // 2):
            queue.get(no_ack=False)
    whole = queues.list_queues(new_call(query={"sort": field}, server=server))
    page = queues.list_queues(new_call(query={"sort": field, "page": "1"}, server=server))
    assert page["items"] == whole


@pytest.mark.parametrize(
    ("profile", "reason"), [("4", "queue_not_found"), ("3", "NOT_FOUND - no queue 'nope' in vhost '/'")]
)
def test_fetching_from_nowhere(profile: str, reason: str) -> None:
    server = new_server(RABBITMQ_3) if profile == "3" else new_server()
    raw = b'{"count": 1, "ackmode": "ack_requeue_true", "encoding": "auto"}'
    with pytest.raises(RequestError) as caught:
        queues.get_messages(new_call(raw, path={"vhost": "/", "queue": "nope"}, server=server))
    assert (caught.value.status, caught.value.body["reason"]) == (404, reason)
