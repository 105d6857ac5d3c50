"""What exchanges show."""

from __future__ import annotations

import pytest
from tests.unit.web.management.support import new_call

from fedora_messaging.broker.core.declarations import ExchangeDeclaration
from fedora_messaging.web.management import exchanges


@pytest.mark.parametrize(("name", "who"), [("", "rmq-internal"), ("amq.topic", "rmq-internal"), ("e", "u")])
def test_who_made_an_exchange(name: str, who: str) -> None:
    call = new_call()
    vhost = call.server.vhosts["/"]
    vhost.declare_exchange(ExchangeDeclaration("e", "fanout", True, False, False, {}))
    shown = exchanges.exchange_item(call, vhost.exchanges[name], "/")
    assert (shown["name"], shown["user_who_performed_action"]) == (name, who)
    assert "message_stats" not in shown
    assert "messages_delayed" not in shown


def test_the_default_exchange_has_a_name_in_paths() -> None:
    shown = exchanges.get_exchange(new_call(path={"vhost": "/", "exchange": "amq.default"}))
    assert (shown["name"], shown["incoming"], shown["outgoing"]) == ("", [], [])


def test_an_exchange_that_does_not_exist_has_no_bindings() -> None:
    call = new_call(path={"vhost": "/", "exchange": "nope"})
    assert exchanges.list_from(call) == exchanges.list_to(call) == []
