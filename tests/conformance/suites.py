"""The suites of foreign clients: how each is built, run against a broker, and understood."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from tests.support.packages import download_sources, pip, unpack
from tests.support.processes import environment
from tests.support.servers import require

if TYPE_CHECKING:
    from collections.abc import Iterable

_HERE: Final = Path(__file__).parent
#: Seconds for the whole of a suite.
LIMIT: Final = 200


@dataclass
class Outcome:
    """What came of a suite.

    Attributes:
        passed: Names of tests.
        failed: Text of each failure, by the name of the test.
        output: All that the suite wrote.
    """

    passed: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    output: str = ""

    def run_again(self, second: Outcome) -> None:
        """Take over what passed when the failed tests ran again, alone: some of them measure times."""
        for name in {*self.failed} & second.passed:
            del self.failed[name]
            self.passed.add(name)
        self.output += second.output


@dataclass(frozen=True)
class Target:
    """A broker, for suites.

    Attributes:
        name: "embedded-3", "embedded-4", or "rabbitmq-" and its major and minor version.
        port: Of its AMQP listener on the loopback interface.
        management_url: Of its HTTP API, or None.
    """

    name: str
    port: int
    management_url: str | None

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/%2F"


def _run(command: Iterable[object], directory: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, or until the limit."""
    try:
        return subprocess.run(
            [str(part) for part in command],
            cwd=directory,
            env=environment(**variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        output = late.stdout.decode(errors="replace") if isinstance(late.stdout, bytes) else late.stdout
        raise AssertionError(f"the suite has not ended after {LIMIT} s:\n{output}") from None


def _build(command: Iterable[object], directory: Path, **variables: str) -> None:
    done = _run(command, directory, **variables)
    assert done.returncode == 0, f"a suite cannot be built:\n{done.stdout}"


def _edit(path: Path, *changes: tuple[str, str]) -> None:
    """Replace texts in a suite's copy; each of them must be there."""
    text = path.read_text()
    for old, new in changes:
        assert old in text, f"{path.name} has no {old!r}"
        text = text.replace(old, new)
    path.write_text(text)


class PythonSuites:
    """Suites in source distributions that pip fetches; they run on this Python.

    Args:
        directory: Where everything goes.
    """

    #: Tests of TLS go to a host outside, or need certificates that are not in the distribution.
    _AMQP_SKIPPED = "not tls"
    #: The same again, with other ways of the client to wait for its socket: half a minute.
    _STORM_REPEATED = " and ".join(
        f"not {name}"
        for name in ("TestsSelect", "TestsPoll", "1kTestSelect", "1kTestPoll", "EmptySelect", "EmptyPoll")
    )
    #: TLS needs certificates that are not in the distribution. The HTTP API has a suite of its own.
    _STORM_SKIPPED = ("ssl", "management", "test_web_based.py")

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._needed = directory / "needed"
        for archive in download_sources(_HERE / "suites.txt", _HERE / "backends.txt", directory):
            unpack(archive, directory / "sources")
        pip("install", "--no-deps", "--target", self._needed, "--requirement", _HERE / "needed.txt")

    def _source(self, name: str) -> Path:
        (source,) = (self._directory / "sources").glob(f"{name}-*")
        return source

    def _pytest(self, client: str, target: Target, *arguments: str, **variables: str) -> Outcome:
        cache = self._directory / "cache"
        shutil.rmtree(cache, ignore_errors=True)
        outcome = self._pytest_once(client, target, "-o", f"cache_dir={cache}", *arguments, **variables)
        if outcome.failed:
            again = ("-o", f"cache_dir={cache}", "--lf", *arguments)
            outcome.run_again(self._pytest_once(client, target, *again, **variables))
        return outcome

    def _pytest_once(self, client: str, target: Target, *arguments: str, **variables: str) -> Outcome:
        source = self._source(client)
        report = self._directory / f"{client}.xml"
        report.unlink(missing_ok=True)
        path = (_HERE / "redirected", source, self._source("amqp"), self._needed, _HERE)
        done = _run(
            (
                *(sys.executable, "-m", "pytest", "-p", "no:fedora-messaging"),
                *(
                    "--tb=short",
                    "-q",
                    "-W",
                    "ignore",
                    "--rootdir",
                    source,
                    f"--junitxml={report}",
                    *arguments,
                ),
            ),
            source,
            PYTHONPATH=":".join(map(str, path)),
            BROKER_PORT=str(target.port),
            **variables,
        )
        # 0: all have passed, 1: some have failed.
        assert done.returncode in (0, 1), done.stdout
        return _read_junit(report, done.stdout)

    def amqp(self, target: Target) -> Outcome:
        """py-amqp: its tests of a connection to a real broker."""
        return self._pytest("amqp", target, "-k", self._AMQP_SKIPPED, "t/integration/test_rmq.py")

    def kombu(self, target: Target) -> Outcome:
        """Kombu's tests of its transport pyamqp."""
        return self._pytest("kombu", target, "t/integration/test_py_amqp.py")

    def amqpstorm(self, target: Target) -> Outcome:
        """Amqpstorm's functional tests but those that need the HTTP API."""
        tests = Path("amqpstorm/tests/functional")
        ignored = (f"--ignore={tests / name}" for name in self._STORM_SKIPPED)
        return self._pytest(
            "amqpstorm",
            target,
            *("-p", "amqpstorm_cleaning", *ignored, "-k", self._STORM_REPEATED, str(tests)),
            **self._storm_variables(target),
        )

    def amqpstorm_management(self, target: Target) -> Outcome:
        """Amqpstorm's functional tests of the HTTP API."""
        tests = Path("amqpstorm/tests/functional")
        # One goes to an address outside, the other one knows the host's name.
        outside = ("test_api_with_inaccessible", "test_api_cluster_name")
        return self._pytest(
            "amqpstorm",
            target,
            *("-k", " and ".join(f"not {name}" for name in outside)),
            *(f"{tests}/management", f"{tests}/test_web_based.py"),
            **self._storm_variables(target),
        )

    def _storm_variables(self, target: Target) -> dict[str, str]:
        http = urlsplit(target.management_url or "http://127.0.0.1:1")
        return {
            "AMQP_HOST": "127.0.0.1",
            "AMQP_USERNAME": "guest",
            "AMQP_PASSWORD": "guest",
            "AMQP_URI": target.url,
            "AMQP_HTTP_URL": f"http://{http.hostname}:{http.port}",
        }


def _read_junit(report: Path, output: str) -> Outcome:
    outcome = Outcome(output=output)
    for case in ET.parse(report).iter("testcase"):
        name = f"{case.get('classname')}.{case.get('name')}"
        broken = [*case.findall("failure"), *case.findall("error")]
        if broken:
            outcome.failed[name] = broken[0].text or ""
        elif case.find("skipped") is None:
            outcome.passed.add(name)
    return outcome


class GoSuite:
    """The tests of amqp091-go, from Debian's package of it.

    Args:
        directory: Where everything goes.
    """

    _GOPATH = Path("/usr/share/gocode")
    _PACKAGE = Path("src/github.com/rabbitmq/amqp091-go")
    _HOW = "install the packages golang-go, golang-github-rabbitmq-amqp091-go-dev and golang-uber-goleak-dev"

    def __init__(self, directory: Path) -> None:
        present = shutil.which("go") is not None and all(
            (self._GOPATH / "src" / one).is_dir()
            for one in ("github.com/rabbitmq/amqp091-go", "go.uber.org/goleak")
        )
        require(present, "The suite of amqp091-go", self._HOW)
        self._source = directory / self._PACKAGE
        shutil.copytree(self._GOPATH / self._PACKAGE, self._source)
        # Some tests are for RabbitMQ only, and leave their connection open for others: see goleak.
        _edit(
            self._source / "integration_test.go",
            ('server == "RabbitMQ"', "server != nil"),
            ('product.(string) == "RabbitMQ"', "product != nil"),
        )
        self._program = directory / "suite"
        self._variables = {
            "GOPATH": f"{directory}:{self._GOPATH}",
            "GO111MODULE": "off",
            "GOFLAGS": "-buildvcs=false",
            "GOCACHE": str(directory / "cache"),
        }
        _build(
            ("go", "test", "-vet=off", "-tags", "integration", "-c", "-o", self._program, "."),
            self._source,
            **self._variables,
        )

    #: It opens and closes 65 535 channels, for which RabbitMQ takes 84 seconds.
    _SKIPPED_ON_RABBITMQ = "TestChannelCounterShouldNotPanicIssue136"

    def run(self, target: Target) -> Outcome:
        """All tests."""
        listed = _run((self._program, "-test.list", "."), self._source).stdout.split()
        skipped = {self._SKIPPED_ON_RABBITMQ} if target.name.startswith("rabbitmq") else set()
        outcome = self._run_once(target, [name for name in listed if name not in skipped])
        if again := sorted({*outcome.failed} & {*listed}):
            outcome.run_again(self._run_once(target, again))
        return outcome

    def _run_once(self, target: Target, tests: list[str]) -> Outcome:
        chosen = f"^({'|'.join(tests)})$"
        done = _run(
            ("go", "tool", "test2json", self._program, "-test.v", f"-test.run={chosen}"),
            self._source,
            **self._variables,
            AMQP_URL=target.url,
        )
        return _read_go(done)


def _read_go(done: subprocess.CompletedProcess[str]) -> Outcome:
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    outcome = Outcome(output="".join(event.get("Output", "") for event in events))
    texts: dict[str, str] = {}
    for event in events:
        name = event.get("Test")
        # What is not of a test is of the program, which fails of itself when goroutines are left.
        match event["Action"], name:
            case "output", str():
                texts[name] = texts.get(name, "") + event["Output"]
            case "pass", str():
                outcome.passed.add(name)
            case "fail", str():
                outcome.failed[name] = texts.get(name, "")
    if done.returncode and not outcome.failed:
        outcome.failed["the program"] = outcome.output[-4000:]
    return outcome


class JavaSuite:
    """The functional tests of RabbitMQ's Java client: Debian's source package of them, on its binary package.

    Args:
        directory: Where everything goes.
    """

    _SOURCE = "rabbitmq-java-client"
    _JARS = (
        "amqp-client",
        "byte-buddy",
        "byte-buddy-agent",
        "hamcrest",
        "hamcrest-all",
        "junit4",
        "metrics-core",
        "mockito-core",
        "objenesis",
        "slf4j-api",
        "slf4j-nop",
    )
    _HOW = (
        "install the packages default-jdk-headless, dpkg-dev, junit4, libdropwizard-metrics-java, "
        "libmockito-java and librabbitmq-client-java, and let apt-get fetch the source of the last one"
    )
    #: Tests of the client alone, tests of what Debian lacks (awaitility), tests of several nodes or TLS, and
    #: measurements: they are not compiled.
    _LEFT_OUT = (
        "performance",
        "ssl",
        "functional/Metrics.java",
        "ClientTests.java",
        "DnsRecordIpAddressResolverTests.java",
        "SslContextFactoryTest.java",
    )
    #: These change the broker by rabbitmqctl, or restart it.
    _NEED_CONTROL = (
        "ConnectionRecovery",
        "Policies",
        "UserIDHeader",
        "PerMessageTTL.restartingExpiry",
        "PerQueueVsPerMessageTTL.restartingExpiry",
    )
    #: It wants every message within a tenth of a second, which a busy machine does not keep.
    _MEASURES_TIMES = "DeadLetterExchange.deadLetterQueueTTLPromptExpiry"
    #: Beside the functional tests.
    _OTHERS = (
        "Bug20004Test",
        "ChannelNumberAllocationTests",
        "CloseInMainLoop",
        "JavaNioTest",
        "MultiThreadedChannel",
        "QueueingConsumerTests",
        "RpcTest",
        "SharedThreadPoolTest",
        "server.AlternateExchangeEquivalence",
        "server.PriorityQueues",
        "server.XDeathHeaderGrowth",
    )

    def __init__(self, directory: Path) -> None:
        jars = [Path("/usr/share/java") / f"{name}.jar" for name in self._JARS]
        tools = ("apt-get", "dpkg-source", "java", "javac", "make")
        require(
            all(shutil.which(tool) for tool in tools) and all(jar.exists() for jar in jars),
            "The suite of RabbitMQ's Java client",
            self._HOW,
        )
        self._directory = directory
        self._fetch()
        tests = directory / "source/src/test/java"
        base = tests / "com/rabbitmq/client/test"
        members = re.findall(
            r"^\s*(\w+)\.class", (base / "functional/FunctionalTests.java").read_text(), re.M
        )
        self._edit(base)
        self._classpath = ":".join(map(str, (directory / "classes", *jars)))
        _build(
            (
                *("javac", "-nowarn", "-encoding", "UTF-8", "-cp", self._classpath),
                *("-d", directory / "classes", _HERE / "Report.java", *tests.rglob("*.java")),
            ),
            directory,
        )
        self._classes = [
            *(
                f"functional.{name}"
                for name in members
                if (base / f"functional/{name}.java").exists() and name not in self._NEED_CONTROL
            ),
            *self._OTHERS,
        ]

    def _fetch(self) -> None:
        """Get the sources, whose index apt need not know otherwise."""
        lists = self._directory / "lists"
        for made in (lists / "partial", self._directory / "cache/archives/partial"):
            made.mkdir(parents=True)
        sources = self._directory / "debian.sources"
        known = Path("/etc/apt/sources.list.d/debian.sources")
        require(known.exists(), "The suite of RabbitMQ's Java client", self._HOW)
        sources.write_text(re.sub(r"(?m)^Types:.*$", "Types: deb-src", known.read_text()))
        settings = {
            "Dir::Etc::sourcelist": sources,
            "Dir::Etc::sourceparts": "-",
            "Dir::State::Lists": lists,
            "Dir::Cache": self._directory / "cache",
            "APT::Sandbox::User": "",
            "Debug::NoLocking": "1",
        }
        options = [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
        update = _run(("apt-get", *options, "-q", "update"), self._directory)
        got = _run(
            ("apt-get", *options, "-q", "source", "--download-only", "--tar-only", self._SOURCE),
            self._directory,
        )
        # Beside the sources there is a generator, which is not needed: whether that has come does not matter.
        archives = [*self._directory.glob(f"{self._SOURCE}_*.orig.tar.gz")]
        require(
            len(archives) == 1,
            "The suite of RabbitMQ's Java client",
            f"{self._HOW}\n{update.stdout}\n{got.stdout}",
        )
        unpack(archives[0], self._directory)
        (unpacked,) = (path.parent for path in self._directory.glob("*/pom.xml"))
        unpacked.rename(self._directory / "source")

    def _edit(self, base: Path) -> None:
        """Leave out what is not wanted, and have the rest go to the port that the property says."""
        for name in self._LEFT_OUT:
            path = base / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        port = 'Integer.getInteger("broker.port")'
        _edit(base / "functional/FunctionalTests.java", ("Metrics.class", ""))
        new = "ConnectionFactory connectionFactory = new ConnectionFactory();"
        _edit(base / "TestUtils.java", (new, f"{new} connectionFactory.setPort({port});"))
        _edit(base / "JavaNioTest.java", ("new ConnectionFactory()", "TestUtils.connectionFactory()"))
        for name in ("FrameMax", "UnexpectedFrames"):
            _edit(
                base / f"functional/{name}.java",
                ("super();\n            if", f"super();\n            setPort({port});\n            if"),
            )
        for path in base.rglob("*.java"):
            if "AMQP.PROTOCOL.PORT" in path.read_text():
                _edit(path, ("AMQP.PROTOCOL.PORT", port))

    def run(self, target: Target) -> Outcome:
        """All tests that only talk to a broker."""
        outcome = self._run_once(target)
        if outcome.failed:
            outcome.run_again(self._run_once(target, f"-Dchosen={','.join(outcome.failed)}"))
        return outcome

    def _run_once(self, target: Target, *properties: str) -> Outcome:
        program = shutil.which("true")
        skipped = ",".join(f"functional.{name}" for name in (*self._NEED_CONTROL, self._MEASURES_TIMES))
        done = _run(
            (
                *(
                    "java",
                    "-cp",
                    self._classpath,
                    f"-Dbroker.port={target.port}",
                    f"-Dskipped={skipped}",
                    *properties,
                ),
                *("Report", *(f"com.rabbitmq.client.test.{name}" for name in self._classes)),
            ),
            self._directory,
            JAVA_TOOL_OPTIONS=f"-Drabbitmqctl.bin={program} -Drabbitmq.dir={self._directory}",
        )
        assert done.returncode == 0, done.stdout
        outcome = Outcome(output=done.stdout)
        for result, name, text in re.findall(r"^@@ (\w+) (\S+) (.*)$", done.stdout, re.M):
            if result == "failed":
                outcome.failed[name] = text.replace("\\n", "\n")
            elif result == "passed":
                outcome.passed.add(name)
        return outcome
