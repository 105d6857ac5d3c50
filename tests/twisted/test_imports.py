"""What imports do, and do not do: they install no reactor, and nothing but its users needs Twisted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.processes import Ended, Processes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.admin import Admin
    from tests.support.brokers import Broker

# Ends a program in which a reactor has been installed.
NO_REACTOR = """
import sys
assert "twisted.internet.reactor" not in sys.modules
"""
# As without the extra: every import of Twisted fails.
ABSENT = """
import sys
sys.modules["twisted"] = None
def refused(do):
    try:
        do()
    except ImportError as error:
        assert "fedora-messaging[twisted]" in str(error), error
    else:
        raise AssertionError("not refused")
def absent(owner, name):
    assert not hasattr(owner, name), name
    assert getattr(owner, name, 7) == 7
    try:
        getattr(owner, name)
    except AttributeError as error:
        assert "fedora-messaging[twisted]" in str(error), error
"""


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    with Processes(tmp_path_factory.mktemp("programs")) as made:
        yield made


def run(processes: Processes, *parts: str, arguments: tuple[str, ...] = ()) -> Ended:
    """Run a program to its end, which is a good one."""
    # The oldest supported Twisted imports cgi.
    warnings = ("-Werror", "-Wignore:'cgi' is deprecated:DeprecationWarning")
    ended = processes.python(*warnings, "-c", "\n".join(parts), *arguments).end()
    assert (ended.status, ended.stderr) == (0, []), ended.output
    return ended


@pytest.mark.parametrize(
    "statement",
    [
        "import fedora_messaging.api, fedora_messaging.cli, fedora_messaging.testing",
        "import fedora_messaging.cli, fedora_messaging.api",
        "from fedora_messaging.api import *",
    ],
)
def test_without_a_use_nothing_of_twisted_is_imported(processes: Processes, statement: str) -> None:
    """Programs may import the modules in any order, and no reactor comes with them."""
    left_out = "assert not [name for name in sys.modules if name.startswith('twisted.internet')]"
    if "*" in statement:  # which takes Consumer, that is a class of the Twisted face
        left_out = ""
    run(processes, statement, NO_REACTOR, left_out)


def test_the_twisted_modules_install_no_reactor(processes: Processes) -> None:
    run(
        processes,
        "from fedora_messaging.twisted import consumer, factory, monitor, protocol, service, stats",
        "from fedora_messaging import api",
        "assert api.Consumer is consumer.Consumer",
        "api.defer, api.threads, api.service, api.monitor, api.twisted_consume, api.twisted_publish",
        "import fedora_messaging.cli",
        NO_REACTOR,
        "one = service.FedoraMessagingServiceV2('amqp://127.0.0.1:1')",
        "one.stats, one.consuming, repr(one.factory)",
        NO_REACTOR,
    )


@pytest.mark.parametrize("kind", ["asyncio", "select"])
@pytest.mark.parametrize("when", ["before", "between", "after"])
def test_the_application_installs_its_reactor(processes: Processes, kind: str, when: str) -> None:
    """Before or after the library is imported: `api.reactor` is that one."""
    install = f"from twisted.internet import {kind}reactor; {kind}reactor.install()"
    steps = ["import fedora_messaging.api as api", "import fedora_messaging.twisted.service"]
    steps.insert({"before": 0, "between": 1, "after": 2}[when], install)
    if kind == "asyncio":
        # The reactor makes a loop, and leaves it open.
        steps.insert(0, "import warnings; warnings.simplefilter('ignore', ResourceWarning)")
    ended = run(
        processes,
        *steps,
        "from twisted.internet import reactor",
        "assert api.reactor is reactor",
        "print(type(reactor).__name__)",
    )
    assert ended.stdout == ["AsyncioSelectorReactor" if kind == "asyncio" else "SelectReactor"]


def test_names_of_api(processes: Processes) -> None:
    """`api` has the names of version 3.9; with Twisted a star import takes all of `__all__`."""
    run(
        processes,
        "from fedora_messaging.api import *",
        "import fedora_messaging.api as api, inspect, logging",
        "expected = {'SERIALIZED_MESSAGE_SCHEMA', 'SEVERITIES', 'Consumer', 'Message', 'consume', 'dumps',",
        "    'loads', 'pre_publish_signal', 'publish', 'publish_failed_signal', 'publish_signal',",
        "    'twisted_consume'}",
        "assert set(api.__all__) == expected",
        "assert expected <= set(globals())",
        "from twisted.internet import defer, threads",
        "assert (api.defer, api.threads, api.inspect, api.logging) == (defer, threads, inspect, logging)",
        "from fedora_messaging.twisted import monitor, service",
        "assert (api.monitor, api.service) == (monitor, service)",
        "from fedora_messaging import config, exceptions",
        "assert (api.config, api.exceptions) == (config, exceptions)",
        "assert api._twisted_service is None",
        "assert not hasattr(api, 'no_such_name')",
    )


def test_without_twisted(processes: Processes) -> None:
    """Only what needs it is refused, and the refusal says what to install."""
    run(
        processes,
        ABSENT,
        "from fedora_messaging import aio, api, cli, testing",
        "scope = {}",
        "exec('from fedora_messaging.api import *', scope)",
        "assert set(api.__all__) <= set(scope)",
        "assert {'publish', 'consume', 'Message', 'twisted_consume'} <= set(scope)",
        "message = api.Message(topic='x')",
        "for name in ('Consumer', 'defer', 'monitor', 'reactor', 'service', 'threads'):",
        "    absent(api, name)",
        "    refused(lambda: exec('from fedora_messaging import twisted'))",
        "import fedora_messaging",
        "absent(fedora_messaging, 'twisted')",
        "refused(lambda: api.twisted_publish(message))",
        "refused(lambda: api.twisted_consume(print))",
        "for name in ('consumer', 'factory', 'monitor', 'protocol', 'service', 'stats'):",
        "    refused(lambda: __import__(f'fedora_messaging.twisted.{name}'))",
        "assert api._twisted_service is None",
        "assert not hasattr(api, 'no_such_name')",
    )


TWISTED_NAMES = (
    "_service consuming factory getServiceNamed name parent running services setServiceParent startService"
    " stats stopService"
).split()


def test_the_service_is_probed_without_twisted(processes: Processes) -> None:
    run(
        processes,
        ABSENT,
        "from fedora_messaging import api",
        "service = api._init_twisted_service()",
        f"for name in {TWISTED_NAMES}:",
        "    absent(service, name)",
        "api.close()",
    )


def test_the_service_is_probed(processes: Processes) -> None:
    """The service has the names of version 3.9, which programs look for."""
    run(
        processes,
        "from fedora_messaging import api",
        "service = api._init_twisted_service()",
        f"for name in {TWISTED_NAMES}:",
        "    getattr(service, name)",
        "assert service._service.factory is service.factory",
        "assert service.name == 'fedora-messaging-servicev2'",
        "assert service.parent is None",
        "from twisted.application.service import MultiService",
        "above = MultiService()",
        "service.setServiceParent(above)",
        "assert service.parent is above",
        "api.close()",
    )


@pytest.mark.parametrize(
    ("imported", "names"),
    [
        ("api", "twisted twisted.service twisted.factory twisted.consumer message config exceptions signals"),
        ("testing", "api message config exceptions twisted.protocol"),
    ],
)
def test_modules_that_come_with_others(processes: Processes, imported: str, names: str) -> None:
    run(
        processes,
        f"import fedora_messaging.{imported}",
        "import sys",
        "assert 'twisted' not in sys.modules",
        f"for name in {names.split()}:",
        "    assert eval(f'fedora_messaging.{name}') is sys.modules[f'fedora_messaging.{name}']",
        "assert not hasattr(fedora_messaging, 'no_such_name')",
        "assert not hasattr(fedora_messaging.twisted, 'no_such_name')",
    )


def test_publish_and_consume_without_twisted(
    processes: Processes, broker: Broker, admin: Admin, queue: str
) -> None:
    run(
        processes,
        ABSENT,
        "url, queue = sys.argv[1:]",
        "from fedora_messaging import api, config, exceptions, testing",
        "config.conf['amqp_url'] = url",
        "api.publish(api.Message(topic=f'{queue}.x', body={'number': 1}))",
        "def callback(message):",
        "    api.publish(api.Message(topic=f'{queue}.x', body={'number': 2}))",
        "    raise exceptions.HaltConsumer",
        "settings = {'durable': True, 'auto_delete': False, 'exclusive': False, 'arguments': {}}",
        "try:",
        "    api.consume(callback, bindings=[], queues={queue: settings})",
        "except exceptions.HaltConsumer:",
        "    pass",
        "with testing.mock_sends(api.Message):",
        "    api.publish(api.Message(topic='x'))",
        arguments=(broker.url, queue),
    )
    assert admin.take(queue) == [b'{"number": 2}']


def test_command_without_twisted(
    processes: Processes, broker: Broker, admin: Admin, queue: str, tmp_path: Path
) -> None:
    """The command line needs it as little."""
    callback = tmp_path / "callback.py"
    callback.write_text(
        "from fedora_messaging.exceptions import HaltConsumer\n"
        "def callback(message):\n"
        "    raise HaltConsumer(exit_code=message.body['number'])\n"
    )
    admin.publish(queue, b'{"number": 7}')
    settings = tmp_path / "conf.toml"
    settings.write_text(
        f'amqp_url = "{broker.url}"\nbindings = []\n'
        f"[queues.{_quoted(queue)}]\n"
        "durable = true\nauto_delete = false\nexclusive = false\narguments = {}\n"
    )
    ended = processes.python(
        "-c",
        f"{ABSENT}\nfrom fedora_messaging.cli import cli\ncli()",
        "--conf",
        settings,
        "consume",
        "--callback-file",
        f"{callback}:callback",
    ).end()
    assert ended.status == 7, ended.output
    assert "Traceback" not in ended.output


def _quoted(name: str) -> str:
    return f'"{name}"'
