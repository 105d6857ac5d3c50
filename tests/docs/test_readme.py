"""The README works as it is printed: the test types all of its blocks into terminals."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from tests.support.newcomer import Newcomer
from tests.support.printed import ROOT, Page

from fedora_messaging import config
from fedora_messaging.settings.to_options import connection_options

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page("README.md")

    # Other tests run the demo; running the tests from a test would not end.
    for command in page.console("make demo", "make test"):
        subprocess.run([*command.text.split(), "--dry-run"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)

    with Newcomer(tmp_path) as newcomer:
        broker = newcomer.terminal(ROOT)
        newcomer.install(
            broker,
            page.console(
                "python3 -m venv ~/bus/env", ". ~/bus/env/bin/activate", "pip install .", "cd ~/bus"
            ),
        )
        newcomer.start_broker(broker, *page.console("fedora-messaging broker"))

        bus = tmp_path / "bus"
        second, third = newcomer.terminal(tmp_path), newcomer.terminal(tmp_path)
        for command in page.console("cd ~/bus", ". env/bin/activate"):
            second.run(command.text, command.output)
            third.run(command.text, command.output)

        (bus / "consume.py").write_text(page.file("consume.py"), encoding="utf-8")
        (consume,) = page.console("python consume.py")
        second.start(consume.text, consume.output)
        (publish,) = page.console(
            """fedora-messaging publish --topic tutorial.hello --body '{"name": "world"}'"""
        )
        message = page.output()
        # The consumer is silent: what is published before it has subscribed is thrown away.
        while not second.shows(message):
            third.run(publish.text, publish.output)
        second.see(message)

        (bus / "publish.py").write_text(page.file("publish.py"), encoding="utf-8")
        (command,) = page.console("python publish.py")
        third.run(command.text, command.output)
        second.see(message)
        second.interrupt()

        (command,) = page.console("fedora-messaging consume --callback=consume:print_message")
        second.start(command.text, command.output)
        third.run(publish.text, publish.output)
        second.see(f"...\n{message}")
        second.interrupt()

        (bus / "both.py").write_text(page.file("both.py"), encoding="utf-8")
        (command,) = page.console("python both.py")
        third.run(command.text, command.output)

        export, consume = page.console(
            'export FEDORA_MESSAGING_AMQP_URL="amqps://me:secret@rabbitmq.example.com/%2Fbus"',
            "fedora-messaging --conf my.toml consume",
        )
        name, _, value = export.text.removeprefix("export ").partition("=")
        monkeypatch.setenv(name, value.strip('"'))
        options = connection_options(config.LazyConfig())
        assert (options.host, options.vhost, options.username) == ("rabbitmq.example.com", "/bus", "me")
        assert options.tls is not None
        # There is no such host, so this goes on with the broker of before.
        (bus / "my.toml").write_text('callback = "consume:print_message"\n', encoding="utf-8")
        second.start(consume.text, "...Successfully registered Consumer...")
        second.interrupt()

        broker.interrupt()
    page.finished()
