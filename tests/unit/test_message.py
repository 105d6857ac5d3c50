"""Messages beyond version 3.9: files that come back, printing, properties, configuration."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fedora_messaging import config, message
from fedora_messaging.exceptions import ValidationError
from fedora_messaging.message import Message, dumps, load_message, loads
from fedora_messaging.validation.json_body import MAX_DEPTH
from fedora_messaging.wire.properties import BasicProperties

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SETTINGS = settings(derandomize=True, deadline=None, max_examples=100)
#: What `str.splitlines` takes for the end of a line, besides the line feed.
LINE_BREAKS = "\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"


@pytest.fixture(scope="module", autouse=True)
def default_configuration() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "conf", config.LazyConfig().load_config(""))
        yield


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Callable[[type[Message]], None]:
    message.get_class("base.message")

    def add(cls: type[Message]) -> None:
        monkeypatch.setitem(message._schema_name_to_class, "mine", cls)
        monkeypatch.setitem(message._class_to_schema_name, cls, "mine")

    return add


# Files

TEXT = st.text(st.sampled_from(LINE_BREAKS + '\n\ta"\\é😀\ud800') | st.characters(), max_size=8)
BODIES = st.dictionaries(
    TEXT,
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
        max_leaves=5,
    ),
    max_size=3,
)
MESSAGES: st.SearchStrategy[Message] = st.builds(
    Message,
    body=BODIES,
    headers=st.dictionaries(TEXT, TEXT, max_size=2),
    topic=TEXT,
    severity=st.sampled_from(message.SEVERITIES),
)


def same(first: Message, second: Message) -> bool:
    """Equal in everything that a file keeps."""
    return (
        type(first) is type(second)
        and first == second
        and first._headers == second._headers
        and (first.id, first.queue, first.priority) == (second.id, second.queue, second.priority)
        and first.severity == second.severity
    )


@SETTINGS
@given(st.lists(st.tuples(MESSAGES, st.none() | TEXT, st.none() | st.integers(0, 255)), max_size=4))
def test_files_bring_every_message_back(drawn: list[tuple[Message, str | None, int | None]]) -> None:
    for sent, queue, priority in drawn:
        sent.queue = queue
        sent.priority = priority
    messages = [sent for sent, _, _ in drawn]
    text = dumps(messages)
    assert text.count("\n") == max(len(messages), 1)
    if messages:
        back = loads(text)
        assert len(back) == len(messages)
        assert all(map(same, messages, back))


@pytest.mark.parametrize("char", LINE_BREAKS)
def test_line_separators_in_a_body_come_back(char: str) -> None:
    """A file of messages breaks at line feeds only, whatever its texts hold."""
    sent = Message(body={f"a{char}b": f"{char}x{char}"}, topic=f"t{char}")
    assert loads(dumps([sent, sent])) == [sent, sent]


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_the_last_line_may_lack_its_end_and_windows_may_have_been_there(ending: str) -> None:
    lines = dumps([Message(body={"n": 1}), Message(body={"n": 2})]).split("\n")[:2]
    text = (ending or "\n").join(lines) + ending
    assert [back.body for back in loads(text)] == [{"n": 1}, {"n": 2}]


@pytest.mark.parametrize(
    "text", ["\n", " ", "\n\n", '{"topic": "a", "body": {}}\n\n{"topic": "a", "body": {}}']
)
def test_blank_lines_are_errors(text: str) -> None:
    with pytest.raises(ValidationError):
        loads(text)


@pytest.mark.parametrize("depth", [MAX_DEPTH + 2, 500, 900, 5000, 100_000])
@pytest.mark.parametrize("where", ['{"topic": "t", "body": {"a": %s}}', '{"topic": "t", "body": %s}', "%s"])
def test_p20_lines_have_the_depth_limit_of_deliveries(where: str, depth: int) -> None:
    """How deep the standard library reads depends on the Python version."""
    with pytest.raises(ValidationError) as caught:
        loads(where % ("[" * depth + "]" * depth))
    assert len(caught.value.summary) < 4000


LOADABLE: st.SearchStrategy[Any] = st.fixed_dictionaries(
    {},
    optional={
        "topic": st.text(max_size=3) | st.none(),
        "body": st.dictionaries(st.text(max_size=3), st.integers(), max_size=2) | st.lists(st.none()),
        "headers": st.dictionaries(
            st.sampled_from(
                [
                    "fedora_messaging_schema",
                    "fedora_messaging_severity",
                    "fedora_messaging_schema_package",
                    "sent-at",
                ]
            ),
            st.sampled_from(["base.message", "unknown", "pagure.issue.new", 10, 20, 25, None, [], {}]),
            max_size=4,
        )
        | st.none(),
        "id": st.text(max_size=3) | st.none(),
        "queue": st.text(max_size=3) | st.none() | st.integers(),
        "priority": st.integers() | st.none() | st.text(max_size=1),
        "more": st.none(),
    },
)


@SETTINGS
@given(LOADABLE | st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=3))
def test_loading_gives_a_message_or_a_validation_error(data: Any) -> None:
    before = json.dumps(data)
    try:
        back = load_message(data)
    except ValidationError as error:
        assert isinstance(error.__cause__, jsonschema.ValidationError)
    else:
        assert back.topic == data["topic"]
    assert json.dumps(data) == before


def test_dumping_names_the_item_that_is_no_message() -> None:
    with pytest.raises(ValidationError) as caught:
        dumps([Message(), "text"])  # type: ignore[list-item]
    assert "'str'" in caught.value.summary


def test_dumping_takes_any_iterable() -> None:
    messages = [Message(topic="a"), Message(topic="b")]
    assert dumps(iter(messages)) == dumps(messages) == dumps(tuple(messages))


# Printing


@pytest.mark.parametrize(
    "value",
    [b"bytes", datetime.datetime(2020, 1, 2, tzinfo=datetime.UTC), Decimal("1.5"), {"deep": [b"x"]}],
    ids=repr,
)
def test_headers_that_json_does_not_know_can_be_printed(value: Any) -> None:
    """Other clients may send any value of an AMQP table."""
    arrived = Message(properties=BasicProperties(headers={"x": value}, message_id="i"))
    assert str(arrived).startswith("Id: i\n")
    assert repr(arrived)


@SETTINGS
@given(MESSAGES)
@example(Message(body={"\ud800": "\udc80"}, topic="t"))
def test_bodies_print_as_ascii(printed: Message) -> None:
    _, _, rest = str(printed).partition("\nHeaders: ")
    assert rest.isascii()
    assert json.loads(printed._encoded_body) == printed.body
    assert printed._encoded_body.isascii()


# Construction


def test_headers_may_be_any_mapping_and_are_not_changed() -> None:
    given_headers = MappingProxyType({"mine": 1})
    sent = Message(headers=given_headers)
    assert sent._headers["mine"] == 1
    assert dict(given_headers) == {"mine": 1}


def test_given_properties_are_never_replaced() -> None:
    """Not even empty ones."""
    bare = BasicProperties()
    assert Message(properties=bare)._properties is bare
    assert bare == BasicProperties()


def test_pikas_properties_may_be_published() -> None:
    pika = pytest.importorskip("pika")
    foreign = pika.BasicProperties(headers={"a": 1}, content_type="text/plain", priority=2)
    sent = Message({"b": 1}, properties=foreign)
    assert sent._properties is foreign
    assert (sent._headers, sent.priority, sent.id) == ({"a": 1}, 2, None)
    sent.id = "mine"
    assert foreign.message_id == "mine"
    assert sent == Message({"b": 1}, properties=BasicProperties(headers={"a": 1}))


def test_an_own_header_of_a_filter_is_kept_beside_the_generated(
    register: Callable[[type[Message]], None],
) -> None:
    class Filtered(Message):
        @property
        def usernames(self) -> list[str]:
            return ["kim", "alex"]

        @property
        def packages(self) -> list[str]:
            raise KeyError("body has no packages")

    register(Filtered)
    headers = Filtered(headers={"fedora_messaging_user_own": 0})._headers
    assert {name: value for name, value in headers.items() if name.startswith("fedora_messaging_user")} == {
        "fedora_messaging_user_own": 0,
        "fedora_messaging_user_kim": True,
        "fedora_messaging_user_alex": True,
    }
    assert not any(name.startswith("fedora_messaging_rpm") for name in headers)


def test_settings_are_read_when_they_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = Message(topic="t")
    changed = config.LazyConfig().load_config("")
    changed["topic_prefix"] = "org.example.."
    changed["publish_priority"] = 7
    monkeypatch.setattr(config, "conf", changed)
    assert sent._encoded_routing_key == "org.example.t"
    assert Message(topic="t").priority == 7
    assert sent.priority == 0


def test_a_broken_configuration_does_not_stop_reading(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """What arrives has properties, and needs no setting."""
    path = tmp_path / "broken.toml"
    path.write_text("= broken")
    monkeypatch.setenv(config.PATH_VARIABLE, str(path))
    monkeypatch.setattr(config, "conf", config.LazyConfig())
    arrived = message.get_message("t", BasicProperties(content_encoding="utf-8", headers={}), b"{}")
    arrived.validate()


# Validation


@pytest.mark.parametrize(
    "wrong", [{"type": "nonsense"}, {"$ref": "#/nowhere"}, {"$ref": "http://127.0.0.1:1/"}]
)
def test_a_wrong_schema_is_a_schema_error(wrong: dict[str, Any]) -> None:
    class Wrong(Message):
        body_schema = wrong

    with pytest.raises(jsonschema.SchemaError):
        Wrong(properties=BasicProperties()).validate()


def test_a_schema_may_depend_on_the_instance() -> None:
    class Versioned(Message):
        @property
        def body_schema(self) -> dict[str, Any]:  # type: ignore[override]
            return {"type": "object", "required": [f"field{self.body.get('version', 1)}"]}

    for version in (1, 2, 3):
        Versioned({"version": version, f"field{version}": 1}, properties=BasicProperties()).validate()
        with pytest.raises(jsonschema.ValidationError):
            Versioned({"version": version, "field0": 1}, properties=BasicProperties()).validate()


def test_installed_schemas_accept_what_they_describe() -> None:
    noggin = pytest.importorskip("noggin_messages")
    sent = noggin.MemberSponsorV1({"msg": {"agent": "kim", "user": "alex", "group": "designers"}})
    sent.validate()
    assert sent._headers["fedora_messaging_schema"] == "noggin.group.member.sponsor.v1"
    assert sent._headers["fedora_messaging_user_alex"] is True
    [back] = loads(dumps(sent))
    assert type(back) is noggin.MemberSponsorV1
    assert back == sent


def test_message_can_be_looked_into() -> None:
    """A callback that writes messages with all that hangs on them."""
    one = Message(topic="t", body={"a": 1})
    written = json.loads(json.dumps(one, default=lambda part: part.__dict__))
    assert written["topic"] == "t"
    assert written["_properties"] == vars(one._properties)


def test_body_that_contains_itself() -> None:
    body: dict[str, object] = {}
    body["body"] = [body]
    with pytest.raises(ValueError, match="Circular reference detected"):
        _ = Message(body=body)._encoded_body
