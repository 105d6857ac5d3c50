"""What a person does with the pages, on the embedded broker and on RabbitMQ, in a real browser."""

from __future__ import annotations

import json
import re
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pika
import pytest
from playwright.sync_api import expect
from tests.browser.dashboards import KINDS, beside_broker, for_rabbitmq
from tests.browser.pages import assert_accessible, assert_fits
from tests.support.processes import Processes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pika.adapters.blocking_connection import BlockingChannel
    from playwright.sync_api import Page
    from tests.browser.dashboards import Dashboard
    from tests.browser.pages import Faults, Pages

#: Milliseconds for RabbitMQ, whose numbers are up to five seconds old, and for a page to ask for them.
PATIENCE = 30_000
SCRIPT = "<script>alert(1)</script>"
#: What becomes a script, or an attribute, where somebody forgets to escape.
HOSTILE = f'"><img src=x onerror=alert(2)>{SCRIPT}{{{{7*7}}}}\u202e'


@pytest.fixture(scope="module", params=KINDS)
def dashboard(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Dashboard]:
    """A dashboard with which one may change things."""
    with Processes(tmp_path_factory.mktemp("dashboard")) as processes:
        if request.param == "rabbitmq":
            yield for_rabbitmq(processes, request.getfixturevalue("rabbitmq"), "--allow-changes")
        else:
            yield beside_broker(processes, "--allow-changes")


@contextmanager
def channel_to(dashboard: Dashboard) -> Iterator[BlockingChannel]:
    connection = pika.BlockingConnection(pika.URLParameters(dashboard.amqp_url))
    channel = connection.channel()
    channel.confirm_delivery()
    try:
        yield channel
    finally:
        connection.close()


@pytest.fixture
def channel(dashboard: Dashboard) -> Iterator[BlockingChannel]:
    """A channel of another program."""
    with channel_to(dashboard) as opened:
        yield opened


@pytest.fixture
def queue(channel: BlockingChannel) -> Iterator[str]:
    """A queue of the test."""
    name = f"page-{uuid.uuid4()}"
    channel.queue_declare(name, durable=True)
    yield name
    channel.queue_delete(name)


def put(channel: BlockingChannel, exchange: str, key: str, **body: Any) -> str:
    """Publish a message, and return its id."""
    id = str(uuid.uuid4())
    headers = {"fedora_messaging_schema": "base.message", "fedora_messaging_severity": 20}
    channel.basic_publish(
        exchange,
        key,
        json.dumps(body).encode(),
        pika.BasicProperties(
            message_id=id,
            headers=headers,
            content_type="application/json",
            content_encoding="utf-8",
            delivery_mode=2,
        ),
    )
    return id


def take(channel: BlockingChannel, queue: str) -> tuple[str, Any] | None:
    """Take a message off a queue; return its id and body."""
    method, properties, body = channel.basic_get(queue, auto_ack=True)
    return None if method is None else (str(properties.message_id), json.loads(body))


def test_a_message_without_a_queue_is_discarded(
    page: Page, dashboard: Dashboard, channel: BlockingChannel, queue: str
) -> None:
    """The first lesson: nobody listens, so it is discarded; then somebody does, and it goes through."""
    exchange = f"lesson-{uuid.uuid4()}"
    channel.exchange_declare(exchange, "topic", durable=True)
    put(channel, exchange, "hello.world")
    page.goto(f"{dashboard.url}/exchange?vhost=%2F&name={exchange}")
    flow = page.locator("#flow-text")
    expect(flow).to_have_text("1 in, 0 to queues, 1 discarded", timeout=PATIENCE)
    expect(page.get_by_text("Nothing is bound here")).to_be_visible()
    page.goto(f"{dashboard.url}/exchanges?name={exchange}")
    expect(page.locator("#exchanges tbody tr")).to_contain_text([exchange])
    expect(page.locator("#exchanges tbody td.num")).to_have_text(["1", "0", "1", re.compile("/s")])

    channel.queue_bind(queue, exchange, "hello.#")
    put(channel, exchange, "hello.world")
    page.get_by_role("link", name=exchange).click()
    expect(page.locator("#flow-text")).to_have_text(
        re.compile(r"2 in, 1 to queues, 1( to 2)? discarded"), timeout=PATIENCE
    )
    expect(page.get_by_role("link", name=queue).first).to_be_visible(timeout=PATIENCE)
    expect(page.locator("svg.bindings .keys")).to_have_text("hello.#")

    for key, expected in (("hello.you.too", f"{queue} by hello.#"), ("goodbye", "No queue")):
        page.get_by_role("textbox", name="Routing key").fill(key)
        page.get_by_role("button", name="Ask").click()
        expect(page.locator("#reached")).to_contain_text(expected)
    channel.exchange_delete(exchange)


def test_publishing_a_message(
    page: Page, dashboard: Dashboard, channel: BlockingChannel, queue: str, faults: Faults
) -> None:
    """Before any test looks at the live feed, whose queue would take the message that nobody else wants."""
    channel.queue_bind(queue, "amq.topic", queue)
    page.goto(f"{dashboard.url}/publish?schema=base.message&topic={queue}")
    body = page.get_by_label("Body, a JSON object")
    body.fill("[1]")
    expect(page.locator("#check")).to_contain_text("no object")
    body.fill('{"answer": 42}')
    expect(page.locator("#check")).to_have_text("This is a valid message.")
    page.get_by_role("button", name="Publish").click()
    expect(page.get_by_text("Published.")).to_be_visible()
    taken = take(channel, queue)
    assert taken is not None
    assert taken[1] == {"answer": 42}

    page.get_by_label("Topic").fill(f"{queue}.elsewhere")
    page.get_by_role("button", name="Publish").click()
    expect(page.get_by_text("Published, but discarded")).to_be_visible()


def test_the_live_feed_shows_what_passes(
    page: Page, dashboard: Dashboard, channel: BlockingChannel, faults: Faults
) -> None:
    topic = f"live.{uuid.uuid4()}"
    page.goto(f"{dashboard.url}/live?topic={topic}.%23")
    expect(page.locator("#stream-state")).to_have_text("Listening")
    put(channel, "amq.topic", f"other.{uuid.uuid4()}")
    id = put(channel, "amq.topic", f"{topic}.first", note="a word")
    line = page.locator("#live .line")
    expect(line).to_have_count(1)
    expect(line).to_contain_text(f"{topic}.first")

    page.get_by_role("button", name="Pause").click()
    put(channel, "amq.topic", f"{topic}.second")
    expect(page.locator("#stream-state")).to_have_text("Paused, 1 new")
    expect(line).to_have_count(1)
    page.get_by_role("button", name="Go on").click()
    expect(line).to_have_count(2)

    page.get_by_role("link", name=f"{topic}.first").click()
    expect(page).to_have_url(re.compile(f"/message\\?id={id}$"))
    expect(page.locator("main")).to_contain_text("a word")
    expect(page.get_by_text("valid", exact=True)).to_be_visible()
    # The stream of the page that was left.
    page.close()


def test_looking_into_a_queue_takes_nothing(
    page: Page, dashboard: Dashboard, channel: BlockingChannel, queue: str
) -> None:
    ids = [put(channel, "", queue, number=number) for number in range(3)]
    page.goto(f"{dashboard.url}/queue/messages?vhost=%2F&name={queue}")
    articles = page.locator("article.letter")
    expect(articles).to_have_count(3)
    for place, id in enumerate(ids):
        expect(articles.nth(place)).to_contain_text(id)
    assert [take(channel, queue) for _ in range(3)] == [(id, {"number": n}) for n, id in enumerate(ids)]


def test_deleting_messages_asks_first(
    page: Page, dashboard: Dashboard, channel: BlockingChannel, queue: str
) -> None:
    put(channel, "", queue)
    address = f"{dashboard.url}/queue?vhost=%2F&name={queue}"
    page.goto(address)
    page.get_by_role("link", name="Delete its messages").click()
    page.get_by_role("link", name="Keep it").click()
    assert channel.queue_declare(queue, passive=True).method.message_count == 1
    page.get_by_role("link", name="Delete its messages").click()
    page.get_by_role("button", name="Delete the messages").click()
    expect(page.get_by_role("status")).to_have_text("The messages are deleted.")
    assert channel.queue_declare(queue, passive=True).method.message_count == 0


def test_moving_messages_to_another_queue(
    page: Page, dashboard: Dashboard, channel: BlockingChannel, queue: str
) -> None:
    ids = [put(channel, "", queue, number=number) for number in range(3)]
    target = f"{queue}-target"
    channel.queue_declare(target, durable=True)
    page.goto(f"{dashboard.url}/queue?vhost=%2F&name={queue}")
    page.get_by_label("To the queue").fill(target)
    page.get_by_role("button", name="Move").click()
    expect(page.get_by_role("status")).to_have_text(f"3 messages moved to {target}.")
    assert [take(channel, target) for _ in range(3)] == [(id, {"number": n}) for n, id in enumerate(ids)]
    channel.queue_delete(target)


def test_dead_letters_go_back_one_edited_and_the_rest(
    page: Page, dashboard: Dashboard, channel: BlockingChannel, queue: str
) -> None:
    dead = f"{queue}-dead"
    channel.queue_declare(dead, durable=True)
    origin = f"{queue}-origin"
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
    channel.queue_declare(origin, durable=True, arguments=arguments)
    ids = [put(channel, "", origin, number=number) for number in range(3)]
    for _ in ids:
        method, _properties, _body = channel.basic_get(origin)
        assert method is not None
        channel.basic_nack(method.delivery_tag or 0, requeue=False)
    page.goto(f"{dashboard.url}/queue/messages?vhost=%2F&name={dead}")
    first = page.locator("article.letter").first
    expect(first).to_contain_text("rejected")
    expect(first.get_by_role("link", name=origin)).to_be_visible()

    page.locator(f'input[name="id"][value="{ids[1]}"]').check()
    page.get_by_text("Edit the body").click()
    page.get_by_label("New body").fill('{"number": "edited"}')
    page.get_by_role("button", name="Send back what is chosen").click()
    expect(page.get_by_role("status")).to_have_text("1 message sent back to be tried again.")
    assert take(channel, origin) == (ids[1], {"number": "edited"})
    expect(page.locator("article.letter")).to_have_count(2)

    page.get_by_role("button", name="Send back all").click()
    expect(page.get_by_role("status")).to_have_text("2 messages sent back to be tried again.")
    taken = [take(channel, origin) for _ in range(2)]
    assert taken == [(ids[0], {"number": 0}), (ids[2], {"number": 2})]
    for name in (dead, origin):
        channel.queue_delete(name)


def test_nothing_that_is_stored_becomes_a_script(
    page: Page, dashboard: Dashboard, channel: BlockingChannel
) -> None:
    """The page fixture fails the test for a dialog, a violation of the policy or a request to elsewhere."""
    name = f"{HOSTILE}{uuid.uuid4()}"
    channel.queue_declare(name, durable=True, arguments={"x-max-length": 10})
    channel.queue_bind(name, "amq.topic", HOSTILE, arguments={HOSTILE: HOSTILE})
    page.goto(f"{dashboard.url}/live")
    expect(page.locator("#stream-state")).to_have_text("Listening")
    id = put(channel, "amq.topic", HOSTILE, **{HOSTILE: [HOSTILE, {"<b>": HOSTILE}]})
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
    channel.queue_delete(name)


PAGES = {
    "overview": "/",
    "exchanges": "/exchanges",
    "exchange": "/exchange?vhost=%2F&name=amq.topic&key=a.b",
    "queues": "/queues",
    "connections": "/connections",
    "consumers": "/consumers",
    "live": "/live",
    "search": "/search",
    "schemas": "/schemas",
    "schema": "/schema?name=bodhi.update.comment.v1",
    "publish": "/publish",
    "login": "/login",
}


@pytest.mark.parametrize("name", PAGES)
def test_pages_suit_everybody(
    pages: Pages,
    dashboard: Dashboard,
    name: str,
    screenshot: Callable[[Page, str], Path],
) -> None:
    """In light and dark, on a phone, and without JavaScript."""
    for kind, opened in (("light", pages.open()), ("dark", pages.dark()), ("phone", pages.phone())):
        opened.goto(f"{dashboard.url}{PAGES[name]}")
        assert_accessible(opened)
        if kind == "phone":
            assert_fits(opened)
        screenshot(opened, f"{name}-{kind}")
        opened.close()
    plain = pages.without_javascript()
    plain.goto(f"{dashboard.url}{PAGES[name]}")
    expect(plain.locator("h1")).to_be_visible()
    plain.close()


def test_the_first_view_is_light(page: Page, dashboard: Dashboard) -> None:
    sizes: list[int] = []
    page.on("response", lambda response: sizes.append(len(response.body())))
    page.goto(f"{dashboard.url}/")
    page.wait_for_load_state("networkidle")
    assert 0 < sum(sizes) < 150_000


def test_the_keyboard_is_enough(page: Page, dashboard: Dashboard) -> None:
    page.goto(f"{dashboard.url}/queues")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="To the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_label("Name")).to_be_focused()
    page.keyboard.type("no such queue")
    page.keyboard.press("Enter")
    expect(page.get_by_text("No queue has such a name.")).to_be_visible()
