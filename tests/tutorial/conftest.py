"""The files that the tutorial prints, in a directory of their own, and brokers to try them with."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Protocol

import pika
import pytest
from tests.support.printed import Page
from tests.support.processes import Process, Processes, start_broker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import BrokerUnderTest
    from tests.support.rabbitmq import RabbitNode

QUEUE = "tutorial"


class Tutorial:
    """What somebody does who follows the tutorial.

    Args:
        directory: Where the files are put.
        url: Of the broker, instead of the one on the default port.
    """

    def __init__(self, directory: Path, url: str) -> None:
        page = Page("docs/tutorial/index.md")
        for name in ("publish.py", "consume.py", "tutorial.toml"):
            (directory / name).write_text(page.first_version(name), encoding="utf-8")
        self.processes = Processes(
            directory,
            FEDORA_MESSAGING_CONF="tutorial.toml",
            FEDORA_MESSAGING_AMQP_URL=url,
            # A terminal shows each line as it is printed; a pipe would hold them back.
            PYTHONUNBUFFERED="1",
        )

    def publish(self, *texts: str, **variables: str) -> None:
        """Run `python publish.py` for each text, one after the other."""
        for text in texts:
            ended = self.processes.python("publish.py", text, **variables).end()
            assert ended.status == 0, ended.output
            assert "Traceback" not in ended.output

    def consume(self) -> Consumer:
        """Run `python consume.py`."""
        return Consumer(self.processes.python("consume.py"))

    def consume_with_command(self) -> Consumer:
        """Run `fedora-messaging consume` with the script's function."""
        return Consumer(self.processes.fedora_messaging("consume", "--callback=consume:print_message"))


class Consumer:
    """A running consumer, subscribed.

    Args:
        process: The process, just started.
    """

    def __init__(self, process: Process) -> None:
        self.process = process
        process.wait_for(rf"Successfully registered Consumer\(queue={QUEUE},")

    def text(self) -> str:
        """The text of the next message that it prints."""
        return self.process.wait_for('^    "text": "(.*)"$')[1]

    def texts(self, count: int) -> list[str]:
        """The texts of the next messages."""
        return [self.text() for _ in range(count)]

    def stop(self) -> None:
        """Stop it as a service manager does."""
        ended = self.process.terminate()
        assert ended.status == 0, ended.output
        assert "Traceback" not in ended.output

    def interrupt(self) -> None:
        """Stop it as somebody at the terminal does, by Ctrl-C."""
        self.process.signal(signal.SIGINT)
        ended = self.process.end()
        assert ended.status == 0, ended.output
        assert "Traceback" not in ended.output


@pytest.fixture
def no_queue(broker: BrokerUnderTest) -> Iterator[None]:
    """Deletes the tutorial's queue after the test, when its consumers are gone."""
    yield
    _delete_queue(broker.url)


@pytest.fixture
def tutorial(tmp_path: Path, broker: BrokerUnderTest, no_queue: None) -> Iterator[Tutorial]:
    """The tutorial on either broker."""
    made = Tutorial(tmp_path, broker.url)
    with made.processes:
        yield made


class MortalBroker(Protocol):
    """A broker that can die and live again at the same address."""

    @property
    def url(self) -> str: ...

    def kill(self) -> None: ...

    def start(self) -> None: ...


class EmbeddedProcess:
    """The embedded broker as a process of its own, with durable data.

    Args:
        processes: Starts it.
    """

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"amqp://127.0.0.1:{self._port}"

    def start(self) -> None:
        arguments = ("--data", self._processes.directory / "data")
        self._process, self._port = start_broker(self._processes, *arguments, port=self._port)

    def kill(self) -> None:
        self._process.kill()


@pytest.fixture
def embedded_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedProcess]:
    """An embedded broker that can be killed."""
    with Processes(tmp_path_factory.mktemp("broker")) as processes:
        yield EmbeddedProcess(processes)


class SharedNode:
    """The RabbitMQ node of the session, on loan.

    Args:
        node: It runs.
    """

    def __init__(self, node: RabbitNode) -> None:
        self._node = node
        self._alive = True

    @property
    def url(self) -> str:
        return self._node.url

    def kill(self) -> None:
        self._alive = False
        self._node.write_definitions()
        self._node.kill()

    def start(self) -> None:
        if not self._alive:
            self._node.start()
            self._alive = True


@pytest.fixture
def shared_node(rabbitmq: RabbitNode) -> Iterator[SharedNode]:
    """A RabbitMQ that can be killed; it runs again when the test is over."""
    node = SharedNode(rabbitmq)
    yield node
    node.start()
    _delete_queue(node.url)


@pytest.fixture(params=["embedded_process", "shared_node"], ids=["embedded", "rabbitmq"])
def mortal_broker(request: pytest.FixtureRequest) -> MortalBroker:
    """A broker to be killed."""
    broker: MortalBroker = request.getfixturevalue(request.param)
    return broker


@pytest.fixture
def crash_tutorial(tmp_path: Path, mortal_broker: MortalBroker) -> Iterator[Tutorial]:
    """The tutorial on a broker that is going to be killed."""
    made = Tutorial(tmp_path, mortal_broker.url)
    with made.processes:
        yield made


def _delete_queue(url: str) -> None:
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        connection.channel().queue_delete(QUEUE)
