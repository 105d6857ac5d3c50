"""The HTTP server of the monitoring endpoints: which requests it answers, and how."""

from __future__ import annotations

import http.client
import socket
import threading
from contextlib import closing
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from tests.support.descriptors import none_left
from tests.support.http import ask
from tests.support.waiting import POLL, WAIT, eventually

from fedora_messaging.exceptions import ConfigurationException
from fedora_messaging.monitoring import endpoints
from fedora_messaging.monitoring import http_server as monitor_module
from fedora_messaging.monitoring.endpoints import Answer
from fedora_messaging.monitoring.http_server import Monitor, family_of, shown_address

if TYPE_CHECKING:
    from collections.abc import Iterator

BODY = "grün\n".encode()


def empty() -> Answer:
    return Answer(HTTPStatus.SERVICE_UNAVAILABLE, "application/json", b"")


def full() -> Answer:
    return Answer(HTTPStatus.OK, "text/plain; charset=utf-8", BODY)


def broken() -> Answer:
    raise ZeroDivisionError("canary")


@pytest.fixture(scope="module")
def monitor() -> Iterator[Monitor]:
    with closing(Monitor("127.0.0.1", 0, {"full": full, "empty": empty, "broken": broken})) as made:
        yield made


@pytest.mark.parametrize("path", ["/full", "/full/", "/full/more/of/it", "/full?x=1", "/full/?x=/empty"])
def test_first_part_of_the_path_counts(monitor: Monitor, path: str) -> None:
    status, headers, body = ask(monitor.port, path)
    assert (status, body) == (200, BODY)
    assert headers["Content-Type"] == "text/plain; charset=utf-8"
    assert headers["Content-Length"] == "6"


@pytest.mark.parametrize("path", ["/", "/fully", "/FULL", "/more/full", "/?full", "/%66ull"])
def test_paths_that_are_not_there(monitor: Monitor, path: str) -> None:
    status, headers, body = ask(monitor.port, path)
    assert (status, body, headers["Content-Length"]) == (404, b"", "0")


def test_status_is_that_of_the_endpoint(monitor: Monitor) -> None:
    assert ask(monitor.port, "/empty")[::2] == (503, b"")


def test_head_has_the_headers_alone(monitor: Monitor) -> None:
    status, headers, body = ask(monitor.port, "/full", "HEAD")
    assert (status, headers["Content-Length"], body) == (200, "6", b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW", "get"])
def test_other_methods_are_refused(monitor: Monitor, method: str) -> None:
    """Nothing can be changed; nor is a request's body read, so the connection ends."""
    status, headers, body = ask(monitor.port, "/full", method)
    assert (status, headers["Allow"], body) == (405, "HEAD, GET", b"")


def test_versions_are_not_told(monitor: Monitor) -> None:
    """To somebody who looks for weak ones."""
    assert ask(monitor.port, "/full")[1]["Server"].strip() == "fedora-messaging"


def test_endpoint_that_fails_ends_its_request_alone(
    monitor: Monitor, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(http.client.RemoteDisconnected):
        ask(monitor.port, "/broken")
    assert ask(monitor.port, "/full")[0] == 200
    assert capsys.readouterr() == ("", "")


def test_requests_are_answered_while_another_one_is_made() -> None:
    """A program may be asked by several at once, and one answer may take its time."""
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> Answer:
        begun.set()
        assert go_on.wait(WAIT)
        return full()

    with closing(Monitor("127.0.0.1", 0, {"slow": slow, "full": full})) as monitor:
        answers: list[int] = []
        asker = threading.Thread(target=lambda: answers.append(ask(monitor.port, "/slow")[0]))
        asker.start()
        assert begun.wait(WAIT)
        assert ask(monitor.port, "/full")[0] == 200
        assert answers == []
        go_on.set()
        asker.join()
        assert answers == [200]


def test_port_is_free_after_the_end() -> None:
    monitor = Monitor("127.0.0.1", 0, {"full": full})
    port = monitor.port
    assert ask(monitor.port, "/full")[0] == 200
    monitor.close()
    with closing(Monitor("127.0.0.1", port, {"full": full})) as again:
        assert again.port == port
        assert ask(again.port, "/full")[0] == 200


@pytest.mark.parametrize(
    ("address", "port", "complaint"),
    [
        ("192.0.2.1", 0, "[monitoring] cannot listen on 192.0.2.1:0: Cannot assign requested address"),
        ("127.0.0.1", 70_000, "[monitoring] cannot listen on 127.0.0.1:70000: "),
        ("127.0.0.1", -1, "[monitoring] cannot listen on 127.0.0.1:-1: "),
        (5, 9100, "[monitoring] cannot listen on 5:9100: "),
    ],
)
def test_address_that_cannot_be_used(address: str, port: int, complaint: str) -> None:
    with pytest.raises(ConfigurationException) as caught:
        Monitor(address, port, {})
    assert caught.value.message.startswith(complaint)


def test_port_that_is_taken(monitor: Monitor) -> None:
    with pytest.raises(ConfigurationException) as caught:
        Monitor("127.0.0.1", monitor.port, {})
    assert caught.value.message == (
        f"[monitoring] cannot listen on 127.0.0.1:{monitor.port}: Address already in use"
    )


@pytest.mark.parametrize(
    ("address", "family"),
    [
        ("", socket.AF_INET),
        ("127.0.0.1", socket.AF_INET),
        ("0.0.0.0", socket.AF_INET),
        ("localhost", socket.AF_INET),
        ("::1", socket.AF_INET6),
        ("::", socket.AF_INET6),
    ],
)
def test_family_of_an_address(address: str, family: socket.AddressFamily) -> None:
    assert family_of(address) is family


@pytest.mark.parametrize(
    ("address", "shown"),
    [("", "*:9100"), ("0.0.0.0", "0.0.0.0:9100"), ("::1", "[::1]:9100"), ("bus.example", "bus.example:9100")],
)
def test_address_for_people(address: str, shown: str) -> None:
    assert shown_address(address, 9100) == shown


def asking(port: int, used: socket.socket) -> None:
    """Send a request over a socket that is there already, without waiting for the answer."""
    used.settimeout(WAIT)
    used.connect(("127.0.0.1", port))
    used.sendall(b"GET /live HTTP/1.0\r\n\r\n")


def test_p39_monitoring_without_descriptors(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It pauses, says so once, and answers when it can."""
    monkeypatch.setattr(monitor_module, "_PAUSE", POLL)
    attempts: list[object] = []
    accept = ThreadingHTTPServer.get_request

    def counted(server: ThreadingHTTPServer) -> object:
        attempts.append(server)
        return accept(server)

    monkeypatch.setattr(ThreadingHTTPServer, "get_request", counted)
    monitor = monitor_module.Monitor("127.0.0.1", 0, {"live": lambda: endpoints.live(alive=True)})
    with closing(monitor), socket.socket() as used:
        with none_left():
            asking(monitor.port, used)
            eventually(lambda: len(attempts) > 3)
        assert used.recv(4096).startswith(b"HTTP/1.0 200 ")
    told = [text for text in caplog.messages if "Too many open files" in text]
    assert told == ["Monitoring answers nobody at the moment: Too many open files"]


def test_p39_monitoring_that_pauses_does_not_spin(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One attempt, one pause; and the pause does not keep the program from ending."""
    monkeypatch.setattr(monitor_module, "_PAUSE", 3600)
    monitor = monitor_module.Monitor("127.0.0.1", 0, {})
    with closing(monitor), socket.socket() as used, none_left():
        asking(monitor.port, used)
        eventually(lambda: "Monitoring answers nobody" in caplog.text)
