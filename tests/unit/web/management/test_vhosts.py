"""What virtual hosts show, and starting them."""

from __future__ import annotations

import pytest
from tests.unit.broker.core.support import declare, message
from tests.unit.web.management.support import new_call, new_server

from fedora_messaging.broker.core.profile import RABBITMQ_3
from fedora_messaging.web.management import vhosts
from fedora_messaging.web.management.errors import RequestError


def test_messages_of_all_queues_are_added_up() -> None:
    call = new_call()
    vhost = call.server.vhosts["/"]
    for name in ("a", "b"):
        declare(vhost, name).enqueue(message())
    shown = vhosts.vhost_item(call, vhost)
    assert (shown["messages"], shown["messages_ready"], shown["messages_unacknowledged"]) == (2, 2, 0)
    assert shown["cluster_state"] == {call.server.node: "running"}
    assert "message_stats" not in shown  # nothing was published or delivered by clients


@pytest.mark.parametrize(
    ("profile", "reason"),
    [("4", "Unknown node: there"), ("3", "Request to node there failed with nodedown")],
)
def test_another_node(profile: str, reason: str) -> None:
    server = new_server(RABBITMQ_3) if profile == "3" else new_server()
    with pytest.raises(RequestError) as caught:
        vhosts.start(new_call(path={"vhost": "/", "node": "there"}, server=server))
    assert (caught.value.status, caught.value.body["reason"]) == (400, reason)


def test_a_type_of_queue_is_a_text() -> None:
    with pytest.raises(RequestError) as caught:
        vhosts.put_vhost(new_call(b'{"default_queue_type": 1}', path={"vhost": "v"}))
    assert caught.value.body["reason"] == ["not_string", "default_queue_type"]


def test_who_changes_a_virtual_host_gets_no_permissions() -> None:
    server = new_server()
    server.accounts.add_user("u", None, ("administrator",))
    call = new_call(path={"vhost": "/"}, server=server)
    vhosts.put_vhost(call)  # it exists
    user = server.accounts.user("u")
    assert user is not None
    assert user.permissions == {}
