"""``fedora-messaging schema new``: what it writes works at once."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from click.testing import CliRunner

from fedora_messaging import cli


def new(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli.schema, ["new", *arguments])
    return result.exit_code, result.output


@pytest.mark.timeout(120)
def test_its_tests_pass_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    status, output = new("my-app")
    assert status == 0, output
    package = tmp_path / "my-app-messages"
    written = sorted(str(path.relative_to(package)) for path in package.rglob("*") if path.is_file())
    assert written == [
        "README.md",
        "my_app_messages/__init__.py",
        "my_app_messages/messages.py",
        "my_app_messages/py.typed",
        "my_app_messages/tests/__init__.py",
        "my_app_messages/tests/test_messages.py",
        "pyproject.toml",
    ]
    # An environment of its own that sees this one's packages, so that nothing has to be fetched.
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "env"], check=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": "env", "platbase": "env"}))
    site.joinpath("parent.pth").write_text(
        f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n", encoding="utf-8"
    )
    install = ["-m", "pip", "install", "--quiet", "--no-build-isolation", "--no-deps", "--no-index"]
    python = str(Path("env/bin/python").absolute())
    subprocess.run([python, *install, str(package)], check=True, capture_output=True)
    tests = subprocess.run(
        [python, "-m", "pytest", "-q", "-W", "error", str(package)],
        cwd=package,
        capture_output=True,
        text=True,
        check=False,
    )
    assert tests.returncode == 0, tests.stdout + tests.stderr
    assert "7 passed" in tests.stdout
    types = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--cache-dir", str(tmp_path), "."],
        cwd=package,
        env={**os.environ, "MYPYPATH": "."},
        capture_output=True,
        text=True,
        check=False,
    )
    # jsonschema has no types of its own, which is not the package's fault.
    assert "Success" in types.stdout or set(re.findall(r"\[([\w-]+)\]$", types.stdout, re.MULTILINE)) == {
        "import-untyped"
    }, types.stdout


def test_what_it_writes_is_the_same_by_any_spelling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for spelling in ("my_app", "my-app-messages", "my_app_schema"):
        target = tmp_path / spelling / "here"
        status, output = new(spelling, "--directory", str(target))
        assert status == 0, output
        assert 'name = "my-app-messages"' in (target / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["", "My App", "../x", "1st", "a--b", "ä"])
def test_impossible_names(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    status, output = new("--", name)
    assert status == 2
    assert "cannot be the name of a package" in output
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine", encoding="utf-8")
    status, output = new("my-app", "--directory", str(tmp_path))
    assert status == 2
    assert "exists and is not empty" in output
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
