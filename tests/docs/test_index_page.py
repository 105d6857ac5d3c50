"""The first page of the documentation: its two programs do what their comments say."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from tests.support.printed import Page

from fedora_messaging import api
from fedora_messaging.exceptions import HaltConsumer

if TYPE_CHECKING:
    import pytest

    from fedora_messaging.message import Message


def test_programs(bus: object, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    publishing, consuming = (
        block.text for block in Page("docs/index.md").blocks if block.language == "python"
    )
    ready = threading.Event()
    consume = api.consume

    def until_the_first(callback: object) -> None:
        assert callable(callback)

        def once(message: Message) -> None:
            callback(message)
            raise HaltConsumer

        def publish_when_ready() -> None:
            while not ready.is_set():
                exec(publishing, {})
                ready.wait(0.1)

        publisher = threading.Thread(target=publish_when_ready)
        publisher.start()
        try:
            consume(once)
        except HaltConsumer:
            pass
        finally:
            ready.set()
            publisher.join()

    monkeypatch.setattr(api, "consume", until_the_first)
    exec(consuming, {})
    assert capsys.readouterr().out.startswith("shop.order {'number': 7}\n")
