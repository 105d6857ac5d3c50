"""The layers that docs/explanation/architecture.md lists are those that import-linter checks."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src/fedora_messaging"


def layers() -> list[str]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = settings["tool"]["importlinter"]["contracts"]
    return next(contract["layers"] for contract in contracts if contract["name"] == "Layers")


def test_layers_on_the_page() -> None:
    page = (ROOT / "docs/explanation/architecture.md").read_text()
    assert "\n".join(("```", *layers(), "```")) in page


def test_every_module_has_a_layer() -> None:
    modules = {
        path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    listed = {name.strip() for layer in layers() for name in layer.split("|")}
    assert modules - {"__init__", "__main__"} == listed
