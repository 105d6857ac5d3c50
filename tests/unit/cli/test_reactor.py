"""Twisted's reactor for callbacks: it is there as soon as one imports it, and not before."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest

from fedora_messaging.cli.reactor import reactor_provided

#: A command whose callback uses the reactor: first in this thread, then as the reactor calls it.
CALLBACK = """
import sys, threading
from fedora_messaging.cli.reactor import reactor_provided

def imported():
    return sorted(name for name in sys.modules if name.partition(".")[0] == "twisted")

with reactor_provided():
    print(imported())
    from twisted.internet import reactor
    import twisted.internet.reactor as again
    print(type(reactor).__name__, again is reactor)
    called = threading.Event()
    reactor.callFromThread(called.set)
    print(called.wait(30), sorted({thread.name for thread in threading.enumerate()}))
after = threading.Event()
reactor.callFromThread(after.set)
print(after.wait(30))
"""


def finders() -> list[str]:
    return [getattr(finder, "__name__", type(finder).__name__) for finder in sys.meta_path]


def test_finder_comes_first_and_goes() -> None:
    before = finders()
    with reactor_provided():
        assert finders() == ["_ReactorFinder", *before]
    assert finders() == before


def test_finder_goes_when_the_command_fails() -> None:
    """A program may run the command again, and without it."""
    before = finders()
    with pytest.raises(SystemExit), reactor_provided():
        sys.exit(3)
    assert finders() == before


def test_commands_within_each_other() -> None:
    before = finders()
    with reactor_provided(), reactor_provided():
        assert finders() == ["_ReactorFinder", "_ReactorFinder", *before]
    assert finders() == before


@pytest.mark.parametrize("name", ["json", "email.mime.text", "no_such_module", "fedora_messaging.example"])
def test_other_modules_are_left_to_others(name: str) -> None:
    expected = find_spec(name)
    with reactor_provided():
        assert find_spec(name) == expected
        assert finders()[0] == "_ReactorFinder"


def test_callback_that_uses_the_reactor() -> None:
    """It runs in a thread, goes on after the command, and keeps no process from ending."""
    pytest.importorskip("twisted")
    command = [sys.executable, "-c", CALLBACK]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "[]",
        "AsyncioSelectorReactor True",
        "True ['MainThread', 'reactor']",
        "True",
    ]
