"""Every code block and console session of the documentation runs: here, or in the test that a table names."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.cli.conftest import processes
from tests.conftest import authenticated
from tests.support.admin import Admin, properties_of
from tests.support.packages import pip
from tests.support.printed import ROOT, Page
from tests.support.processes import FEDORA_MESSAGING
from tests.support.rabbitmq import free_ports
from tests.support.servers import require
from tests.support.waiting import eventually
from tests.tls.conftest import pki

from fedora_messaging import config
from fedora_messaging.api import Message

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.postgresql import PostgresServer
    from tests.support.processes import Processes
    from tests.tls.pki import Pki

    from fedora_messaging.broker import Broker

__all__ = ["pki", "processes"]

#: Pages whose blocks other tests run.
ELSEWHERE = {
    "README.md": "tests/docs/test_readme.py",
    "docs/index.md": "tests/docs/test_index_page.py",
    "docs/how-to/cluster.md": "tests/docs/test_cluster_page.py",
    # And tests/tools, which build the RPM and the image.
    "docs/how-to/deploy.md": "tests/systemd/test_services.py",
    "docs/how-to/logging.md": "tests/docs/test_logging_page.py",
    "docs/how-to/own-rabbitmq.md": "tests/docs/test_own_rabbitmq_page.py",
    "docs/how-to/quorum.md": "tests/docs/test_quorum_page.py",
    "docs/how-to/web-programs.md": "tests/docs/test_web_programs.py",
    "docs/tutorial/index.md": "tests/tutorial/test_tutorial_text.py",
}
#: Blocks that are no code: drawings and lists.
NO_CODE = {"", "text", "{toctree}", "{glossary}", "{eval-rst}"}
PAGES = [
    Page(str(path.relative_to(ROOT)))
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if "decisions" not in path.parts and "```" in path.read_text("utf-8")
]
CONFIGURATIONS = [
    pytest.param(textwrap.dedent(block.text), id=f"{page.path}-{number}")
    for page in PAGES
    for number, block in enumerate(page.blocks)
    if block.language == "toml" and not block.text.lstrip().startswith(("[tool.", "[project.", "host = "))
]


def languages(page: Page) -> set[str]:
    return {block.language for block in page.blocks} - NO_CODE


def named(path: str) -> Page:
    [page] = [page for page in PAGES if page.path == path]
    return page


def blocks(path: str, language: str) -> list[str]:
    return [textwrap.dedent(block.text) for block in named(path).blocks if block.language == language]


def commands(path: str) -> list[str]:
    """All command lines of a page."""
    return [
        line[2:] for text in blocks(path, "console") for line in text.splitlines() if line.startswith("$ ")
    ]


def arguments(line: str, **replaced: str) -> list[str]:
    """The arguments of a command of ours, with other values for some options."""
    program, *found = shlex.split(line)
    assert program == "fedora-messaging"
    for option, value in replaced.items():
        found[found.index(f"--{option.replace('_', '-')}") + 1] = value
    return found


@pytest.fixture
def broker(embedded_broker: Broker, processes: Processes) -> Broker:
    """The broker that all programs of a test find."""
    processes.variables["FEDORA_MESSAGING_AMQP_URL"] = embedded_broker.amqp_url
    return embedded_broker


@pytest.fixture
def admin(broker: Broker) -> Iterator[Admin]:
    made = Admin(broker.amqp_url)
    yield made
    made.close()


def test_every_page_with_code_is_run() -> None:
    here = Path(__file__).read_text("utf-8").partition("\n# Page by page\n")[2]
    for page in PAGES:
        if languages(page) - {"toml"}:
            assert page.path in ELSEWHERE or f'"{page.path}"' in here, f"no test runs the code of {page.path}"
    for path, test in ELSEWHERE.items():
        assert languages(named(path)), path
        assert (ROOT / test).exists(), test


@pytest.mark.parametrize("text", CONFIGURATIONS)
def test_configurations_are_valid(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(config.URL_VARIABLE, raising=False)
    # Files that are not here.
    text = re.sub(r'(?<=amqp_url_file = )".*"', json.dumps(str(tmp_path / "url")), text)
    (tmp_path / "url").write_text("amqp://localhost")
    path = tmp_path / "config.toml"
    path.write_text(text, "utf-8")
    loaded = config.LazyConfig().load_config(str(path))
    assert set(tomllib.loads(text)) <= set(loaded)


def test_what_pip_installs() -> None:
    """Each distribution that a page installs is ours, with extras that it has, or a file of this checkout."""
    from importlib.metadata import metadata

    extras = set(metadata("fedora-messaging").get_all("Provides-Extra") or ())
    for page in PAGES:
        for name, found in re.findall(
            r'^\$ .*pip install "?([\w-]+)\[([\w,]+)\]', (ROOT / page.path).read_text("utf-8"), re.M
        ):
            assert (name, set(found.split(",")) - extras) == ("fedora-messaging", set()), page.path


# Page by page


def test_archive(processes: Processes, admin: Admin, postgresql: PostgresServer) -> None:
    simple, limited, export, last = commands("docs/how-to/archive.md")
    assert export.startswith("export FEDORA_MESSAGING_ARCHIVE=")

    def run(line: str, *options: str) -> None:
        running = processes.fedora_messaging(*arguments(line))
        eventually(lambda: consumers(admin, "archive"))
        sent = Message(topic="stored")
        admin.channel.basic_publish("amq.topic", "stored", sent._encoded_body, properties_of(sent))
        eventually(lambda: f'"{sent.id}"' in processes.run("archive", "export", *options, "-").output)
        assert running.terminate().status == 0

    run(simple, "--archive", "archive.db")
    run(limited, "--archive", "archive.db")
    processes.variables["FEDORA_MESSAGING_ARCHIVE"] = postgresql.url
    run(last)
    admin.delete("archive")


def consumers(admin: Admin, queue: str) -> int:
    from pika.exceptions import ChannelClosedByBroker

    try:
        return admin.consumers(queue)
    except ChannelClosedByBroker:
        return 0


def test_look(processes: Processes, broker: Broker, pki: Pki) -> None:
    with_broker, beside, for_others = commands("docs/how-to/look.md")
    [port] = free_ports(1)
    process = processes.fedora_messaging(*arguments(with_broker, http_port=str(port)), "--port", "0")
    process.wait_for(rf"^HTTP ready on http://127\.0\.0\.1:{port}$")
    assert "<title>" in httpx.get(f"http://127.0.0.1:{port}/", follow_redirects=True).text

    url = authenticated(broker)
    assert url is not None
    process = processes.fedora_messaging(*arguments(beside, management_url=url), "--port", "0")
    address = process.wait_for(r"^Dashboard on (\S+)$")[1]
    assert "<title>" in httpx.get(address, follow_redirects=True).text

    files = {"tls_cert": pki.servers["good"].certfile, "tls_key": pki.servers["good"].keyfile}
    line = arguments(for_others, host="127.0.0.1", **files)
    process = processes.fedora_messaging(*line, "--port", "0", FEDORA_MESSAGING_MANAGEMENT_URL=url)
    address = process.wait_for(r"^Dashboard on (https://\S+)$")[1]
    assert httpx.get(address, verify=False, headers={"Host": "bus.example.org"}).status_code < 400


def test_events(processes: Processes, broker: Broker, admin: Admin) -> None:
    require(shutil.which("curl") is not None, "curl", "install the package curl")
    [session] = blocks("docs/reference/http.md", "console")
    line, _id, kind, shown = session.splitlines()
    _curl, option, url = shlex.split(line[2:])
    running = processes.fedora_messaging(
        "dashboard", "--port", "0", FEDORA_MESSAGING_MANAGEMENT_URL=authenticated(broker) or ""
    )
    address = running.wait_for(r"^Dashboard on (\S+)/$")[1]
    watching = processes.start("curl", "--silent", option, url.replace("http://127.0.0.1:8080", address))

    def arrives() -> bool:
        sent = Message(topic="org.fedoraproject.prod.bodhi.update")
        admin.channel.basic_publish("amq.topic", sent.topic, sent._encoded_body, properties_of(sent))
        return watching.has_said(rf"^{kind}\s*$")

    eventually(arrives)
    told = watching.wait_for(r"^data: (.*\w.*)$")[1]
    assert set(json.loads(shown.removeprefix("data: ").replace(", …}", "}"))) <= set(json.loads(told))


def test_outbox(processes: Processes, admin: Admin, postgresql: PostgresServer) -> None:
    [program] = blocks("docs/how-to/outbox.md", "python")
    [url] = re.findall(r'create_engine\("(.*?)"\)', program)
    script = f"""
import sqlalchemy
from fedora_messaging import outbox
with sqlalchemy.create_engine({postgresql.url!r}).begin() as connection:
    connection.execute(sqlalchemy.text("CREATE TABLE builds (id integer, state text)"))
    connection.execute(sqlalchemy.text("INSERT INTO builds VALUES (5, 'new')"))
    outbox.create_table(connection)
{program.replace(url, postgresql.url)}
with engine.begin() as connection:
    print(connection.execute(text("SELECT state FROM builds")).scalar())
"""
    (processes.directory / "program.py").write_text(script)
    (processes.directory / "outbox.toml").write_text("[outbox]\n")
    processes.variables["FEDORA_MESSAGING_CONF"] = "outbox.toml"
    processes.variables["FEDORA_MESSAGING_OUTBOX_URL"] = postgresql.url
    ended = processes.python("program.py").end()
    assert (ended.status, ended.stdout) == (0, ["done"]), ended.output
    admin.channel.queue_declare("built")
    admin.channel.queue_bind("built", "amq.topic", "build.done")
    flushed = processes.run("outbox", "flush")
    assert flushed.status == 0, flushed.output
    assert admin.take("built") == [b'{"id": 5}']
    admin.delete("built")


@pytest.mark.timeout(180)
def test_schema_package(tmp_path: Path) -> None:
    pip("download", "--no-deps", "--dest", tmp_path / "probe", "iniconfig")  # without an index, it is skipped
    lines = commands("docs/how-to/schema-package.md")
    wheels = tmp_path / "wheels"
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "python").symlink_to(sys._base_executable)  # type: ignore[attr-defined]
    (programs / "fedora-messaging").symlink_to(FEDORA_MESSAGING)
    variables = {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        # Where the release that it asks for is.
        "PIP_FIND_LINKS": f"{wheels} {os.environ.get('PIP_FIND_LINKS', '')}",
    }
    script = "\n".join(["set -e", *lines])
    done = subprocess.run(
        ["sh", "-c", script], cwd=tmp_path, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^\d+ passed|\d+ passed in", done.stdout, re.MULTILINE), done.stdout
    [printed] = blocks("docs/how-to/schema-package.md", "toml")
    made = tomllib.loads((tmp_path / "my-app-messages/pyproject.toml").read_text())
    assert tomllib.loads(printed)["project"]["entry-points"] == made["project"]["entry-points"]


def test_twisted(processes: Processes, broker: Broker, admin: Admin) -> None:
    assert commands("docs/how-to/twisted.md") == ['pip install "fedora-messaging[twisted]"']  # see above
    assert commands("docs/how-to/moving.md") == ['pip install "fedora-messaging[twisted]"']
    program, service = blocks("docs/how-to/twisted.md", "python")
    admin.channel.queue_declare("seen")
    admin.channel.queue_bind("seen", "amq.topic", "seen")
    parts = f"""
from twisted.application import service as services
from twisted.internet import reactor
from fedora_messaging import api
application = services.MultiService()
bindings = [{{"exchange": "amq.topic", "queue": "work", "routing_keys": ["asked"]}}]
queues = {{"work": {{"durable": False, "auto_delete": True, "exclusive": False, "arguments": {{}}}}}}
def callback(message):
    api.publish(api.Message(topic="seen"))
{service.replace("amqp://localhost", broker.amqp_url)}
api._twisted_service = service
application.startService()
reactor.run()
"""
    asked = Message(topic="asked")

    def is_seen() -> list[bytes]:
        admin.channel.basic_publish("amq.topic", "asked", asked._encoded_body, properties_of(asked))
        return admin.take("seen")

    for name, text in (("program.py", program), ("parts.py", parts)):
        (processes.directory / name).write_text(text)
        running = processes.python(name)
        eventually(is_seen)
        running.kill()
    admin.delete("seen")


def test_install(tmp_path: Path) -> None:
    clone, enter, make, activate, install, wheel, compiled = commands("docs/start/install.md")
    assert clone.startswith("git clone https://")
    assert (enter, make, activate, install) == (
        "cd fedora-messaging",
        "python3 -m venv env",
        ". env/bin/activate",
        "pip install .",  # the tutorial does the same
    )
    # `make test-compiled` does these two.
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert (wheel, compiled) == ("make wheel-compiled", "pip install dist/compiled/*.whl")
    assert "\nwheel-compiled:" in makefile
    assert "dist/compiled/*.whl" in makefile


def test_failures(processes: Processes, admin: Admin, monkeypatch: pytest.MonkeyPatch) -> None:
    [line] = commands("docs/how-to/failures.md")
    admin.channel.queue_declare("my-app.dead", durable=True)
    replayed = processes.run(*arguments(line))
    assert replayed.status == 0, replayed.output
    admin.delete("my-app.dead")

    [text] = blocks("docs/how-to/failures.md", "python")
    posted: list[tuple[str, object]] = []

    class Session:
        async def post(self, url: str, json: object) -> None:
            posted.append((url, json))

        async def close(self) -> None:
            posted.append(("closed", None))

    names: dict[str, Any] = {"aiohttp": SimpleNamespace(ClientSession=Session), "URL": "http://index"}
    exec(text, names)  # noqa: S102 - it is ours

    from fedora_messaging import api
    from fedora_messaging.exceptions import HaltConsumer

    indexer: Any = names["Indexer"]

    class Once(indexer):  # type: ignore[misc]
        async def __call__(self, message: Message) -> None:
            await super().__call__(message)
            raise HaltConsumer

    monkeypatch.setitem(config.conf, "amqp_url", processes.variables["FEDORA_MESSAGING_AMQP_URL"])
    queue: Any = {"indexed": {"durable": True, "auto_delete": False, "exclusive": False, "arguments": {}}}
    admin.channel.queue_declare("indexed", durable=True)
    sent = Message(topic="t", body={"id": 5})
    admin.publish("indexed", sent._encoded_body, properties_of(sent))
    with pytest.raises(HaltConsumer):
        api.consume(Once, bindings=[], queues=queue)
    api.close()
    admin.delete("indexed")
    assert posted == [("http://index", {"id": 5}), ("closed", None)]


def test_command_line(processes: Processes, broker: Broker, admin: Admin, pki: Pki) -> None:
    path = "docs/reference/command-line.md"
    [settings] = blocks(path, "toml")
    directory = processes.directory
    (directory / "topology.json").write_text("{}")
    for name, source in (
        ("server.crt", pki.servers["good"].certfile),
        ("server.key", pki.servers["good"].keyfile),
        ("clients.crt", pki.ca_cert),
    ):
        (directory / name).write_bytes(Path(source).read_bytes())
    settings = (
        settings.replace("0.0.0.0", "127.0.0.1")
        .replace("/var/lib/bus", "data")
        .replace("port = 15671", "port = 0")
    )
    (directory / "broker.toml").write_text(settings.replace("port = 5671", "port = 0"))
    running = processes.fedora_messaging("broker", "--config", "broker.toml")
    running.wait_for(r"^AMQP ready on amqps://127\.0\.0\.1:\d+$")
    assert running.terminate().status == 0

    queues, tail, replay = blocks(path, "console")
    admin.channel.queue_declare("mail")
    header = queues.splitlines()[1].split()
    line = arguments(commands(path)[0])
    told = processes.run(*line, FEDORA_MESSAGING_MANAGEMENT_URL=authenticated(broker) or "")
    # Columns without names, because it writes to a pipe.
    assert len(told.stdout[0].split("\t")) == len(header), told.output
    admin.delete("mail")

    sent = Message(topic="org.fedoraproject.prod.bodhi.update.eject", severity=30)
    watching = processes.fedora_messaging(*arguments(commands(path)[1]))

    def arrives() -> bool:
        admin.channel.basic_publish("amq.topic", sent.topic, sent._encoded_body, properties_of(sent))
        return watching.has_said(rf"^\d\d:\d\d:\d\d  {re.escape(sent.topic)}  WARNING  ")

    eventually(arrives)
    assert sent.topic in tail

    [record] = blocks(path, "json")
    (directory / "record.json").write_text(record)
    assert processes.run("archive", "import", "--archive", "archive.db", "record.json").status == 0
    replayed = processes.run(*arguments(commands(path)[2]))
    assert replayed.status == 0, replayed.output


def test_testing(pytester: pytest.Pytester) -> None:
    """The first programs of the page, with an application; test_testing_page runs the last one."""
    tells, reacts, mocks, _bad_days = blocks("docs/how-to/testing.md", "python")
    [settings] = blocks("docs/how-to/testing.md", "toml")
    pytester.makepyprojecttoml(settings)
    pytester.makepyfile(
        application="""
            from fedora_messaging.api import publish
            from fedora_messaging.message import Message, register

            BODY = {"id": 5}

            @register("my-app.thing.created")
            class ThingCreatedV1(Message):
                topic = "thing.created"

            def the_program():
                publish(ThingCreatedV1(body=BODY))

            def start_the_consumer():
                pass
        """
    )
    begin = "from application import *\n"
    for number, text in enumerate((tells, reacts, mocks)):
        pytester.path.joinpath(f"test_{number}.py").write_text(begin + text)
    pytester.path.joinpath("test_3.py").write_text(f"{begin}def test_forgotten():\n    the_program()\n")
    result = pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=3, failed=1)
