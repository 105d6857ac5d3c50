"""Queues: the list, one of them, and what can be done to its messages, which are never lost by it."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect
from tests.browser.bus import ids, put, put_bytes, take
from tests.browser.dashboards import PATIENCE
from tests.browser.pages import fact, tile

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page
    from tests.browser.dashboards import Dashboard
    from tests.browser.pages import Faults
    from tests.support.admin import Admin, Names
    from tests.support.management import Management

MANY = 120


def open_queue(page: Page, dashboard: Dashboard, queue: str) -> None:
    """Open the page of a queue."""
    page.goto(f"{dashboard.url}/queue?vhost=%2F&name={queue}")
    expect(page.locator("h1")).to_contain_text(queue)


def open_messages(page: Page, dashboard: Dashboard, queue: str) -> Locator:
    """Open the page with the messages of a queue, and return these."""
    page.goto(f"{dashboard.url}/queue/messages?vhost=%2F&name={queue}")
    return page.locator("article.letter")


def test_many_queues(page: Page, dashboard: Dashboard, admin: Admin, name: str) -> None:
    """The broker filters, sorts and pages them. They end with their connection."""
    names = [f"{name}.{number:03}" for number in range(MANY)]
    for queue in names:
        admin.channel.queue_declare(queue, exclusive=True)
    for queue, number in ((names[17], 2), (names[99], 3)):
        for _ in range(number):
            put(admin, "", queue)
    for _ in range(2):
        admin.channel.basic_consume(names[42], lambda *_: None)

    page.goto(f"{dashboard.url}/queues")
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Filter").click()
    links = page.locator("#queues tbody td:first-child a")
    pager = page.get_by_role("navigation", name="Pages of the list")
    expect(pager).to_contain_text(f"Page 1 of 3, {MANY} in all")
    expect(links).to_have_text(names[:50])
    page.get_by_role("link", name="Next").click()
    expect(pager).to_contain_text("Page 2 of 3")
    expect(links).to_have_text(names[50:100])
    page.get_by_role("link", name="Next").click()
    expect(links).to_have_text(names[100:])
    expect(page.get_by_role("link", name="Next")).to_have_count(0)
    page.get_by_role("link", name="Previous").click()
    expect(links).to_have_text(names[50:100])

    # The table refreshes itself until RabbitMQ has counted; the filter stays.
    page.get_by_role("link", name="Ready").click()
    expect(links.first).to_have_text(names[99], timeout=PATIENCE)
    expect(links.nth(1)).to_have_text(names[17], timeout=PATIENCE)
    row = page.locator("#queues tbody tr").first.locator("td")
    expect(row.nth(2)).to_have_text("3")
    expect(row.nth(4)).to_have_text("0")
    expect(pager).to_contain_text(f"{MANY} in all")
    expect(page.get_by_role("columnheader", name="Ready")).to_have_attribute("aria-sort", "descending")
    page.get_by_role("link", name="Consumers", exact=True).click()
    expect(links.first).to_have_text(names[42], timeout=PATIENCE)
    expect(page.locator("#queues tbody tr").first.locator("td").nth(4)).to_have_text("2")
    page.get_by_label("Name").fill("no such queue")
    page.keyboard.press("Enter")
    expect(page.get_by_text("No queue has such a name.")).to_be_visible()
    admin.close()


def test_the_page_of_a_queue(
    page: Page, dashboard: Dashboard, admin: Admin, management: Management, name: str
) -> None:
    management.policy(f"^{name}$", name=f"policy-of-{name}", apply_to="queues", expires=600_000)
    admin.declare(name, **{"x-max-length": 1000})
    put(admin, "", name, properties={"timestamp": 1_700_000_000})
    put(admin, "amq.topic", f"{name}.second")
    open_queue(page, dashboard, name)
    expect(tile(page, "Ready")).to_have_text("2", timeout=PATIENCE)
    expect(tile(page, "With consumers")).to_have_text("0")
    expect(tile(page, "Consumers")).to_have_text("0")
    expect(page.get_by_text("Nobody consumes this queue, and 2 messages wait.")).to_be_visible()
    expect(fact(page, "Durable")).to_have_text("yes")
    expect(fact(page, "x-max-length")).to_have_text("1000")
    # RabbitMQ tells it some seconds later.
    expect(fact(page, "Policy")).to_have_text(f"policy-of-{name}", timeout=PATIENCE)
    bindings = page.locator("section[aria-labelledby=bound] li")
    expect(bindings).to_have_text(f"amq.topic with {name}.#")
    expect(page.locator("section[aria-labelledby=consumers]")).to_contain_text("None.")

    expect(fact(page, "Oldest message").locator("time")).to_have_attribute("datetime", "2023-11-14T22:13:20Z")

    admin.channel.basic_qos(prefetch_count=1)
    admin.channel.basic_consume(name, lambda *_: None, consumer_tag="slow")
    expect(tile(page, "With consumers")).to_have_text("1", timeout=PATIENCE)
    expect(tile(page, "Ready")).to_have_text("1")
    expect(page.get_by_text("Nobody consumes this queue")).to_have_count(0)
    expect(page.locator("section[aria-labelledby=consumers] td")).to_have_text(
        [re.compile("127.0.0.1:"), "slow", "1", "yes"]
    )
    bindings.get_by_role("link").click()
    expect(page.locator("h1")).to_contain_text("amq.topic")


def test_looking_takes_nothing(page: Page, dashboard: Dashboard, admin: Admin, queue: str) -> None:
    """The messages stay in their order; that they were handed out is told, on the page and by the broker."""
    sent = [put(admin, "", queue, number=number) for number in range(12)]
    letters = open_messages(page, dashboard, queue)
    expect(letters).to_have_count(10)
    for _ in range(2):
        assert fact(page, "Id").all_text_contents() == sent[:10]
        page.get_by_role("button", name="Look again").click()
    assert fact(page, "Redelivered").all_text_contents() == ["yes"] * 10
    expect(page.get_by_text("That marks them as redelivered")).to_be_visible()
    page.get_by_label("Show the first").fill("20")
    page.get_by_role("button", name="Look again").click()
    expect(letters).to_have_count(12)
    assert fact(page, "Id").all_text_contents() == sent
    assert fact(page, "Redelivered").all_text_contents() == [*["yes"] * 10, *["no"] * 2]
    expect(letters.nth(3).locator("pre")).to_have_text('{\n  "number": 3\n}')

    taken = take(admin, queue)
    assert ids(taken) == sent
    assert [one.body for one in taken] == [{"number": number} for number in range(12)]
    assert all(one.redelivered for one in taken)


def test_looking_into_a_quorum_queue(page: Page, dashboard: Dashboard, admin: Admin, name: str) -> None:
    admin.declare(name, **{"x-queue-type": "quorum"})
    sent = [put(admin, "", name, number=number) for number in range(3)]
    letters = open_messages(page, dashboard, name)
    expect(letters).to_have_count(3)
    expect(page.get_by_text("counts as a delivery")).to_be_visible()
    page.get_by_role("button", name="Look again").click()
    expect(letters).to_have_count(3)
    assert ids(take(admin, name)) == sent


def test_a_stream_is_not_looked_into(
    page: Page, dashboard: Dashboard, admin: Admin, name: str, faults: Faults
) -> None:
    admin.declare(name, **{"x-queue-type": "stream"})
    faults.expect("400")
    open_queue(page, dashboard, name)
    page.get_by_role("link", name="Look at its messages").click()
    expect(page.get_by_role("alert")).to_contain_text("fedora-messaging tail")


def test_looking_at_what_is_no_message(page: Page, dashboard: Dashboard, admin: Admin, queue: str) -> None:
    put_bytes(admin, "", queue, b"\xff\xfe\x00")
    put_bytes(admin, "", queue, "plain täxt".encode(), message_id=None, content_type=None)
    letters = open_messages(page, dashboard, queue)
    expect(letters.locator("pre")).to_have_text(["(3 bytes that are no text)", "plain täxt"])
    expect(fact(letters.nth(1), "Id")).to_have_text("none")


def test_taking_one(page: Page, dashboard: Dashboard, admin: Admin, queue: str) -> None:
    sent = [put(admin, "", queue, number=number) for number in range(3)]
    open_messages(page, dashboard, queue)
    page.get_by_role("button", name="Take the first message off the queue").click()
    expect(page.get_by_text("This message is no longer in the queue.")).to_be_visible()
    expect(page.locator("article.letter")).to_contain_text(sent[0])
    expect(page.locator("article.letter")).to_contain_text('"number": 0')
    assert ids(take(admin, queue)) == sent[1:]
    open_messages(page, dashboard, queue)
    expect(page.get_by_text("The queue has no message that is ready.")).to_be_visible()


def test_deleting_messages_asks_first(page: Page, dashboard: Dashboard, admin: Admin, queue: str) -> None:
    for number in range(3):
        put(admin, "", queue, number=number)
    open_queue(page, dashboard, queue)
    page.get_by_role("link", name="Delete its messages").click()
    expect(page.locator("h1")).to_have_text(f"Delete all messages of the queue {queue}?")
    page.get_by_role("link", name="Keep it").click()
    expect(page.locator("h1")).to_contain_text(queue)
    assert admin.ready(queue) == 3
    page.get_by_role("link", name="Delete its messages").click()
    page.get_by_role("button", name="Delete the messages").click()
    expect(page.get_by_role("status")).to_have_text("The messages are deleted.")
    assert admin.ready(queue) == 0


def test_deleting_a_queue_asks_first(page: Page, dashboard: Dashboard, admin: Admin, queue: str) -> None:
    put(admin, "", queue)
    open_queue(page, dashboard, queue)
    expect(tile(page, "Ready")).to_have_text("1", timeout=PATIENCE)
    page.get_by_role("link", name="Delete the queue").click()
    expect(page.locator("h1")).to_have_text(f"Delete the queue {queue}?")
    expect(page.get_by_text("It has 1 message and 0 consumers.")).to_be_visible()
    page.get_by_role("link", name="Keep it").click()
    assert admin.ready(queue) == 1
    page.get_by_role("link", name="Delete the queue").click()
    page.get_by_role("button", name="Delete the queue").click()
    expect(page.get_by_role("status")).to_have_text("The queue is deleted.")
    page.get_by_label("Name").fill(queue)
    page.keyboard.press("Enter")
    expect(page.get_by_text("No queue has such a name.")).to_be_visible()


def test_moving_messages_to_another_queue(
    page: Page, dashboard: Dashboard, admin: Admin, names: Names
) -> None:
    queue, target = admin.declare(names()), admin.declare(names("target"))
    sent = [
        put(
            admin, "amq.topic", f"{queue}.a", properties={"priority": 3}, headers={"n": number}, number=number
        )
        for number in range(5)
    ]
    open_queue(page, dashboard, queue)
    page.get_by_label("To the queue").fill(target)
    page.get_by_role("button", name="Move").click()
    expect(page.get_by_role("status")).to_have_text(f"5 messages moved to {target}.")
    taken = take(admin, target)
    assert ids(taken) == sent
    assert [(one.body, one.headers["n"]) for one in taken] == [({"number": n}, n) for n in range(5)]
    assert not take(admin, queue)


@pytest.mark.parametrize("target", ["itself", "missing"])
def test_moving_messages_nowhere(
    page: Page, dashboard: Dashboard, admin: Admin, queue: str, faults: Faults, target: str
) -> None:
    sent = [put(admin, "", queue, number=number) for number in range(3)]
    faults.expect("40[04]")
    open_queue(page, dashboard, queue)
    page.get_by_label("To the queue").fill(queue if target == "itself" else f"{queue}.none")
    page.get_by_role("button", name="Move").click()
    expect(page.get_by_role("alert")).to_be_visible()
    assert ids(take(admin, queue)) == sent


def test_a_queue_that_is_gone(page: Page, dashboard: Dashboard, name: str, faults: Faults) -> None:
    faults.expect("404")
    page.goto(f"{dashboard.url}/queue?vhost=%2F&name={name}")
    expect(page.locator("h1")).to_have_text("That did not work")


def test_the_overview_leads_to_what_it_tells(
    page: Page, dashboard: Dashboard, admin: Admin, name: str
) -> None:
    """The numbers are those of the whole broker, which other tests may use."""
    queue = admin.declare(name)
    for _ in range(7):
        put(admin, "", queue)
    page.goto(f"{dashboard.url}/")
    waiting = page.locator("section[aria-labelledby=fill] tr", has_text=queue)
    expect(waiting.locator("td").nth(1)).to_have_text("7", timeout=PATIENCE)
    expect(waiting).to_contain_text("nobody consumes it")
    for title, path in {
        "In": "/exchanges",
        "Out": "/queues?sort=out",
        "Waiting in queues": "/queues?sort=messages",
        "Discarded for want of a queue": "/exchanges",
        "Queues": "/queues",
        "Consumers": "/consumers",
        "Connections": "/connections",
    }.items():
        link = tile(page, title).get_by_role("link")
        expect(link).to_have_attribute("href", path)
        expect(link).to_have_text(re.compile(r"^\d[\d\u202f.]*(/s)?$"))
    assert int(tile(page, "Queues").inner_text().replace("\u202f", "")) >= 1
    assert int(tile(page, "Connections").inner_text()) >= 1
    waiting.get_by_role("link").click()
    expect(page.locator("h1")).to_contain_text(queue)


def test_plots_are_drawn(page: Page, dashboard: Dashboard, admin: Admin, queue: str) -> None:
    """A broker measures for some seconds before there is a line to draw."""
    put(admin, "", queue)

    def is_drawn() -> bool:
        open_queue(page, dashboard, queue)
        return page.locator(".plot canvas").count() == 2

    deadline = time.monotonic() + PATIENCE / 1000
    while not is_drawn():
        assert time.monotonic() < deadline, "there is no plot yet"
    expect(page.get_by_role("img", name="Plot: Waiting")).to_be_visible()
    expect(page.get_by_role("img", name="Plot: Messages")).to_be_visible()
