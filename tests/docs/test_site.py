"""The site: it builds, its links lead somewhere, and what the code has is on it."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pytest
from tests.support.printed import ROOT

from fedora_messaging import aio, api, exceptions, outbox
from fedora_messaging.cli import running
from fedora_messaging.client.consuming.stats import ConsumerStats
from fedora_messaging.monitoring.prometheus import exposition
from fedora_messaging.monitoring.snapshot import OutboxSnapshot, QueueSnapshot, Snapshot
from fedora_messaging.testing import plugin

if TYPE_CHECKING:
    from pathlib import Path

DOCS = ROOT / "docs"


class Elements(HTMLParser):
    """The links of a page, and the places in it that links can lead to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if value and name == "id":
                self.places.add(value)
            elif value and (name == "src" or (name == "href" and tag in ("a", "link"))):
                self.links.append(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; a warning of Sphinx, as for a link to no page, is a failure."""
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", "-d", str(target / "trees")]
    told = subprocess.run(
        [*command, str(DOCS), str(target / "html")], capture_output=True, text=True, check=False
    )
    assert (told.returncode, told.stderr) == (0, "")
    return target / "html"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Elements]:
    written = {path: Elements(path.read_text("utf-8")) for path in site.rglob("*.html")}
    # The source code leads back to where Sphinx believes that each name is described.
    return {path: elements for path, elements in written.items() if "_modules" not in path.parts}


def dead_links(pages: dict[Path, Elements]) -> list[str]:
    """Return links to other pages of the site, or to places in them, that are not there."""
    dead = []
    for page, elements in pages.items():
        for link in elements.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            place = unquote(parts.fragment)
            known = pages.get(target)
            if not target.exists() or (known is not None and place and place not in known.places):
                dead.append(f"{page.name}: {link}")
    return dead


def test_links_lead_somewhere(pages: dict[Path, Elements]) -> None:
    assert len(pages) > 40
    assert dead_links(pages) == []


def test_dead_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "a.html"
    page.write_text('<a href="b.html"></a><a href="#here"></a><p id="there"></p><a href="#there"></a>')
    assert dead_links({page: Elements(page.read_text())}) == ["a.html: b.html", "a.html: #here"]


def test_public_names_are_on_the_site(pages: dict[Path, Elements]) -> None:
    (reference,) = [elements for path, elements in pages.items() if path.match("reference/api.html")]
    functions = ["publish", "publish_many", "publish_nowait", "consume", "close", "twisted_consume"]
    named = {f"fedora_messaging.api.{name}" for name in functions}
    named |= {f"fedora_messaging.aio.{name}" for name in ("connect", "Bus", "Subscription", "Delivery")}
    named |= {
        f"fedora_messaging.aio.Bus.{name}"
        for name, value in vars(aio.Bus).items()
        if callable(value) and not name.startswith("_")
    }
    named |= {f"fedora_messaging.outbox.{name}" for name in ("record", "create_table", "statements")}
    named |= {
        f"fedora_messaging.exceptions.{name}"
        for name, value in vars(exceptions).items()
        if isinstance(value, type) and value.__module__ == exceptions.__name__ and not name.startswith("_")
    }
    assert all(hasattr(api, name) for name in functions)
    assert hasattr(outbox, "record")
    assert named - reference.places == set()


@pytest.mark.parametrize(
    "name", ["configuration", "command-line", "metrics", "environment", "http", "pytest"]
)
def test_rows_of_the_reference_have_places_of_their_own(name: str, pages: dict[Path, Elements]) -> None:
    """Each setting, option, metric, variable and exit status can be linked to."""
    (page,) = [elements for path, elements in pages.items() if path.match(f"reference/{name}.html")]
    text = (DOCS / f"reference/{name}.md").read_text("utf-8")
    rows = re.findall(r"^\| (?:`([^` ]+)|(\d+) \|)", text, re.MULTILINE)
    ends = ["-" + re.sub(r"[^a-z0-9]+", "-", (code or number).lower()).strip("-") for code, number in rows]
    assert ends
    assert [end for end in ends if not any(place.endswith(end) for place in page.places)] == []
    links = {link[1:] for link in page.links if link.startswith("#")}
    assert len([place for place in page.places & links if "-" in place]) >= len(set(ends))


QUEUE = QueueSnapshot("q", True, False, 1, 1.0, 0.5, 1000.0, 2, ConsumerStats())
SNAPSHOT = Snapshot(
    True,
    True,
    None,
    1,
    ConsumerStats(invalid=1, invalid_kinds=ConsumerStats().invalid_kinds),
    0,
    None,
    (QUEUE,),
    OutboxSnapshot(1, 2, 3.0, True),
)


def metrics() -> dict[str, str]:
    """What the code exposes: the meaning of each metric."""
    text = exposition(SNAPSHOT).decode()
    return {
        name: meaning
        for name, meaning in re.findall(r"^# HELP (fedora_messaging_\w+) (.*)$", text, re.MULTILINE)
        if not name.endswith("_created")
    }


def test_metrics_are_those_of_the_code() -> None:
    page = (DOCS / "reference/metrics.md").read_text("utf-8")
    rows = re.findall(r"^\| `(fedora_messaging_\w+)` \|[^|]*\| (.*) \|$", page, re.MULTILINE)
    assert dict(rows) == metrics()


@pytest.mark.parametrize("name", ["prometheus-rules.yaml", "grafana.json"])
def test_rules_and_dashboard_ask_for_metrics_that_exist(name: str) -> None:
    asked = set(re.findall(r"fedora_messaging_\w+", (ROOT / "deploy" / name).read_text("utf-8")))
    assert asked
    assert asked - set(metrics()) == set()


def test_alerts_are_those_of_the_rules() -> None:
    rules = (ROOT / "deploy/prometheus-rules.yaml").read_text("utf-8")
    page = (DOCS / "how-to/monitor.md").read_text("utf-8")
    assert re.findall(r"alert: (\w+)", rules) == re.findall(r"^\| `([A-Z]\w+)` \|", page, re.MULTILINE)


def test_environment_variables_are_those_of_the_code() -> None:
    page = (DOCS / "reference/environment.md").read_text("utf-8")
    read = set()
    for path in (ROOT / "src").rglob("*.py"):
        read |= set(
            re.findall(r'"(FEDORA_MESSAGING_[A-Z_]+|NOTIFY_SOCKET|WATCHDOG_USEC|NO_COLOR)"', path.read_text())
        )
    assert "FEDORA_MESSAGING_CONF" in read
    assert {name for name in read if f"`{name}`" not in page} == set()
    documented = set(re.findall(r"`(FEDORA_MESSAGING_\w+)`", page))
    assert documented - read == set()


def test_fixtures_and_settings_are_those_of_the_plugin() -> None:
    page = (DOCS / "reference/pytest.md").read_text("utf-8")
    fixtures = {name for name, value in vars(plugin).items() if isinstance(value, type(plugin.bus))}
    settings = re.findall(r'"(fedora_messaging_\w+)"', inspect.getsource(plugin))
    assert fixtures == {"bus", "published"}
    assert {name for name in (*fixtures, *settings) if f"\n| `{name}` |" not in page} == set()


def test_exit_statuses_are_those_of_the_code() -> None:
    page = (DOCS / "reference/command-line.md").read_text("utf-8")
    statuses = {value for name, value in vars(running).items() if name.startswith("EXIT_")}
    assert statuses
    assert {status for status in statuses if f"\n| {status} | " not in page} == set()


def test_changelog_has_every_fragment() -> None:
    fragments = sorted((ROOT / "changelog.d").glob("*.md"))
    command = [sys.executable, "-m", "towncrier", "build", "--draft", "--version", "1.0"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    plain = " ".join(told.split())
    missing = [path.name for path in fragments if " ".join(path.read_text("utf-8").split()) not in plain]
    assert fragments
    assert missing == []
