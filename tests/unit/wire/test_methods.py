"""Generated methods: fresh, as the specification has them, and as an independent codec reads them."""

from __future__ import annotations

import functools
import inspect
import struct
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import base as pamqp_base
from pamqp import commands as pamqp_commands
from tests.support.servers import require
from tools.generate_methods import GRAMMAR

from fedora_messaging.exceptions import EncodingError
from fedora_messaging.wire import methods as m
from fedora_messaging.wire.errors import FRAME_ERROR, NOT_IMPLEMENTED, SYNTAX_ERROR, WireError
from fedora_messaging.wire.methods import BY_KEY, Method, decode_method

ROOT = Path(__file__).resolve().parents[3]
SPECIFICATION = Path("/usr/share/amqp/specs/0-9-1-rabbit/amqp0-9-1.stripped.extended.xml")
# RabbitMQ speaks them, but that file lacks them.
ADDED = {
    "connection.blocked",
    "connection.unblocked",
    "connection.update-secret",
    "connection.update-secret-ok",
}

METHODS = list(BY_KEY.values())
EACH_METHOD = pytest.mark.parametrize("method", METHODS, ids=[method.name for method in METHODS])

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "octet": st.integers(0, 0xFF),
    "short": st.integers(0, 0xFFFF),
    "long": st.integers(0, 0xFFFFFFFF),
    "longlong": st.integers(0, 0x7FFFFFFFFFFFFFFF),
    "bit": st.booleans(),
    "shortstr": st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
    "longstr": st.binary(max_size=80),
    "table": st.dictionaries(st.text("abc", max_size=5), st.none() | st.booleans() | st.text("ä")),
}
SAMPLES: dict[str, Any] = {
    "octet": 0xFE,
    "short": 0xFEDC,
    "long": 0xFEDCBA98,
    "longlong": 0x7EDCBA9876543210,
    "bit": True,
    "shortstr": "grüße",
    "longstr": b"long",
    "table": {"n": True, "m": {}},
}


def fields_of(method: type[Method]) -> list[tuple[str, str]]:
    amqp_class, name = method.name.split(".")
    return [(field.split(":")[0], field.split(":")[1]) for field in GRAMMAR[amqp_class][1][name][2].split()]


def kept_fields(method: type[Method]) -> dict[str, str]:
    return {name: kind for name, kind in fields_of(method) if name != "-"}


def sample(method: type[Method]) -> Method:
    return method(**{name: SAMPLES[kind] for name, kind in kept_fields(method).items()})


def arguments(method: type[Method]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({name: VALUES[kind] for name, kind in kept_fields(method).items()})


ANY_METHOD = st.sampled_from(METHODS).flatmap(
    lambda method: arguments(method).map(lambda values: method(**values))
)


def test_the_file_is_fresh() -> None:
    check = subprocess.run(
        [sys.executable, "tools/generate_methods.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert check.returncode == 0, check.stdout + check.stderr


# Against the specification


@functools.cache
def specification() -> ElementTree.Element:
    require(SPECIFICATION.exists(), "The AMQP specification", "install the package amqp-specs")
    return ElementTree.parse(SPECIFICATION).getroot()


def test_every_method_and_field_of_the_specification() -> None:
    root = specification()
    domains = {domain.attrib["name"]: domain.attrib["type"] for domain in root.iter("domain")}
    expected = {}
    for amqp_class in root.iter("class"):
        for method in amqp_class.iter("method"):
            fields = [
                (
                    "-" if field.get("reserved") else field.attrib["name"].replace("-", "_"),
                    field.get("type") or domains[field.attrib["domain"]],
                )
                for field in method.iter("field")
            ]
            index = (int(amqp_class.attrib["index"]), int(method.attrib["index"]))
            has_content = method.get("content") == "1"
            name = f"{amqp_class.attrib['name']}.{method.attrib['name']}"
            expected[name] = (index, has_content, fields)
    ours = {
        method.name: (method.key, method.has_content, fields_of(method))
        for method in METHODS
        if method.name not in ADDED
    }
    # Names that Python or our other methods spell in another way.
    expected["basic.qos"][2][2] = ("global_", "bit")
    expected["confirm.select"][2][0] = ("no_wait", "bit")
    assert ours == expected


def test_the_grammar_says_who_waits_for_an_answer() -> None:
    asks = {
        f"{amqp_class.attrib['name']}.{method.attrib['name']}"
        for amqp_class in specification().iter("class")
        for method in amqp_class.iter("method")
        if method.find("response") is not None
    }
    # The answer to recover is not written down in the file (AMQP 0-9-1 section 1.8.3.15).
    asks |= {"basic.recover", "connection.update-secret"}
    ours = {
        f"{amqp_class}.{method}"
        for amqp_class, (_, methods) in GRAMMAR.items()
        for method, (_, flags, _) in methods.items()
        if "s" in flags
    }
    assert ours == asks


# The classes


@EACH_METHOD
def test_constructor_takes_the_fields_in_order_and_has_defaults(method: type[Method]) -> None:
    names = list(kept_fields(method))
    assert list(method.__match_args__) == names
    parameters = inspect.signature(method).parameters
    assert [name for name in parameters if name not in ("args", "kwargs")] == names
    defaults = method()
    empty = {"bit": False, "shortstr": "", "longstr": b"", "table": {}}
    for name, kind in kept_fields(method).items():
        assert getattr(defaults, name) == empty.get(kind, 0)
    assert decode_method(defaults.encode()) == defaults


def test_default_tables_are_not_shared() -> None:
    first, second = m.QueueDeclare(), m.QueueDeclare()
    first.arguments["n"] = 1
    assert second.arguments == {}


@EACH_METHOD
def test_decodes_what_it_encodes(method: type[Method]) -> None:
    wanted = sample(method)
    payload = wanted.encode()
    assert struct.unpack_from(">HH", payload) == method.key
    decoded = decode_method(payload)
    assert type(decoded) is method
    assert decoded == wanted
    assert repr(decoded) == repr(wanted)


@EACH_METHOD
def test_each_bit_has_its_place(method: type[Method]) -> None:
    bits = [name for name, kind in kept_fields(method).items() if kind == "bit"]
    for name in bits:
        decoded = decode_method(method(**{name: True}).encode())
        assert [getattr(decoded, other) for other in bits] == [other == name for other in bits]


@given(ANY_METHOD)
def test_round_trip(method: Method) -> None:
    assert decode_method(method.encode()) == method


def test_compared_by_type_and_value() -> None:
    assert m.BasicAck(1) == m.BasicAck(1)
    assert m.BasicAck(1) != m.BasicAck(2)
    assert m.TxCommit() != m.TxRollback()
    assert m.BasicAck(1) != 1
    with pytest.raises(TypeError, match="unhashable"):
        hash(m.BasicAck(1))


def test_repr() -> None:
    assert repr(m.BasicAck(3, True)) == "BasicAck(delivery_tag=3, multiple=True)"
    assert repr(m.TxCommit()) == "TxCommit()"


def test_the_parent_is_not_a_method() -> None:
    with pytest.raises(NotImplementedError):
        Method().encode()
    with pytest.raises(NotImplementedError):
        Method.decode(b"", 0)


# The independent codec

# Pamqp warns of basic.recover-async, which clients still send.
OLD_METHODS = pytest.mark.filterwarnings("ignore:This command is deprecated")
PAMQP_SAMPLES = {**SAMPLES, "shortstr": "name", "table": {"n": True}}


def theirs_for(method: type[Method]) -> type[pamqp_base.Frame]:
    found = pamqp_commands.INDEX_MAPPING[method.key[0] << 16 | method.key[1]]
    assert issubclass(found, pamqp_base.Frame)
    return found


def their_name(name: str) -> str:
    return {"type": "exchange_type", "no_wait": "nowait"}.get(name, name)


def test_pamqp_knows_the_same_methods() -> None:
    assert {(index >> 16, index & 0xFFFF) for index in pamqp_commands.INDEX_MAPPING} == set(BY_KEY)


@EACH_METHOD
def test_pamqp_has_the_same_fields(method: type[Method]) -> None:
    theirs = theirs_for(method)
    assert [theirs.amqp_type(name) for name in theirs.__slots__] == [kind for _, kind in fields_of(method)]


def text(value: Any) -> Any:
    """Pamqp decodes long strings where it can; we leave them bytes."""
    return value.encode() if isinstance(value, str) else value


@OLD_METHODS
@given(ANY_METHOD)
def test_pamqp_reads_what_we_write(method: Method) -> None:
    theirs = theirs_for(type(method))()
    theirs.unmarshal(method.encode()[4:])
    for name, kind in kept_fields(type(method)).items():
        got = getattr(theirs, their_name(name))
        assert (text(got) if kind == "longstr" else got) == getattr(method, name)


@OLD_METHODS
@EACH_METHOD
def test_we_read_what_pamqp_writes_and_write_the_same(method: type[Method]) -> None:
    values = {name: PAMQP_SAMPLES[kind] for name, kind in kept_fields(method).items()}
    if method is m.BasicPublish:
        values["immediate"] = False  # RabbitMQ refuses it, and so does pamqp
    theirs = theirs_for(method)(
        **{
            their_name(name): value.decode() if isinstance(value, bytes) else value
            for name, value in values.items()
        }
    )
    payload = struct.pack(">HH", *method.key) + theirs.marshal()
    assert decode_method(payload) == method(**values)
    # Pamqp writes "0" into the reserved fields of these two.
    if method not in (m.ChannelOpen, m.ChannelOpenOk):
        assert method(**values).encode() == payload


# What is broken


def refused(payload: bytes) -> tuple[int, str]:
    with pytest.raises(WireError) as caught:
        decode_method(payload)
    return caught.value.reply_code, caught.value.text


def test_p18_payloads_that_are_too_short_to_name_a_method() -> None:
    octets = ["", "0", "0,10", "0,10,0"]
    for size, shown in enumerate(octets):
        code, message = refused(b"\x00\x0a\x00\x33"[:size])
        assert (code, message) == (FRAME_ERROR, f"type 1, all octets = <<{shown}>>: unknown_frame")


def test_methods_that_do_not_exist() -> None:
    known = set(BY_KEY)
    for key in [(c, i) for c in range(0, 120, 5) for i in range(130) if (c, i) not in known]:
        code, text_ = refused(struct.pack(">HH", *key) + bytes(40))
        assert (code, text_) == (NOT_IMPLEMENTED, f"no method has the indexes {key[0]}, {key[1]}")


def reserved_tail(method: type[Method]) -> list[int]:
    """Encoded sizes of the reserved fields at the end, which are not needed, the last one first."""
    sizes = []
    for name, kind in reversed(fields_of(method)):
        if name != "-":
            break
        sizes.append({"shortstr": 1, "bit": 1, "longstr": 4}[kind])
    return sizes


@EACH_METHOD
def test_p18_arguments_cut_short(method: type[Method]) -> None:
    wanted = sample(method)
    payload = wanted.encode()
    for size in reserved_tail(method):
        assert decode_method(payload) == wanted
        payload = payload[:-size]
    assert decode_method(payload) == wanted
    for kept in range(4, len(payload)):
        code, message = refused(payload[:kept])
        assert code == SYNTAX_ERROR
        assert message.endswith("reaches beyond the end of its frame")


@EACH_METHOD
def test_arguments_followed_by_something_else(method: type[Method]) -> None:
    code, message = refused(sample(method).encode() + b"\x00")
    assert (code, message) == (SYNTAX_ERROR, f"bytes follow after the arguments of {method.name}")


def test_reserved_fields_may_hold_anything_that_fits_their_type() -> None:
    assert decode_method(b"\x00\x0a\x00\x28\x01/\x03abc\xff") == m.ConnectionOpen("/")
    assert decode_method(b"\x00\x0a\x00\x29\x03abc") == m.ConnectionOpenOk()
    assert decode_method(b"\x00\x14\x00\x0b\x00\x00\x00\x02ab") == m.ChannelOpenOk()
    assert decode_method(b"\x00\x3c\x00\x46\xff\xff\x01q\x01") == m.BasicGet("q", True)
    assert refused(b"\x00\x0a\x00\x29\x03ab")[0] == SYNTAX_ERROR


@given(st.sampled_from(METHODS), st.binary(max_size=80))
def test_arbitrary_arguments_are_read_or_refused(method: type[Method], data: bytes) -> None:
    try:
        decode_method(struct.pack(">HH", *method.key) + data)
    except WireError as error:
        assert error.reply_code == SYNTAX_ERROR


# What cannot be written


@pytest.mark.parametrize(
    "method",
    [
        m.BasicQos(prefetch_count=65536),
        m.BasicQos(prefetch_size=-1),
        m.BasicAck(2**64),
        m.QueueDeclare("q" * 256),
        m.QueueDeclare(arguments={"n": object()}),
        m.ConnectionTuneOk(heartbeat=70000),
    ],
    ids=[
        "short too large",
        "short negative",
        "longlong too large",
        "shortstr too long",
        "table",
        "heartbeat",
    ],
)
def test_values_that_do_not_fit_their_field(method: Method) -> None:
    with pytest.raises(EncodingError):
        method.encode()
