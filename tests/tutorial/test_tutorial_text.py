"""The tutorial works as it is printed: the test types all of its blocks into terminals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.newcomer import Newcomer
from tests.support.printed import ROOT, Command, Page

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.terminal import Terminal

BEGIN = ("cd ~/bus", ". env/bin/activate")
CONFIGURE = "export FEDORA_MESSAGING_CONF=tutorial.toml"


def run(terminal: Terminal, commands: list[Command]) -> None:
    """Run commands that end well."""
    for command in commands:
        terminal.run(command.text, command.output)


def start(terminal: Terminal, commands: list[Command]) -> None:
    """Run commands of which the last one goes on."""
    *before, last = commands
    run(terminal, before)
    terminal.start(last.text, last.output)


def texts(terminal: Terminal, count: int) -> list[str]:
    """The texts of the next messages that a consumer prints."""
    shown = [terminal.see('...\n    "text": "..."\n') for _ in range(count)]
    return [lines.rpartition('"text": "')[2].rstrip('"\n') for lines in shown]


@pytest.mark.timeout(240)
def test_the_tutorial(tmp_path: Path) -> None:
    page = Page("docs/tutorial/index.md")
    bus = tmp_path / "bus"

    def write(name: str) -> None:
        (bus / name).write_text(page.file(name), encoding="utf-8")

    with Newcomer(tmp_path) as newcomer:
        # Install, start a broker
        broker = newcomer.terminal(ROOT)
        newcomer.install(
            broker,
            page.console(
                "python3 -m venv ~/bus/env", ". ~/bus/env/bin/activate", "pip install .", "cd ~/bus"
            ),
        )
        newcomer.start_broker(broker, *page.console("fedora-messaging broker --data broker-data"))

        # Publish
        second, third, fourth = (newcomer.terminal(tmp_path) for _ in range(3))
        run(second, page.console(*BEGIN))
        run(
            second,
            page.console("""fedora-messaging publish --topic tutorial.hello --body '{"text": "hi"}'"""),
        )
        write("publish.py")
        run(second, page.console('python publish.py "hello world"'))

        # Consume
        write("tutorial.toml")
        write("consume.py")
        start(second, page.console(CONFIGURE, "python consume.py"))
        run(third, page.console(*BEGIN, CONFIGURE, 'python publish.py "hello again"'))
        second.see(page.output())
        second.interrupt()
        start(second, page.console("fedora-messaging consume --callback=consume:print_message"))
        run(third, page.console("fedora-messaging doctor"))

        # Share the work
        start(fourth, page.console(*BEGIN, CONFIGURE, "python consume.py"))
        run(third, page.console("for text in one two three four; do python publish.py $text; done"))
        assert sorted([texts(second, 2), texts(fourth, 2)]) == [["one", "three"], ["two", "four"]]

        # Be away
        second.interrupt()
        fourth.interrupt()
        run(third, page.console('python publish.py "while you were away"'))
        start(second, page.console("python consume.py"))
        second.interrupt()
        run(third, page.console('python publish.py "before the crash"'))
        broker.quit()
        newcomer.start_broker(broker, *page.console("fedora-messaging broker --data broker-data"))
        start(second, page.console("python consume.py"))

        # A schema of your own
        write("schema.py")
        write("greet.py")
        write("consume.py")
        second.interrupt()
        start(second, page.console("python consume.py"))
        run(third, page.console("python greet.py Ada"))
        second.see(page.output())
        (refused,) = page.console('python greet.py ""')
        third.fail(refused.text, refused.output)
        # It was not sent.
        assert "was greeted" not in second.interrupt()
        start(second, page.console("fedora-messaging consume --callback=fedora_messaging.example:printer"))
        run(third, page.console("python greet.py Grace"))
        second.see(page.output())

        # A callback that fails
        with (bus / "tutorial.toml").open("a", encoding="utf-8") as settings:
            settings.write(page.file("tutorial.toml"))
        write("save.py")
        second.interrupt()
        start(second, page.console("fedora-messaging consume --callback=save:save"))
        run(third, page.console('python publish.py "keep me"'))
        second.see(page.output())
        run(third, page.console("fedora-messaging dlq list tutorial.dead"))
        run(third, page.console("mkdir saved", "fedora-messaging dlq replay tutorial.dead"))
        second.see(page.output())
        run(third, page.console("cat saved/messages.txt"))

        second.interrupt()
        broker.interrupt()
    page.finished()
