"""What a program imports when it starts: each module here costs every program time."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: Our modules that ``import fedora_messaging.api`` may load, without the packages that they are in.
OURS = set(
    """
    _version api client.consuming.hooks client.publishing.batch client.publishing.outgoing config exceptions
    forking limits frontends.batches frontends.consuming frontends.event_loop_guard frontends.publishing
    frontends.recording logs message printable protocol.events schema_utils settings.defaults
    settings.origins
    settings.validate signals validation.fast_path validation.guarded_regex validation.json_body
    validation.rust validation.validator wire.errors wire.fields wire.frames wire.int64 wire.methods
    wire.properties wire.property_codec
    """.split()  # noqa: SIM905 - one can read and sort this
)
#: Packages of others.
OTHERS = {"blinker"}
#: What takes a program of ours longer than a millisecond to import, and need not be there at the start: it is
#: imported when it is first used.
LATE = {
    "asyncio",
    "dataclasses",
    "decimal",
    "email",
    "hashlib",
    "http",
    "importlib.metadata",
    "importlib.resources",
    "jsonschema",
    "jsonschema_rs",
    "logging.config",
    "msgspec",
    "orjson",
    "pathlib",
    "shutil",
    "socket",
    "sqlite3",
    "ssl",
    "subprocess",
    "tempfile",
    "tomllib",
    "twisted",
    "urllib",
    "zipfile",
}
if sys.version_info >= (3, 14):
    LATE.remove("dataclasses")  # logging imports it
#: What a program that publishes does not need either.
ONLY_CONSUMING = {
    "fedora_messaging.client.group",
    "fedora_messaging.client.policy.dedupe",
    "fedora_messaging.client.policy.redelivery",
    "fedora_messaging.monitoring.http_server",
    "fedora_messaging.sync.consumers",
    "fedora_messaging.twisted",
    "http",
    "jsonschema",
    "sqlite3",
    "twisted",
}


def imported(code: str) -> set[str]:
    """Return the modules that a new process has after some code, and not before.

    ``-X importtime`` would not do: it leaves out modules that come by ``from package import module``.
    """
    program = (
        f"import sys; sys.path[:] = {sys.path!r}; before = set(sys.modules); {code}; "
        "print(*(set(sys.modules) - before))"
    )
    # Without the module site, whose path configuration imports what it likes.
    command = [sys.executable, "-S", "-c", program]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def roots(modules: set[str], wanted: set[str]) -> set[str]:
    """Return which of the wanted packages some modules are, or are in."""
    return {name for name in wanted for module in modules if f"{module}.".startswith(f"{name}.")}


@pytest.fixture(scope="module")
def of_api() -> set[str]:
    return imported("import fedora_messaging.api")


def test_import_loads_no_module_of_ours_that_it_does_not_need(of_api: set[str]) -> None:
    prefix = "fedora_messaging."
    ours = {module.removeprefix(prefix) for module in of_api if module.startswith(prefix)}
    packages = {module for module in ours if any(other.startswith(f"{module}.") for other in ours)}
    assert ours - packages == OURS


def test_import_loads_no_other_package(of_api: set[str]) -> None:
    known = sys.stdlib_module_names | {"fedora_messaging"} | OTHERS
    found = {module.partition(".")[0] for module in of_api} - known
    # That of a compiled wheel has a name of its own for what its modules share.
    assert {name for name in found if not name.endswith("__mypyc")} == set()


def test_import_leaves_for_later_what_can_wait(of_api: set[str]) -> None:
    assert roots(of_api, LATE) == set()


def test_service_that_publishes_loads_nothing_that_consumes() -> None:
    loaded = imported("import fedora_messaging.sync.service")
    assert "asyncio" in loaded
    assert roots(loaded, ONLY_CONSUMING) == set()
