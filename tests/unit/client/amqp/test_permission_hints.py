"""Errors name the permission that is missing, and blame none if another thing is wrong."""

from __future__ import annotations

import pytest

from fedora_messaging.client.amqp import permission_hints
from fedora_messaging.client.amqp.permission_hints import name_permission
from fedora_messaging.exceptions import AMQPError, BadDeclaration, ChannelClosed, ConnectionClosed

HINTS = {
    permission_hints.DECLARE_QUEUE: ["configure"],
    permission_hints.DECLARE_EXCHANGE: ["configure"],
    permission_hints.BIND: ["write", "read"],
    permission_hints.CONSUME: ["read"],
    permission_hints.PUBLISH: ["write"],
}


@pytest.mark.parametrize("answer", [ChannelClosed(403, "ACCESS_REFUSED - no"), ConnectionClosed(403, "no")])
def test_refusal_names_the_permission(answer: AMQPError) -> None:
    refusal = BadDeclaration("queue", "q", answer)
    assert name_permission(refusal, answer, permission_hints.CONSUME) is refusal
    assert refusal.__notes__ == ['consuming needs the permission "read" on the queue']


@pytest.mark.parametrize("code", [0, 312, 404, 405, 406, 541])
def test_other_answers_blame_no_permission(code: int) -> None:
    answer = ChannelClosed(code, "ACCESS_REFUSED is only what the text says")
    refusal = BadDeclaration("queue", "q", answer)
    assert name_permission(refusal, answer, permission_hints.CONSUME) is refusal
    assert not hasattr(refusal, "__notes__")


@pytest.mark.parametrize(("hint", "permissions"), HINTS.items())
def test_hint_names_the_permissions_of_the_operation(hint: str, permissions: list[str]) -> None:
    """As RabbitMQ calls them."""
    assert [word.strip('",;') for word in hint.split() if word.startswith('"')] == permissions
