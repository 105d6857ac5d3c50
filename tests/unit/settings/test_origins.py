"""The dotted names of settings, and where each comes from."""

from __future__ import annotations

import tomllib

import pytest

from fedora_messaging.settings.origins import named, origins_of, quoted


@pytest.mark.parametrize(
    ("where", "key", "name"),
    [
        ("", "qos", "qos"),
        ("qos", "prefetch_count", "qos.prefetch_count"),
        ("queues", "my-queue_1", "queues.my-queue_1"),
        ("queues", "a.b", 'queues."a.b"'),
        ("queues", "", 'queues.""'),
        ("", "", '""'),
        ('queues."a b"', "durable", 'queues."a b".durable'),
        ("queues", 'say "a"\n', 'queues."say \\"a\\"\\n"'),
        ("queues", "żółw", 'queues."żółw"'),
        ("queues", "a\n", 'queues."a\\n"'),
    ],
)
def test_names_are_quoted_as_toml_wants_it(where: str, key: str, name: str) -> None:
    assert named(where, key) == name


def test_every_setting_and_every_table_has_its_origin() -> None:
    given = {"qos": {"prefetch_count": 3}, "queues": {"a b": {"arguments": {"x": 1}}}, "bindings": [{"a": 1}]}
    assert origins_of(given, "config.toml") == dict.fromkeys(
        [
            "qos",
            "qos.prefetch_count",
            "queues",
            'queues."a b"',
            'queues."a b".arguments',
            'queues."a b".arguments.x',
            "bindings",
        ],
        "config.toml",
    )


def test_table_inside_another_one() -> None:
    assert origins_of({"path": "x", "more": {}}, "file", "outbox") == {
        "outbox.path": "file",
        "outbox.more": "file",
    }
    assert origins_of({}, "file", "outbox") == {}


@pytest.mark.parametrize(
    "text",
    ["plain", 'a"b', "a\\b", "\x7f", "\x9b31m", "line\nend", "\U000e0001", "\u2028", "caf\xe9 \U0001f600"],
)
def test_quoted_text_is_one_harmless_line_that_says_the_same(text: str) -> None:
    shown = quoted(text)
    assert shown.isprintable()
    assert tomllib.loads(f"{shown} = {shown}") == {text: text}
