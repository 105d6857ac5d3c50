"""The catalogue of installed schemas."""

from starlette.responses import Response

from ..catalogue import SchemaEntry, entries, example, fields, find
from ..visit import PageError, Visit


async def show_all(visit: Visit) -> Response:
    """List the schemas."""
    name = visit.query.get("name", "").lower()
    found = [entry for entry in entries() if name in entry.name.lower() or name in entry.summary.lower()]
    return visit.page("schemas.html", entries=found, name=visit.query.get("name", ""))


async def show(visit: Visit) -> Response:
    """Show a schema: fields, versions and an example."""
    entry = known(visit.query.get("name", ""))
    return visit.page(
        "schema.html",
        entry=entry,
        fields=fields(entry.body_schema),
        example=example(entry.body_schema),
        versions=[other for other in entries() if other.family == entry.family],
    )


def known(name: str) -> SchemaEntry:
    """Return the schema with a name.

    Raises:
        PageError: 404 if there is none.
    """
    entry = find(name)
    if entry is None:
        raise PageError(404, f"There is no schema {name}: install the package that has it.")
    return entry
