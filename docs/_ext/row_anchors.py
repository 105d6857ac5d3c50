"""Gives each row of a table in the reference a place that links can lead to, and shows the link to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from docutils import nodes

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def anchor(section: str, name: str) -> str:
    """Return the id of a row: of `--config FILE` in the section on `broker`, for example, `broker-config`."""
    return nodes.make_id(f"{section} {name.split()[0]}")


def add_anchors(app: Sphinx, doctree: nodes.document) -> None:
    """Add them to what stands first in each row: a number, or names in a font of fixed width."""
    if not app.env.docname.startswith("reference/"):
        return
    for section in doctree.findall(nodes.section):
        taken = set(section["ids"])
        for table in (child for child in section.children if isinstance(child, nodes.table)):
            for row in (row for body in table.findall(nodes.tbody) for row in body.children):
                _mark(row, section["ids"][0], taken)


def _mark(row: nodes.Node, section: str, taken: set[str]) -> None:
    cell = next(row.findall(nodes.entry))
    paragraph = next(cell.findall(nodes.paragraph), None)
    if paragraph is None:
        return
    names = [literal.astext() for literal in paragraph.findall(nodes.literal)]
    if not names and paragraph.astext().isdecimal():
        names = [paragraph.astext()]
    ids = [one for one in dict.fromkeys(anchor(section, name) for name in names) if one not in taken]
    if not ids:
        return
    taken.update(ids)
    for one in reversed(ids):
        paragraph.insert(0, nodes.inline("", "", ids=[one]))
    link = nodes.reference("", "#", refuri=f"#{ids[0]}", classes=["headerlink"], reftitle="Link to this row")
    paragraph += link


def setup(app: Sphinx) -> dict[str, bool]:
    """Register it."""
    app.connect("doctree-read", add_anchors)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
