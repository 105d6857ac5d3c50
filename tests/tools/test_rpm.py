"""The RPM: built from the source distribution, installed into an empty root, and tried from there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.servers import require

from fedora_messaging import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "deploy/rpm/fedora-messaging.spec"


def run(*command: str | Path, cwd: Path, environment: Mapping[str, str] | None = None) -> str:
    """Run a command and return what it prints; if it fails, say everything that it has printed."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_version_of_the_spec() -> None:
    [line] = [line for line in SPEC.read_text(encoding="utf-8").splitlines() if line.startswith("Version:")]
    assert line.split()[1] == __version__


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """An empty root into which the built packages are installed."""
    require(shutil.which("rpmbuild") is not None, "rpmbuild", "install the package rpm")
    sources, root = tmp_path / "SOURCES", tmp_path / "root"
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", sources, cwd=ROOT)
    tools = Path(sys.executable).parent
    run(
        "rpmbuild",
        f"--load={SPEC.parent / 'macros.pyproject'}",
        # Debian's rpm knows nothing of Debian's packages.
        "--nodeps",
        "-D",
        f"_topdir {tmp_path}",
        "-D",
        f"_tmppath {tmp_path}",
        "-D",
        f"__python3 {sys.executable}",
        "-bb",
        SPEC,
        cwd=tmp_path,
        environment={"PATH": f"{tools}:{os.environ['PATH']}", "HOME": str(tmp_path)},
    )
    packages = sorted(tmp_path.glob("RPMS/noarch/*.rpm"))
    assert [path.name for path in packages] == [
        f"fedora-messaging-{__version__}-1.noarch.rpm",
        f"python3-fedora-messaging-{__version__}-1.noarch.rpm",
    ]
    root.mkdir()
    run("rpm", "--root", root, "--nodeps", "--noscripts", "--install", *packages, cwd=tmp_path)
    return root


def test_package_works(installed: Path, tmp_path: Path) -> None:
    """Its command, with its modules, runs the demonstration; the dependencies are those of the tests."""
    for path in (
        "etc/fedora-messaging/fedora.toml",
        "usr/lib/systemd/system/fm-consumer@.service",
        "usr/share/bash-completion/completions/fedora-messaging",
        "usr/share/licenses/python3-fedora-messaging-" + __version__ + "/LICENSE",
        "usr/share/man/man1/fedora-messaging-consume.1",
    ):
        assert (installed / path).stat().st_size > 0
    command = installed / "usr/bin/fedora-messaging"
    assert command.read_text(encoding="utf-8").splitlines()[0] == "#!/usr/bin/python3"
    [modules] = installed.glob("usr/lib*/python3*/site-packages")
    environment = {"PYTHONPATH": str(modules)}
    where = run(
        sys.executable,
        "-c",
        "import fedora_messaging; print(fedora_messaging.__file__)",
        cwd=tmp_path,
        environment=environment,
    )
    assert Path(where.strip()).is_relative_to(installed)
    told = run(
        sys.executable, command, "demo", "--once", "--messages", "20", cwd=tmp_path, environment=environment
    )
    assert told.splitlines()[-1] == "demo: published 20, consumed 20, lost 0"
