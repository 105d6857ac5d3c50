"""Programs that fork (P11): pools, task queues, children that end in every way, daemons."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from tests.programs.apps import children, pools, task_queue
from tests.programs.support import Programs, assert_quiet, put, take, values
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.support.admin import Admin
    from tests.support.brokers import Broker
    from tests.support.proxy import Proxy


@pytest.mark.parametrize(("kind", "method"), [("pool", "spawn"), ("executor", "fork")])
def test_p11_pools(
    broker: Broker, programs: Programs, proxy: Proxy, admin: Admin, published: str, kind: str, method: str
) -> None:
    """P11: the program has published before it makes the pool."""
    program = programs.app("pools", kind, method)
    workers = {int(pid) for pid in program.wait_for(r"^workers ([\d ]+)$")[1].split()}
    assert_quiet(program.end())
    found = take(admin, published)
    assert values(found, "number") == [0, *pools.JOBS, pools.JOBS.stop]
    assert {*values(found, "pid")} == {program.pid, *workers}
    assert program.pid not in workers
    assert proxy.accepted == 1 + len(workers)
    eventually(lambda: proxy.connections == 0)


def test_p11_children_that_end_in_every_way(
    broker: Broker, programs: Programs, proxy: Proxy, admin: Admin, published: str
) -> None:
    """P11: the parent keeps its connection, which no child uses or closes; a child may outlive it."""
    program = programs.app("children")
    ended = program.end()
    assert ended.status == 0, ended.output
    assert ended.stdout == [
        "exit_normally 0",
        "exit_at_once 0",
        "publish_and_exit_normally 0",
        "publish_and_exit_at_once 0",
        "publish_and_raise 1",
        f"publish_and_be_killed {-signal.SIGKILL}",
        "close_and_exit_normally 0",
        "replace_program 0",
    ]
    assert ended.stderr == ["failed on purpose"]
    parents = range(len(children.ENDINGS) + 2)
    assert values(take(admin, published), "number") == [*parents, *range(10, 16), 20, 21]
    assert proxy.accepted == 1 + 6 + 1
    eventually(lambda: proxy.connections == 0)


def test_p11_task_queue(
    broker: Broker, programs: Programs, proxy: Proxy, admin: Admin, published: str
) -> None:
    """P11: workers are forked, and replaced, while the master has a connection."""
    master = programs.app("task_queue")
    master.wait_for("^all done$")
    assert_quiet(master.terminate())
    found = take(admin, published)
    assert values(found, "number") == [*range(task_queue.TASKS.stop + 2)]
    pids = {*values(found, "pid")}
    assert master.pid in pids
    # Each does no more than its share.
    assert len(pids) - 1 >= len(task_queue.TASKS) // task_queue.TASKS_PER_WORKER
    assert proxy.accepted == len(pids)
    eventually(lambda: proxy.connections == 0)


def test_p11_daemon(
    broker: Broker, programs: Programs, proxy: Proxy, admin: Admin, published: str, work: str
) -> None:
    """P11: as uWSGI and classic daemons do it; the daemon then consumes, and stops on SIGTERM."""
    log = programs.directory / "daemon.log"
    daemon = programs.daemon("daemon.pid", "daemon.py")
    assert_quiet(programs.app("daemon").end())
    eventually(lambda: log.exists() and log.read_text() == "ready\n")
    put(admin, work, 10, 11)
    eventually(lambda: admin.ready(published) == 4)
    daemon.signal(signal.SIGTERM)
    eventually(lambda: not daemon.running)
    assert log.read_text() == "ready\nstopped\n"
    found = take(admin, published)
    assert [body["number"] for body in found] == [1, 2, 10, 11, 3]
    assert [body["pid"] == daemon.pid for body in found] == [False, True, True, True, True]
    assert take(admin, work) == []
    assert proxy.accepted == 2
    eventually(lambda: proxy.connections == 0)
