"""Applications on Twisted: their reactors, their threads, their services."""

from __future__ import annotations

import signal
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.programs.support import APPS, Programs, assert_quiet, finish_callback, put, take, values
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.support.admin import Admin
    from tests.support.brokers import Broker
    from tests.support.proxy import Proxy

TWISTD = Path(sysconfig.get_path("scripts")) / "twistd"
COUNT = 30
WAYS = [("default", "function"), ("asyncio", "function"), ("asyncio", "coroutine")]


@pytest.mark.parametrize(("reactor", "kind"), WAYS)
def test_sigterm(
    broker: Broker,
    programs: Programs,
    proxy: Proxy,
    admin: Admin,
    published: str,
    work: str,
    reactor: str,
    kind: str,
) -> None:
    """The running callback ends, publishes and is acknowledged before the reactor stops."""
    put(admin, work, *range(COUNT))
    program = programs.app("twisted_forwarder", reactor, kind)
    for number in (0, 1):
        program.wait_for(f"^begin {number}$")
        program.say("go on")
    program.wait_for("^begin 2$")
    program.signal(signal.SIGTERM)
    ended = finish_callback(program, 2)
    assert_quiet(program.end())
    assert 2 < ended < COUNT
    assert values(take(admin, published), "number") == [*range(ended)]
    eventually(lambda: admin.ready(work) == COUNT - ended)
    assert proxy.accepted == 1
    eventually(lambda: proxy.connections == 0)


@pytest.mark.parametrize(("reactor", "kind"), WAYS)
def test_halt(
    broker: Broker,
    programs: Programs,
    admin: Admin,
    published: str,
    work: str,
    reactor: str,
    kind: str,
) -> None:
    """It comes through the consumer's result, and the program stops its reactor."""
    program = programs.app("twisted_forwarder", reactor, kind)
    program.end_input()
    program.wait_for(rf"Successfully registered Consumer\(queue={work},")
    # By way of the binding.
    put(admin, work, 0, exchange="amq.topic")
    put(admin, work, 1, halt=9)
    assert_quiet(program.end(), 9)
    assert values(take(admin, published), "number") == [0, 1]
    assert take(admin, work) == []


def test_reactor_in_a_thread(
    broker: Broker, programs: Programs, proxy: Proxy, admin: Admin, published: str, work: str
) -> None:
    """Whose Deferreds other threads wait for; both faces share one connection."""
    program = programs.app("twisted_thread")
    put(admin, work, 10, 11)
    for number in (10, 11):
        program.wait_for(f"^forwarded {number}$")
    program.say("stop")
    ended = program.end()
    assert_quiet(ended)
    assert ended.stdout[-1] == "left"
    assert values(take(admin, published), "number") == [1, 2, 3, 10, 11, 110, 111]
    assert take(admin, work) == []
    assert proxy.accepted == 1
    eventually(lambda: proxy.connections == 0)


def test_service_of_an_application(
    broker: Broker, programs: Programs, proxy: Proxy, admin: Admin, published: str, work: str
) -> None:
    """A subclass, which is the service that `api` uses too."""
    program = programs.app("bridge")
    program.wait_for("^consuming 1 queue$")
    put(admin, work, 1, 2)
    eventually(lambda: admin.ready(published) == 2)
    ended = program.terminate()
    assert_quiet(ended)
    assert ended.stdout[-1] == "bridge is down"
    assert values(take(admin, published), "number") == [1, 2]
    assert proxy.accepted == 1
    eventually(lambda: proxy.connections == 0)


def test_twistd(
    broker: Broker, programs: Programs, proxy: Proxy, admin: Admin, published: str, work: str
) -> None:
    """In the foreground; twistd itself ends by the signal, once its services have stopped."""
    program = programs.start(TWISTD, "-noy", APPS / "bridge.tac", "--pidfile=")
    program.wait_for("consuming 1 queue")
    put(admin, work, 1, 2)
    eventually(lambda: admin.ready(published) == 2)
    ended = program.terminate()
    assert (ended.status, ended.stderr) == (-signal.SIGTERM, []), ended.output
    assert "bridge is down" in ended.output
    assert "Traceback" not in ended.output, ended.output
    assert "Server Shut Down." in ended.stdout[-1]
    assert values(take(admin, published), "number") == [1, 2]
    eventually(lambda: proxy.connections == 0)


def test_twistd_as_a_daemon(
    broker: Broker, programs: Programs, proxy: Proxy, admin: Admin, published: str, work: str
) -> None:
    """The application is made before the forks, and connects after them."""
    log = programs.directory / "twistd.log"
    daemon = programs.daemon("twistd.pid", "twistd")
    starter = programs.start(
        TWISTD, "-oy", APPS / "bridge.tac", "--pidfile=twistd.pid", "--logfile=twistd.log"
    )
    assert_quiet(starter.end())
    eventually(lambda: "consuming 1 queue" in log.read_text())
    put(admin, work, 1, 2)
    eventually(lambda: admin.ready(published) == 2)
    found = take(admin, published)
    assert values(found, "number") == [1, 2]
    assert {*values(found, "pid")} == {daemon.pid}
    assert daemon.pid != starter.pid
    written = log.read_text
    daemon.signal(signal.SIGTERM)
    eventually(lambda: "Server Shut Down." in written())
    assert "bridge is down" in written()
    assert "Traceback" not in written(), written()
    assert proxy.accepted == 1
    eventually(lambda: proxy.connections == 0)
