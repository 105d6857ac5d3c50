"""Imports have no side effects, in whatever order they come."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest

MODULES = ("api", "cli", "testing")


def run(program: str) -> str:
    """Run a program to its end, which has to be a good one."""
    command = [sys.executable, "-W", "error", "-c", program]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout.strip()


def test_every_order_of_imports() -> None:
    """Each in a fork of its own, so that nothing is imported before."""
    program = f"""
import os, sys
for order in {list(itertools.permutations(MODULES))}:
    child = os.fork()
    if child == 0:
        try:
            for name in order:
                __import__("fedora_messaging." + name)
            assert not [name for name in sys.modules if name.split(".")[0] in ("twisted", "crochet", "pika")]
        except BaseException as error:
            print(order, repr(error))
        os._exit(0)
    os.waitpid(child, 0)
"""
    # A child leaves without writing what it has buffered.
    assert run(program.replace("os._exit(0)", "sys.stdout.flush(); os._exit(0)")) == ""


@pytest.mark.parametrize("first", ["fedora_messaging.api", "fedora_messaging.cli"])
@pytest.mark.parametrize("reactor", ["asyncioreactor", "selectreactor", "pollreactor"])
def test_reactor_is_the_programs_choice(first: str, reactor: str) -> None:
    """Before our imports or after them."""
    pytest.importorskip("twisted")
    install = f"from twisted.internet import {reactor}; {reactor}.install()"
    imports = f"import {first}, fedora_messaging.api, fedora_messaging.cli"
    twisted = "import fedora_messaging.twisted.service, fedora_messaging.twisted.factory"
    check = (
        "from fedora_messaging.api import *; from twisted.internet import reactor;"
        f"assert type(reactor).__module__ == 'twisted.internet.{reactor}'"
    )
    run("\n".join((imports, twisted, install, check)))
    run("\n".join((install, imports, twisted, check)))


@pytest.mark.parametrize(
    "module", ["api", "cli", "testing", "example", "twisted.consumer", "twisted.service", "twisted.monitor"]
)
def test_process_is_left_as_it_was(module: str) -> None:
    """No thread, no handler of signals or logs, no event loop, no reactor, no configuration read."""
    if module.startswith("twisted"):
        pytest.importorskip("twisted")
    run(f"""
import asyncio, logging, signal, sys, threading

def state():
    return (
        [signal.getsignal(number) for number in signal.valid_signals()],
        list(logging.getLogger().handlers),
        logging.getLogger().level,
        threading.enumerate(),
        list(sys.path),
        sys.excepthook,
        threading.excepthook,
    )

before = state()
import fedora_messaging.{module}
assert state() == before
assert "twisted.internet.reactor" not in sys.modules
assert not logging.getLogger("fedora_messaging").handlers
from fedora_messaging import config
assert not config.conf.loaded
assert asyncio._get_running_loop() is None
""")


NAMES_FROM_TWISTED = {
    "Consumer": "fedora_messaging.twisted.consumer.Consumer",
    "defer": "twisted.internet.defer",
    "monitor": "fedora_messaging.twisted.monitor",
    "reactor": "twisted.internet.reactor",
    "service": "fedora_messaging.twisted.service",
    "threads": "twisted.internet.threads",
}


def test_names_that_need_twisted() -> None:
    """The names are in `api`, which imports Twisted when they are used; tests patch them."""
    pytest.importorskip("twisted")
    run(f"""
import sys
from unittest import mock
from twisted.python.reflect import namedAny
from fedora_messaging import api
names = {NAMES_FROM_TWISTED}
for name, path in names.items():
    found = getattr(api, name)
    assert found is namedAny(path), name
    with mock.patch("fedora_messaging.api." + name) as replaced:
        assert getattr(api, name) is replaced
    assert getattr(api, name) is found
""")


def test_names_of_the_twisted_modules() -> None:
    """The modules of the Twisted face have the names of version 3.9."""
    pytest.importorskip("twisted")
    run("""
from fedora_messaging.twisted.consumer import Consumer, QueueContent, is_coro
from fedora_messaging.twisted.factory import ConsumerRecord, FedoraMessagingFactoryV2
from fedora_messaging.twisted.monitor import FMServiceResource, Live, MonitoringSite, Ready, monitor_service
from fedora_messaging.twisted.protocol import BindingArgument, FedoraMessagingProtocolV2
from fedora_messaging.twisted.service import FedoraMessagingServiceV2
from fedora_messaging.twisted.stats import ConsumerStatistics, FactoryStatistics, Statistics
""")


def test_publishing_while_another_thread_imports_asyncio() -> None:
    """The module is there already, and what it will hold is not."""
    output = run(
        "import sys, types, fedora_messaging.api as api\n"
        "sys.modules['asyncio'] = types.ModuleType('asyncio')\n"
        "api.guard_event_loop('publish()', 'nothing')\n"
        "print('no loop runs')"
    )
    assert output == "no loop runs"
