"""The monitoring endpoints of a process that publishes and consumes."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.client.support import Consuming, message, plan
from tests.support.http import Answer, ask
from tests.support.rabbitmq import free_ports
from tests.support.waiting import eventually

from fedora_messaging import api, exceptions

if TYPE_CHECKING:
    from tests.support.admin import Admin
    from tests.support.proxy import Proxy

    from fedora_messaging.config import LazyConfig


class Monitoring:
    """Asks the endpoints."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.host = host
        (self.port,) = free_ports(1)

    def ask(self, path: str, method: str = "GET") -> Answer:
        return ask(self.port, path, method, self.host)

    def json(self, path: str) -> tuple[int, Any]:
        answer = self.ask(path)
        return answer.status, answer.json()


@pytest.fixture
def monitoring(settings: LazyConfig) -> Monitoring:
    """Monitoring is switched on."""
    made = Monitoring()
    settings["monitoring"] = {"address": "127.0.0.1", "port": made.port}
    return made


def consuming(name: str) -> Consuming:
    return Consuming(lambda _message: None, **plan(name))


@pytest.mark.usefixtures("service")
def test_ready_is_exactly_what_it_was(monitoring: Monitoring, queue: str) -> None:
    with consuming(queue):
        eventually(lambda: api._twisted_service is not None and monitoring.ask("/ready")[0] == 200)
        for number in range(3):
            api.publish(message(queue, number))
        eventually(lambda: monitoring.json("/ready")[1]["consumed"]["processed"] == 3)
        status, headers, body = monitoring.ask("/ready/anything?x=1")
        assert (status, headers["Content-Type"]) == (200, "application/json")
        assert body == (
            b'{"consuming": true, "published": 3, "consumed": {"received": 3, "processed": 3, '
            b'"dropped": 0, "rejected": 0, "failed": 0}}\n'
        )
        assert monitoring.ask("/live")[::2] == (200, b'{"status": "OK"}\n')


@pytest.mark.usefixtures("service")
def test_methods_and_paths(monitoring: Monitoring, queue: str) -> None:
    api.publish(message(queue))
    for path in ("/live", "/ready", "/status", "/metrics"):
        status, _headers, body = monitoring.ask(path, "HEAD")
        assert (status, body) == (200, b"")
        status, headers, _body = monitoring.ask(path, "POST")
        assert (status, headers["Allow"]) == (405, "HEAD, GET")
    assert monitoring.ask("/")[0] == monitoring.ask("/nothing")[0] == 404


@pytest.mark.usefixtures("service")
def test_counters_of_consumers_that_ended_remain(monitoring: Monitoring, queue: str) -> None:
    def halt(_message: object) -> None:
        raise exceptions.HaltConsumer

    api.publish(message(queue))
    with Consuming(halt, **plan(queue)) as halting:
        assert isinstance(halting.ended(), exceptions.HaltConsumer)
    status, body = monitoring.json("/ready")
    assert (status, body["consuming"], body["consumed"]["processed"]) == (200, False, 1)


@pytest.mark.usefixtures("service")
def test_status_tells_of_each_queue_and_of_invalid_messages(
    monitoring: Monitoring, admin: Admin, queue: str
) -> None:
    with consuming(queue):
        admin.publish(queue, b"no JSON")
        eventually(
            lambda: api._twisted_service is not None and monitoring.json("/status")[1]["consumed"]["invalid"]
        )
        _status, body = monitoring.json("/status")
        assert (body["connected"], body["ready"], body["reason"]) == (True, True, None)
        assert [one["queue"] for one in body["queues"]] == [queue]
        assert body["queues"][0]["consuming"] is True
        assert (body["blocked"], body["reconnects"]) == (None, 0)
        assert body["queues"][0]["in_flight"] == 0
        assert abs(body["queues"][0]["last_message"] - time.time()) < 60


@pytest.mark.usefixtures("service")
def test_metrics_are_what_prometheus_reads(monitoring: Monitoring, queue: str) -> None:
    with consuming(queue):
        api.publish(message(queue))
        eventually(lambda: monitoring.json("/status")[1]["consumed"]["processed"] == 1)
        _status, headers, body = monitoring.ask("/metrics")
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    samples = {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }
    assert samples["fedora_messaging_connected", ()] == 1
    assert samples["fedora_messaging_published_total", ()] == 1
    assert samples["fedora_messaging_processed_total", ()] == 1
    assert samples["fedora_messaging_consuming", (queue,)] == 1
    assert samples["fedora_messaging_in_flight", (queue,)] == 0
    assert samples["fedora_messaging_last_message_timestamp_seconds", (queue,)] > 0


@pytest.mark.usefixtures("proxied_service")
@pytest.mark.parametrize("always_ready", [False, True])
def test_p06_not_ready_while_disconnected(
    monitoring: Monitoring, proxy: Proxy, queue: str, settings: LazyConfig, always_ready: bool
) -> None:
    settings["monitoring"]["always_ready"] = always_ready
    with consuming(queue):
        eventually(lambda: api._twisted_service is not None and monitoring.json("/ready")[1]["consuming"])
        proxy.refuse()
        proxy.cut()
        # The consumer hears of the lost connection before the supervisor does.
        eventually(lambda: monitoring.json("/ready")[1].get("reason") == "not connected")
        status, body = monitoring.json("/ready")
        assert status == (200 if always_ready else 503)
        assert not body["consuming"]
        assert monitoring.ask("/live")[0] == 200
        proxy.resume()
        eventually(lambda: monitoring.json("/ready")[1]["consuming"])
        assert monitoring.json("/status")[1]["reconnects"] == 1
        assert monitoring.ask("/ready")[0] == 200


@pytest.mark.usefixtures("service")
def test_p06_live_fails_when_the_loop_is_stuck(monitoring: Monitoring, queue: str) -> None:
    stuck, release = threading.Event(), threading.Event()

    async def block(_message: object) -> None:
        stuck.set()
        release.wait()

    api.publish(message(queue))
    with Consuming(block, **plan(queue)):
        assert stuck.wait(15)
        try:
            status, body = monitoring.json("/live")
            assert status == 503
            assert "does not answer" in body["status"]
        finally:
            release.set()
        eventually(lambda: monitoring.ask("/live")[0] == 200)


@pytest.mark.parametrize("address", ["::", "::1"])
@pytest.mark.usefixtures("service")
def test_p44_monitoring_over_ipv6(settings: LazyConfig, address: str) -> None:
    monitoring = Monitoring("::1")
    settings["monitoring"] = {"address": address, "port": monitoring.port}
    api._init_twisted_service()
    assert monitoring.ask("/live")[0] == 200
    settings["monitoring"] = {"address": address, "port": monitoring.port}
    with pytest.raises(
        exceptions.ConfigurationException, match=rf"listen on \[{address}\]:{monitoring.port}: "
    ):
        api._make_service()


@pytest.mark.usefixtures("service")
def test_p44_ready_after_a_step_of_the_wall_clock(
    monitoring: Monitoring, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that has been here for a moment makes progress, whatever the clock says."""
    go_on = threading.Event()
    with Consuming(lambda _message: go_on.wait(), **plan(queue)):
        api.publish(message(queue))
        eventually(lambda: monitoring.json("/status")[1]["in_flight"] == 1)
        real = time.time
        for step in (86400, -86400):
            monkeypatch.setattr(time, "time", lambda step=step: real() + step)
            assert monitoring.ask("/ready")[0] == 200
            assert 0 <= monitoring.json("/status")[1]["oldest_in_flight"] < 3600
        monkeypatch.setattr(time, "time", real)
        go_on.set()
