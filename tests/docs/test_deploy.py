"""What docs/how-to/deploy.md ships: the files are right, and the unit is as locked up as it says."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.support.printed import ROOT
from tests.support.servers import require

from fedora_messaging import config

if TYPE_CHECKING:
    from pathlib import Path

DEPLOY = ROOT / "deploy"
PAGE = (ROOT / "docs/how-to/deploy.md").read_text("utf-8")
UNIT = "fm-consumer@.service"


def test_unit_is_locked_up(tmp_path: Path) -> None:
    require(shutil.which("systemd-analyze") is not None, "systemd-analyze", "install the package systemd")
    unit = tmp_path / "fm-consumer@my-app.service"
    # systemd wants the program to be there.
    unit.write_text((ROOT / UNIT).read_text("utf-8").replace("/usr/bin/fedora-messaging", "/bin/true"))
    told = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", told.stdout)
    assert found, told.stderr
    assert float(found[1]) <= 1.3
    assert f"rates the unit {found[1]}" in PAGE


def of_kind(kind: str) -> dict[str, Any]:
    documents = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text("utf-8"))
    (found,) = [document for document in documents if document["kind"] == kind]
    return dict(found)


def configurations() -> list[str]:
    return [
        (DEPLOY / "consumer.toml").read_text("utf-8"),
        of_kind("ConfigMap")["data"]["consumer.toml"],
    ]


@pytest.mark.parametrize("text", configurations(), ids=["container", "kubernetes"])
def test_configuration_is_valid(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(config.URL_VARIABLE, raising=False)
    url = tmp_path / "url"
    url.write_text("amqp://localhost")
    path = tmp_path / "consumer.toml"
    path.write_text(text.replace("/run/secrets/bus/amqp_url", str(url)))
    conf = config.LazyConfig().load_config(str(path))
    assert conf["monitoring"]["port"] == 8000


def test_deployment_asks_what_is_served() -> None:
    pod = of_kind("Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["livenessProbe"]["httpGet"]["path"] == "/live"
    assert container["readinessProbe"]["httpGet"]["path"] == "/ready"
    (port,) = container["ports"]
    assert port["containerPort"] == 8000
    stop_timeout = tomllib.loads(of_kind("ConfigMap")["data"]["consumer.toml"])["consumer"]["stop_timeout"]
    assert pod["terminationGracePeriodSeconds"] > stop_timeout + 3  # the seconds of preStop
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert container["args"][1] == f"{mounted['configuration']}/consumer.toml"
    labels = of_kind("Deployment")["spec"]["selector"]["matchLabels"]
    assert of_kind("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels


def test_composition_mounts_what_is_there() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))["services"]
    source, target, _ = services["consumer"]["volumes"][0].split(":")
    assert (DEPLOY / source).is_file()
    assert target == services["consumer"]["command"][1]
    assert (ROOT / services["consumer"]["build"]["dockerfile"]).is_file()


@pytest.mark.parametrize("name", sorted(path.name for path in DEPLOY.iterdir() if path.suffix != ".toml"))
def test_every_file_is_on_a_page(name: str) -> None:
    pages = "".join(path.read_text("utf-8") for path in (ROOT / "docs/how-to").glob("*.md"))
    assert f"deploy/{name}" in pages
