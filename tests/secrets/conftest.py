"""A broker whose user has the canary for a password, and everything that comes out of a test."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from tests.cli.conftest import processes
from tests.secrets.canary import PASSWORD, Log, Outputs
from tests.support.fixtures import fresh_settings, light_heap, nothing_left
from tests.tls.conftest import pki

from fedora_messaging.broker import Accounts, Broker, Permissions

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["fresh_settings", "light_heap", "nothing_left", "pki", "processes"]


@pytest.fixture(scope="session")
def bird_broker() -> Iterator[Broker]:
    """An embedded broker with the users "bird", who may do everything, and "caged", who may do nothing."""
    accounts = Accounts()
    for name in ("bird", "caged"):
        accounts.add_user(name, PASSWORD)
    accounts.set_permissions("bird", "/", Permissions())
    with Broker(accounts=accounts) as broker:
        yield broker


@contextmanager
def everything_logged() -> Iterator[Log]:
    """All loggers log all they can."""
    log = Log()
    root = logging.getLogger()
    loggers = [root, *(logging.getLogger(name) for name in [*root.manager.loggerDict])]
    before = [(logger, logger.level) for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.NOTSET)
    root.setLevel(1)
    root.addHandler(log)
    yield log
    root.removeHandler(log)
    for logger, level in before:
        logger.setLevel(level)


@pytest.fixture
def unchecked_outputs(capfd: pytest.CaptureFixture[str]) -> Iterator[Outputs]:
    """Everything that comes out."""
    with everything_logged() as log:
        yield Outputs(log, capfd.readouterr)


@pytest.fixture
def outputs(unchecked_outputs: Outputs, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outputs]:
    """Everything that comes out, in which the canary must not be; what comes late counts too."""
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")
    yield unchecked_outputs
    if not unchecked_outputs.judged:
        unchecked_outputs.assert_clean()
