"""How the options of a command change the queues and bindings of the configuration."""

from __future__ import annotations

from typing import Any

import click
import pytest
from click.testing import CliRunner

from fedora_messaging import config
from fedora_messaging.cli.consume import apply_queue_options, queue_options

DURABLE = {"durable": True, "auto_delete": False, "exclusive": False, "arguments": {"x-max-length": 5}}
QUORUM = {**DURABLE, "arguments": {"x-queue-type": "quorum"}}


def binding(queue: str | None, exchange: str = "amq.topic", *keys: str) -> dict[str, Any]:
    made: dict[str, Any] = {"exchange": exchange, "routing_keys": list(keys or ("#",))}
    return made if queue is None else {**made, "queue": queue}


@pytest.fixture
def conf(monkeypatch: pytest.MonkeyPatch) -> config.LazyConfig:
    """Two queues, of which the second has two bindings."""
    made = config.LazyConfig().load_config("")
    made["queues"] = {"one": DURABLE, "two": QUORUM}
    made["bindings"] = [binding("one", "amq.topic", "a"), binding("two", "e", "b"), binding("two", "f", "c")]
    monkeypatch.setattr(config, "conf", made)
    return made


def test_no_options_change_nothing(conf: config.LazyConfig) -> None:
    before = conf.copy()
    apply_queue_options(None, None, (), None)
    assert conf == before


def test_exchange_and_patterns_are_those_of_every_binding(conf: config.LazyConfig) -> None:
    apply_queue_options("x", None, ("k", "l.#"), None)
    assert conf["bindings"] == [
        {"queue": queue, "exchange": "x", "routing_keys": ("k", "l.#")} for queue in ("one", "two", "two")
    ]
    assert list(conf["queues"]) == ["one", "two"]


def test_exchange_alone_leaves_the_patterns(conf: config.LazyConfig) -> None:
    apply_queue_options("x", None, (), None)
    assert [(one["exchange"], one["routing_keys"]) for one in conf["bindings"]] == [
        ("x", ["a"]),
        ("x", ["b"]),
        ("x", ["c"]),
    ]


def test_configured_queue_keeps_its_settings_and_its_own_bindings(conf: config.LazyConfig) -> None:
    apply_queue_options(None, "two", (), None)
    assert conf["queues"] == {"two": QUORUM}
    assert conf["bindings"] == [binding("two", "e", "b"), binding("two", "f", "c")]


def test_configured_queue_without_bindings_gets_those_there_are(conf: config.LazyConfig) -> None:
    conf["bindings"] = [binding("one", "e", "a"), binding(None, "f", "b")]
    apply_queue_options(None, "two", (), None)
    assert conf["queues"] == {"two": QUORUM}
    assert conf["bindings"] == [binding("two", "e", "a"), binding("two", "f", "b")]


def test_another_queue_gets_the_settings_of_the_default_one(conf: config.LazyConfig) -> None:
    conf["queues"] = {"": QUORUM, "one": DURABLE}
    apply_queue_options(None, "new", (), None)
    assert conf["queues"] == {"new": QUORUM}
    assert {one["queue"] for one in conf["bindings"]} == {"new"}


def test_another_queue_without_a_default_one(conf: config.LazyConfig) -> None:
    apply_queue_options("x", "new", ("k",), None)
    assert conf["queues"] == {"new": config.DEFAULTS["queues"][""]}
    assert conf["bindings"] == 3 * [{"queue": "new", "exchange": "x", "routing_keys": ("k",)}]


def test_name_of_the_application(conf: config.LazyConfig) -> None:
    apply_queue_options(None, None, (), "bird")
    assert conf["client_properties"]["app"] == "bird"
    assert conf["client_properties"]["product"] == "Fedora Messaging"
    assert config.DEFAULTS["client_properties"]["app"] == "Unknown"


def test_defaults_are_never_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "conf", config.LazyConfig().load_config(""))
    apply_queue_options("x", "new", ("k",), "bird")
    assert config.DEFAULTS["bindings"] == [binding("", "amq.topic", "#")]
    assert list(config.DEFAULTS["queues"]) == [""]


def test_options_of_a_command() -> None:
    @click.command()
    @queue_options
    def command(**options: object) -> None:
        click.echo(repr(sorted(options.items())))

    options = ["--routing-key=a", "--exchange=e", "--routing-key=b", "--queue-name=q"]
    assert CliRunner().invoke(command, options).output == (
        "[('exchange', 'e'), ('queue_name', 'q'), ('routing_key', ('a', 'b'))]\n"
    )
    assert CliRunner().invoke(command, []).output == (
        "[('exchange', None), ('queue_name', None), ('routing_key', ())]\n"
    )
