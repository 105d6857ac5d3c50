"""The pytest plugin, in suites of its own; it is found by its entry point."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

SUITE = """
    import subprocess
    import sys

    import jsonschema
    import pytest

    from fedora_messaging import aio, api, config
    from fedora_messaging.api import Message


    def test_published_needs_no_broker(published):
        config.conf["amqp_url"] = "amqp://127.0.0.1:1"
        api.publish(Message(topic="a", body={"n": 1}))
        assert [message.topic for message in published] == ["a"]
        with pytest.raises(jsonschema.ValidationError):
            api.publish(Message(topic="b", body="text"))
        assert len(published) == 1


    def test_published_sees_signals(published):
        def rename(sender, message):
            assert sender is api.publish
            message.topic += ".renamed"

        with api.pre_publish_signal.connected_to(rename):
            api.publish(Message(topic="a"))
        assert [message.topic for message in published] == ["a.renamed"]


    def test_published_by_asyncio(published):
        import asyncio

        async def main():
            async with aio.connect("amqp://127.0.0.1:1") as bus:
                await bus.publish(Message(topic="a"))

        asyncio.run(main())
        assert [message.topic for message in published] == ["a"]


    def test_bus_carries_messages(bus, published):
        got = []

        def callback(message):
            got.append(message)
            raise api.exceptions.HaltConsumer

        import threading

        def consume():
            with pytest.raises(api.exceptions.HaltConsumer):
                api.consume(callback, bindings=bindings, queues=queues)

        bindings = [{"exchange": "amq.topic", "queue": "q", "routing_keys": ["#"]}]
        queues = {"q": {"durable": True, "auto_delete": False, "exclusive": False, "arguments": {}}}
        with pytest.raises(api.exceptions.HaltConsumer):
            # The queue is there from here on.
            thread = threading.Thread(target=consume)
            thread.start()
            sent = Message(topic="hello", body={"n": 1})
            while not got:
                api.publish(sent)
            thread.join()
            raise api.exceptions.HaltConsumer
        assert got[0] == sent
        assert published[0] is sent


    def test_the_bus_is_for_child_processes_too(bus):
        code = "from fedora_messaging import config; print(config.conf['amqp_url'])"
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert out.stdout.strip() == bus.amqp_url == config.conf["amqp_url"]


    def test_the_next_bus_is_empty(bus):
        assert api._twisted_service is None
        assert config.conf["amqp_url"] == bus.amqp_url


    def test_bus_with_faults(bus):
        bus.faults.nack_next()
        with pytest.raises(api.exceptions.PublishReturned):
            api.publish(Message(topic="a"))
        bus.faults.assert_all_used()
        assert bus.faults.count("nack_next") == 1
        bus.faults.return_next()
        bus.faults.delay(3600)
        bus.faults.block()
        bus.faults.stall()


    def test_no_fault_survives(bus):
        assert (bus.faults.pending, bus.faults.history, bus.alarm) == ([], [], None)
        api.publish(Message(topic="a"))


    def test_bus_that_the_test_stops(bus):
        api.publish(Message(topic="a"))
        bus.faults.nack_next()
        bus.stop()


    def test_without_them_nothing_is_left(monkeypatch):
        assert config.conf["amqp_url"] == "amqp://127.0.0.1:1"
"""

FORBIDDEN = """
    import threading

    from fedora_messaging import api
    from fedora_messaging.testing import mock_sends


    def test_publishes():
        try:
            api.publish(api.Message(topic="forgotten"))
        except Exception:
            pass


    def test_publishes_in_a_thread():
        thread = threading.Thread(target=publish)
        thread.start()
        thread.join()


    def publish():
        try:
            api.publish(api.Message(topic="threaded"))
        except BaseException:
            pass


    def test_with_the_fixture(published):
        api.publish(api.Message(topic="a"))


    def test_with_mock_sends():
        with mock_sends(api.Message):
            api.publish(api.Message(topic="a"))
"""


def test_fixtures(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(SUITE)
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=10)


def test_forbidden_publish(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nfedora_messaging_forbid_publish = true\n")
    pytester.makepyfile(FORBIDDEN)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=2, failed=2)
    for topic in ("forgotten", "threaded"):
        result.stdout.fnmatch_lines(
            [f"*a message with topic '{topic}' was published in a test that has no broker*"]
        )
