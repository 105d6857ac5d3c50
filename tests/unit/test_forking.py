"""Forks wait for what is being set up, and call the hooks of modules that were imported late."""

from __future__ import annotations

import subprocess
import sys

#: Says what happens in parent and child.
HOOKS = """
import os
from fedora_messaging import forking

def say(text):
    # In one piece: parent and child write at the same time.
    os.write(1, f"{text}\\n".encode())

for name in ("first", "second"):
    forking.register(
        before=lambda name=name: say(f"{name} before"),
        after_in_parent=lambda name=name: say(f"{name} in parent"),
        after_in_child=lambda name=name: say(f"{name} in child"),
    )
read, write = os.pipe()
child = os.fork()
if not child:
    os.close(read)
    say("child")
    os._exit(0)
os.close(write)
os.read(read, 1)
os.waitpid(child, 0)
say("parent")
"""
#: Forks in one thread while another sets something up.
WAITING = """
import os, threading
from fedora_messaging import forking

begun, go_on = threading.Event(), threading.Event()
done = []

def set_up():
    with forking.setting_up:
        begun.set()
        go_on.wait()
        done.append("all of it")

def fork():
    if not os.fork():
        # Whoever forks while this is held would find it held for ever.
        free = forking.setting_up.acquire(timeout=20)
        print("child:", done, free, flush=True)
        os._exit(0)

worker = threading.Thread(target=set_up)
worker.start()
begun.wait()
forker = threading.Thread(target=fork)
forker.start()
forker.join(0.2)
print("forked too early" if not forker.is_alive() else "the fork waits", flush=True)
go_on.set()
for thread in (worker, forker):
    thread.join()
os.wait()
with forking.setting_up:
    print("parent:", done, flush=True)
"""
#: The thread that sets something up forks itself, as an import may that starts a program.
FROM_WITHIN = """
import os
from fedora_messaging import forking

with forking.setting_up:
    child = os.fork()
    if not child:
        os._exit(0 if forking.setting_up.acquire(timeout=20) else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def output(program: str) -> list[str]:
    # Python 3.12 and newer warn of a fork in a process that has several threads.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_hooks_are_called_in_parent_and_child() -> None:
    """Each in the order in which they were registered; parent and child share the part before."""
    lines = output(HOOKS)
    assert lines[:2] == ["first before", "second before"]
    child, parent = (["first in child", "second in child", "child"], ["first in parent", "second in parent"])
    assert [line for line in lines[2:] if "child" in line] == child
    assert [line for line in lines[2:] if "parent" in line] == [*parent, "parent"]
    assert lines[-1] == "parent"


def test_fork_waits_until_what_is_set_up_is_whole() -> None:
    lines = output(WAITING)
    assert lines[0] == "the fork waits"
    assert sorted(lines[1:]) == ["child: ['all of it'] True", "parent: ['all of it']"]


def test_fork_by_the_thread_that_sets_up() -> None:
    assert output(FROM_WITHIN) == ["0"]
