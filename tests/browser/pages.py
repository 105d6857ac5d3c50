"""Pages in a real browser: what went wrong on them, how they look, whether everybody can read them."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from contextlib import ExitStack, contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from playwright.sync_api import sync_playwright
from tests.support.waiting import WAIT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import (
        Browser,
        BrowserContext,
        ConsoleMessage,
        Dialog,
        Locator,
        Page,
        Request,
        WebError,
    )

#: Names a directory to which screenshots go, as the documentation needs them.
SCREENSHOTS: Final = "FM_TEST_SCREENSHOTS"
DESKTOP: Final = {"width": 1280, "height": 800}
PHONE: Final = {"width": 375, "height": 667}
#: Makes times and numbers on screenshots the same everywhere.
_PLACE: Final = {"locale": "en-GB", "timezone_id": "UTC"}
#: A page that is left or closed gives its requests up; nothing has gone wrong then.
_GIVEN_UP: Final = "net::ERR_ABORTED"


def find_chromium() -> str | None:
    """Return the path of Chromium, or None without it."""
    return shutil.which("chromium")


class Faults:
    """What went wrong on the pages of a context.

    These are errors on the console (among them violations of the Content-Security-Policy, and answers with an
    error status), exceptions, requests that failed or went to another machine, and dialogs, which nothing but
    a script that someone smuggled in opens.
    """

    def __init__(self, context: BrowserContext) -> None:
        self._seen: list[str] = []
        self._expected: list[str] = []
        context.on("console", self._on_console)
        context.on("weberror", self._on_exception)
        context.on("dialog", self._on_dialog)
        context.on("request", self._on_request)
        context.on("requestfailed", self._on_failure)

    def expect(self, pattern: str) -> None:
        """Let faults pass in which a regular expression is found; there must be one at least."""
        self._expected.append(pattern)

    def check(self) -> None:
        """Fail if there were others than the expected ones, or not all of these."""
        unexpected = [
            fault for fault in self._seen if not any(re.search(one, fault) for one in self._expected)
        ]
        assert not unexpected, "faults in the browser:\n" + "\n".join(unexpected)
        missing = [one for one in self._expected if not any(re.search(one, fault) for fault in self._seen)]
        assert not missing, f"these faults did not come: {missing}"

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._seen.append(f"console: {message.text} ({message.location['url']})")

    def _on_exception(self, error: WebError) -> None:
        self._seen.append(f"exception: {error.error}")

    def _on_dialog(self, dialog: Dialog) -> None:
        self._seen.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _on_request(self, request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme in ("http", "https", "ws", "wss") and address.hostname not in (
            "127.0.0.1",
            "localhost",
        ):
            self._seen.append(f"request to another machine: {request.url}")

    def _on_failure(self, request: Request) -> None:
        if request.failure != _GIVEN_UP:
            self._seen.append(f"request failed: {request.url}: {request.failure}")


class Pages:
    """Opens pages, each in a context of its own, which shares no cookies; as a context manager, checks them.

    Args:
        browser: The browser.
    """

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._open: list[tuple[BrowserContext, Faults]] = []

    def __enter__(self) -> Pages:
        return self

    def __exit__(self, *_: object) -> None:
        with ExitStack() as checks:
            for context, faults in self._open:
                checks.callback(faults.check)
                # Whatever happened on the page has been reported when this returns.
                context.close()

    def open(self, **options: Any) -> Page:
        """Open an empty page; options are those of `Browser.new_context`."""
        context = self._browser.new_context(**{"viewport": DESKTOP, **_PLACE, **options})
        context.set_default_timeout(WAIT * 1000)
        self._open.append((context, Faults(context)))
        return context.new_page()

    def dark(self) -> Page:
        """Open a page for a user who prefers dark colours."""
        return self.open(color_scheme="dark")

    def phone(self) -> Page:
        """Open a page as wide as a small phone."""
        return self.open(viewport=PHONE, is_mobile=True, has_touch=True)

    def without_javascript(self) -> Page:
        """Open a page that runs no scripts."""
        return self.open(java_script_enabled=False)

    def faults(self, page: Page) -> Faults:
        """Return what went wrong on a page."""
        return next(faults for context, faults in self._open if context == page.context)


class Chromium:
    """A running Chromium, which many tests share.

    Playwright waits for the browser in an event loop of its own. Between its calls that loop counts as the
    one that runs in this thread, although it stands still, and no test could run another one. So it counts
    only while a test has pages: such a test leaves loops to other threads and processes.

    Args:
        path: Of the program.
    """

    def __init__(self, path: str) -> None:
        self._stack = ExitStack()
        playwright = self._stack.enter_context(sync_playwright())
        # Without its sandbox, which root cannot have; it sees only what tests serve.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        self._stack.callback(browser.close)
        self._browser = browser
        self._loop = asyncio.get_running_loop()
        asyncio._set_running_loop(None)

    @contextmanager
    def pages(self) -> Iterator[Pages]:
        """Let a test open pages."""
        asyncio._set_running_loop(self._loop)
        try:
            with Pages(self._browser) as pages:
                yield pages
        finally:
            asyncio._set_running_loop(None)

    def close(self) -> None:
        """End it."""
        asyncio._set_running_loop(self._loop)
        self._stack.close()


def take_screenshot(page: Page, name: str, otherwise: Path) -> Path:
    """Take a picture of a whole page.

    Args:
        page: The page.
        name: Of the picture, without suffix.
        otherwise: Directory for it if the environment names none.

    Returns:
        The file.
    """
    directory = Path(os.environ.get(SCREENSHOTS) or otherwise)
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / f"{name}.png"
    page.screenshot(path=file, full_page=True, animations="disabled")
    return file


def assert_accessible(page: Page, *rules: str) -> None:
    """Have axe look for what keeps people from using a page: contrast, names, order, roles.

    Args:
        page: The page.
        *rules: Names of axe's rules, by default all.
    """
    # Evaluated by the browser's debugger, to which the page's Content-Security-Policy does not apply.
    page.evaluate((resources.files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8"))
    options = {"runOnly": rules} if rules else {}
    violations = page.evaluate("async (options) => (await axe.run(options)).violations", options)
    described = [
        f"{one['id']} ({one['impact']}): {node['target']}: {node['failureSummary']}"
        for one in violations
        for node in one["nodes"]
    ]
    assert not described, f"axe on {page.url}:\n" + "\n".join(described)


def assert_fits(page: Page) -> None:
    """Assert that nobody needs to scroll a page sideways."""
    width, visible = page.evaluate(
        "() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert width <= visible, f"{page.url} is {width} pixels wide, {visible} are visible"


def fact(inside: Page | Locator, title: str) -> Locator:
    """Find values by their title."""
    text = f":text-is('{title}')"
    return inside.locator(f".facts dt{text} + dd, .facts dt:has({text}) + dd")


def tile(page: Page, title: str) -> Locator:
    """Find a number by its title."""
    return page.locator(f".tiles dt:text-is('{title}') + dd")
