"""Nothing that somebody sends to the bus becomes a script in the browser of who looks at it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from playwright.sync_api import expect
from tests.browser.bus import put
from tests.browser.dashboards import PATIENCE

if TYPE_CHECKING:
    from playwright.sync_api import Page
    from tests.browser.dashboards import Dashboard
    from tests.support.admin import Admin, Names

SCRIPT: Final = "<script>alert(1)</script>"
#: What becomes a script, or an attribute, where somebody forgets to escape.
HOSTILE: Final = f'"><img src=x onerror=alert(2)>{SCRIPT}{{{{7*7}}}}\u202e'


def test_nothing_that_is_stored_becomes_a_script(
    page: Page, dashboard: Dashboard, admin: Admin, names: Names
) -> None:
    """The page fixture fails the test for a dialog, a violation of the policy or a request to elsewhere."""
    name = names(HOSTILE)
    admin.channel.queue_declare(name, durable=True, arguments={"x-max-length": 10})
    admin.channel.queue_bind(name, "amq.topic", HOSTILE, arguments={HOSTILE: HOSTILE})
    page.goto(f"{dashboard.url}/live")
    expect(page.locator("#stream-state")).to_have_text("Listening")
    body: dict[str, Any] = {HOSTILE: [HOSTILE, {"<b>": HOSTILE}]}
    id = put(admin, "amq.topic", HOSTILE, **body)
    expect(page.locator(".line").first).to_contain_text(SCRIPT)
    for path in (
        "/queues?sort=messages",
        "/",
        "/exchange?vhost=%2F&name=amq.topic",
        f"/message?id={id}",
        "/search",
    ):
        page.goto(f"{dashboard.url}{path}")
        expect(page.locator("main")).to_contain_text(SCRIPT, timeout=PATIENCE)
    page.goto(f"{dashboard.url}/queues?sort=messages")
    page.locator("#queues a", has_text=SCRIPT).click()
    expect(page.locator("h1")).to_contain_text("{{7*7}}\\u202e")
    page.get_by_role("link", name="Look at its messages").click()
    expect(page.locator("article.letter")).to_contain_text(SCRIPT)
    assert page.locator("main img, main script").count() == 0
