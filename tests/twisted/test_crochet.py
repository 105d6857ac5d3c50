"""Applications that use crochet and leave setting it up to the library, as with version 3.9."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
from tests.support.processes import Processes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.admin import Admin
    from tests.support.brokers import Broker

# Imported here, the library would set it up in the process of all tests.
pytestmark = pytest.mark.skipif(find_spec("crochet") is None, reason="needs crochet")

RESET = """
import sys
import crochet
from fedora_messaging import api, config, exceptions, testing
url, queue = sys.argv[1:]
def publish(timeout=30):
    api.publish(api.Message(topic=f"{queue}.x", body={"number": 1}), timeout=timeout)
with testing.mock_sends(api.Message):
    publish()
assert "twisted.internet.reactor" not in sys.modules
"""


@pytest.fixture
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    with Processes(tmp_path_factory.mktemp("programs")) as made:
        yield made


def test_reset_after_a_time_out(processes: Processes, broker: Broker, admin: Admin, queue: str) -> None:
    program = f"""{RESET}
config.conf["amqp_url"] = "amqp://127.0.0.1:1"
try:
    publish(0.2)
except exceptions.PublishTimeout:
    pass
@crochet.wait_for(timeout=20)
def reset():
    return api._twisted_service.stopService()
reset()
api._twisted_service = None
config.conf["amqp_url"] = url
publish()
"""
    ended = processes.python("-c", program, broker.url, queue).end()
    assert ended.status == 0, ended.output
    assert "Traceback" not in ended.output
    assert admin.take(queue) == [b'{"number": 1}']


def test_in_a_callback_of_the_command(processes: Processes, broker: Broker, admin: Admin, queue: str) -> None:
    """There the library runs the reactor already."""
    (processes.directory / "app.py").write_text(
        "import crochet\n"
        "from fedora_messaging import api, exceptions, testing\n"
        "@crochet.wait_for(timeout=20)\n"
        "def in_reactor(): return 7\n"
        "def callback(message):\n"
        "    api.publish(api.Message(topic='nobody.x'))\n"
        "    raise exceptions.HaltConsumer(exit_code=in_reactor())\n"
    )
    admin.publish(queue, b"{}")
    (processes.directory / "config.toml").write_text(
        f'amqp_url = "{broker.url}"\nbindings = []\n[queues."{queue}"]\n'
        "durable = true\nauto_delete = false\nexclusive = false\narguments = {}\n"
    )
    ended = processes.run("--conf=config.toml", "consume", "--callback=app:callback")
    assert ended.status == 7, ended.output
    assert "Traceback" not in ended.output
