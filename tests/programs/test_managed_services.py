"""`fedora-messaging consume` as the service of a process manager like systemd, on both brokers."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest
from tests.programs.support import (
    Programs,
    assert_quiet,
    finish_callback,
    put,
    start_consuming,
    take,
    values,
)
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.support.admin import Admin
    from tests.support.brokers import Broker
    from tests.support.processes import Ended, Process
    from tests.support.proxy import Proxy

COUNT = 30
STOP_SIGNALS = [signal.SIGTERM, signal.SIGINT]


class Unit:
    """A service that is started again when it fails, as with ``Restart=on-failure``.

    Attributes:
        process: Its main process.
        failures: Exit statuses with which it failed.
    """

    def __init__(self, programs: Programs, work: str) -> None:
        self._programs = programs
        self._work = work
        self.failures: list[int] = []
        self.process = self._start()

    def _start(self) -> Process:
        process = self._programs.fedora_messaging("--conf", "config.toml", "consume")
        return start_consuming(process, self._work)

    def supervise(self) -> Ended | None:
        """Wait for its end; start it again if it failed, else return how it ended."""
        ended = self.process.end()
        if ended.status == 0:
            return ended
        self.failures.append(ended.status)
        self.process = self._start()
        return None


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_p10_stop_and_start(
    broker: Broker, programs: Programs, admin: Admin, published: str, work: str, number: signal.Signals
) -> None:
    """P10: the callback ends, is acknowledged, status 0; the next start goes on with the next message."""
    put(admin, work, *range(COUNT))
    unit = Unit(programs, work)
    unit.process.wait_for("^begin 0$")
    unit.process.signal(number)
    first = finish_callback(unit.process)
    ended = unit.supervise()
    assert ended is not None
    assert_quiet(ended)
    eventually(lambda: admin.ready(work) == COUNT - first)
    again = Unit(programs, work)
    again.process.wait_for(f"^begin {first}$")
    again.process.signal(number)
    second = finish_callback(again.process, first)
    assert_quiet(again.process.end())
    assert 0 < first < second < COUNT
    assert values(take(admin, published), "number") == [*range(second)]
    eventually(lambda: admin.ready(work) == COUNT - second)


def test_restart_on_failure(
    broker: Broker, programs: Programs, admin: Admin, published: str, work: str
) -> None:
    """Status 13 for a callback that fails; nothing is lost, and the restarted service does it again."""
    put(admin, work, 0)
    put(admin, work, 1, fail_once=True)
    put(admin, work, 2)
    unit = Unit(programs, work)
    for number in (0, 1):
        unit.process.wait_for(f"^begin {number}$")
        unit.process.say("go on")
    assert unit.supervise() is None
    assert unit.failures == [13]
    for number in (1, 2):
        unit.process.wait_for(f"^begin {number}$")
        unit.process.say("go on")
    unit.process.wait_for("^end 2$")
    assert_quiet(unit.process.terminate())
    assert values(take(admin, published), "number") == [0, 1, 1, 2]
    assert take(admin, work) == []


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_p10_second_signal(
    broker: Broker, programs: Programs, proxy: Proxy, admin: Admin, work: str, number: signal.Signals
) -> None:
    """P10: what is told again ends at once without a traceback; the message comes again."""
    put(admin, work, 0)
    unit = Unit(programs, work)
    unit.process.wait_for("^begin 0$")
    deadline = time.monotonic() + 10
    # Signals that are pending at the same time count as one, hence perhaps more than two.
    while unit.process.running:
        assert time.monotonic() < deadline
        unit.process.signal(number)
        time.sleep(0.1)
    ended = unit.process.end()
    assert (ended.status, ended.stderr) == (128 + number, [])
    assert "Traceback" not in ended.output
    eventually(lambda: proxy.connections == 0)
    eventually(lambda: admin.ready(work) == 1)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_p10_stop_while_the_broker_is_away(
    broker: Broker, programs: Programs, proxy: Proxy, work: str, number: signal.Signals
) -> None:
    """P10: while it waits to connect again."""
    unit = Unit(programs, work)
    proxy.refuse()
    proxy.cut()
    unit.process.wait_for("[Cc]onnection refused")
    unit.process.signal(number)
    assert_quiet(unit.process.end(5.0))


def test_p10_stop_of_a_callback_while_the_broker_is_away(
    broker: Broker, programs: Programs, proxy: Proxy, admin: Admin, work: str
) -> None:
    """P10: the callback ends and its message, which cannot be acknowledged, comes again."""
    put(admin, work, 0, silent=True)
    unit = Unit(programs, work)
    unit.process.wait_for("^begin 0$")
    proxy.refuse()
    proxy.cut()
    unit.process.wait_for("[Cc]onnection refused")
    unit.process.signal(signal.SIGTERM)
    unit.process.say("go on")
    ended = unit.process.end()
    assert_quiet(ended)
    assert "end 0" in ended.stdout
    eventually(lambda: admin.ready(work) == 1)


def test_sighup(broker: Broker, programs: Programs, admin: Admin, work: str) -> None:
    """Its default is kept: the process is gone, the message comes again."""
    put(admin, work, 0)
    unit = Unit(programs, work)
    unit.process.wait_for("^begin 0$")
    unit.process.signal(signal.SIGHUP)
    assert unit.supervise() is None
    assert unit.failures == [-signal.SIGHUP]
    unit.process.wait_for("^begin 0$")
    unit.process.say("go on")
    unit.process.wait_for("^end 0$")
    assert_quiet(unit.process.terminate())
    assert take(admin, work) == []
