"""Publishing from a form, and the catalogue of schemas from which the form comes."""

from __future__ import annotations

import json
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from playwright.sync_api import expect
from tests.browser.bus import take
from tests.browser.pages import fact

if TYPE_CHECKING:
    from playwright.sync_api import Page
    from tests.browser.dashboards import Dashboard
    from tests.browser.pages import Faults
    from tests.support.admin import Admin

SCHEMA: Final = "anitya.project.add"
TOPIC: Final = "bodhi.update.status.testing.koji-build-group.build.complete"
#: The schemas that the dashboard finds; other tests of this process may register schemas of their own.
INSTALLED: Final = {one.name for one in entry_points(group="fedora.messages")}
VALID: Final = "This is a valid message."


def open_form(page: Page, dashboard: Dashboard, topic: str, schema: str = "base.message") -> None:
    """Open the form."""
    page.goto(f"{dashboard.url}/publish?schema={schema}&topic={topic}")
    expect(page.locator("h1")).to_have_text("Publish")


def test_publishing_an_example(page: Page, dashboard: Dashboard, admin: Admin, queue: str) -> None:
    """The form begins with an example of the schema, and says whether what one makes of it is valid."""
    open_form(page, dashboard, "")
    page.get_by_label("Schema").select_option(SCHEMA)
    page.get_by_role("button", name="Take its example").click()
    body, check = page.get_by_label("Body, a JSON object"), page.locator("#check")
    expect(page.get_by_label("Schema")).to_have_value(SCHEMA)
    written = json.loads(body.input_value())
    page.get_by_label("Topic").fill(f"{queue}.added")
    expect(check).to_have_text(VALID)

    body.fill(json.dumps({**written, "project": {"name": 5}}))
    expect(check).to_contain_text("body['project']")
    written["project"]["name"] = "täst <b>"
    body.fill(json.dumps(written))
    expect(check).to_have_text(VALID)

    page.get_by_label("Severity").select_option("warning")
    page.get_by_role("button", name="Publish").click()
    expect(page.get_by_role("status").filter(has_text="Published.")).to_be_visible()
    (taken,) = take(admin, queue)
    assert taken.body == written
    assert taken.headers["fedora_messaging_schema"] == SCHEMA
    assert taken.headers["fedora_messaging_severity"] == 30
    expect(page.get_by_role("link", name=taken.id)).to_be_visible()
    # For the next one.
    assert json.loads(body.input_value()) == written
    expect(page.get_by_label("Severity")).to_have_value("warning")
    expect(page.get_by_label("Schema")).to_have_value(SCHEMA)


WRONG: Final = {
    "no JSON": ("{", "The body is no JSON"),
    "no object": ("[1]", "no object in {}"),
    "not valid": ('{"project": 5}', "is a required property"),
}


@pytest.mark.parametrize("why", WRONG)
def test_what_is_wrong_is_not_published(
    page: Page, dashboard: Dashboard, admin: Admin, queue: str, faults: Faults, why: str
) -> None:
    text, told = WRONG[why]
    faults.expect("400")
    open_form(page, dashboard, f"{queue}.wrong", SCHEMA)
    body = page.get_by_label("Body, a JSON object")
    body.fill(text)
    expect(page.locator("#check")).to_contain_text(told)
    page.get_by_role("button", name="Publish").click()
    expect(page.get_by_role("alert")).to_contain_text(told)
    # Nothing that was typed is lost.
    expect(body).to_have_value(text)
    expect(page.get_by_label("Topic")).to_have_value(f"{queue}.wrong")
    assert not take(admin, queue)


def test_a_topic_is_needed(page: Page, dashboard: Dashboard) -> None:
    open_form(page, dashboard, "")
    page.get_by_role("button", name="Publish").click()
    expect(page.get_by_role("alert")).to_have_count(0)
    assert page.get_by_label("Topic").evaluate("field => field.validity.valueMissing")


def test_what_nobody_wants_is_told(page: Page, dashboard: Dashboard, name: str) -> None:
    """Nobody looks at the live feed in this module, whose queue would take it."""
    open_form(page, dashboard, f"{name}.nowhere")
    page.get_by_role("button", name="Publish").click()
    expect(page.get_by_text("Published, but discarded: no queue is bound for this topic.")).to_be_visible()


def test_the_catalogue(page: Page, dashboard: Dashboard) -> None:
    page.goto(f"{dashboard.url}/schemas")
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(len(INSTALLED))
    expect(page.get_by_text(f"{len(INSTALLED)} schemas of the packages")).to_be_visible()
    page.get_by_label("Name or description").fill("BODHI.update.status")
    page.keyboard.press("Enter")
    expect(rows.locator("td:first-child")).to_have_text(
        [f"bodhi.update.status.testing.v{number}" for number in (1, 2, 3)]
    )
    expect(rows.first.locator("td").nth(1)).to_contain_text("bodhi")
    page.get_by_label("Name or description").fill("no such schema")
    page.keyboard.press("Enter")
    expect(page.get_by_text("No schema has such a name.")).to_be_visible()


def test_a_schema(page: Page, dashboard: Dashboard) -> None:
    page.goto(f"{dashboard.url}/schemas?name=bodhi.update.status")
    page.get_by_role("link", name="bodhi.update.status.testing.v2").click()
    expect(page.locator("h1")).to_have_text("bodhi.update.status.testing.v2")
    expect(fact(page, "Package")).to_contain_text("bodhi")
    expect(fact(page, "Topic")).to_have_text(TOPIC)
    expect(fact(page, "Class")).to_contain_text("bodhi.messages.schemas.update:")
    expect(fact(page, "Versions").get_by_role("link")).to_have_text(
        [f"bodhi.update.status.testing.v{number}" for number in (1, 3)]
    )
    row = page.locator("tr", has=page.get_by_text("update.builds[].nvr", exact=True))
    expect(row.locator("td").nth(1)).to_have_text("string")
    expect(row.locator("td").nth(2)).to_have_text("yes")
    assert "update" in json.loads(page.locator("pre").first.inner_text())
    page.get_by_role("link", name="bodhi.update.status.testing.v3").click()
    expect(page.locator("h1")).to_have_text("bodhi.update.status.testing.v3")
    page.get_by_role("link", name="Publish such a message").click()
    expect(page.get_by_label("Schema")).to_have_value("bodhi.update.status.testing.v3")
    expect(page.get_by_label("Topic")).to_have_value(TOPIC)


@pytest.mark.parametrize("which", ["all", "one"])
def test_downloading_asyncapi(page: Page, dashboard: Dashboard, which: str) -> None:
    address = "/schemas" if which == "all" else f"/schema?name={SCHEMA}"
    page.goto(f"{dashboard.url}{address}")
    with page.expect_download() as download:
        page.get_by_role("link", name="AsyncAPI 3").click()
    expected = "asyncapi.json" if which == "all" else f"{SCHEMA}.asyncapi.json"
    assert download.value.suggested_filename == expected
    document = json.loads(Path(download.value.path()).read_text(encoding="utf-8"))
    assert document["asyncapi"] == "3.0.0"
    names = {message["name"] for message in document["components"]["messages"].values()}
    assert names == (INSTALLED if which == "all" else {SCHEMA})
    # Every reference leads somewhere.
    for operation in document["operations"].values():
        channel = _follow(document, operation["channel"]["$ref"])
        for message in channel["messages"].values():
            assert _follow(document, message["$ref"])["payload"]["schema"]


def _follow(document: dict[str, object], reference: str) -> dict[str, dict[str, dict[str, str]]]:
    found: object = document
    for part in reference.removeprefix("#/").split("/"):
        assert isinstance(found, dict)
        found = found[part]
    assert isinstance(found, dict)
    return found


def test_a_schema_that_is_not_installed(page: Page, dashboard: Dashboard, faults: Faults) -> None:
    faults.expect("404")
    page.goto(f"{dashboard.url}/schema?name=no.such.schema")
    expect(page.get_by_role("alert")).to_contain_text("install the package that has it")
