"""What the tests in the browser rely on: no fault passes by, and other tests notice nothing of it."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import httpx
import pika
import pytest
from tests.browser.dashboards import beside_broker
from tests.browser.pages import SCREENSHOTS, assert_accessible, assert_fits, find_chromium
from tests.browser.site import Site, document
from tests.support.processes import Processes
from tests.support.servers import REQUIRE_SERVERS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Page
    from tests.browser.pages import Chromium, Faults, Pages

GOOD = document("<h1>Queues</h1><p>No queue yet.</p>")
FAULTS = {
    "an exception": (document('<script src="/a.js"></script>'), "exception: .*boom"),
    "an error on the console": (document('<script src="/b.js"></script>'), "console: broken"),
    "an inline script": (document("<script>1</script>"), "console: Executing inline script violates"),
    "an inline style": (document('<p style="color: red">x</p>'), "console: Applying inline style violates"),
    "a dialog": (document('<script src="/c.js"></script>'), "dialog: stolen"),
    "a missing file": (document('<script src="/missing.js"></script>'), "console: .*404.*missing.js"),
    "a refused request": (document('<img alt="" src="http://127.0.0.1:1/">'), "request failed: http://127"),
    "another machine": (document('<img alt="" src="http://a.invalid/">'), "to another machine: http://a.inv"),
}
SCRIPTS = {"/a.js": "throw new Error('boom')", "/b.js": "console.error('broken')", "/c.js": "alert('stolen')"}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_on_a_page_fails_its_test(chromium: Chromium, fault: str) -> None:
    html, description = FAULTS[fault]
    with (
        Site({"/": html, **SCRIPTS}) as site,
        pytest.raises(AssertionError, match=rf"faults in the browser:\n(.*\n)*.*{description}"),
        chromium.pages() as pages,
    ):
        pages.open().goto(site.url)


def test_an_expected_fault_passes(page: Page, faults: Faults) -> None:
    faults.expect("404.*missing")
    with Site({"/": GOOD}) as site:
        answer = page.goto(f"{site.url}/missing")
        assert answer is not None
        assert answer.status == 404


def test_an_expected_fault_that_does_not_come_fails_its_test(chromium: Chromium) -> None:
    with pytest.raises(AssertionError, match="did not come"), chromium.pages() as pages:
        pages.faults(pages.open()).expect("404")


def test_a_request_that_a_page_gives_up_is_no_fault(page: Page) -> None:
    with Site({"/": GOOD}) as site:
        page.goto(site.url)
        page.evaluate("() => { const c = new AbortController(); fetch('/', c).catch(() => 0); c.abort(); }")
        page.goto(site.url)


def test_other_tests_can_run_event_loops(chromium: Chromium) -> None:
    async def answer() -> int:
        return 42

    assert asyncio.run(answer()) == 42
    with Site({"/": GOOD}) as site, chromium.pages() as pages:
        pages.open().goto(site.url)
    assert asyncio.run(answer()) == 42


@pytest.mark.parametrize("color_scheme", ["light", "dark"])
def test_axe_finds_what_is_hard_to_read(pages: Pages, color_scheme: str) -> None:
    style = '<link rel="stylesheet" href="/a.css">'
    css = "p {color: black} @media (prefers-color-scheme: dark) {html {background: #111} p {color: #222}}"
    with Site({"/": document("<h1>H</h1><p>Text</p>", style), "/a.css": css}) as site:
        page = pages.dark() if color_scheme == "dark" else pages.open()
        page.goto(site.url)
        if color_scheme == "light":
            assert_accessible(page)
        else:
            with pytest.raises(AssertionError, match=r"color-contrast \(serious\): \['p'\]"):
                assert_accessible(page)


def test_a_page_that_is_too_wide_for_a_phone(phone_page: Page, page: Page) -> None:
    wide = document(f"<h1>{'wide' * 8}</h1>")
    with Site({"/": GOOD, "/wide": wide}) as site:
        phone_page.goto(site.url)
        assert_fits(phone_page)
        page.goto(f"{site.url}/wide")
        assert_fits(page)
        phone_page.goto(f"{site.url}/wide")
        with pytest.raises(AssertionError, match="375 are visible"):
            assert_fits(phone_page)


def test_a_page_without_javascript(pages: Pages) -> None:
    with Site({"/": document('<h1>H</h1><script src="/c.js"></script>'), **SCRIPTS}) as site:
        page = pages.without_javascript()
        page.goto(site.url)
        page.get_by_role("heading").wait_for()


def test_screenshots_go_where_the_environment_says(
    page: Page, screenshot: Callable[[Page, str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(SCREENSHOTS, str(tmp_path / "pictures"))
    with Site({"/": GOOD}) as site:
        page.goto(site.url)
        file = screenshot(page, "queues")
    assert file == tmp_path / "pictures" / "queues.png"
    assert file.read_bytes().startswith(b"\x89PNG")


def test_without_chromium_the_tests_say_how_to_get_it(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, pytester: pytest.Pytester
) -> None:
    """They are skipped, or fail where every server must be there."""
    root = request.config.rootpath
    pytester.makeini("[pytest]")
    pytester.makeconftest(
        f"import sys\nsys.path.insert(0, {str(root)!r})\nfrom tests.browser.conftest import *"
    )
    pytester.makepyfile("def test_page(page): pass")
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv(REQUIRE_SERVERS, raising=False)
    assert find_chromium() is None
    skipped = pytester.runpytest_subprocess("-rs")
    skipped.assert_outcomes(skipped=1)
    skipped.stdout.fnmatch_lines("*Chromium is missing: install the package chromium*")
    monkeypatch.setenv(REQUIRE_SERVERS, "1")
    pytester.runpytest_subprocess().assert_outcomes(errors=1)


def test_a_dashboard_beside_the_embedded_broker(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        started = beside_broker(processes)
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", started.url)
        overview = httpx.get(f"{started.management_url}/api/overview", trust_env=False)
        assert overview.json()["rabbitmq_version"].startswith("4.3")
        with pika.BlockingConnection(pika.URLParameters(started.amqp_url)) as connection:
            assert connection.is_open
