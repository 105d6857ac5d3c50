"""The catalogue of installed schemas."""

from starlette.responses import Response

from ..catalogue import entries, example, fields
from ..visit import PageError, Visit


async def show_all(visit: Visit) -> Response:
    """List the schemas."""
    name = visit.query.get("name", "").lower()
    found = [entry for entry in entries() if name in entry.name.lower() or name in entry.summary.lower()]
    return visit.page("schemas.html", entries=found, name=visit.query.get("name", ""))


async def show(visit: Visit) -> Response:
    """Show a schema: fields, versions and an example."""
    name = visit.query.get("name", "")
    catalogue = entries()
    entry = next((entry for entry in catalogue if entry.name == name), None)
    if entry is None:
        raise PageError(404, f"There is no schema {name}: install the package that has it.")
    return visit.page(
        "schema.html",
        entry=entry,
        fields=fields(entry.body_schema),
        example=example(entry.body_schema),
        versions=[other for other in catalogue if other.family == entry.family],
    )
