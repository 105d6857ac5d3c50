"""Metrics as text."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families
from tests.unit.broker.core.support import declare, message
from tests.unit.web.management.support import new_server

from fedora_messaging.web.management.prometheus import metrics


def samples(text: bytes, name: str) -> list[tuple[dict[str, str], float]]:
    (family,) = (found for found in text_string_to_metric_families(text.decode()) if found.name == name)
    return [(sample.labels, sample.value) for sample in family.samples]


def test_a_broker_without_queues_has_no_messages() -> None:
    server = new_server()
    assert samples(metrics(server, per_object=False), "rabbitmq_queue_messages") == [({}, 0)]
    assert samples(metrics(server, per_object=True), "rabbitmq_queue_messages") == []


def test_queues_are_added_up_or_told_apart() -> None:
    server = new_server()
    vhost = server.vhosts["/"]
    for name, count in (("a", 1), ("b\udcff", 2)):
        queue = declare(vhost, name)
        for _ in range(count):
            queue.enqueue(message())
    assert samples(metrics(server, per_object=False), "rabbitmq_queue_messages_ready") == [({}, 3)]
    assert samples(metrics(server, per_object=True), "rabbitmq_queue_messages_ready") == [
        ({"vhost": "/", "queue": "a"}, 1),
        ({"vhost": "/", "queue": "b\N{REPLACEMENT CHARACTER}"}, 2),
    ]


def test_the_totals_are_of_all_virtual_hosts() -> None:
    server = new_server()
    server.vhosts["/"].past.publish = 3
    server.vhosts["/"].past.deliver = 2
    text = metrics(server, per_object=False)
    assert samples(text, "rabbitmq_channel_messages_published") == [({}, 3)]
    assert samples(text, "rabbitmq_channel_messages_delivered_ack") == [({}, 2)]
    assert samples(text, "rabbitmq_channel_messages_delivered") == [({}, 0)]
