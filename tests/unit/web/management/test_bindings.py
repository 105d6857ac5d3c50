"""What tells bindings of the same source and destination apart."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote_plus

import pytest
from tests.unit.broker.core.support import new_vhost

from fedora_messaging.broker.core.exchanges import Binding
from fedora_messaging.web.management.bindings import bindings_of, properties_key


def binding(key: str, arguments: dict[str, Any] | None = None) -> Binding:
    vhost = new_vhost()
    return Binding(vhost.exchanges["amq.direct"], vhost.exchanges["amq.topic"], key, arguments or {})


@pytest.mark.parametrize("key", ["", "a", "a b+c", "a/b~c%", "é", "\x00", "a.*.#"])
def test_a_key_without_arguments_is_the_routing_key(key: str) -> None:
    shown = properties_key(binding(key))
    assert unquote_plus(shown) == (key or "~")
    assert shown.isascii()
    assert "/" not in shown


def test_a_routing_key_that_is_no_text() -> None:
    assert properties_key(binding("\udcff")) == "%FF"


def test_arguments_have_no_order() -> None:
    first = properties_key(binding("k", {"a": 1, "b": 2}))
    assert first == properties_key(binding("k", {"b": 2, "a": 1}))
    assert first != properties_key(binding("k", {"a": 1, "b": 3}))
    assert first != properties_key(binding("k", {"a": 1, "b": "2"}))
    assert properties_key(binding("", {"a": 1})).startswith("~")


def test_a_new_virtual_host_has_no_bindings() -> None:
    assert bindings_of(new_vhost()) == []
