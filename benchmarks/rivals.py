"""What there is to compare with on this machine."""

import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks import brokers
from benchmarks.processes import ROOT, environment, run
from benchmarks.workers.common import load_message

OURS = "ours"
COMPILED = "compiled"
PIKA = "pika"
PIKA_SELECT = "pika-select"
AIO_PIKA = "aio-pika"
FASTSTREAM = "faststream"
KOMBU = "kombu"
OLD = "old"
LIBRABBITMQ = "librabbitmq"
CLIENTS = (OURS, COMPILED, PIKA, PIKA_SELECT, AIO_PIKA, FASTSTREAM, KOMBU, OLD, LIBRABBITMQ)

#: The packages of the clients that are Python packages.
_PACKAGES = {
    PIKA: "pika",
    PIKA_SELECT: "pika",
    AIO_PIKA: "aio-pika",
    FASTSTREAM: "faststream",
    KOMBU: "kombu",
}

_WHEELS = ROOT / "dist" / "compiled"
_C_SOURCE = Path(__file__).with_name("c") / "client.c"
_FIELD_TYPES = {bool: "b", int: "i", str: "s"}


@dataclass(frozen=True)
class CClient:
    """The compiled C client, and files it reads."""

    program: Path
    body: Path
    headers: Path
    routing_key: str


@dataclass(frozen=True)
class Rivals:
    """What can be run.

    Attributes:
        clients: Names.
        missing: For each client that cannot be run: why, and what to do.
        compiled: Where our compiled package is imported from.
        old_python: Interpreter with the old library.
        c_client: The C client.
        versions: Of everything that takes part.
    """

    clients: tuple[str, ...]
    missing: dict[str, str]
    compiled: Path | None
    old_python: str | None
    c_client: CClient | None
    versions: dict[str, str]


def find_rivals(wanted: tuple[str, ...], old_python: str | None, directory: Path) -> Rivals:
    """Look for the clients that are wanted; the C client is compiled into a directory."""
    missing: dict[str, str] = {}
    versions = {
        "python": platform.python_version(),
        "kernel": platform.release(),
        "cpus": str(os.cpu_count()),
        "fedora-messaging": version("fedora-messaging"),
    }
    if rabbitmq := brokers.rabbitmq_version():
        versions["rabbitmq"] = rabbitmq
    c_client = compiled = None
    for client in wanted:
        if (package := _PACKAGES.get(client)) is not None:
            try:
                versions[package] = version(package)
            except PackageNotFoundError:
                missing[client] = f"pip install {package}"
        elif client == COMPILED:
            compiled = _unpack_compiled(directory)
            if compiled is None:
                missing[client] = "make wheel-compiled"
        elif client == OLD:
            if old_python is None:
                missing[client] = "give --old-python PATH"
            else:
                versions[OLD] = _old_version(old_python)
        elif client == LIBRABBITMQ:
            c_client, reason = _compile_c_client(directory)
            if c_client is None:
                missing[client] = reason
            else:
                versions[LIBRABBITMQ] = reason
    clients = tuple(client for client in wanted if client not in missing)
    return Rivals(clients, missing, compiled, old_python, c_client, versions)


def _unpack_compiled(directory: Path) -> Path | None:
    """Unpack the compiled wheel that was built last, if there is one."""
    wheels = sorted(_WHEELS.glob("*.whl"), key=lambda wheel: wheel.stat().st_mtime)
    if not wheels:
        return None
    target = directory / COMPILED
    shutil.unpack_archive(wheels[-1], target, "zip")
    return target


def _old_version(python: str) -> str:
    code = "import importlib.metadata as m; print(m.version('fedora-messaging'))"
    return run([python, "-c", code], environment()).output.strip()


def _compile_c_client(directory: Path) -> tuple[CClient | None, str]:
    """Return the C client and the version of its library, or ``None`` and what is missing."""
    compiler = shutil.which("cc")
    if compiler is None or shutil.which("pkg-config") is None:
        return None, "install a C compiler (cc) and pkg-config"
    found = subprocess.run(
        ["pkg-config", "--modversion", "librabbitmq"], capture_output=True, text=True, check=False
    )
    if found.returncode:
        return None, "install librabbitmq-dev"
    flags = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "librabbitmq"], capture_output=True, text=True, check=True
    ).stdout.split()
    program = directory / "c_client"
    compiled = subprocess.run(
        [compiler, "-std=gnu11", "-O2", "-o", str(program), str(_C_SOURCE), *flags],
        capture_output=True,
        text=True,
        check=False,
    )
    if compiled.returncode:
        first = re.sub(r"\s+", " ", compiled.stderr)[:200]
        return None, f"client.c does not compile: {first}"
    return _with_message(program, directory), found.stdout.strip()


def _with_message(program: Path, directory: Path) -> CClient:
    """Write the message in the form the C client reads."""
    import json

    sample = load_message()
    body = directory / "body.json"
    body.write_text(json.dumps(sample["body"]), encoding="utf-8")
    headers = directory / "headers.txt"
    lines = [
        f"{name}\t{_FIELD_TYPES[type(value)]}\t{int(value) if isinstance(value, int) else value}\n"
        for name, value in sample["headers"].items()
    ]
    headers.write_text("".join(lines), encoding="utf-8")
    return CClient(program, body, headers, sample["rk"])
