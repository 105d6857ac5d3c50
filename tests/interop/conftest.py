"""Our library beside a foreign client."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fedora_messaging import api, config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fedora_messaging.broker import Broker


@pytest.fixture
def library(embedded_broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Has the library's process-wide connection go to the embedded broker, and closes it."""
    monkeypatch.setenv(config.PATH_VARIABLE, "")
    monkeypatch.setenv(config.URL_VARIABLE, embedded_broker.amqp_url)
    monkeypatch.setattr(config, "conf", config.LazyConfig())
    yield
    api.close()
