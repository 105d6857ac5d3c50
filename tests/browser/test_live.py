"""Messages as they pass."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import pytest
from playwright.sync_api import expect
from tests.browser.bus import BUILD, COMMENT, FILTERS, put, put_sample

from fedora_messaging.message import WARNING

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page
    from tests.browser.dashboards import Dashboard
    from tests.browser.pages import Faults, Pages
    from tests.support.admin import Admin

#: Seconds in which a message is to be seen. A machine that is busy with other tests may need more, but not
#: each of so many times.
SOON: Final = 1.0
TRIES: Final = 10


def listen(page: Page, dashboard: Dashboard, query: str) -> Locator:
    """Open the feed, wait until it listens, and return its lines."""
    page.goto(f"{dashboard.url}/live?{query}")
    expect(page.locator("#stream-state")).to_have_text("Listening")
    return page.locator("#live .line")


def test_a_message_shows_within_a_second(page: Page, dashboard: Dashboard, admin: Admin, name: str) -> None:
    lines = listen(page, dashboard, f"topic={name}.%23")
    waited: list[float] = []
    while not waited or min(waited) > SOON:
        assert len(waited) < TRIES, f"it took {waited} seconds"
        begun = time.monotonic()
        put(admin, "amq.topic", f"{name}.{len(waited)}")
        lines.get_by_role("link", name=f"{name}.{len(waited)}", exact=True).wait_for()
        waited.append(time.monotonic() - begun)
    page.close()


def test_a_line(page: Page, dashboard: Dashboard, admin: Admin, name: str) -> None:
    lines = listen(page, dashboard, f"topic={name}.%23")
    expect(page.get_by_text("No message yet")).to_be_visible()
    first = put_sample(admin, COMMENT, f"{name}.comment", WARNING)
    put_sample(admin, BUILD, f"{name}.build")
    expect(lines.locator(".topic")).to_have_text([f"{name}.build", f"{name}.comment"])
    expect(page.get_by_text("No message yet")).to_be_hidden()
    line = lines.nth(1)
    expect(line.locator(".severity")).to_have_text("warning")
    expect(line.locator(".summary")).to_have_text(
        "ttorvald commented on update heronctl-2.4.1-1.fc44 (karma: 1)"
    )
    expect(line.locator(".about")).to_have_text("bodhi ttorvald zofka heronctl")
    expect(line.locator("time")).to_have_text(re.compile(r"^\d\d:\d\d:\d\d$"))
    # The same from the server.
    text = line.inner_text()
    page.reload()
    expect(lines).to_have_count(2)
    assert lines.nth(1).inner_text().split() == text.split()
    line.get_by_role("link").click()
    expect(page).to_have_url(re.compile(f"/message\\?id={first}$"))
    expect(page.locator("main")).to_contain_text("Works for me on Silverblue")
    page.close()


@pytest.mark.parametrize("name_of_filter", FILTERS)
def test_a_filter(page: Page, dashboard: Dashboard, admin: Admin, name: str, name_of_filter: str) -> None:
    one = FILTERS[name_of_filter]
    value = one.value.format(name)
    topic = "" if one.parameter == "topic" else f"topic={name}.%23&"
    lines = listen(page, dashboard, f"{topic}{one.parameter}={quote(value)}")
    put_sample(admin, BUILD, f"{name}.copr.build")
    put_sample(admin, COMMENT, f"{name}.bodhi.comment", WARNING)
    # The unwanted one would have come first.
    expect(lines.locator(".topic")).to_have_text([f"{name}.bodhi.comment"])
    page.reload()
    expect(lines.locator(".topic")).to_have_text([f"{name}.bodhi.comment"])
    page.close()


def test_the_form_of_filters(page: Page, dashboard: Dashboard, admin: Admin, name: str) -> None:
    """All of them at once."""
    page.goto(f"{dashboard.url}/live")
    for one in FILTERS.values():
        field = page.get_by_label(one.label)
        if one.parameter == "severity":
            field.select_option(one.value)
        else:
            field.fill(one.value.format(name))
    page.get_by_label("Words").fill('paráda "works for me" Silverb* -copr')
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("#stream-state")).to_have_text("Listening")
    expect(page.get_by_label("Words")).to_have_value('paráda "works for me" Silverb* -copr')
    expect(page.get_by_label("At least")).to_have_value("warning")
    expect(page.get_by_label("Topic", exact=True)).to_have_value(f"{name}.*.comment")
    put_sample(admin, COMMENT, f"{name}.bodhi.comment")
    put_sample(admin, COMMENT, f"{name}.bodhi.comment", WARNING)
    expect(page.locator("#live .line .severity")).to_have_text(["warning"])
    page.close()


def test_pausing(page: Page, dashboard: Dashboard, admin: Admin, name: str) -> None:
    lines = listen(page, dashboard, f"topic={name}.%23")
    put(admin, "amq.topic", f"{name}.0")
    expect(lines).to_have_count(1)
    page.get_by_role("button", name="Pause").click()
    for number in (1, 2):
        put(admin, "amq.topic", f"{name}.{number}")
    expect(page.locator("#stream-state")).to_have_text("Paused, 2 new")
    expect(lines).to_have_count(1)
    expect(page.get_by_role("button", name="Go on")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Go on").click()
    expect(lines.locator(".topic")).to_have_text([f"{name}.{number}" for number in (2, 1, 0)])
    put(admin, "amq.topic", f"{name}.3")
    expect(lines).to_have_count(4)
    page.close()


def test_without_javascript(page: Page, pages: Pages, dashboard: Dashboard, admin: Admin, name: str) -> None:
    """The page has what has passed, and loading it again shows more."""
    listen(page, dashboard, "")
    plain = pages.without_javascript()
    plain.goto(f"{dashboard.url}/live?topic={name}.%23")
    # Playwright reads no text in it.
    expect(plain.locator("#stream-state noscript")).to_be_visible()
    expect(plain.get_by_role("button", name="Pause")).to_be_hidden()
    put_sample(admin, COMMENT, f"{name}.comment")
    lines = page.locator("#live .line", has_text=name)
    expect(lines).to_have_count(1)
    plain.reload()
    expect(plain.locator("#live .line .topic")).to_have_text([f"{name}.comment"])
    plain.get_by_role("link", name=f"{name}.comment").click()
    expect(plain.locator("h1")).to_have_text("ttorvald commented on update heronctl-2.4.1-1.fc44 (karma: 1)")
    page.close()


def test_a_wrong_filter(page: Page, dashboard: Dashboard, faults: Faults) -> None:
    faults.expect("400")
    page.goto(f"{dashboard.url}/live?severity=awful")
    expect(page.get_by_role("alert")).to_contain_text("severity is one of debug, info, warning, error")


def test_others_get_their_messages_meanwhile(
    page: Page, dashboard: Dashboard, admin: Admin, queue: str
) -> None:
    """The feed has a queue of its own."""
    lines = listen(page, dashboard, f"topic={queue}.%23")
    sent = [put(admin, "amq.topic", f"{queue}.a", number=number) for number in range(5)]
    expect(lines).to_have_count(5)
    assert len(admin.take(queue)) == len(sent)
    page.close()
