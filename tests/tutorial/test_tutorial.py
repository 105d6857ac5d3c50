"""The tutorial, done as it is written, with real processes, on both brokers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.tutorial.conftest import Consumer, MortalBroker, Tutorial


def test_publish_and_consume(tutorial: Tutorial) -> None:
    consumer = tutorial.consume()
    tutorial.publish("Hello, world")
    assert consumer.text() == "Hello, world"
    consumer.stop()


def test_consume_with_the_command(tutorial: Tutorial) -> None:
    """The function is found in consume.py of the current directory."""
    consumer = tutorial.consume_with_command()
    tutorial.publish("Hello, command")
    assert consumer.text() == "Hello, command"
    consumer.stop()


def test_two_consumers_take_turns(tutorial: Tutorial) -> None:
    consumers = [tutorial.consume(), tutorial.consume_with_command()]
    tutorial.publish("1", "2", "3", "4", "5", "6")
    assert sorted(consumer.texts(3) for consumer in consumers) == [["1", "3", "5"], ["2", "4", "6"]]
    for consumer in consumers:
        consumer.stop()


def test_publish_without_configuration_and_queue(tutorial: Tutorial) -> None:
    """The broker throws the message away."""
    tutorial.publish("nobody is there", FEDORA_MESSAGING_CONF="")
    consumer = tutorial.consume()
    tutorial.publish("somebody is there")
    assert consumer.text() == "somebody is there"
    consumer.stop()


def test_messages_wait_for_a_consumer(tutorial: Tutorial) -> None:
    tutorial.consume().interrupt()
    tutorial.consume_with_command().interrupt()
    tutorial.publish("one", "two")
    later = tutorial.consume()
    assert later.texts(2) == ["one", "two"]
    later.stop()


def test_acknowledged_messages_do_not_come_again(tutorial: Tutorial) -> None:
    """Stopping waits until the acknowledgement is sent."""
    first = tutorial.consume()
    tutorial.publish("one")
    assert first.text() == "one"
    first.stop()
    tutorial.publish("two")
    second = tutorial.consume()
    assert second.text() == "two"
    second.stop()


def test_messages_survive_a_crash(crash_tutorial: Tutorial, mortal_broker: MortalBroker) -> None:
    """And so do the queue and its binding, which nobody declares again before the second message."""
    crash_tutorial.consume().stop()
    crash_tutorial.publish("before the crash")
    mortal_broker.kill()
    mortal_broker.start()
    crash_tutorial.publish("after the crash")
    consumer = crash_tutorial.consume()
    assert consumer.texts(2) == ["before the crash", "after the crash"]
    consumer.stop()


def test_a_consumer_reconnects_after_a_crash(crash_tutorial: Tutorial, mortal_broker: MortalBroker) -> None:
    consumer = crash_tutorial.consume()
    crash_tutorial.publish("before the crash")
    assert consumer.text() == "before the crash"
    mortal_broker.kill()
    mortal_broker.start()
    crash_tutorial.publish("after the crash")
    # The first one comes again if the crash was quicker than its acknowledgement.
    text = consumer.text()
    assert text in ("before the crash", "after the crash")
    if text == "before the crash":
        assert consumer.text() == "after the crash"
    consumer.stop()


@pytest.mark.parametrize("command", [False, True], ids=["script", "command"])
def test_messages_unacknowledged_at_a_kill_come_again(tutorial: Tutorial, command: bool) -> None:
    """A consumer that dies before it has acknowledged a message has not consumed it."""
    consume = tutorial.consume_with_command if command else tutorial.consume
    (tutorial.processes.directory / "consume.py").write_text(_STUCK)
    stuck: Consumer = consume()
    tutorial.publish("precious")
    assert stuck.text() == "precious"
    stuck.process.kill()
    (tutorial.processes.directory / "consume.py").write_text(_STUCK.replace("input()", ""))
    rescuer = consume()
    assert rescuer.text() == "precious"
    rescuer.stop()


_STUCK = """
from fedora_messaging.api import consume
from fedora_messaging.config import conf


def print_message(message):
    print(message)
    input()


if __name__ == "__main__":
    conf.setup_logging()
    consume(print_message)
"""
