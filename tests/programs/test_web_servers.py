"""Web applications that publish in each request: pre-forked processes (P11), threads (P12)."""

from __future__ import annotations

import os
import signal
import socket
import sys
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection, HTTPResponse
from typing import TYPE_CHECKING

import pytest
from tests.programs.support import Programs, assert_quiet, counts, take, values
from tests.support.waiting import WAIT, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.admin import Admin
    from tests.support.brokers import Broker
    from tests.support.processes import Ended, Process
    from tests.support.proxy import Proxy

WORKERS = 4
THREADS = 4


class Request:
    """A request that is held up in the application, which waits for its body."""

    def __init__(self, port: int, number: int, *, expect: bool = True) -> None:
        self._body = str(number).encode()
        self._socket = socket.create_connection(("127.0.0.1", port), WAIT)
        expectation = "Expect: 100-continue\r\n" if expect else ""
        head = f"POST / HTTP/1.1\r\nHost: test\r\n{expectation}Content-Length: {len(self._body)}\r\n\r\n"
        self._socket.sendall(head.encode())

    def taken(self) -> None:
        """Wait until a worker is busy with it."""
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            # One by one, so that nothing of the response itself is read.
            answer += self._socket.recv(1) or b"the connection ended\r\n\r\n"
        assert answer.startswith(b"HTTP/1.1 100 "), answer

    def send(self) -> None:
        """Send the body."""
        self._socket.sendall(self._body)

    def answered_by(self) -> int:
        """Wait for the response; the process that answered."""
        with closing(HTTPResponse(self._socket)) as response:
            response.begin()
            text = response.read()
        assert response.status == 200, text
        return int(text)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


@contextmanager
def requests_of(port: int, numbers: range, *, expect: bool = True) -> Iterator[list[Request]]:
    """Begin requests; with `expect` they are all taken, so that as many workers are busy."""
    with ExitStack() as stack:
        requests = [stack.enter_context(closing(Request(port, number, expect=expect))) for number in numbers]
        for request in requests if expect else ():
            request.taken()
        yield requests


def ask_at_once(port: int, numbers: range, *, expect: bool = True) -> set[int]:
    """Let requests publish together; the processes that answered."""
    with requests_of(port, numbers, expect=expect) as requests:
        for request in requests:
            request.send()
        return {request.answered_by() for request in requests}


def start_gunicorn(programs: Programs, *options: str) -> tuple[Process, int]:
    """Start gunicorn with the application loaded before it forks; the process and its port."""
    process = programs.start(
        sys.executable,
        *("-m", "gunicorn", "--preload", "--no-control-socket", "--bind=127.0.0.1:0"),
        *(f"--workers={WORKERS}", *options, "wsgi:application"),
    )
    port = int(process.wait_for(r"Listening at: http://127\.0\.0\.1:(\d+) ")[1])
    for _ in range(WORKERS):
        process.wait_for("Booting worker with pid")
    return process, port


def assert_clean(ended: Ended) -> None:
    """Gunicorn stopped because it was told to, without an error in its log."""
    assert ended.status == 0, ended.output
    assert "Traceback" not in ended.output, ended.output
    assert "Error" not in ended.output, ended.output
    assert "Shutting down: Master" in ended.output


@pytest.mark.parametrize(
    ("options", "at_once"),
    [
        (["--worker-class=sync"], WORKERS),
        (
            ["--worker-class=gthread", f"--threads={THREADS}", f"--worker-connections={THREADS}"],
            WORKERS * THREADS,
        ),
    ],
    ids=["sync", "gthread"],
)
def test_p11_gunicorn(
    broker: Broker,
    programs: Programs,
    proxy: Proxy,
    admin: Admin,
    published: str,
    options: list[str],
    at_once: int,
) -> None:
    """P11: the master has published before it forks; each worker gets a connection of its own."""
    gunicorn, port = start_gunicorn(programs, *options)
    pids = ask_at_once(port, range(at_once))
    assert len(pids) == WORKERS
    assert gunicorn.pid not in pids
    assert ask_at_once(port, range(at_once, 2 * at_once)) == pids
    assert_clean(gunicorn.terminate())
    found = take(admin, published)
    assert values(found, "started") == [gunicorn.pid]
    assert values(found, "number") == [*range(2 * at_once)]
    assert counts(found, "pid").keys() == pids
    assert proxy.accepted == 1 + WORKERS
    eventually(lambda: proxy.connections == 0)


def test_p11_gunicorn_replaces_workers(
    broker: Broker, programs: Programs, admin: Admin, published: str
) -> None:
    """P11: one that was killed, then all of them on SIGHUP."""
    gunicorn, port = start_gunicorn(programs)
    first = ask_at_once(port, range(WORKERS))
    victim = min(first)
    os.kill(victim, signal.SIGKILL)
    gunicorn.wait_for("Booting worker with pid")
    second = ask_at_once(port, range(10, 10 + WORKERS))
    assert len(second) == WORKERS
    assert second & first == first - {victim}
    gunicorn.signal(signal.SIGHUP)
    for _ in second:
        gunicorn.wait_for("Booting worker with pid")
    for pid in second:
        gunicorn.wait_for(rf"\[{pid}\] \[INFO\] Worker exiting")
    third = ask_at_once(port, range(20, 20 + WORKERS))
    assert len(third - second) == WORKERS
    ended = gunicorn.terminate()
    assert (ended.status, "Traceback" in ended.output) == (0, False), ended.output
    numbers = [start + offset for start in (0, 10, 20) for offset in range(WORKERS)]
    assert values(take(admin, published), "number") == numbers


def test_p11_gunicorn_stops_while_requests_publish(
    broker: Broker, programs: Programs, proxy: Proxy, admin: Admin, published: str
) -> None:
    """Requests that are under way at SIGTERM still publish, and are answered."""
    gunicorn, port = start_gunicorn(programs)
    ask_at_once(port, range(WORKERS))
    with requests_of(port, range(10, 10 + WORKERS)) as requests:
        gunicorn.signal(signal.SIGTERM)
        gunicorn.wait_for("Handling signal: term")
        for request in requests:
            request.send()
        assert len({request.answered_by() for request in requests}) == WORKERS
    assert_clean(gunicorn.end())
    assert values(take(admin, published), "number") == [0, 1, 2, 3, 10, 11, 12, 13]
    eventually(lambda: proxy.connections == 0)


def test_p12_server_with_a_thread_for_each_request(
    broker: Broker, programs: Programs, proxy: Proxy, admin: Admin, published: str
) -> None:
    """P12: 50 requests publish together over one connection."""
    server = programs.app("threaded_server")
    port = int(server.wait_for(r"^port (\d+)$")[1])
    for start in (0, 50):
        assert ask_at_once(port, range(start, start + 50), expect=False) == {server.pid}
    server.signal(signal.SIGINT)
    assert_quiet(server.end())
    assert values(take(admin, published), "number") == [*range(100)]
    assert proxy.accepted == 1
    eventually(lambda: proxy.connections == 0)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_p33_uvicorn(programs: Programs, admin: Admin, published: str, loop: str) -> None:
    """P33: an ASGI application on the loop that its server brings; `uvicorn[standard]` brings uvloop."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    uvicorn = programs.start(
        sys.executable,
        *("-m", "uvicorn", "--host=127.0.0.1", f"--port={port}", f"--loop={loop}", "asgi:application"),
    )
    uvicorn.wait_for("Uvicorn running on")
    for number in range(3):
        connection = HTTPConnection("127.0.0.1", port, timeout=WAIT)
        with closing(connection):
            connection.request("POST", "/", str(number))
            assert connection.getresponse().read().decode() == loop
    ended = uvicorn.terminate()
    assert "Traceback" not in ended.output, ended.output
    assert values(take(admin, published), "number") == [0, 1, 2]
