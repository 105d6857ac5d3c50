"""Which callback ``fedora-messaging consume`` loads, and what it says of one that cannot be loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.cli.consuming import PRINT, configure, start, text

if TYPE_CHECKING:
    from tests.cli.conftest import Queues
    from tests.support.processes import Ended, Processes


def run_callback(processes: Processes, *arguments: str, **variables: str) -> Ended:
    """Run `consume` for what is wrong before there is a connection."""
    ended = processes.run("consume", *arguments, **variables)
    assert "Traceback" not in ended.output
    return ended


def test_no_callback(processes: Processes) -> None:
    ended = run_callback(processes)
    assert ended.status == 1
    assert "--callback" in ended.one_error()


@pytest.mark.parametrize("path", ["app", "app:callback:more", ""])
def test_callback_path_is_malformed(processes: Processes, path: str) -> None:
    ended = run_callback(processes, f"--callback={path}")
    assert ended.status == 1
    assert "my_package.module:callable_object" in ended.one_error() or not path


@pytest.mark.parametrize(
    ("source", "path", "says"),
    [
        (None, "no_such_module:callback", "No module named 'no_such_module'"),
        ("", "app:callback", "has no attribute 'callback'"),
        ("import no_such_module", "app:callback", "No module named 'no_such_module'"),
        ("def (", "app:callback", "SyntaxError"),
        ("1 / 0", "app:callback", "ZeroDivisionError"),
    ],
)
def test_callback_cannot_be_imported(processes: Processes, source: str | None, path: str, says: str) -> None:
    if source is not None:
        (processes.directory / "app.py").write_text(source)
    ended = run_callback(processes, f"--callback={path}")
    assert ended.status == 1
    assert says in ended.one_error()


@pytest.mark.parametrize("option", ["--callback=app:callback", "--callback-file=app.py:callback"])
@pytest.mark.parametrize(
    ("helper", "line"),
    [
        ("1 / 0", 1),
        ("\ndef broken():\n    return {}['key']\nbroken()", 3),
        ("\nimport no_such_module", 2),
        ("\nraise ImportError('not today')", 2),
        ("\nimport sys; sys.exit(1)", 2),
        ("\n\ndef (", 3),
    ],
)
def test_callback_that_cannot_be_loaded_names_the_last_frame(
    processes: Processes, option: str, helper: str, line: int
) -> None:
    """It may be in another file than the callback; the log has the whole way at DEBUG."""
    (processes.directory / "helper.py").write_text(helper)
    (processes.directory / "app.py").write_text("import os\nimport helper\n")
    (processes.directory / "debug.toml").write_text(
        '[log_config]\nversion = 1\n[log_config.root]\nlevel = "DEBUG"\n'
        '[log_config.loggers.fedora_messaging]\nlevel = "DEBUG"\nhandlers = ["out"]\npropagate = false\n'
        '[log_config.handlers.out]\nclass = "logging.StreamHandler"\nstream = "ext://sys.stdout"\n'
    )
    processes.variables["PYTHONPATH"] = str(processes.directory)
    ended = run_callback(processes, option)
    assert ended.status == 1
    assert f"helper.py, line {line}" in ended.one_error()
    assert "Traceback" not in ended.output
    told = processes.run("--conf=debug.toml", "consume", option)
    assert "Traceback (most recent call last):" in told.output
    assert 'app.py", line 2' in told.output


@pytest.mark.parametrize("option", ["--callback=app:callback", "--callback-file=app.py:callback"])
def test_callback_needs_what_version_3_9_brought_along(processes: Processes, option: str) -> None:
    (processes.directory / "app.py").write_text("import sys\nsys.modules['pika'] = None\nimport pika.spec\n")
    error = run_callback(processes, option).one_error()
    assert "app.py, line 3" in error
    assert "pip install 'pika'" in error


@pytest.mark.parametrize("source", ["callback = 1", "class callback: pass"])
def test_callback_cannot_be_called(processes: Processes, source: str) -> None:
    (processes.directory / "app.py").write_text(source)
    error = run_callback(processes, "--callback=app:callback").usage_error()
    assert "Callback must be a class that implements __call__ or a function." in error


def test_class_that_cannot_be_made(processes: Processes) -> None:
    """The traceback of the application's own error is shown."""
    (processes.directory / "app.py").write_text(
        "class callback:\n"
        "    def __init__(self): raise RuntimeError('not today')\n"
        "    def __call__(self, message): pass\n"
    )
    ended = processes.run("consume", "--callback=app:callback")
    assert ended.status == 1
    assert "RuntimeError: not today" in ended.output


def test_installed_module_wins(processes: Processes, embedded_queues: Queues) -> None:
    installed = processes.directory / "installed"
    installed.mkdir()
    (installed / "app.py").write_text(PRINT.replace("'got'", "'installed'"))
    queue = embedded_queues.make()
    embedded_queues.put(queue, text("a"))
    processes.variables["PYTHONPATH"] = str(installed)
    process = start(processes, embedded_queues.url, queue)
    assert process.wait_for(r"^(\w+) a$")[1] == "installed"
    assert process.terminate().status == 0


def test_module_of_the_current_directory(processes: Processes, embedded_queues: Queues) -> None:
    queue = embedded_queues.make()
    embedded_queues.put(queue, text("a"))
    process = start(processes, embedded_queues.url, queue)
    process.wait_for("^got a$")
    assert process.terminate().status == 0


def test_callback_of_the_configuration(processes: Processes, embedded_queues: Queues) -> None:
    queue = embedded_queues.make()
    embedded_queues.put(queue, text("a"))
    configure(processes.directory, queue, url=embedded_queues.url, extra='callback = "app:callback"')
    (processes.directory / "app.py").write_text(PRINT)
    process = processes.fedora_messaging("consume", FEDORA_MESSAGING_CONF="config.toml")
    process.wait_for("^got a$")
    assert process.terminate().status == 0


def test_callback_file(processes: Processes, embedded_queues: Queues) -> None:
    """It wins over --callback."""
    queue = embedded_queues.make()
    embedded_queues.put(queue, text("a"))
    configure(processes.directory, queue, url=embedded_queues.url)
    (processes.directory / "my app.py").write_text(PRINT)
    process = processes.fedora_messaging(
        "--conf=config.toml", "consume", "--callback=no:such", "--callback-file=my app.py:callback"
    )
    process.wait_for("^got a$")
    assert process.terminate().status == 0


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (None, "An IO error occurred: "),
        ("", "The 'callback' object was not found in the 'app.py' file."),
        ("def (", "The app.py file raised the following exception during execution: "),
        ("raise ValueError('oh')", "The app.py file raised the following exception during execution: oh"),
        ("import sys; sys.exit(0)", "The app.py file raised the following exception during execution: "),
    ],
)
def test_callback_file_is_no_good(processes: Processes, source: str | None, says: str) -> None:
    if source is not None:
        (processes.directory / "app.py").write_text(source)
    ended = run_callback(processes, "--callback-file=app.py:callback")
    assert ended.status == 1
    assert says in ended.one_error()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("callbacks.py:show", 'write "callbacks:show", or --callback-file "callbacks.py:show"'),
        ("calbacks:show", "it was looked for among installed packages and in "),
    ],
)
def test_callback_module_that_is_missing(processes: Processes, name: str, hint: str) -> None:
    (processes.directory / "callbacks.py").write_text("def show(message): pass\n")
    assert hint in run_callback(processes, f"--callback={name}").one_error()
