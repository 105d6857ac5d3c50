"""The values of settings that nobody sets: valid, as in version 3.9, and those of the types."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

import fedora_messaging
from fedora_messaging.config import LazyConfig
from fedora_messaging.settings.defaults import DEFAULTS, SERVER_NAMED
from fedora_messaging.settings.types import Binding, Configuration, Qos, Queue, Tls


def test_defaults_are_right() -> None:
    settings = LazyConfig().load_config("")
    settings._validate()
    assert settings == DEFAULTS


def test_settings_that_are_on_without_being_asked_for() -> None:
    """Programs that were written for version 3.9 rely on each of them."""
    assert DEFAULTS["amqp_url"] == "amqp://?connection_attempts=3&retry_delay=5"
    assert DEFAULTS["publish_exchange"] == "amq.topic"
    assert (DEFAULTS["topic_prefix"], DEFAULTS["passive_declares"], DEFAULTS["callback"]) == ("", False, None)
    assert DEFAULTS["qos"] == {"prefetch_size": 0, "prefetch_count": 10}
    assert DEFAULTS["bindings"] == [{"queue": SERVER_NAMED, "exchange": "amq.topic", "routing_keys": ["#"]}]
    assert list(DEFAULTS["queues"]) == [SERVER_NAMED] == [""]


def test_a_queue_without_a_name_does_not_outlive_its_program() -> None:
    queue = msgspec.convert(DEFAULTS["queues"][SERVER_NAMED], Queue)
    assert (queue.durable, queue.auto_delete, queue.exclusive) == (False, True, True)


def test_broker_is_told_the_version() -> None:
    version = fedora_messaging.__version__
    assert DEFAULTS["client_properties"]["version"] == f"fedora_messaging-{version}"


@pytest.mark.parametrize(
    ("name", "kind"), [("qos", Qos), ("tls", Tls)], ids=lambda value: str(getattr(value, "__name__", value))
)
def test_tables_have_the_defaults_of_their_types(name: str, kind: type[msgspec.Struct]) -> None:
    """Otherwise a table that sets one key would change the others."""
    assert DEFAULTS[name] == msgspec.to_builtins(kind())


@pytest.mark.parametrize("name", ["amqp_url", "client_properties", "publish_exchange", "exchanges"])
def test_types_take_their_defaults_from_here(name: str) -> None:
    assert getattr(Configuration(), name) == DEFAULTS[name]


def test_every_default_is_of_a_setting_that_is_known() -> None:
    assert set(DEFAULTS) <= set(Configuration.__struct_fields__)
    binding: dict[str, Any] = DEFAULTS["bindings"][0]
    assert set(binding) <= set(Binding.__struct_fields__)


def test_defaults_can_be_written_into_a_file() -> None:
    assert json.loads(json.dumps(DEFAULTS)) == DEFAULTS
