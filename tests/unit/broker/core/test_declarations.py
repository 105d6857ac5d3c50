"""Declarations: they are values, and what they leave out has its default."""

from __future__ import annotations

import dataclasses

import pytest

from fedora_messaging.broker.core.declarations import ExchangeDeclaration, QueueDeclaration


def test_name_alone_declares_the_plainest() -> None:
    assert dataclasses.astuple(ExchangeDeclaration("e")) == ("e", "direct", False, False, False, {})
    assert dataclasses.astuple(QueueDeclaration("q")) == ("q", False, False, False, {})


def test_order_of_the_fields_is_that_of_the_method() -> None:
    """The handlers pass them by position."""
    exchange = ExchangeDeclaration("e", "topic", True, False, True, {"a": 1})
    assert (exchange.durable, exchange.auto_delete, exchange.internal) == (True, False, True)
    queue = QueueDeclaration("q", False, True, False, {"a": 1})
    assert (queue.durable, queue.exclusive, queue.auto_delete) == (False, True, False)
    assert exchange.arguments == queue.arguments == {"a": 1}


@pytest.mark.parametrize("kind", [ExchangeDeclaration, QueueDeclaration])
def test_declarations_share_no_arguments(kind: type[ExchangeDeclaration | QueueDeclaration]) -> None:
    assert kind("a").arguments is not kind("b").arguments


@pytest.mark.parametrize("kind", [ExchangeDeclaration, QueueDeclaration])
def test_declaration_cannot_be_changed(kind: type[ExchangeDeclaration | QueueDeclaration]) -> None:
    declared = kind("a")
    with pytest.raises(dataclasses.FrozenInstanceError):
        declared.durable = True  # type: ignore[misc]
    assert declared == kind("a")
    assert declared != kind("a", durable=True)
