"""docs/how-to/quorum.md: a queue changes its type under traffic, and loses nothing."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx
import pytest
from tests.support.admin import Admin
from tests.support.printed import Page
from tests.support.waiting import WAIT, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.rabbitmq import RabbitNode

OLD = """
callback = "fedora_messaging.example:printer"
[queues.my-app]
durable = true
auto_delete = false
exclusive = false
arguments = {}
[[bindings]]
queue = "my-app"
exchange = "amq.topic"
routing_keys = ["org.example.prod.#"]
"""
NUMBER = re.compile(r'"number": (\d+)')


@contextmanager
def consumer(node: RabbitNode, configuration: Path) -> Iterator[list[int]]:
    """Run the printer with a configuration; yields the numbers that it prints."""
    numbers: list[int] = []
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "fedora_messaging", "--conf", str(configuration), "consume"],
        env={**os.environ, "FEDORA_MESSAGING_AMQP_URL": node.url},
        stdout=subprocess.PIPE,
        text=True,
    )

    def read() -> None:
        assert process.stdout is not None
        numbers.extend(int(found) for line in process.stdout for found in NUMBER.findall(line))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield numbers
    finally:
        process.terminate()
        assert process.wait(WAIT) == 0
        reader.join(WAIT)
        assert process.stdout is not None
        process.stdout.close()


@contextmanager
def traffic(node: RabbitNode) -> Iterator[list[int]]:
    """Publish in a thread; yields the numbers that the broker has confirmed."""
    confirmed: list[int] = []
    stop = threading.Event()

    def publish() -> None:
        admin = Admin(node.url)
        while not stop.is_set():
            number = len(confirmed)
            admin.channel.basic_publish("amq.topic", "org.example.prod.x", b'{"number": %d}' % number)
            confirmed.append(number)
        admin.close()

    publisher = threading.Thread(target=publish)
    publisher.start()
    try:
        yield confirmed
    finally:
        stop.set()
        publisher.join(WAIT)


@pytest.mark.timeout(180)
@pytest.mark.rabbitmq
def test_nothing_is_lost(rabbitmq: RabbitNode, tmp_path: Path) -> None:
    page = Page("docs/how-to/quorum.md")
    new, old = tmp_path / "my-app-quorum.toml", tmp_path / "my-app.toml"
    new.write_text(page.file("my-app-quorum.toml"), encoding="utf-8")
    old.write_text(OLD, encoding="utf-8")
    page.console("fedora-messaging --conf my-app-quorum.toml consume")
    admin = Admin(rabbitmq.url)
    try:
        with consumer(rabbitmq, old) as first:
            eventually(lambda: rabbitmq.ctl("list_queues", "name", "consumers").count("my-app\t1"))
            with traffic(rabbitmq) as confirmed:
                eventually(lambda: len(first) > 20)
                with consumer(rabbitmq, new) as second:
                    eventually(lambda: len(second) > 20)
                    [cut] = page.console(
                        "curl -f -X DELETE "
                        "http://guest:guest@127.0.0.1:15672/api/bindings/%2F/e/amq.topic/q/my-app/org.example.prod.%23"
                    )
                    url = shlex.split(cut.text)[-1].replace(":15672", f":{rabbitmq.management_port}")
                    assert httpx.delete(url).is_success
                    before = len(confirmed)
                    eventually(lambda: len(confirmed) > before + 20 and admin.ready("my-app") == 0)
            # Stopping a consumer lets it end what it has begun; the second one has got the rest.
            eventually(lambda: admin.ready("my-app") == 0)
        with consumer(rabbitmq, new) as third:
            eventually(lambda: {*first, *second, *third} >= set(confirmed))
        _list, delete = page.console(
            "fedora-messaging queues list --name my-app", "fedora-messaging queues delete my-app --yes"
        )
        page.finished()
        subprocess.run(
            [sys.executable, "-m", "fedora_messaging", *shlex.split(delete.text)[1:]],
            env={**os.environ, "FEDORA_MESSAGING_MANAGEMENT_URL": rabbitmq.management_url},
            check=True,
        )
        assert "my-app\n" not in rabbitmq.ctl("list_queues", "name")
    finally:
        for name in ("my-app", "my-app-quorum"):
            admin.delete(name)
        admin.close()
