"""Processes that fork, threads that share, interpreters that end (P11, P12)."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from tests.client.support import Program, message
from tests.support.proxy import BASIC_PUBLISH, DOWN, Proxy
from tests.support.waiting import WAIT, eventually

from fedora_messaging import api

if TYPE_CHECKING:
    from tests.support.admin import Admin, Names
    from tests.support.brokers import Broker


def bodies(*which: int) -> list[bytes]:
    return sorted(f'{{"number": {n}}}'.encode() for n in which)


def fork_twice(url: str, queue: str, published_before: str) -> list[str]:
    """Run the program that forks two children, which fork themselves."""
    with Program("fork", url, queue, published_before) as program:
        lines = [program.line() for _ in range(3)]
        assert program.status() == 0, program.errors
        assert program.errors == ""
    return lines


@pytest.mark.parametrize("published_before", ["yes", "no"])
def test_p11_publish_before_and_after_fork(
    broker: Broker, admin: Admin, queue: str, published_before: str
) -> None:
    """P11: parent, children and grandchildren publish, each on a connection of its own."""
    with Proxy(broker.url) as proxy:
        lines = fork_twice(proxy.url(), queue, published_before)
        assert lines == ["child 0", "child 0", "done"]
        eventually(lambda: proxy.connections == 0)
        assert proxy.accepted == 5
    expected = [1, 2, 10, 11, 12, 20, 21, 22]
    assert sorted(admin.take(queue)) == bodies(*([0, *expected] if published_before == "yes" else expected))


def test_p11_fork_while_other_threads_publish(broker: Broker, admin: Admin, queue: str) -> None:
    """No lock that another thread holds at the moment of the fork, those of imports included, is missed."""
    with Program("fork_while_publishing", broker.url, queue) as program:
        assert program.line() == f"children {[0] * 8} failures []"
        assert program.status() == 0, program.errors
        assert program.errors == ""
    assert set(range(1, 9)) <= {int(body[11:-1]) for body in admin.take(queue)}


def test_p11_fork_while_another_thread_validates_for_the_first_time() -> None:
    """jsonschema-rs then imports modules, under a lock of its own that a child would wait for."""
    with Program("fork_in_first_validation") as program:
        assert program.line() == "imported True child 0"
        assert program.status() == 0, program.errors


def test_p11_multiprocessing_pool(broker: Broker, admin: Admin, queue: str) -> None:
    """Workers that were forked after a publish, as those of pre-fork servers and Celery."""
    with Program("pool", broker.url, queue) as program:
        words = program.line().split()
        assert words[0] == "processes"
        assert words[2] == "False"
        assert program.status() == 0, program.errors
        assert program.errors == ""
    assert sorted(admin.take(queue)) == bodies(*range(32))


def test_p11_fork_in_a_callback(broker: Broker, admin: Admin, names: Names, name: str) -> None:
    admin.declare(name)
    answers = admin.declare(f"{name}x")
    try:
        admin.publish(name, b'{"number": 7}')
        with Program("fork_in_callback", broker.url, name) as program:
            assert [program.line(), program.line()] == ["child 0", "done"]
            assert program.status() == 0, program.errors
        assert admin.take(answers) == [b'{"number": 7}']
        assert admin.ready(name) == 0
    finally:
        admin.delete(answers)


def test_process_that_ends_without_closing(broker: Broker, admin: Admin, queue: str) -> None:
    """The exit handler closes the connection in good order."""
    with Proxy(broker.url) as proxy:
        with Program("publish_at_exit", proxy.url(), queue) as program:
            assert program.line() == "done"
            assert program.status() == 0
            assert program.errors == ""
        eventually(lambda: proxy.connections == 0)
    assert admin.take(queue) == bodies(1)


def test_process_that_ends_while_publishes_wait(broker: Broker, admin: Admin, queue: str) -> None:
    """They get a chance to be confirmed, though nobody has waited for them."""
    with Program("publish_without_waiting", broker.url, queue) as program:
        assert program.line() == "done"
        assert program.status() == 0
        assert program.errors == ""
    assert sorted(admin.take(queue)) == bodies(*range(100))


def test_process_that_reconnects_while_it_ends(broker: Broker, admin: Admin, queue: str) -> None:
    """By the name of the host, though the interpreter gives threads no more work."""
    with Proxy(broker.url) as proxy:
        url = proxy.url().replace("127.0.0.1", "localhost")
        with Program("reconnect_at_exit", url, queue) as program:
            assert program.line() == "leaving"
            proxy.cut()
            program.tell()
            assert program.line() == "done", program.errors
            assert program.status() == 0
            assert "Traceback" not in program.errors
    assert sorted(admin.take(queue)) == bodies(0, 1)


def test_p11_nothing_is_imported_when_a_name_is_resolved() -> None:
    """A child that is forked meanwhile would wait for the import for ever."""
    with Program("names_are_resolved") as program:
        assert program.line() == "True"


def test_process_that_ends_while_confirms_do_not_come(
    broker: Broker, proxy: Proxy, admin: Admin, queue: str
) -> None:
    """The chance is bounded."""
    proxy.stall_at(BASIC_PUBLISH, DOWN)
    with Program("publish_without_waiting", proxy.url(), queue) as program:
        assert program.line() == "done"
        assert program.status() == 0


def test_process_that_ends_while_daemon_threads_publish(broker: Broker, admin: Admin, queue: str) -> None:
    """It ends, soon, and without a traceback of ours."""
    with Program("publish_in_daemon_thread", broker.url, queue) as program:
        assert program.line() == "done"
        assert program.status() == 0
        assert "Fatal" not in program.errors
    assert set(bodies(1, 3)) <= set(admin.take(queue))


def test_p12_threads_during_a_reconnect(
    broker: Broker, proxy: Proxy, proxied_service: None, admin: Admin, queue: str
) -> None:
    """Nobody is forgotten."""
    api.publish(message(queue, 0))
    together = threading.Barrier(51)
    errors: list[BaseException] = []

    def work(number: int) -> None:
        together.wait(WAIT)
        try:
            for offset in range(10):
                api.publish(message(queue, number + offset), timeout=WAIT)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(10 * n,)) for n in range(1, 51)]
    for thread in threads:
        thread.start()
    together.wait(WAIT)
    proxy.cut()
    for thread in threads:
        thread.join(2 * WAIT)
    assert errors == []
    assert set(admin.take(queue)) == set(bodies(0, *range(10, 510)))


def test_connections_do_not_outlive_their_service(
    broker: Broker, proxy: Proxy, proxied_service: None
) -> None:
    """Opening and closing many times leaves no thread and no connection."""
    before = threading.active_count()
    for _ in range(20):
        api.publish(message("nowhere"))
        api.close()
    assert threading.active_count() == before
    eventually(lambda: proxy.connections == 0)
