"""htmx and uPlot do what the dashboard needs them for, under a Content-Security-Policy without exceptions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.browser.site import Site, document

if TYPE_CHECKING:
    from playwright.sync_api import Page
    from tests.browser.pages import Faults

# Without these htmx adds a style element, evaluates attributes, and runs scripts in what it fetches.
SETTINGS = '{"includeIndicatorStyles": false, "allowEval": false, "allowScriptTags": false}'
HTMX = '<script src="/vendor/htmx.min.js" defer></script>'
CONFIGURED = f"<meta name='htmx-config' content='{SETTINGS}'>{HTMX}"
FRAGMENT = "<b>fetched</b><script>window.smuggled = true</script>"
BODY = """
<h1>htmx</h1>
<div id="polled" hx-get="/fragment" hx-trigger="every 50ms"></div>
<form hx-post="/fragment" hx-target="#posted"><button>Send</button></form><div id="posted"></div>
"""
PLOT = """
new uPlot({width: 300, height: 150, series: [{}, {label: "in", stroke: "red"}]}, [[1, 2, 3], [4, 5, 6]],
          document.getElementById("plot"));
"""
UPLOT = (
    '<link rel="stylesheet" href="/vendor/uPlot.min.css">'
    '<script src="/vendor/uPlot.iife.min.js" defer></script>'
    '<script src="/plot.js" defer></script>'
)


def test_htmx_polls_and_posts(page: Page) -> None:
    with Site({"/": document(BODY, CONFIGURED), "/fragment": FRAGMENT}) as site:
        page.goto(site.url)
        page.locator("#polled b").wait_for()
        page.get_by_role("button").click()
        page.locator("#posted b").wait_for()
        assert page.evaluate("window.smuggled") is None
        # While it polls, it would miss the site.
        page.close()


def test_htmx_evaluates_no_attribute(page: Page, faults: Faults) -> None:
    faults.expect("htmx:evalDisallowedError")
    button = '<button hx-on:click="window.smuggled = true">Press</button>'
    with Site({"/": document(button, CONFIGURED)}) as site:
        page.goto(site.url)
        page.get_by_role("button").click()
        assert page.evaluate("window.smuggled") is None


def test_htmx_without_these_settings_violates_the_policy(page: Page, faults: Faults) -> None:
    """If this fails, a newer htmx needs fewer of the settings."""
    faults.expect("Applying inline style violates")
    faults.expect("Executing inline script violates")
    with Site({"/": document(BODY, HTMX), "/fragment": FRAGMENT}) as site:
        page.goto(site.url)
        page.locator("#polled b").wait_for()
        page.close()


def test_uplot_draws_with_its_styles(page: Page) -> None:
    with Site({"/": document('<div id="plot"></div>', UPLOT), "/plot.js": PLOT}) as site:
        page.goto(site.url)
        page.locator("#plot canvas").wait_for()
        assert page.locator("#plot .u-wrap").evaluate("e => getComputedStyle(e).width") == "300px"
        assert page.locator("#plot .u-wrap").evaluate("e => getComputedStyle(e).position") == "relative"
