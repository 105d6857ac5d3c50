"""What an archive has kept: searching it, and messages of all kinds, good and bad."""

from __future__ import annotations

import copy
import json
import re
import shlex
import uuid
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest
from playwright.sync_api import expect
from tests.browser.bus import BUILD, COMMENT, FILTERS, put, put_bytes, put_sample, take
from tests.browser.dashboards import KINDS, dashboard_of
from tests.browser.pages import fact
from tests.browser.test_live import listen
from tests.support.admin import Admin, Names
from tests.support.processes import Processes
from tests.support.waiting import eventually

from fedora_messaging.message import WARNING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Page
    from tests.browser.dashboards import Dashboard
    from tests.browser.pages import Faults, Pages

IMPORTED: Final = 120
#: Larger than what a server takes as an address.
LARGE: Final = 100_000


class Archived(NamedTuple):
    """A dashboard with an archive, and what makes both."""

    dashboard: Dashboard
    processes: Processes


@pytest.fixture(scope="module", params=KINDS)
def archived(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archived]:
    """An archive with some imported messages, into which a process puts all that pass."""
    directory = tmp_path_factory.mktemp("archive")
    file, archive = directory / "messages.jsonl", directory / "archive.db"
    file.write_text("".join(f"{_line(number)}\n" for number in range(IMPORTED)), encoding="utf-8")
    options = ("--archive", str(archive), "--allow-changes")
    with ExitStack() as stack:
        processes = stack.enter_context(Processes(directory))
        imported = processes.run("archive", "import", "--archive", archive, file)
        assert imported.status == 0, imported.output
        dashboard = stack.enter_context(dashboard_of(request, processes, *options))
        processes.variables["FEDORA_MESSAGING_AMQP_URL"] = dashboard.amqp_url
        names = Names(dashboard.amqp_url)
        queue = names("archive")
        recorder = processes.fedora_messaging("archive", "run", "--archive", archive, "--queue-name", queue)
        recorder.wait_for("Archiving")
        admin = Admin(dashboard.amqp_url)
        admin.channel.queue_declare(queue, durable=True)
        eventually(lambda: admin.consumers(queue))
        admin.close()
        yield Archived(dashboard, processes)
        assert recorder.terminate().status == 0
        names.delete_all()


@pytest.fixture
def dashboard(archived: Archived) -> Dashboard:
    """The dashboard with the archive."""
    return archived.dashboard


def _line(number: int) -> str:
    """Return a message as `record` writes it."""
    headers = {
        "fedora_messaging_schema": "base.message",
        "fedora_messaging_severity": 20,
        "sent-at": f"2026-01-{number // 24 + 1:02}T{number % 24:02}:00:00+00:00",
    }
    return json.dumps(
        {
            "topic": f"imported.{number:03}",
            "body": {"number": number},
            "headers": headers,
            "id": str(uuid.uuid4()),
            "queue": None,
        }
    )


def imported(first: int, last: int) -> list[str]:
    """Return topics of imported messages, from the newest one to the oldest."""
    return [f"imported.{number:03}" for number in range(first, last - 1, -1)]


def search(page: Page, dashboard: Dashboard, query: str) -> None:
    """Search."""
    page.goto(f"{dashboard.url}/search?{query}")
    expect(page.locator("h1")).to_have_text("Search")


def open_message(page: Page, dashboard: Dashboard, id: str) -> None:
    """Open the page of a message that was just published, once it is in the archive."""

    def is_there() -> bool:
        return page.request.get(f"{dashboard.url}/message?id={id}").ok

    eventually(is_there)
    page.goto(f"{dashboard.url}/message?id={id}")


@pytest.mark.parametrize("name_of_filter", FILTERS)
def test_a_filter(page: Page, dashboard: Dashboard, admin: Admin, name: str, name_of_filter: str) -> None:
    one = FILTERS[name_of_filter]
    put_sample(admin, BUILD, f"{name}.copr.build")
    open_message(page, dashboard, put_sample(admin, COMMENT, f"{name}.bodhi.comment", WARNING))
    topics = page.locator(".line .topic")
    search(page, dashboard, f"topic={name}.%23")
    expect(topics).to_have_text([f"{name}.bodhi.comment", f"{name}.copr.build"])
    field = page.get_by_label(one.label)
    if one.parameter == "severity":
        field.select_option(one.value)
    else:
        field.fill(one.value.format(name))
    page.get_by_role("button", name="Search").click()
    expect(topics).to_have_text([f"{name}.bodhi.comment"])


def test_times(page: Page, dashboard: Dashboard) -> None:
    """Times are UTC, until excluded; what was asked stays in the form."""
    page.goto(f"{dashboard.url}/search?topic=imported.%23")
    page.get_by_label("Since").fill("2026-01-02")
    page.get_by_label("Before").fill("2026-01-02T03:00Z")
    page.get_by_role("button", name="Search").click()
    topics = page.locator(".line .topic")
    expect(topics).to_have_text(imported(26, 24))
    expect(page.get_by_label("Since")).to_have_value("2026-01-02T00:00:00Z")
    page.get_by_role("button", name="Search").click()
    expect(topics).to_have_text(imported(26, 24))
    page.get_by_label("Since").fill("")
    page.get_by_label("Before").fill("2026-01-01T02:00:00Z")
    page.get_by_role("button", name="Search").click()
    expect(topics).to_have_text(imported(1, 0))


def test_paging(page: Page, dashboard: Dashboard) -> None:
    search(page, dashboard, "topic=imported.%23&severity=info")
    topics = page.locator(".line .topic")
    older = page.get_by_role("link", name="Older")
    expect(topics).to_have_text(imported(119, 70))
    expect(page.get_by_role("link", name="Newest")).to_have_count(0)
    older.click()
    expect(topics).to_have_text(imported(69, 20))
    older.click()
    expect(topics).to_have_text(imported(19, 0))
    expect(older).to_have_count(0)
    page.get_by_role("link", name="Newest").click()
    expect(topics).to_have_text(imported(119, 70))
    expect(page.get_by_label("At least")).to_have_value("info")


def test_nothing_fits(page: Page, dashboard: Dashboard, faults: Faults) -> None:
    search(page, dashboard, "text=nosuchword")
    expect(page.get_by_text("No message fits.")).to_be_visible()
    faults.expect("400")
    page.goto(f"{dashboard.url}/search?since=yesterday")
    expect(page.get_by_role("alert")).to_contain_text("since is no time")


def test_a_permalink(page: Page, pages: Pages, dashboard: Dashboard) -> None:
    search(page, dashboard, "topic=imported.007")
    page.get_by_role("link", name="imported.007").click()
    link = fact(page, "Id").get_by_role("link")
    address = link.get_attribute("href")
    link.click()
    other = pages.without_javascript()
    other.goto(f"{dashboard.url}{address}")
    expect(other.locator("h1")).to_have_text(page.locator("h1").inner_text())
    expect(fact(other, "Topic")).to_have_text("imported.007")
    expect(other.locator("section[aria-labelledby=body]")).to_contain_text("number: 7")
    expect(fact(other, "Sent")).to_have_text("2026-01-01T07:00:00Z")


def test_a_valid_message(page: Page, dashboard: Dashboard, admin: Admin, name: str) -> None:
    id = put_sample(admin, COMMENT, f"{name}.comment", WARNING)
    open_message(page, dashboard, id)
    expect(page.locator("h1")).to_have_text("ttorvald commented on update heronctl-2.4.1-1.fc44 (karma: 1)")
    expect(fact(page, "Topic")).to_have_text(f"{name}.comment")
    expect(fact(page, "Id")).to_have_text(id)
    expect(fact(page, "Severity")).to_have_text("warning")
    expect(fact(page, "Application").get_by_role("link")).to_have_attribute("href", "/search?app=bodhi")
    expect(fact(page, "Users").get_by_role("link")).to_have_text(["ttorvald", "zofka"])
    expect(fact(page, "Packages").get_by_role("link")).to_have_text(["heronctl"])
    expect(fact(page, "About").get_by_role("link")).to_have_attribute(
        "href", re.compile(r"^https://bodhi\.fedoraproject\.org/updates/")
    )
    expect(fact(page, "Schema")).to_have_text(re.compile(r"^bodhi\.update\.comment\.v1\s*valid$"))
    expect(page.locator("section[aria-labelledby=text]")).to_contain_text("Díky moc, paráda. ☕")
    body = page.locator("section[aria-labelledby=body]")
    expect(body).to_contain_text("comment {")
    body.locator("summary", has_text="release").click()
    expect(body.get_by_text("long_name: Fedora 44")).to_be_visible()
    expect(page.locator("section[aria-labelledby=headers]")).to_contain_text("fedora_messaging_severity: 30")
    fact(page, "Schema").get_by_role("link").click()
    expect(page.locator("h1")).to_have_text("bodhi.update.comment.v1")
    page.go_back()
    fact(page, "Users").get_by_role("link", name="zofka").click()
    expect(page.get_by_label("User")).to_have_value("zofka")
    expect(page.get_by_role("link", name=f"{name}.comment")).to_be_visible()


def test_a_message_that_is_not_valid(page: Page, dashboard: Dashboard, admin: Admin, name: str) -> None:
    body = copy.deepcopy(COMMENT["body"])
    body["comment"]["update"]["builds"][0]["nvr"] = 5
    id = put(admin, "amq.topic", f"{name}.wrong", schema="bodhi.update.comment.v1", **body)
    open_message(page, dashboard, id)
    expect(fact(page, "Schema")).to_contain_text("not valid")
    note = page.locator(".note.bad")
    expect(note.locator("code")).to_have_text("body.comment.update.builds[0].nvr")
    expect(note).to_contain_text("5 is not of type 'string'")


def test_a_message_of_an_unknown_schema(page: Page, dashboard: Dashboard, admin: Admin, name: str) -> None:
    open_message(page, dashboard, put(admin, "amq.topic", name, schema="not.installed.v1", answer=42))
    expect(fact(page, "Schema")).to_contain_text("not.installed.v1 not installed here")
    expect(page.locator("section[aria-labelledby=body]")).to_contain_text("answer: 42")


@pytest.mark.parametrize("body", [b"{no json", b"\xff\xfe\x00", b"[1, 2]", b""])
def test_what_is_no_message(page: Page, dashboard: Dashboard, admin: Admin, name: str, body: bytes) -> None:
    open_message(page, dashboard, put_bytes(admin, "amq.topic", f"{name}.wrong", body))
    expect(page.locator("h1")).to_contain_text("This is no message")
    expect(fact(page, "Schema")).to_contain_text("not valid")
    expect(page.get_by_role("button", name="Publish again")).to_have_count(0)


def test_a_message_that_is_not_there(page: Page, dashboard: Dashboard, faults: Faults) -> None:
    faults.expect("404")
    page.goto(f"{dashboard.url}/message?id=no-such-id")
    expect(page.get_by_role("alert")).to_have_text("There is no message with the id no-such-id.")


def test_publishing_it_again(page: Page, dashboard: Dashboard, admin: Admin, queue: str) -> None:
    """With its id, so the archive still has it once."""
    id = put_sample(admin, COMMENT, f"{queue}.comment", WARNING)
    (before,) = eventually(lambda: take(admin, queue))
    open_message(page, dashboard, id)
    page.get_by_role("button", name="Publish again, with this id").click()
    expect(page.get_by_role("status")).to_have_text("The message is published again.")
    (after,) = eventually(lambda: take(admin, queue))
    assert (after.id, after.body) == (before.id, before.body)
    assert before.headers.items() <= after.headers.items()
    marker = put(admin, "amq.topic", f"{queue}.marker")
    open_message(page, dashboard, marker)
    search(page, dashboard, f"topic={queue}.%23")
    expect(page.locator(".line .topic")).to_have_text([f"{queue}.marker", f"{queue}.comment"])


def test_changing_it_first(page: Page, dashboard: Dashboard, admin: Admin, queue: str) -> None:
    open_message(page, dashboard, put_sample(admin, COMMENT, f"{queue}.comment"))
    page.get_by_role("link", name="Change it first").click()
    expect(page.get_by_label("Topic")).to_have_value(f"{queue}.comment")
    expect(page.get_by_label("Schema")).to_have_value("bodhi.update.comment.v1")
    body = page.get_by_label("Body, a JSON object")
    assert json.loads(body.input_value()) == copy.deepcopy(COMMENT["body"])


def test_a_large_one_is_not_put_into_an_address(
    page: Page, dashboard: Dashboard, admin: Admin, name: str
) -> None:
    open_message(page, dashboard, put(admin, "amq.topic", name, text="x" * LARGE))
    expect(page.get_by_role("button", name="Publish again")).to_be_visible()
    expect(page.get_by_role("link", name="Change it first")).to_have_count(0)


def test_publishing_it_elsewhere(
    page: Page, archived: Archived, admin: Admin, queue: str, tmp_path: Path
) -> None:
    """The page gives it as a program, and as a command."""
    body = copy.deepcopy(COMMENT["body"])
    body["comment"]["text"] = "It's $HOME \"quoted\" \\ 'so' \n♥"
    id = put(admin, "amq.topic", f"{queue}.comment", schema="bodhi.update.comment.v1", **body)
    eventually(lambda: take(admin, queue))
    open_message(page, archived.dashboard, id)
    program, command = page.locator("section[aria-labelledby=again] pre").all_inner_texts()
    name, *arguments = shlex.split(command)
    assert name == "fedora-messaging"
    ended = archived.processes.python("-c", program).end()
    assert ended.status == 0, ended.output
    ended = archived.processes.run(*arguments)
    assert ended.status == 0, ended.output
    taken = take(admin, queue)
    assert [one.body for one in taken] == [body, body]
    assert {one.headers["fedora_messaging_schema"] for one in taken} == {"bodhi.update.comment.v1"}


def test_the_feed_comes_from_the_archive(page: Page, dashboard: Dashboard, admin: Admin, name: str) -> None:
    lines = listen(page, dashboard, f"topic={name}.%23")
    put(admin, "amq.topic", f"{name}.a")
    expect(lines).to_have_count(1)
    # It makes no queue of its own.
    other = page.context.new_page()
    other.goto(f"{dashboard.url}/queues?name=dashboard-live")
    expect(other.get_by_text("No queue has such a name.")).to_be_visible()
    page.close()
