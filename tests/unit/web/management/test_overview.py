"""Health checks, and what the node shows of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.broker.core.support import message
from tests.unit.web.management.support import new_call, new_server

from fedora_messaging.broker.core.profile import RABBITMQ_3, RABBITMQ_4
from fedora_messaging.web.management import overview
from fedora_messaging.web.management.errors import RequestError

if TYPE_CHECKING:
    from fedora_messaging.broker.core.profile import Profile
    from fedora_messaging.web.management.call import Call


def call_of(profile: Profile = RABBITMQ_4, **path: str) -> Call:
    server = new_server(profile)
    server.port, server.http_port = 5672, 15672
    return new_call(path=path, server=server)


def refusal(caught: pytest.ExceptionInfo[RequestError]) -> tuple[int, Any]:
    return caught.value.status, caught.value.body


def test_without_http_there_is_one_listener() -> None:
    call = call_of()
    assert [listener["protocol"] for listener in overview.listeners(call)] == ["amqp", "http"]
    call.server.http_port = 0
    assert [listener["protocol"] for listener in overview.listeners(call)] == ["amqp"]


@pytest.mark.parametrize("port", ["5672", "15672"])
def test_ports_that_are_open(port: str) -> None:
    assert overview.check_port(call_of(port=port)) == {"status": "ok", "port": int(port)}


def test_a_port_that_is_not_open() -> None:
    with pytest.raises(RequestError) as caught:
        overview.check_port(call_of(port="65536"))
    failed = {"status": "failed", "reason": "No active listener", "missing": 65536, "ports": [5672, 15672]}
    assert refusal(caught) == (503, failed)


@pytest.mark.parametrize("name", ["amqp", "AMQP091", "amqp0.9.1", "AMQP 0-9-1", "http,amqp"])
def test_protocols_have_several_names(name: str) -> None:
    shown = overview.check_protocol(call_of(protocol=name))
    assert shown == {"status": "ok", "protocols": ["amqp", "http"]}


def test_the_protocols_that_are_missing() -> None:
    with pytest.raises(RequestError) as caught:
        overview.check_protocol(call_of(protocol="mqtt,amqp,stomp"))
    assert caught.value.body["missing"] == ["mqtt", "stomp"]


def test_the_older_release_takes_one_protocol() -> None:
    shown = overview.check_protocol(call_of(RABBITMQ_3, protocol="amqp091"))
    assert shown == {"status": "ok", "protocol": "amqp"}
    with pytest.raises(RequestError) as caught:
        overview.check_protocol(call_of(RABBITMQ_3, protocol="amqp,http"))
    assert caught.value.body["missing"] == "amqp,http"


@pytest.mark.parametrize("within", ["", "x", "1.5", "1 "])
def test_spans_are_whole_numbers(within: str) -> None:
    with pytest.raises(RequestError) as caught:
        overview.check_certificates(call_of(within=within, unit="days"))
    assert caught.value.status == 400


def test_the_parts_of_memory_are_all_of_it() -> None:
    call = call_of()
    call.server.memory.hold(message())
    shown = overview.node_memory(call)["memory"]
    assert shown["queue_procs"] == call.server.memory.bytes > 0
    assert shown["queue_procs"] + shown["other_proc"] == shown["total"]["rss"]
    percent = overview.node_memory_in_percent(call)["memory"]
    # A few bytes are not nothing.
    assert {name: part for name, part in percent.items() if part} == {
        "total": 100,
        "queue_procs": 1,
        "other_proc": 100,
    }


def test_who_monitors_nothing_learns_no_addresses() -> None:
    shown = overview.overview(new_call(tags=("management",)))
    assert not {"node", "listeners", "contexts"} & shown.keys()
