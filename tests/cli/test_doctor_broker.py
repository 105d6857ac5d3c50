"""What `fedora-messaging doctor` learns from the brokers: nodes, exchanges, queues and permissions."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from tests.cli.examining import examine, found, queue
from tests.support.management import SECRET

if TYPE_CHECKING:
    from tests.cli.conftest import Queues
    from tests.conftest import BrokerUnderTest
    from tests.support.management import Management
    from tests.support.processes import Processes


def test_every_node_is_tried(processes: Processes, embedded_queues: Queues, silent_port: int) -> None:
    urls = [
        embedded_queues.url,
        "amqp://127.0.0.1:1",
        embedded_queues.url.replace("://", "://guest:canary-wrong@"),
    ]
    ended = examine(processes, f"amqp_url = {urls}\n")
    assert ended.status == 1
    refused, denied = found(ended, "failure")
    assert refused.startswith("cannot connect to amqp://127.0.0.1:1: ")
    assert "ACCESS_REFUSED" in denied
    assert "canary-wrong" not in ended.output


def test_exchanges(processes: Processes, queues: Queues) -> None:
    ended = examine(
        processes,
        f'''amqp_url = "{queues.url}"
publish_exchange = "no.such.one"
{queue(queues.make())}
[[bindings]]
queue = "{queues.name()}"
exchange = "never.used"
routing_keys = []
[queues.""]
durable = false
auto_delete = true
exclusive = true
arguments = {{}}
[[bindings]]
exchange = "no.such.other"
routing_keys = ["#"]
''',
    )
    assert ended.status == 1
    assert found(ended, "failure") == [
        "the exchange 'no.such.other' of a binding is not there: declare it, or correct its name",
        "\"publish_exchange\", 'no.such.one', is not there: declare it, or correct its name",
    ]


def test_passive_queue_that_is_not_there(processes: Processes, queues: Queues) -> None:
    name = queues.name()
    ended = examine(
        processes, f'amqp_url = "{queues.url}"\nbindings = []\npassive_declares = true\n{queue(name)}'
    )
    assert ended.status == 1
    assert found(ended, "failure") == [f"the queue {name} is not there, and is not to be declared (passive)"]


def test_queue_with_other_properties(processes: Processes, queues: Queues) -> None:
    name = queues.make(arguments={"x-max-length": 5})
    queues.put(name, "{}")
    ended = examine(processes, f'amqp_url = "{queues.url}"\nbindings = []\n{queue(name)}')
    assert ended.status == 1
    (failure,) = found(ended, "failure")
    assert failure.startswith(f"the queue {name} is there with other properties: ")
    assert "PRECONDITION_FAILED" in failure
    assert "x-max-length" in failure
    # Nobody who may not declare it is asked to.
    passive = f'amqp_url = "{queues.url}"\nbindings = []\npassive_declares = true\n{queue(name)}'
    assert examine(processes, passive).status == 0
    assert queues.ready(name) == 1


def policy(dead: str) -> str:
    return f'[consumer.retry]\nattempts = 2\n[consumer.dead_letter]\nqueue = "{dead}"\n'


def test_p40_dead_letter_queues(processes: Processes, queues: Queues) -> None:
    """One that is there may be declared in any way; nothing is declared or changed."""
    name, there, later = queues.make(), queues.make(arguments={"x-max-length": 5}), queues.name()
    queues.put(there, "{}")
    text = f'amqp_url = "{queues.url}"\nbindings = []\n{queue(name)}'
    ended = examine(processes, text + policy(there))
    assert (ended.status, found(ended, "warning")) == (0, []), ended.output
    assert f"the dead-letter queue {there} is there, with 1 message" in found(ended, "ok")
    ended = examine(processes, text + policy(later))
    assert f"the dead-letter queue {later} is not there, and will be declared" in found(ended, "ok")
    with pytest.raises(Exception, match="no queue"):
        queues.channel.queue_declare(later, passive=True)
    queues.channel = queues.connection.channel()


def test_p40_a_dead_letter_exchange_that_is_not_there(processes: Processes, queues: Queues) -> None:
    lost = {"x-dead-letter-exchange": "no.such.exchange"}
    kept = {"x-dead-letter-exchange": "amq.fanout"}
    first, second = queues.make(arguments=lost), queues.make(arguments=kept)
    text = f'amqp_url = "{queues.url}"\nbindings = []\n'
    for name, arguments in ((first, lost), (second, kept)):
        written = f'{{ x-dead-letter-exchange = "{arguments["x-dead-letter-exchange"]}" }}'
        text += queue(name).replace("arguments = {}", f"arguments = {written}")
    ended = examine(processes, text)
    assert ended.status == 0
    assert found(ended, "warning") == [
        f"the dead-letter exchange 'no.such.exchange' of {first} is not there: declare it, "
        "or correct its name"
    ]
    assert f"the dead-letter exchange 'amq.fanout' of {second} is there" in found(ended, "ok")


def test_p40_missing_permission_for_dead_letters(
    processes: Processes, broker: BrokerUnderTest, management: Management, queues: Queues
) -> None:
    name, dead = queues.make(), queues.name()
    login = management.user(f"^{name}$", ".*", ".*")
    url = f"amqp://{login}:{SECRET}@127.0.0.1:{urlsplit(broker.url).port}/%2F"
    ended = examine(processes, f'amqp_url = "{url}"\nbindings = []\n{queue(name)}{policy(dead)}')
    assert ended.status == 1
    retries, letters = found(ended, "failure")
    assert f"messages of the queue {name} cannot be tried again" in retries
    assert f"the dead-letter queue {dead} is not there, and we may not declare it" in letters


def test_missing_permission_to_declare(
    processes: Processes, broker: BrokerUnderTest, management: Management, queues: Queues
) -> None:
    name = queues.name()
    login = management.user("", ".*", ".*")
    url = f"amqp://{login}:{SECRET}@127.0.0.1:{urlsplit(broker.url).port}/%2F"
    ended = examine(processes, f'amqp_url = "{url}"\nbindings = []\n{queue(name)}')
    assert ended.status == 1
    (failure,) = found(ended, "failure")
    # RabbitMQ 4.3 does not even tell such a user whether the queue is there.
    assert "permission" in failure or "403" in failure
    assert name in failure
