"""Who is connected, what they are doing, and how to be rid of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from pika.exceptions import ConnectionClosedByBroker
from playwright.sync_api import expect
from tests.browser.bus import put
from tests.browser.dashboards import PATIENCE
from tests.browser.pages import fact
from tests.support.admin import close_quietly, connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pika.adapters.blocking_connection import BlockingConnection
    from playwright.sync_api import Page
    from tests.browser.dashboards import Dashboard
    from tests.support.admin import Admin


@pytest.fixture
def client(dashboard: Dashboard, name: str) -> Iterator[BlockingConnection]:
    """The connection of a program that gives it the name of the test."""
    properties = {"connection_name": name, "product": "tester", "version": "1.2"}
    connection = connect(dashboard.amqp_url, client_properties=properties)
    yield connection
    close_quietly(connection)


def test_a_connection(
    page: Page, dashboard: Dashboard, admin: Admin, queue: str, client: BlockingConnection, name: str
) -> None:
    for _ in range(3):
        put(admin, "", queue)
    channel = client.channel()
    channel.basic_qos(prefetch_count=2)
    channel.basic_consume(queue, lambda *_: None, consumer_tag="slow")
    page.goto(f"{dashboard.url}/connections")
    row = page.locator("#connections tbody tr", has=page.get_by_role("link", name=name, exact=True))
    # RabbitMQ counts the channels some seconds later.
    expect(row.locator("td")).to_have_text(
        [name, "tester 1.2", "guest", "127.0.0.1", "1", "running", "Close …"], timeout=PATIENCE
    )
    row.get_by_role("link", name=name).click()
    expect(page.locator("h1")).to_have_text(name)
    expect(fact(page, "Name")).to_have_text(re.compile(r"^127\.0\.0\.1:\d+ -> 127\.0\.0\.1:\d+$"))
    expect(fact(page, "User")).to_have_text("guest")
    expect(fact(page, "Virtual host")).to_have_text("/")
    expect(fact(page, "Program")).to_have_text("tester 1.2")
    expect(fact(page, "TLS")).to_have_text("no")
    expect(fact(page, "Since").locator("time")).to_have_attribute("datetime", re.compile(r"^20\d\d-.*Z$"))
    expect(page.locator("table td").nth(1)).to_have_text("1", timeout=PATIENCE)
    expect(page.locator("table td").nth(2)).to_have_text("2")
    expect(page.locator("table td").nth(3)).to_have_text("2", timeout=PATIENCE)
    page.get_by_text("What the client says of itself").click()
    expect(page.get_by_text(f"connection_name: {name}")).to_be_visible()


def test_finding_a_connection(
    page: Page, dashboard: Dashboard, client: BlockingConnection, name: str
) -> None:
    page.goto(f"{dashboard.url}/connections")
    page.get_by_label("Name").fill("no such connection")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_text("No connection has such a name.")).to_be_visible()


def test_closing_a_connection_asks_first(
    page: Page, dashboard: Dashboard, client: BlockingConnection, name: str
) -> None:
    page.goto(f"{dashboard.url}/connections")
    row = page.locator("#connections tbody tr", has=page.get_by_role("link", name=name, exact=True))
    row.get_by_role("link", name="Close").click(timeout=PATIENCE)
    expect(page.locator("h1")).to_contain_text(re.compile(r"Close the connection 127\.0\.0\.1:\d+"))
    page.get_by_role("link", name="Keep it").click()
    client.process_data_events(0)
    row.get_by_role("link", name=name).click(timeout=PATIENCE)
    page.get_by_role("link", name="Close this connection").click()
    page.get_by_role("button", name="Close it").click()
    expect(page.get_by_role("status")).to_have_text("The connection is closed.")
    with pytest.raises(ConnectionClosedByBroker, match="320"):
        client.process_data_events(30)
    expect(row).to_have_count(0)


def test_consumers(
    page: Page, dashboard: Dashboard, queue: str, client: BlockingConnection, name: str
) -> None:
    channel = client.channel()
    channel.basic_qos(prefetch_count=7)
    channel.basic_consume(queue, lambda *_: None, consumer_tag=f"tag-{name}")
    channel.basic_consume(queue, lambda *_: None, consumer_tag=f"free-{name}", auto_ack=True)
    page.goto(f"{dashboard.url}/consumers")
    rows = page.locator("tbody tr", has_text=queue)
    slow, free = rows.filter(has_text=f"tag-{name}"), rows.filter(has_text=f"free-{name}")
    expect(slow.locator("td")).to_have_text(
        [queue, re.compile(r"127\.0\.0\.1:\d+"), "guest", f"tag-{name}", "7", "yes", "yes"]
    )
    expect(free.locator("td").nth(5)).to_have_text("no")
    slow.get_by_role("link").nth(1).click()
    expect(page.locator("h1")).to_have_text(name)
    page.go_back()
    slow.get_by_role("link").first.click()
    expect(page.locator("h1")).to_contain_text(queue)


def test_the_overview_sees_what_a_consumer_keeps(
    page: Page, dashboard: Dashboard, admin: Admin, queue: str, client: BlockingConnection
) -> None:
    """A consumer that has taken all there is and does nothing with it stands still."""
    for _ in range(3):
        put(admin, "", queue)
    client.channel().basic_consume(queue, lambda *_: None)
    client.process_data_events(0)
    page.goto(f"{dashboard.url}/")
    row = page.locator("section[aria-labelledby=fill] tr", has_text=queue)
    expect(row).to_contain_text("all of it is with consumers", timeout=PATIENCE)
