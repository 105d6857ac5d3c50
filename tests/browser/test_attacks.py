"""Other sites, and people who write messages, attack whoever looks at the pages, in a real browser."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pika
import pytest
from playwright.sync_api import expect
from tests.browser.dashboards import beside_broker
from tests.browser.site import Site, document
from tests.support.processes import Processes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pika.adapters.blocking_connection import BlockingChannel
    from playwright.sync_api import Page
    from tests.browser.dashboards import Dashboard
    from tests.browser.pages import Faults

#: Milliseconds for RabbitMQ, whose lists are some seconds old.
PATIENCE = 30_000
#: Anything may frame, load and send to anything: the other site is the attacker's.
NO_POLICY = "default-src * 'unsafe-inline' 'unsafe-eval' data: blob:; form-action *"
#: Each becomes a script, an attribute, another element or the address of a script where nobody escapes; the
#: last ones are for templates, for htmx and for what scripts write into the page.
CORPUS = [
    "<script>alert(1)</script>",
    "</script><script>alert(2)</script>",
    '"><img src=x onerror=alert(3)>',
    "'><svg/onload=alert(4)>",
    "\" onmouseover=alert(5) autofocus onfocus=alert(6) x='",
    "' onfocus='alert(7)' autofocus='",
    "</title></textarea></style></noscript></pre><svg onload=alert(8)>",
    "--><iframe srcdoc='<script>alert(9)</script>'>",
    "javascript:alert(10)",
    "&lt;script&gt;alert(11)&lt;/script&gt;&#x3c;img src=x onerror=alert(12)&#x3e;",
    "{{7*7}}${7*7}<%= 7*7 %>{% raw %}",
    '<p hx-get="/queues" hx-trigger="load" hx-on:load="alert(13)">',
    "<base href=//127.0.0.1:1/><meta http-equiv=refresh content=0;url=//127.0.0.1:1/>",
    "<form action=//127.0.0.1:1/><button name=csrf autofocus>",
    "</svg><math><mtext><style><img src=x onerror=alert(14)>",
    "data: x\n\nevent: dropped\ndata: {}\r\rid: 5",
    "\u202e\u2066right to left\u2069\x07\x1b[31m\x00\x9b\u2028\u2029\ufeff",
]
#: As much of it as a name of AMQP holds.
NAMES = [
    "".join(CORPUS[:5])[:180],
    "".join(CORPUS[5:9])[:180],
    "".join(CORPUS[9:13])[:200],
    "\u202e\u2066a\x07\x1b[31m",
]


@pytest.fixture
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    """The pages of an embedded broker that behaves like RabbitMQ 3.10."""
    with Processes(tmp_path_factory.mktemp("embedded")) as processes:
        yield beside_broker(processes, "--allow-changes", "--profile=3")


def manage(dashboard: Dashboard, method: str, path: str, **body: Any) -> Any:
    """Ask the management API, as the administrator of the test."""
    answer = httpx.request(
        method, f"{dashboard.management_url}/api/{path}", json=body or None, trust_env=False, timeout=30
    )
    answer.raise_for_status()
    return answer.json() if answer.content else None


def open_channel(dashboard: Dashboard, vhost: str = "/", **properties: str) -> BlockingChannel:
    parameters = pika.URLParameters(dashboard.amqp_url_of(vhost))
    parameters.heartbeat = 0
    parameters.client_properties = properties
    return pika.BlockingConnection(parameters).channel()


def publish(dashboard: Dashboard, queue: str) -> None:
    channel = open_channel(dashboard)
    channel.confirm_delivery()
    channel.basic_publish("", queue, b"{}")
    channel.connection.close()


def assert_harmless(page: Page) -> None:
    """Nothing that somebody wrote became an element; all its signs can be seen.

    The page's fixture fails the test for a dialog, a violation of the policy, an exception, or a request to
    another address.
    """
    strange = page.evaluate(
        """() => [...document.querySelectorAll('*')].filter((one) =>
            [...one.attributes].some((each) => each.name.startsWith('on') || each.name.startsWith('hx-on')
                || /[<>"'`]/.test(each.name)
                || (['href', 'src', 'action'].includes(each.name)
                    && /^\\s*(javascript|data|vbscript):/i.test(each.value)))
            || ['IMG', 'IFRAME', 'BASE', 'MATH', 'STYLE', 'OBJECT', 'EMBED'].includes(one.tagName)
            || (one.tagName === 'SCRIPT' && !/^\\/static\\//.test(one.getAttribute('src') || ''))
        ).map((one) => one.outerHTML.slice(0, 200))"""
    )
    assert strange == []
    moving = page.evaluate(
        "() => [...document.body.innerText.matchAll(/[^\\n\\t\\P{C}]|[\\u2028\\u2029]/gu)].map((m) => m[0])"
    )
    assert moving == [], [hex(ord(char[0])) for char in moving]


@pytest.fixture
def vhost(dashboard: Dashboard) -> Iterator[str]:
    """A virtual host with a hostile name."""
    name = f"{NAMES[1]}{uuid.uuid4().hex[:6]}"
    place = quote(name, safe="")
    manage(dashboard, "PUT", f"vhosts/{place}")
    everything = dict.fromkeys(("configure", "write", "read"), ".*")
    manage(dashboard, "PUT", f"permissions/{place}/guest", **everything)
    yield name
    manage(dashboard, "DELETE", f"vhosts/{place}")


def test_what_strangers_write_is_text_on_every_page(page: Page, dashboard: Dashboard, vhost: str) -> None:
    names = [f"{name}{uuid.uuid4().hex[:6]}" for name in NAMES]
    headers: dict[str, Any] = {
        "fedora_messaging_schema": "base.message",
        "fedora_messaging_severity": 20,
        **{hostile[:100]: hostile for hostile in CORPUS},
        "nested": {CORPUS[0]: [CORPUS[2], {CORPUS[4]: CORPUS[3]}]},
        "x-death": [{"queue": names[0], "reason": CORPUS[2], "count": 1, "routing-keys": [CORPUS[4]]}],
    }
    body = {hostile: [hostile, {hostile: hostile}] for hostile in CORPUS}
    policy = {"pattern": "alert", "definition": {"max-length": 1000}, "apply-to": "queues"}
    manage(dashboard, "PUT", f"policies/{quote(vhost, safe='')}/{quote(names[0], safe='')}", **policy)
    properties = {"connection_name": CORPUS[2], "product": CORPUS[0], "version": CORPUS[4], "app": CORPUS[3]}
    channel = open_channel(dashboard, vhost, **properties, **{CORPUS[5]: CORPUS[6]})
    main = open_channel(dashboard)
    for name in names:
        channel.exchange_declare(name, "topic")
        channel.queue_declare(name, arguments={"x-max-length": 5})
        channel.queue_bind(name, name, CORPUS[0] + name[:60], arguments={CORPUS[2]: CORPUS[4]})
    channel.basic_consume(names[2], lambda *_: None, consumer_tag=names[0])
    message = pika.BasicProperties(
        message_id=CORPUS[2], headers=headers, content_type="application/json", content_encoding="utf-8",
        app_id=CORPUS[0], type=CORPUS[4],
    )  # fmt: skip
    channel.basic_publish("", names[0], json.dumps(body).encode(), message)
    channel.basic_publish("", names[0], "".join(CORPUS).encode(), message)

    page.goto(f"{dashboard.url}/live")
    expect(page.locator("#stream-state")).to_have_text("Listening")
    ids = []
    for number, hostile in enumerate(CORPUS):
        ids.append(f"{hostile}-{uuid.uuid4()}"[-255:])
        each = pika.BasicProperties(
            message_id=ids[-1], headers={**headers, "fedora_messaging_user_<b>": True},
            content_type="application/json", content_encoding="utf-8", app_id=hostile,
        )  # fmt: skip
        text = json.dumps(body) if number % 2 else hostile
        main.basic_publish("amq.topic", hostile[:200], text.encode(), each)
    expect(page.locator("#live .line")).to_have_count(len(CORPUS), timeout=PATIENCE)
    assert_harmless(page)

    def at(path: str, **query: str) -> str:
        return f"{dashboard.url}{path}?" + "&".join(f"{key}={quote(query[key], safe='')}" for key in query)

    found: list[str] = []
    for _ in range(600):  # RabbitMQ's lists are some seconds old
        found = [each["name"] for each in manage(dashboard, "GET", "connections") if each["vhost"] == vhost]
        if found:
            break
        page.wait_for_timeout(100)
    (connection,) = found
    queue = {"vhost": vhost, "name": names[0]}
    pages = [at("/search"), at("/live"), at("/queues", sort="messages"), at("/exchanges"), at("/connections")]
    pages += [at("/consumers"), at("/"), at("/connection", name=connection), at("/login")]
    pages += [
        at("/connection/confirm", name=connection),
        at("/queue", **queue),
        at("/queue/messages", **queue),
    ]
    pages += [at("/queue/confirm", action=action, **queue) for action in ("purge", "delete")]
    pages += [at("/exchange", vhost=vhost, name=name, key=CORPUS[0] + name[:60]) for name in names]
    pages += [at("/message", id=id) for id in ids]
    for address in pages:
        page.goto(address)
        assert_harmless(page)
    for opened in (channel, main):
        opened.connection.close()


def test_what_an_address_says_is_text(page: Page, dashboard: Dashboard) -> None:
    """Anybody can make somebody else follow a link."""

    def at(path: str, **query: str) -> str:
        return f"{dashboard.url}{path}?" + "&".join(f"{key}={quote(query[key], safe='')}" for key in query)

    for hostile in CORPUS:
        for path in ("/queues", "/schemas"):
            page.goto(at(path, name=hostile, done=hostile, sort=hostile, page=hostile))
            assert_harmless(page)
        page.goto(at("/search", topic=hostile, text=hostile, user=hostile, package=hostile, app=hostile))
        assert_harmless(page)
        page.goto(at("/login", next=hostile, done=hostile))
        assert_harmless(page)
        assert page.locator('input[name="next"]').input_value() == "/"
        page.goto(at("/publish", topic=hostile, body=hostile))
        page.get_by_label("Body, a JSON object").press("End")
        page.keyboard.type(" ")
        expect(page.locator("#check .note")).to_be_visible()
        assert page.locator("main img, main script, main iframe").count() == 0


def test_error_pages_are_text(page: Page, faults: Faults, dashboard: Dashboard) -> None:
    faults.expect("console: Failed to load resource: .* (404|400)")
    for hostile in CORPUS:
        for path in (
            "/message?id=",
            "/queue?name=",
            "/schema?name=",
            "/publish?schema=",
            "/search?since=",
            "/",
        ):
            page.goto(f"{dashboard.url}{path}{quote(hostile, safe='')}")
            assert_harmless(page)


def test_answers_for_programs_are_no_pages(page: Page, faults: Faults, dashboard: Dashboard) -> None:
    """A browser that is led there shows text, whatever it says."""
    faults.expect("console: Failed to load resource: .* (404|400)")
    for hostile in CORPUS[:8]:
        for path in (
            "/v2/id?id=",
            "/v2/search?topic=",
            "/raw?meta=",
            "/api/v1/message?id=",
            "/api/v1/",
            "/charts/",
        ):
            answer = page.goto(f"{dashboard.url}{path}{quote(hostile, safe='')}")
            assert answer is not None
            assert answer.headers["content-type"].startswith("application/json")
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert page.locator("script, img, svg, iframe").count() == 0


def test_other_sites_change_nothing(page: Page, faults: Faults, dashboard: Dashboard) -> None:
    """By a form, by fetch, by a picture and by a frame; the other site is another port of this machine."""
    faults.expect("")  # each refused request is a fault of its own
    channel = open_channel(dashboard)
    queue = f"attacked-{uuid.uuid4()}"
    channel.queue_declare(queue, durable=True)
    channel.basic_publish("", queue, b"{}")
    page.goto(f"{dashboard.url}/queues")  # there is a cookie now
    fields = (
        f'<input name="name" value="{queue}"><input name="vhost" value="/"><input name="target" value="x">'
    )
    changes = ("/queue/purge", "/queue/delete", "/queue/get", "/queue/move", "/publish", "/login", "/logout")
    forms = "".join(
        f'<form method="post" action="{dashboard.url}{path}">{fields}<button>{path}</button></form>'
        for path in changes
    )
    with Site({"/": document(f"<h1>Attack</h1>{forms}")}, NO_POLICY) as other:
        for path in changes:
            page.goto(other.url)
            page.get_by_role("button", name=path, exact=True).click()
            expect(page.locator("body")).to_have_text("Another site has sent this request.")
        page.goto(other.url)
        for path in changes:
            for mode in ("no-cors", "cors", "same-origin"):
                result = page.evaluate(
                    """async ([url, mode, body]) => {
                        try {
                            const form = {method: "POST", mode, body: new URLSearchParams(body)};
                            const answer = await fetch(url, {...form, credentials: "include"});
                            return [answer.type, (await answer.text()).length];
                        } catch (error) { return ["refused", 0]; }
                    }""",
                    [f"{dashboard.url}{path}", mode, f"name={queue}&vhost=%2F"],
                )
                assert result in (["opaque", 0], ["refused", 0]), (path, mode)
        for path in ("/", "/queues", "/v2/search", "/api/v1/messages", "/static/app.js"):
            assert page.evaluate(
                "async (url) => { try { await fetch(url, {credentials: 'include'}); return false }"
                " catch { return true } }",
                f"{dashboard.url}{path}",
            ), path
        assert channel.queue_declare(queue, passive=True).method.message_count == 1
        framed = document(f'<h1>Frame</h1><iframe title="f" src="{dashboard.url}/queues"></iframe>')
    with Site({"/": framed}, NO_POLICY) as other:
        page.goto(other.url)
        page.wait_for_load_state("networkidle")
        assert "Queues" not in (page.frames[-1].content())
    channel.queue_delete(queue)
    channel.connection.close()


def test_a_picture_does_not_look_into_a_queue(page: Page, faults: Faults, embedded: Dashboard) -> None:
    """Each look counts as a delivery, after three of which this queue drops its message."""
    faults.expect("")
    arguments = {"x-queue-type": "quorum", "x-delivery-limit": 2}
    manage(embedded, "PUT", "queues/%2F/limited", durable=True, arguments=arguments)
    publish(embedded, "limited")
    images = "".join(
        f'<img alt="" src="{embedded.url}/queue/messages?name=limited&amp;n={number}">' for number in range(6)
    )
    images += f'<img alt="" src="{embedded.url}/live"><img alt="" src="{embedded.url}/events">'
    with Site({"/": document(images)}, NO_POLICY) as other:
        page.goto(other.url)
        page.wait_for_load_state("networkidle")
    queues = {each["name"]: each["messages"] for each in manage(embedded, "GET", "queues")}
    assert queues == {"limited": 1}


def test_a_form_with_the_password_in_its_address(page: Page, faults: Faults, embedded: Dashboard) -> None:
    """Everybody knows guest's: a form of another site must not reach the management API with it."""
    faults.expect("")
    manage(embedded, "PUT", "queues/%2F/q", durable=True)
    publish(embedded, "q")
    field = json.dumps({"count": 5, "ackmode": "ack_requeue_false", "encoding": "auto", "x": "="})
    name, _, value = field.partition("=")
    form = (
        f'<form method="post" enctype="text/plain" action="{embedded.management_url}/api/queues/%2F/q/get">'
        f"<input type=hidden name='{name}' value='{value}'><button>Go</button></form>"
    )
    with Site({"/": document(f"<h1>Attack</h1>{form}")}, NO_POLICY) as other:
        page.goto(other.url)
        page.get_by_role("button").click()
        page.wait_for_load_state()
    assert manage(embedded, "GET", "queues/%2F/q")["messages"] == 1
