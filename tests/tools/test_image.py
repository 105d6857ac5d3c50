"""The image of deploy/Containerfile: built on a Debian root in place of Docker Hub's Python, and used."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.machine import systemd_root
from tests.support.printed import ROOT
from tests.support.processes import Process, environment
from tests.support.rabbitmq import free_ports
from tests.support.servers import require
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fedora_messaging.broker import Broker

pytestmark = pytest.mark.timeout(300)

PAGE = (ROOT / "docs/how-to/deploy.md").read_text("utf-8")
#: What pip needs where an index of the machine's own is configured; shown at the same paths.
SHARED = ("/etc/pip.conf", "/etc/xdg/pip", "/etc/ssl/certs", "/etc/resolv.conf")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Builder:
    """Buildah with a storage of its own."""

    def __init__(self, directory: Path) -> None:
        self.command = [
            "buildah",
            "--root",
            str(directory / "root"),
            "--runroot",
            str(directory / "run"),
            "--storage-driver",
            "overlay",
        ]
        # The test's machine need not allow what a container runtime does; a chroot does for the same files.
        self.variables = {**os.environ, "BUILDAH_ISOLATION": "chroot", "HOME": str(directory)}

    def __call__(self, *arguments: str | Path) -> str:
        """Run a command to its end; returns what it prints."""
        command = [*self.command, *map(str, arguments)]
        done = subprocess.run(
            command, cwd=ROOT, env=self.variables, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}{done.stderr}"
        return done.stdout.strip()


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    """Knows `localhost/python`: a Debian whose Python is called as in Docker Hub's image."""
    require(shutil.which("buildah") is not None, "buildah", "install the package buildah")
    directory = tmp_path_factory.mktemp("buildah")
    root = systemd_root()
    builder = Builder(directory)
    container = builder("from", "scratch")
    mounted = builder("mount", container)
    # Without what the root has for other tests, and what nobody reads.
    others = (
        "host-sbin",
        "usr/lib/erlang",
        "usr/lib/rabbitmq",
        "usr/share/doc",
        "usr/share/locale",
        "var/cache",
    )
    skipped = [f"--exclude=./{name}" for name in ("proc", "sys", "dev", "run", *others)]
    with subprocess.Popen(["tar", "-C", root, *skipped, "-c", "."], stdout=subprocess.PIPE) as packing:
        subprocess.run(["tar", "-C", mounted, "-x"], stdin=packing.stdout, check=True)
    assert packing.returncode == 0
    (Path(mounted) / "usr/bin/python").symlink_to("python3")
    builder("config", "--env", f"PATH={PATH}", container)
    builder("commit", "--rm", container, "localhost/python")
    yield builder
    builder("rm", "--all")
    builder("rmi", "--all", "--force")
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def container(builder: Builder) -> str:
    """A container of the image, built by the command of the page."""
    [line] = [line for line in PAGE.splitlines() if line.startswith("$ podman build ")]
    options = shlex.split(line)[3:]
    volumes = [f"--volume={path}:{path}:ro" for path in SHARED if Path(path).exists()]
    replaced = ["--network=host", "--build-arg=PYTHON=localhost/python", *volumes]
    builder("build", *replaced, *options)
    return builder("from", "localhost/fedora-messaging")


def configuration(builder: Builder) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(builder("inspect", "--type=image", "localhost/fedora-messaging"))
    return dict(found["Docker"]["config"])


def test_programs(builder: Builder, container: str) -> None:
    entry = configuration(builder)["Entrypoint"]
    [line] = [line for line in PAGE.splitlines() if line.startswith("$ podman run ")]
    arguments = shlex.split(line.partition(" fedora-messaging ")[2])
    assert builder("run", container, "--", *entry, *arguments).startswith("fedora-messaging, version ")
    once = builder("run", "--network=host", container, "--", *entry, "demo", "--once", "--messages", "20")
    assert once.splitlines()[-1] == "demo: published 20, consumed 20, lost 0"


def test_user_and_files(builder: Builder, container: str) -> None:
    assert builder("run", container, "--", "id", "--user") == "10001"
    # Nothing that only building needs, and nothing that the user may change but its home.
    assert builder("run", container, "--", "sh", "-c", "ls /source 2>&1 || true").endswith(
        "No such file or directory"
    )
    assert builder("run", container, "--", "find", "/opt", "-writable", "-not", "-type", "l") == ""


def test_consumer_and_health_check(builder: Builder, container: str, embedded_broker: Broker) -> None:
    """The consumer of deploy/consumer.toml is healthy once it is connected, and ends well."""
    [port] = free_ports(1)
    conf = (ROOT / "deploy/consumer.toml").read_text("utf-8").replace("port = 8000", f"port = {port}")
    home = Path(builder("mount", container)) / "var/lib/fedora-messaging"
    (home / "consumer.toml").write_text(conf)
    image = configuration(builder)
    kind, *check = image["Healthcheck"]["Test"]
    assert kind == "CMD"
    check = [part.replace(":8000/", f":{port}/") for part in check]
    run = [
        *builder.command,
        "run",
        "--network=host",
        "--env",
        f"FEDORA_MESSAGING_AMQP_URL={embedded_broker.amqp_url}",
    ]
    command = [*run, container, "--", *image["Entrypoint"], "--conf", "consumer.toml", "consume"]
    variables = environment(BUILDAH_ISOLATION="chroot", HOME=builder.variables["HOME"])
    consumer = Process(command, directory=ROOT, variables=variables)
    asking = [*builder.command, "run", "--network=host", container, "--", *check]
    try:
        eventually(
            lambda: subprocess.run(asking, env=variables, capture_output=True, check=False).returncode == 0
        )
        # Not what has started it, which has its name among its arguments.
        subprocess.run(["pkill", "--full", "^/opt/fedora-messaging/bin/python.* --conf consumer"], check=True)
        ended = consumer.end()
    finally:
        consumer.kill()
    assert ended.status == 0, ended.output
