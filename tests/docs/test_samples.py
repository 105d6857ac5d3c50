"""The sample files are what the documentation says they are."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fedora_messaging import config
from fedora_messaging.settings.to_options import connection_options

ROOT = Path(__file__).parents[2]
SAMPLES = sorted([ROOT / "config.toml.example", *(ROOT / "configs").glob("*.toml")])


@pytest.fixture(autouse=True)
def no_url_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(config.URL_VARIABLE, raising=False)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_samples_are_valid(path: Path) -> None:
    conf = config.LazyConfig()
    conf.load_config(str(path))
    assert conf["callback"] == "fedora_messaging.example:printer"
    connection_options(conf)
    # In a process of its own: it would silence the loggers of this one.
    command = [sys.executable, "-c", "from fedora_messaging.cli import cli; cli()", f"--conf={path}"]
    subprocess.run([*command, "publish", os.devnull], check=True)


def test_the_example_names_every_setting() -> None:
    text = (ROOT / "config.toml.example").read_text(encoding="utf-8")
    # publish_priority has no value to give: TOML knows no null.
    for key in set(config.DEFAULTS) - {"publish_priority"}:
        assert re.search(rf"^(# )?(\[+(log_config\.|{key})|{key} = )", text, re.MULTILINE), key


@pytest.mark.parametrize(
    ("name", "host"),
    [("fedora", "rabbitmq.fedoraproject.org"), ("fedora.stg", "rabbitmq.stg.fedoraproject.org")],
)
def test_the_public_brokers(name: str, host: str) -> None:
    conf = config.LazyConfig()
    conf.load_config(str(ROOT / "configs" / f"{name}.toml"))
    options = connection_options(conf)
    assert (options.host, options.vhost, options.external) == (host, "/public_pubsub", True)
    assert options.username == "fedora"
    assert options.password == ""
    assert list(conf["queues"]) == [""]
    assert all("queue" not in binding for binding in conf["bindings"])


def test_the_unit() -> None:
    unit = configparser.ConfigParser(interpolation=None, delimiters=("=",), strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(ROOT / "fm-consumer@.service", encoding="utf-8")
    service = unit["Service"]
    assert service["ExecStart"] == ("/usr/bin/fedora-messaging --conf /etc/fedora-messaging/%i.toml consume")
    assert (service["Restart"], service["RestartSec"]) == ("on-failure", "60")
    assert (service["Type"], service["WatchdogSec"]) == ("notify", "60")
    assert unit["Install"]["WantedBy"] == "multi-user.target"
    assert unit["Unit"]["Description"]
    assert unit["Unit"]["Documentation"]


def test_no_private_key_is_in_the_repository() -> None:
    marker = "PRIVATE KEY" + "-----"
    ours = (path for top in ("configs", "docs", "src") for path in (ROOT / top).rglob("*") if path.is_file())
    assert not [path for path in ours if marker.encode() in path.read_bytes()]
