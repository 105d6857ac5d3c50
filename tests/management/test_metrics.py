"""Metrics for Prometheus, under RabbitMQ's names; RabbitMQ has them on a port of their own."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import pika
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.management.client import ROOT, Api, part
from tests.support.admin import connect
from tests.support.rabbitmq import RabbitNode, find_rabbitmq, free_ports
from tests.support.servers import require
from tests.support.waiting import eventually

from fedora_messaging.broker import Broker as EmbeddedBroker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Metric


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    """A broker that nobody has used yet."""
    with EmbeddedBroker(http_port=0) as running:
        yield running


@pytest.fixture
def api(broker: EmbeddedBroker) -> Iterator[Api]:
    assert broker.management_url is not None
    with Api(broker.management_url) as made:
        yield made


def metrics(api: Api, path: str = "/metrics") -> dict[str, Metric]:
    with Api(str(api.url), None) as scraper:
        answer = scraper.ask("GET", path)
    assert answer.status_code == 200
    return {family.name: family for family in text_string_to_metric_families(answer.text)}


def value(found: dict[str, Metric], name: str) -> float:
    (sample,) = found[name].samples
    return sample.value


def test_metrics_need_no_login(api: Api) -> None:
    with Api(str(api.url), None) as scraper:
        answer = scraper.ask("GET", "/metrics")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        head = scraper.ask("HEAD", "/metrics")
        assert (head.status_code, head.content) == (200, b"")
        assert scraper.ask("POST", "/metrics").status_code == 405
        assert scraper.ask("GET", "/metrics/nope").status_code == 404


def test_each_answer_names_broker_and_release(api: Api) -> None:
    found = metrics(api)
    (build,) = found["rabbitmq_build_info"].samples
    overview = api.get("overview")
    assert (build.labels["rabbitmq_version"], build.value) == (overview["rabbitmq_version"], 1)
    (identity,) = found["rabbitmq_identity_info"].samples
    assert identity.labels == {
        "rabbitmq_node": overview["node"],
        "rabbitmq_cluster": overview["cluster_name"],
    }


def test_what_there_is_and_what_has_happened(broker: EmbeddedBroker, api: Api) -> None:
    with closing(connect(broker.amqp_url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare("a")
        channel.queue_declare("b")
        for _ in range(3):
            channel.basic_publish("", "a", b"x")
        channel.basic_publish("", "nope", b"x")
        with pytest.raises(pika.exceptions.UnroutableError):
            channel.basic_publish("", "nope", b"x", mandatory=True)
        method, _, _ = channel.basic_get("a")
        channel.basic_ack(method.delivery_tag)
        channel.basic_get("a")
        channel.basic_get("a", auto_ack=True)
        channel.basic_get("b")
        channel.basic_consume("b", lambda *_: None)
        found = metrics(api)
    expected = {
        "rabbitmq_connections": 1,
        "rabbitmq_channels": 1,
        "rabbitmq_consumers": 1,
        "rabbitmq_queues": 2,
        "rabbitmq_queue_messages": 1,
        "rabbitmq_queue_messages_ready": 0,
        "rabbitmq_queue_messages_unacked": 1,
        "rabbitmq_channel_messages_published": 5,
        "rabbitmq_channel_messages_confirmed": 5,
        "rabbitmq_channel_messages_unroutable_returned": 1,
        "rabbitmq_channel_messages_unroutable_dropped": 1,
        "rabbitmq_channel_messages_acked": 1,
        "rabbitmq_channel_get_ack": 2,
        "rabbitmq_channel_get": 1,
        "rabbitmq_channel_get_empty": 1,
        "rabbitmq_channel_messages_redelivered": 0,
        "rabbitmq_alarms_memory_used_watermark": 0,
        "rabbitmq_connections_opened": 1,
        "rabbitmq_connections_closed": 0,
        "rabbitmq_channels_opened": 1,
        "rabbitmq_channels_closed": 0,
        "rabbitmq_queues_declared": 2,
        "rabbitmq_queues_created": 2,
        "rabbitmq_queues_deleted": 0,
    }
    assert {name: value(found, name) for name in expected} == expected
    assert value(found, "rabbitmq_process_resident_memory_bytes") > 1_000_000
    assert value(found, "rabbitmq_process_open_fds") > 3
    assert value(found, "rabbitmq_disk_space_available_bytes") > 1_000_000


def test_logins_are_counted_by_protocol(broker: EmbeddedBroker, api: Api) -> None:
    connect(broker.amqp_url).close()
    with Api(str(api.url), ("guest", "wrong")) as wrong:
        wrong.error(401, "GET", "whoami")
    found = metrics(api)
    counted = {
        (name, sample.labels["protocol"]): sample.value
        for name in ("", "_failed", "_succeeded")
        for sample in found[f"rabbitmq_auth_attempts{name}"].samples
    }
    assert counted == {
        ("", "amqp091"): 1,
        ("_failed", "amqp091"): 0,
        ("_succeeded", "amqp091"): 1,
        ("", "http"): 1,
        ("_failed", "http"): 1,
        ("_succeeded", "http"): 0,
    }


def test_totals_outlive_what_they_are_of(broker: EmbeddedBroker, api: Api) -> None:
    with closing(connect(broker.amqp_url)) as connection:
        channel = connection.channel()
        channel.queue_declare("a")
        channel.basic_publish("", "a", b"x")
        channel.basic_get("a", auto_ack=True)
        channel.queue_delete("a")
    found = metrics(api)
    assert value(found, "rabbitmq_channel_messages_published") == 1
    assert value(found, "rabbitmq_channel_get") == 1
    assert value(found, "rabbitmq_queues") == 0


@pytest.mark.parametrize("name", ["plain", 'with "quotes"', "back\\slash", "two\nlines", "é", "a{b}"])
def test_queues_are_told_apart_on_request(api: Api, name: str) -> None:
    api.put(f"queues/{ROOT}/{part(name)}", {"durable": True})
    sent = {"properties": {}, "routing_key": name, "payload": "p", "payload_encoding": "string"}
    api.post(f"exchanges/{ROOT}/amq.default/publish", sent)
    found = metrics(api, "/metrics/per-object")
    for family, count in (
        ("rabbitmq_queue_messages", 1),
        ("rabbitmq_queue_messages_ready", 1),
        ("rabbitmq_queue_consumers", 0),
    ):
        (sample,) = found[family].samples
        assert (sample.labels, sample.value) == ({"vhost": "/", "queue": name}, count)


def test_a_name_that_is_no_text(broker: EmbeddedBroker, api: Api) -> None:
    api.put(f"queues/{ROOT}/%FF", {"durable": True})
    (sample,) = metrics(api, "/metrics/per-object")["rabbitmq_queue_messages"].samples
    assert sample.labels["queue"] == "\N{REPLACEMENT CHARACTER}"


@pytest.mark.rabbitmq
def test_names_and_labels_are_rabbitmqs(
    tmp_path_factory: pytest.TempPathFactory, broker: EmbeddedBroker, api: Api
) -> None:
    require(find_rabbitmq() is not None, "RabbitMQ", "install the package rabbitmq-server")
    (port,) = free_ports(1)
    node = RabbitNode(
        tmp_path_factory.mktemp("metrics"),
        plugins=["rabbitmq_prometheus"],
        extra_config=f"prometheus.tcp.ip = 127.0.0.1\nprometheus.tcp.port = {port}",
    )
    with node, Api(node.management_url) as theirs, Api(f"http://127.0.0.1:{port}") as scraped:
        for one in (api, theirs):
            one.put(f"queues/{ROOT}/q", {"durable": True})
        for url in (broker.amqp_url, node.url):
            connect(url).close()
        # Those of channels are by channel there, and the broker has none.
        for path, start in (("/metrics", "rabbitmq_"), ("/metrics/per-object", "rabbitmq_queue_")):
            ours = shapes(metrics(api, path))
            wanted = {name: labels for name, labels in ours.items() if name.startswith(start)}
            assert wanted
            eventually(partial(_are_all_there, wanted, scraped, path))


def _are_all_there(ours: dict[str, set[str]], scraped: Api, path: str) -> bool:
    found = shapes(metrics(scraped, path))
    return all(name in found and labels <= found[name] for name, labels in ours.items())


def shapes(found: dict[str, Metric]) -> dict[str, set[str]]:
    """Return the names of metrics that have values, each with its labels."""
    return {
        sample.name: set(sample.labels)
        for family in found.values()
        for sample in family.samples
        if not sample.name.endswith("_created")
    }
