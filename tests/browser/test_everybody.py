"""Pages suit everybody: in the light and in the dark, on a phone, by keyboard, for screen readers."""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import expect
from tests.browser.bus import put, put_sample, samples
from tests.browser.dashboards import PATIENCE, beside_broker
from tests.browser.pages import assert_accessible, assert_fits
from tests.support.admin import Admin, connect
from tests.support.processes import Processes
from tests.support.waiting import eventually

from fedora_messaging.message import ERROR, INFO, WARNING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Page, Request
    from tests.browser.dashboards import Dashboard
    from tests.browser.pages import Pages

#: Bytes of everything that the first page needs.
FIRST_VIEW: Final = 150_000
QUEUES: Final = {
    "updates": "org.fedoraproject.*.bodhi.#",
    "builds": "org.fedoraproject.*.buildsys.#",
    "all": "#",
}
FAILING: Final = """
def save(message):
    raise OSError("[Errno 28] No space left on device: '/srv/updates/index.json'")
"""
CONFIGURATION: Final = """
[[bindings]]
queue = "tickets"
exchange = "amq.topic"
routing_keys = ["io.pagure.#", "org.fedoraproject.*.pagure.#"]

[queues.tickets]
durable = true
auto_delete = false
exclusive = false
arguments = {}

[consumer.retry]
attempts = 2
delay = 0.05

[consumer.dead_letter]
queue = "tickets.dead"
"""


class Scene:
    """A bus on which something happens.

    Attributes:
        dashboard: Shows it.
        pages: The address of each page, by name.
    """

    def __init__(self, dashboard: Dashboard) -> None:
        self.dashboard = dashboard
        self.pages = {
            "overview": "/",
            "exchanges": "/exchanges",
            "exchange": "/exchange?vhost=%2F&name=amq.topic&key=org.fedoraproject.prod.bodhi.update.comment",
            "queues": "/queues",
            "queue": "/queue?vhost=%2F&name=updates",
            "peek": "/queue/messages?vhost=%2F&name=updates&number=3",
            "dead-letters": "/queue/messages?vhost=%2F&name=tickets.dead",
            "question": "/queue/confirm?vhost=%2F&name=updates&action=purge",
            "connections": "/connections",
            "consumers": "/consumers",
            "live": "/live",
            "search": "/search?text=heronctl",
            "schemas": "/schemas?name=bodhi.update",
            "schema": "/schema?name=bodhi.update.comment.v1",
            "publish": "/publish?schema=bodhi.update.comment.v1",
            "login": "/login",
        }

    def address(self, page: str) -> str:
        """Return the address of a page."""
        return f"{self.dashboard.url}{self.pages[page]}"


PAGES: Final = (
    *(
        "overview",
        "exchanges",
        "exchange",
        "queues",
        "queue",
        "peek",
        "dead-letters",
        "question",
        "connections",
    ),
    *(
        "connection",
        "consumers",
        "live",
        "search",
        "message",
        "wrong-message",
        "schemas",
        "schema",
        "publish",
    ),
    "login",
)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """An embedded broker with queues, of which one has no consumer, dead letters and an archive.

    Pages look the same for RabbitMQ.
    """
    directory = tmp_path_factory.mktemp("scene")
    archive = "archive.db"
    (directory / "tickets.py").write_text(FAILING)
    (directory / "config.toml").write_text(CONFIGURATION)
    (directory / "none.jsonl").touch()
    with ExitStack() as stack:
        processes = stack.enter_context(Processes(directory))
        made = processes.run("archive", "import", "--archive", archive, "none.jsonl")
        assert made.status == 0, made.output
        dashboard = beside_broker(processes, "--archive", archive, "--allow-changes")
        processes.variables["FEDORA_MESSAGING_AMQP_URL"] = dashboard.amqp_url
        scene = Scene(dashboard)
        admin = Admin(dashboard.amqp_url)
        stack.callback(admin.close)
        put(admin, "amq.topic", "org.fedoraproject.prod.bodhi.early")
        for queue, pattern in QUEUES.items():
            admin.channel.queue_declare(queue, durable=True)
            admin.channel.queue_bind(queue, "amq.topic", pattern)
        recorder = processes.fedora_messaging("archive", "run", "--archive", archive)
        recorder.wait_for("Archiving")
        failing = processes.fedora_messaging(
            "consume", "--callback=tickets:save", FEDORA_MESSAGING_CONF="config.toml"
        )
        failing.wait_for("Successfully registered Consumer")
        eventually(lambda: "archive" in _consumed(dashboard))
        properties = {"connection_name": "index builder", "product": "fedora-messaging", "version": "3.10.0"}
        client = stack.enter_context(connect(dashboard.amqp_url, client_properties=properties))
        channel = client.channel()
        channel.basic_qos(prefetch_count=5)
        channel.basic_consume("builds", lambda *_: None)
        severities = itertools.cycle([INFO, INFO, WARNING, INFO, ERROR])
        sent = {one["topic"]: put_sample(admin, one, severity=next(severities)) for one in samples()}
        wrong = put(
            admin,
            "amq.topic",
            "org.fedoraproject.prod.bodhi.wrong",
            schema="bodhi.update.comment.v1",
            comment=5,
        )
        scene.pages["message"] = f"/message?id={sent['org.fedoraproject.prod.bodhi.update.comment']}"
        scene.pages["wrong-message"] = f"/message?id={wrong}"
        name = next(one["name"] for one in _ask(dashboard, "connections") if "index" in str(one))
        scene.pages["connection"] = f"/connection?name={quote(name)}"
        eventually(lambda: admin.ready("all") > len(samples()))
        eventually(lambda: _ask(dashboard, "queues/%2F/tickets")["messages"] == 0)
        yield scene


def _ask(dashboard: Dashboard, path: str) -> Any:
    return httpx.get(f"{dashboard.management_url}/api/{path}", trust_env=False).json()


def _consumed(dashboard: Dashboard) -> set[str]:
    return {one["queue"]["name"] for one in _ask(dashboard, "consumers")}


@pytest.mark.parametrize("name", PAGES)
def test_a_page(pages: Pages, scene: Scene, name: str, screenshot: Callable[[Page, str], Path]) -> None:
    for kind, page in (("light", pages.open()), ("dark", pages.dark()), ("phone", pages.phone())):
        page.goto(scene.address(name))
        expect(page.locator("h1")).to_be_visible()
        # In the dark only the colours are others.
        assert_accessible(page, *(["color-contrast"] if kind == "dark" else []))
        if kind == "phone":
            assert_fits(page)
        screenshot(page, f"{name}-{kind}")
        page.close()


def test_without_javascript(pages: Pages, scene: Scene) -> None:
    page = pages.without_javascript()
    for name in PAGES:
        page.goto(scene.address(name))
        expect(page.locator("h1")).to_be_visible()


def test_the_first_view_is_light(page: Page, scene: Scene) -> None:
    sizes: list[int] = []

    def count(request: Request) -> None:
        sizes.append(request.sizes()["responseHeadersSize"] + request.sizes()["responseBodySize"])

    page.on("requestfinished", count)
    page.goto(scene.address("overview"))
    page.locator("canvas").first.wait_for()
    assert len(sizes) > 3
    assert sum(sizes) < FIRST_VIEW


#: What the keyboard must reach, and mouse users press: all that is not disabled or hidden.
ACTIONS: Final = "a[href], button:enabled, input:not([type=hidden]):enabled, select, textarea, summary"


@pytest.mark.parametrize("name", PAGES)
def test_the_keyboard_reaches_everything(page: Page, scene: Scene, name: str) -> None:
    """Each link, button and field gets the focus in the order of the page, and shows that it has it."""
    page.goto(scene.address(name))
    if name != "live":  # which always waits for more
        page.wait_for_load_state("networkidle")
    # No answer comes any more, or what it replaces would have to be reached again.
    page.route("**/*", lambda _route: None)
    wanted = page.evaluate(
        f"""() => [...document.querySelectorAll({ACTIONS!r})]
            .filter((one) => one.checkVisibility() && !one.closest("details:not([open]) > :not(summary)"))
            .map((one, place) => {{ one.dataset.place = place; return place; }})"""
    )
    reached, invisible = [], []
    for _ in range(3 * len(wanted) + 10):
        page.keyboard.press("Tab")
        place, is_shown, what = page.evaluate(
            """() => {
                const e = document.activeElement, style = getComputedStyle(e);
                const box = e.getBoundingClientRect();
                const shown = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2
                    && box.width > 0 && box.right > 0;
                return [e.dataset.place ?? null, shown || e === document.body, e.outerHTML.slice(0, 200)];
            }"""
        )
        if place is not None:
            if int(place) in reached:
                break
            reached.append(int(place))
        if not is_shown:
            invisible.append(what)
    assert not invisible
    assert reached == wanted


def test_skipping_the_menu(page: Page, scene: Scene) -> None:
    page.goto(scene.address("queues"))
    page.keyboard.press("Tab")
    link = page.get_by_role("link", name="To the content")
    expect(link).to_be_focused()
    expect(link).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_label("Name")).to_be_focused()
    page.keyboard.type("no such queue")
    page.keyboard.press("Enter")
    expect(page.get_by_text("No queue has such a name.")).to_be_visible()


#: A link in a part of each page that refreshes itself.
REFRESHED: Final = {
    "overview": "#overview .tiles a >> nth=2",
    "exchanges": "#exchanges a >> text=amq.topic",
    "exchange": "#flow table a >> text=updates",
    "queues": "#queues a >> text=updates",
    "connections": "#connections a >> text=index builder",
}


@pytest.mark.parametrize("name", REFRESHED)
def test_a_refresh_keeps_the_focus(page: Page, scene: Scene, name: str) -> None:
    """Who uses a page by keyboard, or hears it, must not be sent back to its top every few seconds."""
    page.goto(scene.address(name))
    link = page.locator(REFRESHED[name])
    link.focus()
    expect(link).to_be_focused()
    # A mark on what is replaced.
    page.evaluate("() => document.activeElement.dataset.old = 'yes'")
    expect(page.locator("[data-old]")).to_have_count(0, timeout=PATIENCE)
    expect(link).to_be_focused()


def test_everything_can_be_done_by_keyboard(page: Page, scene: Scene) -> None:
    """Look at a queue, and be asked before its messages are deleted."""
    page.goto(scene.address("queue"))
    for name in ("Delete its messages …", "Keep it", "Look at its messages"):
        page.get_by_role("link", name=name).focus()
        page.keyboard.press("Enter")
        page.get_by_role("link", name=name).wait_for(state="detached")
    expect(page.locator("h1")).to_have_text("Messages in updates")
    headers = page.locator("summary", has_text="Headers").first
    headers.focus()
    page.keyboard.press("Enter")
    expect(page.locator("article.letter details").first).to_contain_text("fedora_messaging_schema")
    page.get_by_role("checkbox").first.focus()
    page.keyboard.press("Space")
    expect(page.get_by_role("checkbox").first).to_be_checked()


def test_a_table_on_a_phone(phone_page: Page, scene: Scene) -> None:
    """Wide tables scroll by themselves, by touch and by keyboard."""
    phone_page.goto(scene.address("queues"))
    table = phone_page.get_by_role("region", name="Queues")
    table.focus()
    phone_page.keyboard.press("ArrowRight")
    phone_page.wait_for_function("() => document.querySelector('.scroll').scrollLeft > 0")
    # It stays where it was when it is renewed.
    phone_page.evaluate("() => document.querySelector('.scroll table').dataset.old = 'yes'")
    expect(phone_page.locator("[data-old]")).to_have_count(0, timeout=PATIENCE)
    assert phone_page.evaluate("() => document.querySelector('.scroll').scrollLeft") > 0
