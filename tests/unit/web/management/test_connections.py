"""Which connections users see."""

from __future__ import annotations

import pytest
from tests.unit.web.management.support import new_call, new_server

from fedora_messaging.broker.core.profile import RABBITMQ_3
from fedora_messaging.web.management import connections
from fedora_messaging.web.management.errors import RequestError


def test_lists_have_pages_only_for_the_whole_broker() -> None:
    query = {"page": "1"}
    assert connections.list_connections(new_call(query=query))["items"] == []
    for listed in (connections.list_connections, connections.list_channels):
        assert listed(new_call(path={"vhost": "/"}, query=query)) == []


def test_a_connection_that_does_not_exist() -> None:
    for handler in (connections.get_connection, connections.close_connection):
        with pytest.raises(RequestError) as caught:
            handler(new_call(path={"connection": "nope"}))
        assert caught.value.status == 404


def test_connections_of_others_are_for_monitors() -> None:
    path = {"user": "other"}
    with pytest.raises(RequestError) as caught:
        connections.list_of_user(new_call(tags=("management",), path=path))
    assert caught.value.status == 401
    assert connections.list_of_user(new_call(tags=("monitoring",), path=path)) == []


def test_the_older_release_lets_everybody_ask_for_consumers() -> None:
    path = {"vhost": "/"}
    old = new_call(tags=("management",), path=path, server=new_server(RABBITMQ_3))
    assert connections.list_consumers(old) == []
    with pytest.raises(RequestError) as caught:
        connections.list_consumers(new_call(tags=("management",), path=path))
    assert caught.value.status == 404
