"""The class registry: a broken schema package harms nobody else.

Packages are made on disk and found as installed ones are, through their entry points.
"""

from __future__ import annotations

import importlib.metadata
import logging
import sys
from typing import TYPE_CHECKING, Any
from unittest import mock

import jsonschema
import pytest

from fedora_messaging import config, message
from fedora_messaging.exceptions import ValidationError
from fedora_messaging.message import Message
from fedora_messaging.wire.properties import BasicProperties

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Install = Callable[..., None]

GOOD = "from fedora_messaging.message import Message\nclass Good(Message): pass\n"


@pytest.fixture(autouse=True)
def fresh_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Empty and not loaded, put back afterwards."""
    monkeypatch.setattr(config, "conf", config.LazyConfig().load_config(""))
    monkeypatch.setattr(message, "_registry_loaded", False)
    with (
        mock.patch.dict(message._schema_name_to_class, clear=True),
        mock.patch.dict(message._class_to_schema_name, clear=True),
        mock.patch.dict(message._schema_name_to_package, clear=True),
    ):
        yield


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a distribution with one module and entry points."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(
        distribution: str,
        entry_points: str,
        module: str = "",
        code: str = GOOD,
        metadata: str | None = "Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
    ) -> None:
        info = tmp_path / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        if metadata is not None:
            (info / "METADATA").write_text(metadata.format(name=distribution))
        (info / "entry_points.txt").write_text(f"[fedora.messages]\n{entry_points}\n")
        if module:
            (tmp_path / f"{module}.py").write_text(code)
        importlib.invalidate_caches()

    yield write
    for name in ("good_schema", "bad_schema"):
        sys.modules.pop(name, None)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


def everything_works() -> None:
    assert message.get_class("base.message") is Message
    assert message.get_class("good.message").__name__ == "Good"
    for cls in (Message, message.get_class("good.message")):
        cls(body={"a": 1}).validate()
    assert message.loads(message.dumps(message.get_class("good.message")()))


@pytest.mark.parametrize(
    ("value", "code"),
    [
        pytest.param("bad_schema:Bad", "import no_such_module", id="import error"),
        pytest.param("bad_schema:Bad", "1 / 0", id="error at import"),
        pytest.param("bad_schema:Bad", "class Bad(:", id="syntax error"),
        pytest.param("bad_schema:Bad", "", id="no such class"),
        pytest.param("bad_schema:Bad.Inner", "class Bad: pass", id="no such inner class"),
        pytest.param("no_such_module:Bad", "", id="no such module"),
        pytest.param("bad_schema:Bad", "Bad = {'no': 'class'}", id="unhashable"),
        pytest.param(":", "", id="no entry point at all"),
    ],
)
def test_a_broken_package_is_left_out(
    value: str, code: str, install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    """The registry logs the error with the entry point's name, and loads all others."""
    install("aaa-bad", f"bad.message = {value}", "bad_schema", code)
    install("zzz-good", "good.message = good_schema:Good", "good_schema")
    everything_works()
    [line] = errors(caplog)
    assert "bad.message" in line
    assert "bad.message" not in message._schema_name_to_class
    assert message.get_class("bad.message") is Message


@pytest.mark.parametrize(
    ("value", "code"),
    [
        pytest.param("bad_schema:Bad", "Bad = 5", id="a number"),
        pytest.param("bad_schema:Bad", "Bad = None", id="none"),
        pytest.param("bad_schema:Bad", "def Bad(): pass", id="a function"),
        pytest.param("bad_schema:Bad", "class Bad: pass", id="a class of another kind"),
        pytest.param("bad_schema", "", id="a module"),
    ],
)
def test_an_entry_point_to_something_else_harms_only_its_own_messages(
    value: str, code: str, install: Install
) -> None:
    install("aaa-bad", f"bad.message = {value}", "bad_schema", code)
    install("zzz-good", "good.message = good_schema:Good", "good_schema")
    everything_works()
    headers = {"fedora_messaging_schema": "bad.message", "fedora_messaging_severity": 20}
    delivered = BasicProperties(content_encoding="utf-8", headers=headers)
    try:
        assert isinstance(message.get_message("t", delivered, b"{}"), Message)
    except ValidationError as error:
        assert error.summary


def test_a_broken_package_is_tried_once(
    install: Install, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    counter = tmp_path / "count"
    code = f"with open({str(counter)!r}, 'a') as file: file.write('x')\n1 / 0"
    install("aaa-bad", "bad.message = bad_schema:Bad", "bad_schema", code)
    for _ in range(3):
        Message()
        message.get_class("base.message")
    assert counter.read_text() == "x"
    assert len(errors(caplog)) == 1


@pytest.mark.parametrize("metadata", [None, "", "Metadata-Version: 2.1\nVersion: 1.0\n", "nonsense"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Python 3.12 announces an error for later
def test_a_distribution_without_a_name_is_no_harm(metadata: str | None, install: Install) -> None:
    """Left over by an interrupted installation."""
    install("zzz-good", "good.message = good_schema:Good", "good_schema")
    install("good-schema", "", metadata=metadata)
    everything_works()
    assert "good.message" not in message._schema_name_to_package


@pytest.mark.parametrize(
    ("distribution", "module", "package"),
    [
        ("good-schema", "good_schema", "good_schema"),
        ("Good.Schema", "good_schema", "good_schema"),
        ("good__schema", "good_schema", "good_schema"),
        ("other-name", "good_schema", None),
    ],
)
def test_package_header(distribution: str, module: str, package: str | None, install: Install) -> None:
    install(distribution, f"good.message = {module}:Good", module)
    sent = message.get_class("good.message")()
    assert sent._headers.get("fedora_messaging_schema_package") == package


def test_loading_again_adds_new_packages_and_keeps_the_old(install: Install) -> None:
    class Mine(Message):
        pass

    assert message.get_class("base.message") is Message
    message._schema_name_to_class["mine"] = Mine
    message._class_to_schema_name[Mine] = "mine"
    install("zzz-good", "good.message = good_schema:Good", "good_schema")
    assert message.get_class("good.message") is Message
    message.load_message_classes()
    everything_works()
    assert Mine()._headers["fedora_messaging_schema"] == "mine"


def test_every_installed_schema_package_is_known() -> None:
    for entry_point in importlib.metadata.entry_points(group="fedora.messages"):
        cls = message.get_class(entry_point.name)
        assert cls is entry_point.load()
        assert issubclass(cls, Message)


# Classes without an installed package


def test_registered_class_is_built_and_received() -> None:
    @message.register("unit.greeting")
    class Greeting(Message):
        body_schema = {"type": "object", "required": ["name"]}

    sent = Greeting(topic="t", body={"name": "world"})
    assert sent._headers["fedora_messaging_schema"] == "unit.greeting"
    assert message.get_class("unit.greeting") is Greeting
    received = message.get_message("t", sent._properties, sent._encoded_body)
    assert type(received) is Greeting
    assert received == sent
    with pytest.raises(jsonschema.ValidationError, match="'name' is a required property"):
        Greeting(topic="t").validate()
    assert "unit.greeting" in message.schema_names()


def test_class_that_is_defined_again_is_registered_again() -> None:
    """As in a notebook cell that runs twice."""

    def define() -> type[Message]:
        @message.register("unit.again")
        class Again(Message):
            pass

        return Again

    first, second = define(), define()
    assert first is not second
    assert message.get_class("unit.again") is second
    assert message.get_name(first) == message.get_name(second) == "unit.again"


def test_name_of_another_class_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the schema name 'base.message' belongs to .*: choose"):

        @message.register("base.message")
        class Mine(Message):
            pass


@pytest.mark.parametrize("wrong", [int, Message(), None])
def test_what_cannot_be_registered(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"register\(\) decorates subclasses of Message"):
        message.register("unit.wrong")(wrong)


def test_class_that_is_not_registered_is_told_how_to_be() -> None:
    class Forgotten(Message):
        pass

    with pytest.raises(TypeError, match=r'decorate the class with fedora_messaging\.message\.register\("'):
        Forgotten()


def test_publisher_of_plain_messages_imports_no_schema_package(install: Install) -> None:
    install("good", "good.message = good_schema:Good", "good_schema")
    headers = Message()._headers
    assert headers["fedora_messaging_schema"] == "base.message"
    assert headers["fedora_messaging_schema_package"] == "fedora_messaging"
    assert "good_schema" not in sys.modules
    assert message.get_class("good.message").__name__ == "Good"
    assert {name: Message()._headers[name] for name in headers if name != "sent-at"} == {
        name: value for name, value in headers.items() if name != "sent-at"
    }


def test_publisher_imports_no_other_schema_package(install: Install) -> None:
    install("good-schema", "good.message = good_schema:Good", "good_schema")
    install("other", "other.message = bad_schema:Bad", "bad_schema", "import no_such_module")
    good = importlib.import_module("good_schema")
    headers = good.Good()._headers
    assert headers["fedora_messaging_schema"] == "good.message"
    assert headers["fedora_messaging_schema_package"] == "good_schema"
    assert "bad_schema" not in sys.modules


def test_class_with_two_names_is_published_as_always(install: Install) -> None:
    """Under the name that comes last, which only the whole registry knows."""
    install("good", "one.message = good_schema:Good\nother.message = good_schema:Good", "good_schema")
    good = importlib.import_module("good_schema")
    name = good.Good()._headers["fedora_messaging_schema"]
    message.load_message_classes()
    assert good.Good()._headers["fedora_messaging_schema"] == name == message.get_name(good.Good)


def test_class_that_no_package_announces_is_still_refused(install: Install) -> None:
    install("good", "good.message = good_schema:Good", "good_schema")

    class Stranger(Message):
        pass

    with pytest.raises(TypeError, match="is not in the message registry"):
        Stranger()
