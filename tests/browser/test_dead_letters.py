"""Dead letters: why they are there, and the way back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import pytest
from pika.exceptions import ChannelClosedByBroker
from playwright.sync_api import expect
from tests.browser.bus import ids, put, put_bytes, take
from tests.browser.dashboards import PATIENCE
from tests.browser.pages import fact
from tests.support.processes import Processes
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Locator, Page
    from tests.browser.dashboards import Dashboard
    from tests.browser.pages import Faults
    from tests.support.admin import Admin, Names

ERROR: Final = "the disk <b>is full</b>"
CONFIGURATION: Final = """
[[bindings]]
queue = "{queue}"
exchange = "amq.topic"
routing_keys = ["{queue}.#"]

[queues."{queue}"]
durable = true
auto_delete = false
exclusive = false
arguments = {{}}

[consumer.retry]
attempts = 3
delay = 0.05

[consumer.dead_letter]
queue = "{dead}"
"""


class Grave:
    """A queue whose dead letters go to another one.

    Args:
        admin: Makes both.
        names: Gives their names.
        **arguments: Of the queue.
    """

    def __init__(self, admin: Admin, names: Names, **arguments: object) -> None:
        self.admin = admin
        self.dead = admin.declare(names("dead"))
        self.origin = names("origin")
        key = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": self.dead}
        admin.declare(self.origin, **key, **arguments)

    def bury(self, number: int) -> list[str]:
        """Publish as many messages, and have them rejected; return their ids."""
        sent = [
            put(self.admin, "amq.topic", f"{self.origin}.key", headers={"n": n}, number=n)
            for n in range(number)
        ]
        for _ in sent:
            method, _properties, _body = self.admin.channel.basic_get(self.origin)
            assert method is not None
            self.admin.channel.basic_nack(method.delivery_tag or 0, requeue=False)
        eventually(lambda: self.admin.ready(self.dead) == number)
        return sent

    def open(self, page: Page, dashboard: Dashboard) -> Locator:
        """Open the page with the dead letters, and return these."""
        page.goto(f"{dashboard.url}/queue/messages?vhost=%2F&name={self.dead}")
        return page.locator("article.letter")


@pytest.fixture
def grave(admin: Admin, names: Names) -> Grave:
    """A queue whose messages are rejected."""
    return Grave(admin, names)


def choose(page: Page, *chosen: str) -> None:
    """Choose letters by their ids."""
    for id in chosen:
        page.locator(f'input[name="id"][value="{id}"]').check()


def send_back(page: Page, button: str, told: str) -> None:
    """Press a button, and read what comes of it."""
    page.get_by_role("button", name=button).click()
    expect(page.get_by_role("status")).to_have_text(told)


@pytest.mark.parametrize("reason", ["rejected", "expired", "maxlen"])
def test_what_the_broker_tells_of_a_death(
    page: Page, dashboard: Dashboard, admin: Admin, names: Names, reason: str
) -> None:
    arguments = {"expired": {"x-message-ttl": 1}, "maxlen": {"x-max-length": 0}}
    grave = Grave(admin, names, **arguments.get(reason, {}))
    if reason == "rejected":
        (id,) = grave.bury(1)
    else:
        id = put(admin, "amq.topic", f"{grave.origin}.key")
        eventually(lambda: admin.ready(grave.dead))
    letter = grave.open(page, dashboard)
    expect(letter.locator("h2")).to_have_text(f"{grave.origin}.key")
    expect(fact(letter, "Id")).to_have_text(id)
    expect(fact(letter, "Died because")).to_have_text(reason)
    expect(fact(letter, "Attempts")).to_have_text("1")
    expect(fact(letter, "Came from")).to_have_text(grave.origin)
    letter.get_by_text("Headers").click()
    expect(letter.locator("details").first).to_contain_text("x-death")
    fact(letter, "Came from").get_by_role("link").click()
    expect(page.locator("h1")).to_contain_text(grave.origin)


def _number(admin: Admin, queue: str) -> int:
    """Return how many messages wait in a queue that may not be there yet."""
    try:
        return admin.ready(queue)
    except ChannelClosedByBroker:
        return 0


def test_what_our_own_consumer_tells_of_a_death(
    page: Page, dashboard: Dashboard, admin: Admin, names: Names, tmp_path: Path
) -> None:
    """A callback fails again and again, and one message is none at all; both come back as they were."""
    queue, dead = names(), names("dead")
    for kind in ("delay", "retry"):
        names.keep(f"{queue}.{kind}")
    (tmp_path / "failing.py").write_text(f"def save(message):\n    raise OSError({ERROR!r})\n")
    (tmp_path / "config.toml").write_text(CONFIGURATION.format(queue=queue, dead=dead))
    variables = {"FEDORA_MESSAGING_CONF": "config.toml", "FEDORA_MESSAGING_AMQP_URL": dashboard.amqp_url}
    with Processes(tmp_path, **variables) as processes:
        consumer = processes.fedora_messaging("consume", "--callback=failing:save")
        consumer.wait_for("Successfully registered Consumer")
        failing = put(admin, "amq.topic", f"{queue}.key", headers={"n": 1}, number=1)
        eventually(lambda: _number(admin, dead) == 1)
        wrong = put_bytes(admin, "amq.topic", f"{queue}.wrong", b"{no json")
        eventually(lambda: admin.ready(dead) == 2)
        consumer.terminate()

    page.goto(f"{dashboard.url}/queue/messages?vhost=%2F&name={dead}")
    letters = page.locator("article.letter")
    expect(letters.locator("h2")).to_have_text([f"{queue}.key", f"{queue}.wrong"])
    first, second = letters.first, letters.nth(1)
    expect(fact(first, "Died because")).to_have_text("exhausted")
    expect(fact(first, "Attempts")).to_have_text("3")
    expect(fact(first, "Came from")).to_have_text(queue)
    expect(fact(first, "Exception")).to_contain_text("OSError")
    expect(fact(first, "Exception")).to_contain_text(ERROR)
    expect(fact(second, "Died because")).to_have_text("invalid")
    expect(fact(second, "Came from")).to_have_text(queue)
    expect(second.locator("pre")).to_have_text("{no json")

    choose(page, failing)
    send_back(page, "Send back what is chosen", "1 message sent back to be tried again.")
    (taken,) = take(admin, queue)
    assert (taken.id, taken.body) == (failing, {"number": 1})
    assert taken.headers.keys() == {"fedora_messaging_schema", "fedora_messaging_severity", "n"}
    expect(fact(letters, "Id")).to_have_text([wrong])
    send_back(page, "Send back all", "1 message sent back to be tried again.")
    assert admin.take(queue) == [b"{no json"]


def test_some_go_back_and_the_rest_keeps_its_order(
    page: Page, dashboard: Dashboard, admin: Admin, grave: Grave
) -> None:
    sent = grave.bury(6)
    letters = grave.open(page, dashboard)
    expect(letters).to_have_count(6)
    choose(page, sent[4], sent[1])
    send_back(page, "Send back what is chosen", "2 messages sent back to be tried again.")
    assert fact(letters, "Id").all_text_contents() == [sent[n] for n in (0, 2, 3, 5)]
    taken = take(admin, grave.origin)
    assert ids(taken) == [sent[1], sent[4]]
    assert [(one.body, one.headers["n"]) for one in taken] == [({"number": 1}, 1), ({"number": 4}, 4)]
    # A broker would count on, and with a limit let it die at once.
    assert not any(name.startswith("x-") for one in taken for name in one.headers)
    assert ids(take(admin, grave.dead)) == [sent[n] for n in (0, 2, 3, 5)]


def test_more_than_are_shown_go_back(page: Page, dashboard: Dashboard, admin: Admin, grave: Grave) -> None:
    sent = grave.bury(25)
    expect(grave.open(page, dashboard)).to_have_count(10)
    send_back(page, "Send back all", "25 messages sent back to be tried again.")
    expect(page.get_by_text("The queue has no message that is ready.")).to_be_visible()
    assert ids(take(admin, grave.origin)) == sent


def test_one_goes_back_edited(page: Page, dashboard: Dashboard, admin: Admin, grave: Grave) -> None:
    sent = grave.bury(3)
    letters = grave.open(page, dashboard)
    choose(page, sent[1])
    page.get_by_text("Edit the body of a single message").click()
    page.get_by_label("New body").fill('{"number": "für alle"}')
    send_back(page, "Send back what is chosen", "1 message sent back to be tried again.")
    expect(letters).to_have_count(2)
    (taken,) = take(admin, grave.origin)
    assert (taken.id, taken.body, taken.headers["n"]) == (sent[1], {"number": "für alle"}, 1)


def test_they_go_to_another_queue(
    page: Page, dashboard: Dashboard, admin: Admin, grave: Grave, names: Names
) -> None:
    sent = grave.bury(2)
    other = admin.declare(names("other"))
    grave.open(page, dashboard)
    page.get_by_label("To the queue").fill(other)
    send_back(page, "Send back all", "2 messages sent back to be tried again.")
    assert ids(take(admin, other)) == sent


class Refused(NamedTuple):
    """What somebody asks for in vain.

    Attributes:
        chosen: How many messages are chosen.
        body: The new body.
        target: The queue.
        told: Why not.
    """

    chosen: int = 0
    body: str = ""
    target: str = ""
    told: str = ""


REFUSED: Final = {
    "nothing is chosen": Refused(told="Choose the messages to send back."),
    "the new body is no JSON": Refused(1, "{", told="The edited body is no JSON"),
    "the new body is no object": Refused(1, "[1]", told="The edited body is JSON, but no object"),
    "two would be edited": Refused(2, "{}", told="Only a single message can be edited."),
    "the queue is missing": Refused(1, target="missing", told="There is no queue missing"),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_cannot_go_back_stays(
    page: Page, dashboard: Dashboard, admin: Admin, grave: Grave, faults: Faults, why: str
) -> None:
    refused = REFUSED[why]
    sent = grave.bury(3)
    faults.expect("400")
    grave.open(page, dashboard)
    choose(page, *sent[: refused.chosen])
    page.get_by_text("Edit the body of a single message").click()
    page.get_by_label("New body").fill(refused.body)
    page.get_by_label("To the queue").fill(refused.target)
    page.get_by_role("button", name="Send back what is chosen").click()
    expect(page.get_by_role("alert")).to_contain_text(refused.told)
    assert ids(take(admin, grave.dead)) == sent
    assert not take(admin, grave.origin)


def test_the_origin_is_gone(
    page: Page, dashboard: Dashboard, admin: Admin, grave: Grave, faults: Faults
) -> None:
    sent = grave.bury(2)
    admin.delete(grave.origin)
    faults.expect("400")
    grave.open(page, dashboard)
    page.get_by_role("button", name="Send back all").click()
    expect(page.get_by_role("alert")).to_contain_text(f"There is no queue {grave.origin}")
    assert ids(take(admin, grave.dead)) == sent


def test_a_letter_without_a_past_needs_a_queue(
    page: Page, dashboard: Dashboard, admin: Admin, queue: str, faults: Faults
) -> None:
    id = put(admin, "", queue)
    faults.expect("400")
    page.goto(f"{dashboard.url}/queue/messages?vhost=%2F&name={queue}")
    page.get_by_role("button", name="Send back all").click()
    expect(page.get_by_role("alert")).to_contain_text(f"{id} does not say which queue it came from")
    assert ids(take(admin, queue)) == [id]


def test_the_overview_counts_them(page: Page, dashboard: Dashboard, grave: Grave) -> None:
    grave.bury(4)
    page.goto(f"{dashboard.url}/")
    line = page.locator("section[aria-labelledby=dead] li", has_text=grave.dead)
    expect(line).to_have_text(f"{grave.dead}: 4 waiting", timeout=PATIENCE)
    line.get_by_role("link").click()
    expect(page.locator("article.letter")).to_have_count(4)
