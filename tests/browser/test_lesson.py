"""What the tutorial teaches can be seen: what happens to a message, and where the next one would go."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import pytest
from playwright.sync_api import expect
from tests.browser.bus import put
from tests.browser.dashboards import PATIENCE
from tests.browser.pages import tile
from tests.tutorial.conftest import Tutorial

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Locator, Page
    from tests.browser.dashboards import Dashboard
    from tests.support.admin import Admin, Names
    from tests.support.management import Management

#: Exchanges by label: type, arguments, and bindings as pairs of a routing key and a label; labels in capitals
#: are exchanges, others queues.
EXCHANGES: Final[dict[str, tuple[str, dict[str, str], list[tuple[str, str]]]]] = {
    "TOPIC": ("topic", {}, [("a.*", "star"), ("a.#", "hash"), ("#", "all"), ("*.b", "b"), ("", "empty")]),
    "DIRECT": ("direct", {}, [("a", "one"), ("a", "two"), ("#", "literal")]),
    "FANOUT": ("fanout", {}, [("", "one"), ("ignored", "two")]),
    "NOBODY": ("topic", {}, []),
    "CHAIN": ("topic", {}, [("a.#", "MIDDLE"), ("a.b", "direct"), ("loop", "CHAIN")]),
    "MIDDLE": ("direct", {}, [("a.b", "END"), ("a.c", "middle"), ("loop", "CHAIN")]),
    "END": ("fanout", {}, [("", "end")]),
    "ALTERNATE": ("topic", {"alternate-exchange": "OTHER"}, [("a.*", "first"), ("e.*", "NOBODY")]),
    "OTHER": ("direct", {"alternate-exchange": "LAST"}, [("b", "second"), ("e.e", "second")]),
    "LAST": ("fanout", {}, [("", "third")]),
    "BEHIND": ("topic", {}, [("#", "ALTERNATE")]),
}
QUESTIONS: Final = [
    *(("TOPIC", key) for key in ("a", "a.b", "a.b.c", "c.b", "", "a.", "*.b", "é.b")),
    *(("DIRECT", key) for key in ("a", "b", "#")),
    *(("FANOUT", key) for key in ("", "anything")),
    ("NOBODY", "a"),
    *(("CHAIN", key) for key in ("a.b", "a.c", "a.d", "loop")),
    *(("ALTERNATE", key) for key in ("a.a", "b", "c", "e.e")),
    *(("BEHIND", key) for key in ("a.a", "b", "e.e")),
]


def publish_until_counted(tutorial: Tutorial, text: str, flow: Locator) -> int:
    """Publish a message, and return how many the page counts then.

    RabbitMQ sometimes leaves out what came from a channel that closed soon; then publish once more.
    """
    before = flow.inner_text()
    for _ in range(5):
        tutorial.publish(text)
        with suppress(AssertionError):
            expect(flow).not_to_have_text(before, timeout=PATIENCE / 2)
            return int(flow.inner_text().split()[0])
    raise AssertionError(f"{before}, although messages were published")


def test_the_tutorial(page: Page, dashboard: Dashboard, management: Management, tmp_path: Path) -> None:
    """Nobody listens, so the first message is discarded; then somebody does, and the next one goes through.

    The page shows that while it stays open. In a virtual host of its own, amq.topic is as good as new.
    """
    vhost = management.vhost()
    tutorial = Tutorial(tmp_path, dashboard.amqp_url_of(vhost))
    with tutorial.processes:
        page.goto(f"{dashboard.url}/exchange?vhost={vhost}&name=amq.topic")
        flow = page.locator("#flow-text")
        expect(flow).to_have_text("0 in, 0 to queues, 0 discarded")
        expect(page.get_by_text("Nothing is bound here")).to_be_visible()

        lost = publish_until_counted(tutorial, "hello world", flow)
        expect(flow).to_have_text(f"{lost} in, 0 to queues, {lost} discarded")

        consumer = tutorial.consume()
        expect(page.locator("#flow tbody tr td")).to_have_text(
            ["tutorial.#", "tutorial", ""], timeout=PATIENCE
        )
        picture = page.get_by_role("img", name="Bindings of amq.topic")
        expect(picture.locator("text")).to_have_text(["tutorial.#", "tutorial", "amq.topic"])
        expect(page.get_by_text("Nothing is bound here")).to_have_count(0)

        total = publish_until_counted(tutorial, "hello again", flow)
        assert consumer.text() == "hello again"
        expect(flow).to_have_text(f"{total} in, {total - lost} to queues, {lost} discarded")

        page.get_by_role("navigation", name="Where you are").get_by_role("link").click()
        row = page.locator("#exchanges tbody tr", has=page.get_by_text(vhost)).filter(has_text="amq.topic")
        expect(row.locator("td")).to_have_text(
            [
                "amq.topic",
                "topic",
                f"{total}",
                f"{total - lost}",
                f"{lost}",
                re.compile(r"^\d+\.\d/s$"),
                vhost,
            ],
            timeout=PATIENCE,
        )
        row.get_by_role("link").click()
        page.locator("#flow").get_by_role("link", name="tutorial").click()
        expect(page.locator("h1")).to_contain_text("tutorial")
        expect(tile(page, "Consumers")).to_have_text("1", timeout=PATIENCE)
        # While it polls, it would miss the virtual host.
        page.goto("about:blank")
        consumer.stop()


@pytest.fixture
def made(admin: Admin, names: Names) -> dict[str, str]:
    """The names of `EXCHANGES` and their queues, by label."""
    labels = {*EXCHANGES, *(label for _, _, bindings in EXCHANGES.values() for _, label in bindings)}
    made = {label: names(label) for label in sorted(labels)}
    for label, (kind, arguments, _) in EXCHANGES.items():
        given = {name: made[value] for name, value in arguments.items()}
        admin.channel.exchange_declare(made[label], kind, durable=True, arguments=given)
    for label in labels - EXCHANGES.keys():
        admin.channel.queue_declare(made[label], durable=True)
    for source, (_, _, bindings) in EXCHANGES.items():
        for key, label in bindings:
            if label in EXCHANGES:
                admin.channel.exchange_bind(made[label], made[source], key)
            else:
                admin.channel.queue_bind(made[label], made[source], key)
    return made


def ask(page: Page, dashboard: Dashboard, exchange: str, key: str) -> set[str]:
    """Return which queues a routing key would reach as the page says."""
    page.goto(f"{dashboard.url}/exchange?vhost=%2F&name={exchange}&key={quote(key)}")
    answer = page.locator("#reached")
    expect(answer).to_be_visible()
    links = answer.get_by_role("link").all_text_contents()
    if not links:
        expect(answer).to_have_text("No queue: a message with this routing key would be discarded.")
    return set(links)


def test_which_queues_a_routing_key_reaches(
    page: Page, dashboard: Dashboard, admin: Admin, made: dict[str, str]
) -> None:
    """The answer is what really happens when a message is published."""
    labels = {name: label for label, name in made.items()}
    queues = [label for label in made if label not in EXCHANGES]
    told, true = {}, {}
    for exchange, key in QUESTIONS:
        told[exchange, key] = {labels[name] for name in ask(page, dashboard, made[exchange], key)}
        put(admin, made[exchange], key)
        true[exchange, key] = {label for label in queues if admin.take(made[label])}
    assert told == true


def test_a_policy_can_name_the_alternate_exchange(
    page: Page, dashboard: Dashboard, admin: Admin, names: Names, management: Management
) -> None:
    exchange, other, queue = names("exchange"), names("other"), names("queue")
    management.policy(f"^{exchange}$", apply_to="exchanges", alternate_exchange=other)
    admin.channel.exchange_declare(exchange, "topic", durable=True)
    admin.channel.exchange_declare(other, "fanout", durable=True)
    admin.channel.queue_declare(queue, durable=True)
    admin.channel.queue_bind(queue, other, "")
    assert ask(page, dashboard, exchange, "a") == {queue}
    expect(page.get_by_text("Through the alternate exchange.")).to_be_visible()
    put(admin, exchange, "a")
    assert len(admin.take(queue)) == 1


def test_asking_about_a_routing_key(page: Page, dashboard: Dashboard, admin: Admin, names: Names) -> None:
    exchange, queue = names("exchange"), names("queue")
    admin.channel.exchange_declare(exchange, "topic", durable=True)
    admin.channel.queue_declare(queue, durable=True)
    for key in ("a.#", "*.b"):
        admin.channel.queue_bind(queue, exchange, key)
    page.goto(f"{dashboard.url}/exchange?vhost=%2F&name={exchange}")
    expect(page.locator("#reached")).to_have_count(0)
    page.get_by_role("textbox", name="Routing key").fill("a.b")
    page.get_by_role("button", name="Ask").click()
    expect(page.locator("#reached li")).to_have_text(re.compile(rf"^{queue} by (a\.#, \*\.b|\*\.b, a\.#)$"))
    expect(page.get_by_role("textbox", name="Routing key")).to_have_value("a.b")
    page.locator("#reached").get_by_role("link").click()
    expect(page.locator("h1")).to_contain_text(queue)


def test_the_default_exchange_reaches_the_queue_of_that_name(
    page: Page, dashboard: Dashboard, admin: Admin, name: str
) -> None:
    admin.channel.queue_declare(name, durable=True)
    assert ask(page, dashboard, "", name) == {name}
    assert ask(page, dashboard, "", f"{name}.none") == set()


def test_an_exchange_that_looks_at_headers_is_not_guessed(
    page: Page, dashboard: Dashboard, admin: Admin, names: Names
) -> None:
    exchange, queue = names("headers"), names("queue")
    admin.channel.exchange_declare(exchange, "headers", durable=True)
    admin.channel.queue_declare(queue, durable=True)
    admin.channel.queue_bind(queue, exchange, "", {"x-match": "all", "team": "infra"})
    page.goto(f"{dashboard.url}/exchange?vhost=%2F&name={exchange}&key=a")
    expect(page.get_by_text(f"The exchange {exchange} decides by more than the routing key")).to_be_visible()
    expect(page.locator("#flow tbody code").last).to_contain_text('"team": "infra"')
    # It would be wrong to say that the message is lost.
    expect(page.get_by_text("would be discarded")).to_have_count(0)
