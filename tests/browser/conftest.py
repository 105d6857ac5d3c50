"""A browser, its pages, and dashboards to look at with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect
from tests.browser.dashboards import KINDS, dashboard_of
from tests.browser.pages import Chromium, find_chromium, take_screenshot
from tests.support.processes import Processes
from tests.support.servers import require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Page
    from tests.browser.dashboards import Dashboard
    from tests.browser.pages import Faults, Pages
    from tests.conftest import BrokerUnderTest


# A machine that is busy with other tests may take its time.
expect.set_options(timeout=30_000)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    """A running browser, one for the whole session."""
    path = find_chromium()
    require(path is not None, "Chromium", "install the package chromium")
    assert path is not None
    made = Chromium(path)
    yield made
    made.close()


@pytest.fixture
def pages(chromium: Chromium) -> Iterator[Pages]:
    """Opens pages. The test fails if something that it does not expect goes wrong on one of them."""
    with chromium.pages() as made:
        yield made


@pytest.fixture
def page(pages: Pages) -> Page:
    """An empty page of a usual size."""
    return pages.open()


@pytest.fixture
def faults(pages: Pages, page: Page) -> Faults:
    """What went wrong on the page; here a test says what it expects."""
    return pages.faults(page)


@pytest.fixture
def dark_page(pages: Pages) -> Page:
    """An empty page for a user who prefers dark colours."""
    return pages.dark()


@pytest.fixture
def phone_page(pages: Pages) -> Page:
    """An empty page as wide as a small phone."""
    return pages.phone()


@pytest.fixture
def screenshot(tmp_path: Path) -> Callable[[Page, str], Path]:
    """Takes a picture of a page, for the documentation if the environment says where that is."""

    def take(page: Page, name: str) -> Path:
        return take_screenshot(page, name, tmp_path)

    return take


@pytest.fixture(scope="module", params=KINDS)
def dashboard(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Dashboard]:
    """A dashboard of the embedded broker, then of RabbitMQ, with which one may change things.

    There is one for each test module.
    """
    with (
        Processes(tmp_path_factory.mktemp("dashboard")) as processes,
        dashboard_of(request, processes, "--allow-changes") as made,
    ):
        yield made


@pytest.fixture
def broker(dashboard: Dashboard) -> BrokerUnderTest:
    """The broker that the dashboard shows: what tests make there, `names` deletes again."""
    return dashboard.broker
