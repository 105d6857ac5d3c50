"""The settings that hold as TOML, with their origins and without secrets.

That the command prints them is tested in ``tests/cli/test_configuration.py``.
"""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from fedora_messaging.config import DEFAULTS
from fedora_messaging.settings.effective import effective


def lines(settings: dict[str, Any], **origins: str) -> list[str]:
    """Return what is shown of settings, and of the defaults of all others."""
    return list(effective({**DEFAULTS, **settings}, origins))


def read(settings: dict[str, Any]) -> dict[str, Any]:
    return tomllib.loads("\n".join(lines(settings)))


def test_settings_and_tables_have_their_origins() -> None:
    shown = list(
        effective(
            {
                **DEFAULTS,
                "topic_prefix": "a",
                "qos": {"prefetch_count": 3},
                "queues": {"q.r": {"durable": True}},
            },
            {"topic_prefix": "mine.toml", "qos.prefetch_count": "other.toml", 'queues."q.r".durable': "env"},
        )
    )
    assert 'topic_prefix = "a"  # mine.toml' in shown
    at = shown.index("[qos]")
    assert shown[at - 1 : at + 3] == [
        "",
        "[qos]",
        "prefetch_count = 3  # other.toml",
        "prefetch_size = 0  # default",
    ]
    at = shown.index('[queues."q.r"]')
    assert shown[at - 1 : at + 2] == ["", '[queues."q.r"]', "durable = true  # env"]


def test_settings_come_before_tables() -> None:
    """What follows a table in TOML belongs to it."""
    shown = lines({"bindings": []})
    first = min(number for number, line in enumerate(shown) if line.startswith("["))
    settings = [line.partition(" = ")[0] for line in shown[:first] if line and not line.startswith("#")]
    assert settings == [
        "amqp_url",
        "publish_exchange",
        "topic_prefix",
        "passive_declares",
        "bindings",
        "consumer_config",
        "log_timestamps",
    ]


def test_what_is_not_set_is_a_comment() -> None:
    shown = lines({"monitoring": {}, "callback": None})
    assert "# callback is not set" in shown
    assert "# monitoring is not set" in shown
    assert "monitoring" not in read({"monitoring": {}})


def test_tables_in_a_list_come_from_where_the_list_does() -> None:
    binding = {"exchange": "e", "routing_keys": ["a", "#"], "queue": "q"}
    shown = lines({"bindings": [binding, {"exchange": "f"}]}, bindings="mine.toml")
    at = shown.index("[[bindings]]")
    assert shown[at : at + 7] == [
        "[[bindings]]",
        'exchange = "e"  # mine.toml',
        'routing_keys = ["a", "#"]  # mine.toml',
        'queue = "q"  # mine.toml',
        "",
        "[[bindings]]",
        'exchange = "f"  # mine.toml',
    ]


def test_toml_says_the_same_as_the_defaults() -> None:
    shown = read(DEFAULTS)
    for key, value in DEFAULTS.items():
        if key not in ("callback", "publish_priority", "monitoring", "tls"):
            assert shown[key] == value, key
    assert shown["tls"] == {}


def test_origin_cannot_forge_a_line() -> None:
    [line] = [
        line
        for line in lines({"topic_prefix": "a"}, topic_prefix="x\nb = 1\x1b")
        if line.startswith("topic_prefix")
    ]
    assert line == 'topic_prefix = "a"  # x\\nb = 1\\x1b'


# Secrets


@pytest.mark.parametrize(
    "key",
    [
        "password",
        "db_passwd",
        "PassPhrase",
        "client_secret",
        "api-token",
        "credentials",
        "key",
        "private_KEY",
    ],
)
def test_secret_of_the_application_is_hidden(key: str) -> None:
    table = {key: "canary", "inside": {"deep": {key: ["canary", ["canary"]]}}, "list": [{key: "canary"}]}
    assert read({"consumer_config": table})["consumer_config"] == {
        key: "***",
        "inside": {"deep": {key: ["***", ["***"]]}},
        "list": [{key: "***"}],
    }


@pytest.mark.parametrize("key", ["monkey", "keys", "ordering_key_of", "tok", "pass", "author"])
def test_what_is_no_secret_is_shown(key: str) -> None:
    assert read({"consumer_config": {key: ["seen", 5, True]}})["consumer_config"] == {key: ["seen", 5, True]}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("amqp://me:canary@h/%2F?heartbeat=5", "amqp://me:***@h/%2F?heartbeat=5"),
        ("http://h/?token=canary", "http://h/?token=***"),
        ("me:word@h", "me:word@h"),
        ("a\ncanary", "***"),
        ("\x1bcanary", "***"),
    ],
)
def test_passwords_in_urls_are_hidden_everywhere(value: str, shown: str) -> None:
    for table in ({"a": value}, {"a": [value]}, {"a": {"b": value}}):
        text = "\n".join(lines({"client_properties": table, "consumer_config": table}))
        assert "canary" not in text
    assert read({"amqp_url": [value, "amqp://h"]})["amqp_url"] == [shown, "amqp://h"]
    assert read({"queues": {"q": {"arguments": {"x": value}}}})["queues"]["q"]["arguments"] == {"x": shown}
