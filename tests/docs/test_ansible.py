"""The Ansible role: what it writes is a valid configuration, for the unit that it installs."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import jinja2
import yaml

from fedora_messaging import config

ROLE = Path(__file__).parents[2] / "deploy/ansible/roles/fedora_messaging_consumer"
UNIT = Path(__file__).parents[2] / "fm-consumer@.service"
GIVEN = {"fedora_messaging_name": "my-app", "fedora_messaging_callback": "my_app.bus:on_message"}


def variables() -> dict[str, Any]:
    """The defaults, with what everybody has to give."""
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text("utf-8"))
    required = {name for name, value in defaults.items() if "undef(" in str(value)}
    assert required == {*GIVEN, "fedora_messaging_amqp_url"}
    return {**defaults, **GIVEN}


def rendered(template: str) -> str:
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    environment.filters["to_json"] = json.dumps
    values = variables()
    values["fedora_messaging_venv"] = environment.from_string(values["fedora_messaging_venv"]).render(values)
    return environment.from_string((ROLE / "templates" / template).read_text("utf-8")).render(values)


def test_configuration_is_valid(tmp_path: Path) -> None:
    text = rendered("consumer.toml.j2")
    secret = tmp_path / "amqp_url"
    secret.write_text("amqp://user:secret@broker\n", encoding="utf-8")
    path = tmp_path / "consumer.toml"
    url_file = tomllib.loads(text)["amqp_url_file"]
    path.write_text(text.replace(url_file, str(secret)), encoding="utf-8")
    loaded = config.LazyConfig().load_config(str(path))
    assert loaded["amqp_url"] == "amqp://user:secret@broker"
    assert loaded["queues"] == {
        "my-app": {
            "durable": True,
            "auto_delete": False,
            "exclusive": False,
            "arguments": {"x-queue-type": "quorum"},
        }
    }
    assert loaded["bindings"] == [{"queue": "my-app", "exchange": "amq.topic", "routing_keys": ["#"]}]


def test_unit_gets_the_url_where_the_configuration_expects_it() -> None:
    url_file = tomllib.loads(rendered("consumer.toml.j2"))["amqp_url_file"]
    override = rendered("override.conf.j2")
    name, _, source = override.split("LoadCredential=")[1].strip().partition(":")
    assert url_file == f"/run/credentials/fm-consumer@my-app.service/{name}"
    tasks = yaml.safe_load((ROLE / "tasks/main.yml").read_text("utf-8"))
    [secret] = [task for task in tasks if task["name"] == "URL of the broker"]
    destination = secret["ansible.builtin.copy"]["dest"].replace("{{ fedora_messaging_name }}", "my-app")
    assert (source, secret["no_log"]) == (destination, True)
    # The same command as in the unit, from the environment that the role has made.
    [command] = [line for line in UNIT.read_text("utf-8").splitlines() if line.startswith("ExecStart=")]
    assert command.replace("/usr/bin/", "/opt/fedora-messaging/my-app/bin/") in override.splitlines()
