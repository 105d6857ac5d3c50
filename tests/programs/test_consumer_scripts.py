"""Scripts that call `api.consume`, configured by a TOML file, and the signals they get."""

from __future__ import annotations

import signal
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
from tests.support.proxy import BASIC_ACK
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.support.admin import Admin
    from tests.support.brokers import Broker
    from tests.support.proxy import Proxy

COUNT = 30


def test_p10_sigterm(broker: Broker, programs: Programs, admin: Admin, published: str, work: str) -> None:
    """P10: running callbacks end, publish, are acknowledged; another run goes on with the next message."""
    put(admin, work, *range(COUNT))
    script = start_consuming(programs.app("consumer", "plain"), work)
    script.wait_for("^begin 0$")
    script.signal(signal.SIGTERM)
    ended = finish_callback(script)
    assert_quiet(script.end())
    assert 0 < ended < COUNT
    eventually(lambda: admin.ready(work) == COUNT - ended)
    assert values(take(admin, published), "number") == [*range(ended)]
    with_more = start_consuming(programs.app("consumer", "plain"), work)
    with_more.wait_for(f"^begin {ended}$")
    with_more.kill()


def test_sigint(broker: Broker, programs: Programs, admin: Admin, published: str, work: str) -> None:
    """KeyboardInterrupt leaves consume, after callbacks have ended and been acknowledged."""
    put(admin, work, *range(COUNT))
    script = start_consuming(programs.app("consumer", "interrupt"), work)
    script.wait_for("^begin 0$")
    script.signal(signal.SIGINT)
    ended = finish_callback(script)
    left = script.end()
    assert_quiet(left)
    assert left.stdout[-3:] == ["interrupted", "left consume", "left"]
    assert 0 < ended < COUNT
    eventually(lambda: admin.ready(work) == COUNT - ended)
    assert values(take(admin, published), "number") == [*range(ended)]


def test_sigint_that_nobody_catches(
    broker: Broker, programs: Programs, proxy: Proxy, admin: Admin, work: str
) -> None:
    """Python's own traceback and status."""
    script = start_consuming(programs.app("consumer", "plain"), work)
    script.signal(signal.SIGINT)
    ended = script.end()
    assert ended.status == -signal.SIGINT
    assert ended.stderr[-1] == "KeyboardInterrupt"
    eventually(lambda: proxy.connections == 0)


def test_program_that_handles_sigterm(
    broker: Broker, programs: Programs, proxy: Proxy, admin: Admin, published: str, work: str
) -> None:
    """Its handler is left alone, and what it raises leaves consume; the callback still ends."""
    put(admin, work, *range(COUNT))
    script = start_consuming(programs.app("consumer", "own"), work)
    script.wait_for("^begin 0$")
    script.signal(signal.SIGTERM)
    script.wait_for("^handling$")
    script.wait_for("^left consume$")
    script.end_input()
    ended = script.end()
    assert_quiet(ended, 5)
    done = len([line for line in ended.stdout if line.startswith("end ")])
    assert len([line for line in ended.stdout if line.startswith("begin ")]) == done
    # More than one if the callbacks are quicker than the exit.
    assert done
    eventually(lambda: admin.ready(work) == COUNT - done)
    assert values(take(admin, published), "number") == [*range(done)]
    eventually(lambda: proxy.connections == 0)


def test_sigkill(
    broker: Broker, programs: Programs, proxy: Proxy, admin: Admin, published: str, work: str
) -> None:
    """The message comes again, and so do those that were sent ahead; what was acknowledged does not."""
    put(admin, work, 0, 1, 2)
    script = start_consuming(programs.app("consumer", "plain"), work)
    script.wait_for("^begin 0$")
    script.say("go on")
    script.wait_for("^begin 1$")
    eventually(lambda: proxy.count(BASIC_ACK) == 1)
    script.signal(signal.SIGKILL)
    assert script.end().status == -signal.SIGKILL
    eventually(lambda: admin.ready(work) == 2)
    again = start_consuming(programs.app("consumer", "plain"), work)
    for number in (1, 2):
        again.wait_for(f"^begin {number}$")
        again.say("go on")
        again.wait_for(f"^end {number}$")
    assert_quiet(again.terminate())
    assert values(take(admin, published), "number") == [0, 1, 2]
    assert take(admin, work) == []


@pytest.mark.parametrize("code", [0, 7])
def test_halt(broker: Broker, programs: Programs, admin: Admin, work: str, code: int) -> None:
    put(admin, work, 0, 1)
    put(admin, work, 2, halt=code)
    put(admin, work, 3)
    script = programs.app("consumer", "exit")
    script.end_input()
    ended = script.end()
    assert_quiet(ended, code)
    assert f"halted {code} told to" in ended.stdout
    eventually(lambda: admin.ready(work) == 1)
    assert values(take(admin, work), "number") == [3]


def test_halt_that_nobody_catches(broker: Broker, programs: Programs, admin: Admin, work: str) -> None:
    """It leaves consume as any exception does, even with exit code 0."""
    put(admin, work, 0, halt=0)
    script = programs.app("consumer", "plain")
    script.end_input()
    ended = script.end()
    assert ended.status == 1
    assert ended.stderr[-1].startswith("fedora_messaging.exceptions.HaltConsumer")
    assert take(admin, work) == []


def test_callback_that_fails(
    broker: Broker, programs: Programs, admin: Admin, published: str, work: str
) -> None:
    """The exception leaves consume; the message, and those sent ahead, come again."""
    put(admin, work, 0, fail_once=True)
    put(admin, work, 1)
    script = programs.app("consumer", "plain")
    script.end_input()
    ended = script.end()
    assert ended.status == 1
    assert ended.stderr[-1] == "OSError: the database is gone"
    eventually(lambda: admin.ready(work) == 2)
    again = programs.app("consumer", "plain")
    again.end_input()
    again.wait_for("^end 1$")
    assert_quiet(again.terminate())
    assert values(take(admin, published), "number") == [0, 0, 1]
