"""``fedora-messaging config``: what holds, where it comes from, and what an editor needs."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

if TYPE_CHECKING:
    from tests.support.processes import Processes

FILE = """
amqp_url = "amqps://me:canary@broker/%2Fbus"
Topic_Prefix = "org.example"

[queues."a b"]
durable = true
auto_delete = false
exclusive = false
arguments = { x-expires = 5 }

[[bindings]]
queue = "a b"
exchange = "amq.topic"
routing_keys = ["#"]

[qos]
prefetch_count = 3

[client_properties]
contact = "http://me:canary@example.org/"

[consumer_config]
db_password = "canary"
depth = { api_token = "canary", list = [1, 2.5, true] }
monkey = "harmless"

[tls]
keyfile = "/etc/pki/key.pem"

[outbox]
url = "postgresql://me:canary@db/bus"

[consumer.retry]
attempts = 2
on = ["OSError"]
"""


def show(processes: Processes, text: str, **environment: str) -> tuple[dict[str, str], dict[str, Any], str]:
    """Return the comment behind each first occurrence of a key, the settings, and the whole output."""
    (processes.directory / "config.toml").write_text(text)
    ended = processes.run("--conf", "config.toml", "config", "show", **environment)
    assert (ended.status, ended.stderr) == (0, []), ended.output
    output = "\n".join(ended.stdout)
    origins = {
        line.partition(" = ")[0]: line.rpartition("  # ")[2] for line in ended.stdout if "  # " in line
    }
    return origins, tomllib.loads(output), output


def test_settings_and_where_they_come_from(processes: Processes) -> None:
    origins, settings, output = show(processes, FILE)
    assert "canary" not in output
    assert settings["amqp_url"] == "amqps://me:***@broker/%2Fbus"
    assert settings["topic_prefix"] == "org.example"
    assert origins["topic_prefix"] == origins["prefetch_count"] == origins["attempts"] == "config.toml"
    assert origins["publish_exchange"] == origins["prefetch_size"] == origins["delay"] == "default"
    assert settings["qos"] == {"prefetch_count": 3, "prefetch_size": 0}
    assert settings["queues"] == {
        "a b": {"durable": True, "auto_delete": False, "exclusive": False, "arguments": {"x-expires": 5}}
    }
    assert settings["bindings"] == [{"queue": "a b", "exchange": "amq.topic", "routing_keys": ["#"]}]
    assert settings["client_properties"]["contact"] == "http://me:***@example.org/"
    assert settings["consumer_config"] == {
        "db_password": "***",
        "depth": {"api_token": "***", "list": [1, 2.5, True]},
        "monkey": "harmless",
    }
    assert settings["tls"] == {"keyfile": "/etc/pki/key.pem"}
    assert settings["outbox"]["url"] == "postgresql://me:***@db/bus"
    assert settings["consumer"]["retry"]["on"] == ["OSError"]
    assert "# monitoring is not set" in output


def test_environment_wins(processes: Processes) -> None:
    origins, settings, output = show(processes, FILE, FEDORA_MESSAGING_AMQP_URL="amqp://me:canary@elsewhere")
    assert settings["amqp_url"] == "amqp://me:***@elsewhere"
    assert origins["amqp_url"] == "FEDORA_MESSAGING_AMQP_URL"
    assert "canary" not in output


def test_url_in_a_file_of_its_own(processes: Processes) -> None:
    (processes.directory / "url").write_text("amqp://me:canary@filed")
    origins, settings, output = show(processes, 'amqp_url_file = "url"')
    assert settings["amqp_url"] == "amqp://me:***@filed"
    assert origins["amqp_url"] == "url"
    assert "canary" not in output


def test_a_key_where_its_path_belongs_is_hidden(processes: Processes) -> None:
    _origins, _settings, output = show(processes, '[tls]\nkeyfile = """-----BEGIN\ncanary"""')
    assert "canary" not in output


def test_defaults(processes: Processes) -> None:
    ended = processes.run("config", "show")
    assert ended.status == 0
    assert ended.stdout[0] == "# There is no configuration file, so the defaults hold"
    assert tomllib.loads("\n".join(ended.stdout))["qos"] == {"prefetch_count": 10, "prefetch_size": 0}


@pytest.fixture
def schema(processes: Processes) -> dict[str, Any]:
    ended = processes.run("config", "schema")
    assert (ended.status, ended.stderr) == (0, [])
    found: dict[str, Any] = json.loads("\n".join(ended.stdout))
    jsonschema.Draft202012Validator.check_schema(found)
    return found


def test_schema_takes_what_the_library_takes(schema: dict[str, Any]) -> None:
    settings = {key.lower(): value for key, value in tomllib.loads(FILE).items()}
    jsonschema.validate(settings, schema, cls=jsonschema.Draft202012Validator)
    assert schema["properties"]["topic_prefix"]["description"].startswith("Prefix that is put before every")
    assert schema["$defs"]["Retry"]["properties"]["attempts"]["maximum"] == 1_000_000


@pytest.mark.parametrize(
    "text", ["topic_prefx = 1", "topic_prefix = 5", "[consumer]\nconcurency = 1", '[monitoring]\nport = "x"']
)
def test_schema_refuses_what_the_library_refuses(schema: dict[str, Any], text: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(tomllib.loads(text), schema, cls=jsonschema.Draft202012Validator)


def test_url_of_the_outbox_in_the_environment(processes: Processes) -> None:
    origins, settings, output = show(
        processes, "[outbox]\nmax_age = 60", FEDORA_MESSAGING_OUTBOX_URL="postgresql://me:canary@db/bus"
    )
    assert settings["outbox"]["url"] == "postgresql://me:***@db/bus"
    assert origins["url"] == "FEDORA_MESSAGING_OUTBOX_URL"
    assert origins["max_age"] == "config.toml"
    assert "canary" not in output


def test_option_of_the_command_line(processes: Processes) -> None:
    ended = processes.run("--log-timestamps", "config", "show")
    assert "log_timestamps = true  # --log-timestamps" in ended.stdout


def test_empty_tables_and_lists_are_shown_as_such(processes: Processes) -> None:
    """Left out they would mean their defaults."""
    origins, settings, _output = show(processes, "queues = {}\nbindings = []\nexchanges = {}\n[qos]\n")
    assert (settings["queues"], settings["bindings"], settings["exchanges"]) == ({}, [], {})
    assert origins["queues"] == origins["bindings"] == "config.toml"
    assert settings["qos"] == {"prefetch_count": 10, "prefetch_size": 0}
