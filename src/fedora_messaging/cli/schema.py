"""``fedora-messaging schema``: writes schema packages."""

import re
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

import click

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@click.group()
def schema() -> None:
    """Write schema packages."""


@schema.command()
@click.argument("name")
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory to write to; by default a new one named after the package.",
)
def new(name: str, directory: Path | None) -> None:
    """Write a schema package for the application NAME, with an example class and tests that pass."""
    short = re.sub(r"[-_](messages|schema)$", "", name).replace("_", "-")
    if _NAME.fullmatch(short) is None:
        raise click.BadParameter(
            f"{name!r} cannot be the name of a package: use lower-case letters, digits and single hyphens, "
            "as in my-app",
            param_hint="NAME",
        )
    distribution = f"{short}-messages"
    target = directory or Path(distribution)
    if target.exists() and any(target.iterdir()):
        raise click.UsageError(f"{target} exists and is not empty: name another one with --directory")
    values = {"name": short, "distribution": distribution, "package": distribution.replace("-", "_")}
    _write(files(__package__) / "schema_template", target, values)
    click.echo(f"Wrote {target}. To try it:")
    click.echo(f"  cd {target}")
    click.echo('  python -m venv .venv && .venv/bin/pip install -e ".[test]" && .venv/bin/pytest')


def _write(source: Traversable, target: Path, values: dict[str, str]) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for entry in source.iterdir():
        if entry.is_dir():
            _write(entry, target / (values["package"] if entry.name == "package" else entry.name), values)
        else:
            text = Template(entry.read_text(encoding="utf-8")).substitute(values)
            (target / entry.name.removesuffix(".txt")).write_text(text, encoding="utf-8")
