"""The answers of the monitoring endpoints in Twisted's own web server, without a broker or a socket."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.processes import Processes

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = """
import json, sys
from twisted.internet.testing import StringTransport
from twisted.python import log
from fedora_messaging.twisted.monitor import FMServiceResource, MonitoringSite, monitor_service
from fedora_messaging.twisted.service import FedoraMessagingServiceV2

service = FedoraMessagingServiceV2("amqp://127.0.0.1:1")
logged = []
log.addObserver(logged.append)
site = MonitoringSite(service)

def answer(method, path):
    transport = StringTransport()
    channel = site.buildProtocol(None)
    channel.makeConnection(transport)
    channel.dataReceived(f"{method} {path} HTTP/1.0\\r\\n\\r\\n".encode())
    return transport.value().decode()

for line in sys.stdin:
    method, path = line.split()
    logged.clear()
    print(json.dumps(answer(method, path)), flush=True)
    assert logged == [], logged

server = monitor_service(service, address="127.0.0.1", port=7)
assert server.args[0] == 7 and server.kwargs == {"interface": "127.0.0.1"}
try:
    FMServiceResource(service).render_GET(None)
except NotImplementedError:
    print(json.dumps("no answer of its own"))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[int, dict[str, str], str]]]:
    """What each request got: status, headers and body."""
    requests = ["GET /live", "GET /ready", "GET /status", "GET /metrics", "GET /metrics/x", "HEAD /status"]
    requests += ["GET /", "GET /livelier", "POST /status"]
    with Processes(tmp_path_factory.mktemp("monitor")) as processes:
        # Twisted's web server warns of itself when it answers 404 or 405.
        process = processes.python("-Wignore::DeprecationWarning", "-c", PROGRAM)
        for request in requests:
            process.say(request)
        process.end_input()
        ended = process.end()
    assert (ended.status, ended.stderr) == (0, []), ended.output
    *lines, last = [json.loads(line) for line in ended.stdout]
    assert last == "no answer of its own"
    yield {request: parsed(line) for request, line in zip(requests, lines, strict=True)}


def parsed(answer: str) -> tuple[int, dict[str, str], str]:
    head, _, body = answer.partition("\r\n\r\n")
    status, *headers = head.split("\r\n")
    return int(status.split()[1]), dict(line.lower().split(": ", 1) for line in headers), body


def test_live(answers: dict[str, Any]) -> None:
    status, headers, body = answers["GET /live"]
    assert (status, headers["content-type"], body) == (200, "application/json", '{"status": "OK"}\n')
    assert headers["content-length"] == str(len(body))


def test_ready_says_why_it_is_not(answers: dict[str, Any]) -> None:
    status, headers, body = answers["GET /ready"]
    assert (status, headers["content-type"]) == (503, "application/json")
    assert json.loads(body) == {
        "consuming": False,
        "published": 0,
        "consumed": {"received": 0, "processed": 0, "dropped": 0, "rejected": 0, "failed": 0},
        "reason": "not started",
    }


def test_status_is_an_answer_though_the_service_is_not_ready(answers: dict[str, Any]) -> None:
    status, headers, body = answers["GET /status"]
    assert (status, headers["content-type"]) == (200, "application/json")
    told = json.loads(body)
    assert (told["connected"], told["ready"], told["reason"]) == (False, False, "not started")
    assert (told["queues"], told["outbox"], told["reconnects"]) == ([], None, 0)


def test_metrics(answers: dict[str, Any]) -> None:
    pytest.importorskip("prometheus_client")
    status, headers, body = answers["GET /metrics"]
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=")
    assert "\nfedora_messaging_connected 0.0\n" in body
    assert answers["GET /metrics/x"][0] == 200


def test_head_gets_no_body(answers: dict[str, Any]) -> None:
    status, headers, body = answers["HEAD /status"]
    assert (status, body) == (200, "")
    assert headers["content-length"] == str(len(answers["GET /status"][2]))


@pytest.mark.parametrize(("request_line", "expected"), [("GET /", 404), ("GET /livelier", 404)])
def test_other_paths(answers: dict[str, Any], request_line: str, expected: int) -> None:
    assert answers[request_line][0] == expected


def test_other_methods(answers: dict[str, Any]) -> None:
    status, headers, _body = answers["POST /status"]
    assert status == 405
    assert {one.strip() for one in headers["allow"].split(",")} == {"get", "head"}
