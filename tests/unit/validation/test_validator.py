"""JSON Schema checks: jsonschema's verdict always (P20), no network (P21), a cache that tells the truth.

Verdicts are compared with those of a second process, where orjson and jsonschema-rs cannot be imported.
"""

from __future__ import annotations

import base64
import enum
import gc
import importlib.util
import json
import logging
import math
import os
import subprocess
import sys
import threading
import types
import weakref
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fedora_messaging import config, exceptions
from fedora_messaging.message import get_message
from fedora_messaging.validation import json_body, validator
from fedora_messaging.wire.properties import BasicProperties

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[3]
DRAFT_4 = "http://json-schema.org/draft-04/schema#"
DRAFT_7 = "http://json-schema.org/draft-07/schema#"
DRAFT_2020 = "https://json-schema.org/draft/2020-12/schema"
SETTINGS = settings(derandomize=True, deadline=None, max_examples=250)


# Verdicts as text. These functions run in both processes.


def judge(check: Callable[[Any, Any], object], instance: Any, schema: Any) -> str:
    try:
        check(instance, schema)
    except jsonschema.ValidationError as error:
        where = [list(error.absolute_path), list(error.absolute_schema_path)]
        return f"ValidationError: {error.message} {where!r}"
    except Exception as error:
        # Which of a schema's mistakes jsonschema names depends on the hash seed of the process.
        return type(error).__name__
    return "valid"


def verdict_of_validation(schema: str, instance: str) -> str:
    return judge(validator.validate, json.loads(instance), json.loads(schema))


def verdict_of_decoding(body: str, encoding: str) -> str:
    try:
        return repr(json_body.decode(base64.b64decode(body), encoding))
    except Exception as error:
        return repr(error)


def verdict_of_delivery(headers: str, encoding: str, body: str) -> str:
    properties = BasicProperties(headers=json.loads(headers), content_encoding=encoding)
    try:
        message = get_message("topic", properties, base64.b64decode(body))
    except exceptions.ValidationError as error:
        return f"{error.args[0]!r} {error.summary}"
    return f"{message!r} {message.severity}"


WORKER = """
import json, sys
sys.modules.update(orjson=None, jsonschema_rs=None)
import logging
from fedora_messaging import config
from fedora_messaging.validation import json_body, rust
from tests.unit.validation import test_validator
assert json_body.orjson_library() is None and rust.library() is None
logging.disable(logging.CRITICAL)
config.conf.load_config("")
for line in sys.stdin:
    name, *arguments = json.loads(line)
    print(json.dumps(getattr(test_validator, name)(*arguments)), flush=True)
"""


class PlainProcess:
    """Runs verdict functions in a process without orjson and jsonschema-rs."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{Path(config.__file__).parents[1]}"},
        )

    def ask(self, verdict: Callable[..., str], *arguments: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([verdict.__name__, *arguments]) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert isinstance(answer, str)
        return answer

    def close(self) -> None:
        # communicate() also closes the pipes, which an interpreter with warnings as errors insists on.
        self._process.communicate(timeout=30)


@pytest.fixture(scope="module")
def plain() -> Iterator[PlainProcess]:
    process = PlainProcess()
    yield process
    process.close()


@pytest.fixture(scope="module", autouse=True)
def default_configuration() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "conf", config.LazyConfig().load_config(""))
        logging.disable(logging.CRITICAL)
        yield
        logging.disable(logging.NOTSET)


def agreed(plain: PlainProcess, verdict: Callable[..., str], *arguments: str) -> str:
    here, there = verdict(*arguments), plain.ask(verdict, *arguments)
    assert here == there
    return here


def agreed_validation(plain: PlainProcess, schema: Any, instance: Any) -> str:
    return agreed(plain, verdict_of_validation, json.dumps(schema), json.dumps(instance))


def test_both_ways_are_tested_here() -> None:
    for name in ("orjson", "jsonschema_rs"):
        assert importlib.util.find_spec(name), f"install {name}, so that the tests see both ways"


# P20: the same verdict with and without orjson and jsonschema-rs

NUMBERS = st.sampled_from(
    [0, 1, -1, 2, 3, 10, 2**53 + 1, 2**63, 2**64, 2**70, -(2**70)]
    + [0.0, -0.0, 1.0, 0.5, 0.1, 0.3, 19.99, 2.0**53, 1e30, 1e308]
)
ODD_NUMBERS = st.sampled_from([math.inf, -math.inf, math.nan])
WORDS = st.sampled_from(
    ["", "a", "b", "ab", "ab\n", "A", "1", "\u0663", "é", "\x1c", "\ufeff", "\ud800", "😀"]
)
NAMES = st.sampled_from(["a", "b", "c", "é", "\ud800"])


def documents(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
        max_leaves=6,
    )


PLAIN_INSTANCES = documents(st.none() | st.booleans() | NUMBERS | WORDS)
INSTANCES = documents(st.none() | st.booleans() | NUMBERS | ODD_NUMBERS | WORDS)
TYPES = st.sampled_from(["null", "boolean", "integer", "number", "string", "array", "object"])
SIZES = st.sampled_from([0, 1, 2, 3])
#: Mean the same to Python and to ECMA 262.
PLAIN_PATTERNS = st.sampled_from(["a", "^a", "[ab]+", "^(a|b)*", "b?", "."])
#: Do not.
ODD_PATTERNS = st.sampled_from(
    [
        r"^\D+$",
        r"^\d$",
        r"^\W$",
        r"^\S+$",
        r"^\s$",
        "b$",
        "^.$",
        r"\bb",
        r"\p{L}",
        r"(?<n>a)",
        r"a\Z",
        r"\z",
        "(",
    ]
)


def schemas(patterns: st.SearchStrategy[str], extra: dict[str, Any], wrong: Any) -> st.SearchStrategy[Any]:
    """Schemas of all keywords; ``wrong`` are values that some of them do not allow."""
    simple: dict[str, st.SearchStrategy[Any]] = {
        "type": TYPES | st.lists(TYPES, min_size=1, max_size=2, unique=True) | wrong,
        "enum": st.lists(PLAIN_INSTANCES, min_size=1, max_size=3) | wrong,
        "const": PLAIN_INSTANCES,
        "minimum": NUMBERS | wrong,
        "maximum": NUMBERS,
        "minLength": SIZES | wrong,
        "maxLength": SIZES,
        "pattern": patterns | wrong,
        "required": st.lists(NAMES, min_size=1, max_size=2, unique=True) | wrong,
        "minItems": SIZES,
        "maxItems": SIZES,
        "uniqueItems": st.booleans(),
        "minProperties": SIZES,
        "maxProperties": SIZES,
        "format": st.sampled_from(["email", "date-time", "regex", "nonsense"]),
        "default": PLAIN_INSTANCES,
        **extra,
    }
    references = {"$ref": st.sampled_from(["#/definitions/d", "#/nowhere", "http://remote.invalid/s"])}

    def pick(keywords: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
        # A few keywords at a time: with all of them at once everything is invalid.
        names = st.lists(st.sampled_from(sorted(keywords)), max_size=2, unique=True)
        return names.flatmap(lambda chosen: st.fixed_dictionaries({name: keywords[name] for name in chosen}))

    def deeper(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        some = st.lists(inner, min_size=1, max_size=2)
        return pick(
            {
                "type": simple["type"],
                "required": simple["required"],
                "properties": st.dictionaries(NAMES, inner, max_size=3),
                "patternProperties": st.dictionaries(patterns, inner, max_size=2),
                "additionalProperties": st.booleans() | inner,
                "items": inner,
                "allOf": some,
                "anyOf": some,
                "oneOf": some,
                "not": inner,
            }
        )

    tree = st.recursive(pick(simple | references), deeper, max_leaves=4)
    drafts = st.sampled_from([{"$schema": DRAFT_4}, {"$schema": DRAFT_7}, {"$schema": DRAFT_2020}, {}])
    return st.builds(
        lambda draft, schema, definition: {**draft, **schema, "definitions": {"d": definition}},
        drafts,
        tree,
        pick(simple),
    )


@SETTINGS
@given(schemas(PLAIN_PATTERNS, {}, st.nothing()), PLAIN_INSTANCES)
def test_p20_same_verdict_for_plain_schemas(plain: PlainProcess, schema: Any, instance: Any) -> None:
    agreed_validation(plain, schema, instance)


ODD_KEYWORDS = {
    "multipleOf": st.sampled_from([0.1, 0.01, 0.5, 2, 3, 1e-300]),
    "exclusiveMinimum": st.booleans() | st.sampled_from([0, 1]),
    "contentMediaType": st.just("application/json"),
    "contentEncoding": st.just("base64"),
    "items": st.lists(st.just({"type": "string"})),
    "dependencies": st.just({"a": ["b"]}),
    "if": st.just({"required": ["a"]}),
    "then": st.just({"required": ["b"]}),
    "contains": st.just({"type": "string"}),
    "propertyNames": st.just({"maxLength": 0}),
    "unevaluatedProperties": st.just(False),
}


@SETTINGS
@given(schemas(PLAIN_PATTERNS | ODD_PATTERNS, ODD_KEYWORDS, INSTANCES), INSTANCES)
def test_p20_same_verdict_for_any_schema(plain: PlainProcess, schema: Any, instance: Any) -> None:
    agreed_validation(plain, schema, instance)


def in_arrays(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("schema", "instance", "verdict"),
    [
        # Numbers.
        pytest.param({"multipleOf": 0.1}, 0.3, "ValidationError", id="decimal fractions"),
        pytest.param({"multipleOf": 0.01}, 19.99, "ValidationError", id="prices"),
        pytest.param({"multipleOf": 2}, 2**53 + 1, "ValidationError", id="odd big integer"),
        pytest.param({"maximum": 0}, math.inf, "ValidationError", id="infinity above maximum"),
        pytest.param({"multipleOf": 2}, math.inf, "ValidationError", id="infinity as multiple"),
        pytest.param({"multipleOf": 2}, math.nan, "ValidationError", id="NaN as multiple"),
        # jsonschema-rs before 0.49 calls these two valid.
        pytest.param({"type": "null"}, math.nan, "ValidationError", id="NaN is not null"),
        pytest.param({"enum": [None]}, math.nan, "ValidationError", id="NaN is not null in enum"),
        pytest.param({"type": "number", "minimum": 0}, math.nan, "valid", id="NaN is a number"),
        pytest.param({"maximum": 2**70 - 1}, 2**70, "ValidationError", id="integers beyond 64 bits"),
        pytest.param({"enum": [2.0**53]}, 2**53 + 1, "ValidationError", id="integers beyond 53 bits"),
        pytest.param({"$schema": DRAFT_4, "type": "integer"}, 1.0, "ValidationError", id="1.0 in draft 4"),
        pytest.param({"type": "integer"}, 1.0, "valid", id="1.0 in later drafts"),
        pytest.param({"enum": [1]}, True, "ValidationError", id="true is not 1"),
        # Patterns: Python's, not ECMA 262's.
        pytest.param({"pattern": r"^\D+$"}, "\u0663", "ValidationError", id="Arabic digit 3 is a digit"),
        pytest.param({"pattern": r"^\W$"}, "é", "ValidationError", id="é is a letter"),
        pytest.param({"pattern": r"^\S+$"}, "\x1c", "ValidationError", id="U+001C is space"),
        pytest.param({"pattern": r"^\s$"}, "\ufeff", "ValidationError", id="U+FEFF is no space"),
        pytest.param({"not": {"pattern": "b$"}}, "b\n", "ValidationError", id="$ before a newline"),
        pytest.param({"pattern": r"\p{L}"}, "a", "SchemaError", id="property classes"),
        pytest.param({"pattern": "(?<n>a)"}, "a", "SchemaError", id="ECMA groups"),
        pytest.param({"pattern": r"\cA"}, "\x01", "SchemaError", id="control escapes"),
        pytest.param({"pattern": r"a\Z"}, "a", "valid", id="Python's end"),
        pytest.param(
            {"properties": {"a": {"pattern": r"\p{L}"}}}, {}, "SchemaError", id="unused wrong pattern"
        ),
        pytest.param({"patternProperties": {r"\p{L}": {}}}, {}, "SchemaError", id="wrong pattern of names"),
        # Schemas.
        pytest.param({"type": "nonsense"}, 1, "SchemaError", id="unknown type"),
        pytest.param(
            {"properties": {"a": {"type": "nonsense"}}}, {}, "SchemaError", id="unused unknown type"
        ),
        pytest.param({"$schema": DRAFT_4, "required": []}, {}, "SchemaError", id="nothing required"),
        pytest.param({"$schema": DRAFT_4, "enum": [1, 1]}, 1, "SchemaError", id="repeated enum"),
        pytest.param({"$ref": "#/nowhere"}, {}, "SchemaError", id="dangling reference"),
        pytest.param(
            {"properties": {"a": {"$ref": "#/nowhere"}}}, {}, "valid", id="unused dangling reference"
        ),
        pytest.param(
            {"enum": [{"$ref": "http://remote.invalid/"}]}, 1, "ValidationError", id="$ref as a value"
        ),
        pytest.param(
            {"properties": {"$ref": {"type": "string"}}}, {"$ref": 1}, "ValidationError", id="$ref as name"
        ),
        pytest.param(
            {"$schema": "http://json-schema.org/draft-03/schema#", "properties": {"a": {"required": True}}},
            {},
            "ValidationError",
            id="draft 3",
        ),
        pytest.param(
            {"$schema": DRAFT_7, "not": {"contentMediaType": "application/json"}},
            "{",
            "ValidationError",
            id="content media type is an annotation",
        ),
        pytest.param({"format": "email"}, "no address", "valid", id="formats are not checked"),
        # Depth: a body that the decoder accepts.
        pytest.param({"items": {"$ref": "#"}}, in_arrays(150), "valid", id="recursive schema"),
        pytest.param(
            {"anyOf": [{"type": "string"}, {"allOf": [{"items": {"$ref": "#"}}]}]},
            in_arrays(json_body.MAX_DEPTH - 1),
            "valid",
            id="recursive schema, deepest body",
        ),
        # Lone surrogates.
        pytest.param({"maxLength": 1}, "\ud800", "valid", id="lone surrogate"),
        pytest.param(
            {"additionalProperties": False}, {"\ud800": 1}, "ValidationError", id="lone surrogate as name"
        ),
        # jsonschema-rs before 0.44 ends the process here.
        pytest.param(
            {"properties": {"b": {"type": "string"}}, "additionalProperties": False},
            {"a": 1, "\ud800": 2},
            "ValidationError",
            id="lone surrogate among names",
        ),
        pytest.param({"pattern": "^.$"}, "\ud800", "valid", id="lone surrogate and pattern"),
        pytest.param(
            {"properties": {"\ud800": {"type": "null"}}}, {"\ud800": 1}, "ValidationError", id="in schema"
        ),
    ],
)
def test_p20_same_verdict(plain: PlainProcess, schema: Any, instance: Any, verdict: str) -> None:
    assert agreed_validation(plain, schema, instance).partition(":")[0] == verdict


def test_a_schema_that_only_refers_to_itself_is_no_crash(plain: PlainProcess) -> None:
    arguments = ('{"$ref": "#"}', "{}")
    for verdict in (verdict_of_validation(*arguments), plain.ask(verdict_of_validation, *arguments)):
        assert verdict in ("valid", "RecursionError")


DOCUMENTS = st.one_of(
    st.binary(max_size=30),
    st.text('[]{}":,0123456789.eE+-\\u"dtrueflsn NaNIity', max_size=30).map(str.encode),
    INSTANCES.map(lambda value: json.dumps(value).encode()),
    st.sampled_from(["[", '{"a":', '{"a":1,"a":']).map(
        lambda opening: (opening * (json_body.MAX_DEPTH + 1)).encode()
    ),
    (
        st.integers(json_body.MAX_DEPTH - 10, json_body.MAX_DEPTH + 10)
        | st.sampled_from([1000, 1100, 50_000])
    ).map(lambda n: b"[" * n + b"]" * n),
    st.integers(1, 30).map(lambda digits: b"[-" + b"9" * digits + b"]"),
    st.floats().map(lambda value: repr(value).encode()),
    st.from_regex(r"-?[0-9]{1,20}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?", fullmatch=True).map(str.encode),
)


@SETTINGS
@given(DOCUMENTS, st.sampled_from(["utf-8", "UTF8", "utf-16", "ascii", "gzip", ""]))
@example(b'{"a":1,"b":2,"a":3}', "utf-8")
@example(b"\xef\xbb\xbf{}", "utf-8")
@example(b"9" * 5000, "utf-8")
@example(b'"\\ud800"', "utf-8")
@example(b'"\xed\xa0\x80"', "utf-8")
@example(b"-0", "utf-8")
@example(b"1e400", "utf-8")
@example(b'"\\u0000\\u2028"', "utf-8")
def test_p20_same_reading(plain: PlainProcess, body: bytes, encoding: str) -> None:
    agreed(plain, verdict_of_decoding, base64.b64encode(body).decode(), encoding)


HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "fedora_messaging_schema": st.sampled_from(
            ["base.message", "unknown.schema", "bodhi.build.tag.v1", "copr.build.end", "pagure.issue.new"]
        )
        | INSTANCES,
        "fedora_messaging_severity": st.sampled_from([10, 20, 20.0, 25, "20"]) | INSTANCES,
        "fedora_messaging_schema_package": INSTANCES,
        "sent-at": INSTANCES,
    },
)


@SETTINGS
@given(HEADERS, st.dictionaries(NAMES, INSTANCES).map(lambda value: json.dumps(value).encode()) | DOCUMENTS)
def test_p20_same_fate_of_deliveries(plain: PlainProcess, headers: dict[str, Any], body: bytes) -> None:
    encoded = base64.b64encode(body).decode()
    agreed(plain, verdict_of_delivery, json.dumps(headers), "utf-8", encoded)


# Values and schemas that a program builds: jsonschema decides about them too


class Colour(enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    LARGE = 3


class Name(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ("schema", "instance"),
    [
        pytest.param({"type": "array"}, {1}, id="set"),
        pytest.param({"type": "integer"}, Size.LARGE, id="int enum"),
        pytest.param({"enum": ["red"]}, Name("red"), id="str subclass"),
        pytest.param({"type": "string"}, b"a", id="bytes"),
        pytest.param({"type": "number"}, Decimal(1), id="decimal number"),
        pytest.param({"type": "object"}, types.MappingProxyType({}), id="mapping"),
        pytest.param({"type": "object"}, {1: 2}, id="integer names"),
        pytest.param(
            {"type": "object", "patternProperties": {"a": {}}}, {1: 2}, id="integer names, patterns"
        ),
        pytest.param({"type": "object"}, {Colour.RED: 2}, id="enum names"),
        pytest.param({"enum": (1, 2)}, 1, id="tuple in schema"),
        pytest.param({"type": "object", "required": ("a",)}, {"a": 1}, id="required as tuple"),
        pytest.param(types.MappingProxyType({"type": "object"}), {}, id="schema is no dict"),
        pytest.param(True, 1, id="true"),
        pytest.param(False, 1, id="false"),
        pytest.param({}, object(), id="anything"),
    ],
)
def test_values_that_are_not_json(schema: Any, instance: Any) -> None:
    assert judge(validator.validate, instance, schema) == judge(jsonschema.validate, instance, schema)


def test_the_best_error_is_raised_with_its_context() -> None:
    schema = {"properties": {"a": {"anyOf": [{"type": "string"}, {"type": "object", "required": ["b"]}]}}}
    instance: dict[str, Any] = {"a": {}}
    with pytest.raises(jsonschema.ValidationError) as expected:
        jsonschema.validate(instance, schema)
    with pytest.raises(jsonschema.ValidationError) as caught:
        validator.validate(instance, schema)
    assert str(caught.value) == str(expected.value)
    assert caught.value.instance is instance["a"]


# P21: nothing is fetched

REMOTE = """
import sys, socket
blocked = {plain!r}
if blocked:
    sys.modules.update(orjson=None, jsonschema_rs=None)
seen = []
def audit(event, args):
    if event.startswith(("socket.", "urllib.")):
        seen.append(event)
    if event == "open" and str(args[0]).endswith("secret-schema.json"):
        seen.append(event)
sys.addaudithook(audit)

class Refused(socket.socket):
    def __init__(self, *args, **kwargs):
        seen.append("socket")
        raise OSError("no sockets here")
socket.socket = Refused

from fedora_messaging import config, exceptions, message
from fedora_messaging.validation import rust, validator
from fedora_messaging.wire.properties import BasicProperties
import jsonschema
config.conf.load_config("")
assert (rust.library() is None) == blocked

for uri in {uris!r}:
    for draft in {drafts!r}:
        for schema in (
            {{"$schema": draft, "$ref": uri}},
            {{"$schema": draft, "properties": {{"a": {{"$ref": uri + "#/definitions/x"}}}}}},
            {{"$schema": draft, "id": uri, "$id": uri, "properties": {{"a": {{"$ref": "other"}}}}}},
        ):
            try:
                validator.validate({{"a": 1}}, schema)
            except jsonschema.SchemaError as error:
                assert "never fetched" in str(error), error
            else:
                raise AssertionError(schema)
            class Remote(message.Message):
                body_schema = schema
            message._schema_name_to_class["remote"] = Remote
            properties = BasicProperties(
                content_encoding="utf-8",
                headers={{"fedora_messaging_schema": "remote", "fedora_messaging_severity": 20}},
            )
            try:
                message.get_message("t", properties, b'{{"a": 1}}')
            except exceptions.ValidationError as error:
                assert isinstance(error.args[0], jsonschema.SchemaError), error
            else:
                raise AssertionError(schema)
# Unknown dialects are not looked up either.
import warnings
warnings.simplefilter("ignore")
validator.validate({{"a": 1}}, {{"$schema": "http://127.0.0.1:1/dialect", "type": "object"}})
assert not seen, seen
print("nothing fetched")
"""


@pytest.mark.parametrize("without_accelerators", [False, True])
def test_p21_remote_references_open_no_socket(without_accelerators: bool, tmp_path: Path) -> None:
    secret = tmp_path / "secret-schema.json"
    secret.write_text("{}")
    uris = [
        "http://127.0.0.1:1/s",
        "https://schema.invalid/s",
        "ftp://schema.invalid/s",
        secret.as_uri(),
        "urn:x:y",
    ]
    script = REMOTE.format(plain=without_accelerators, uris=uris, drafts=[DRAFT_4, DRAFT_7, DRAFT_2020])
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(Path(config.__file__).parents[1])},
    )
    assert done.stdout == "nothing fetched\n", done.stderr[-2000:]


@pytest.mark.parametrize("draft", [DRAFT_4, DRAFT_7, DRAFT_2020])
def test_p21_meta_schemas_are_at_hand(draft: str) -> None:
    schema = {"$schema": draft, "properties": {"schema": {"$ref": draft}}}
    validator.validate({"schema": {"type": "object"}}, schema)
    with pytest.raises(jsonschema.ValidationError):
        validator.validate({"schema": {"type": "nonsense"}}, schema)


def test_p21_unreached_remote_references_do_no_harm() -> None:
    validator.validate({}, {"properties": {"a": {"$ref": "http://127.0.0.1:1/s"}}})


# The cache of compiled schemas


def required(name: str) -> dict[str, Any]:
    return {"type": "object", "required": [name]}


def refuses(schema: Any, instance: Any) -> bool:
    return judge(validator.validate, instance, schema) != "valid"


def test_new_schemas_at_old_addresses_are_not_confused() -> None:
    for number in range(700):
        validator.validate({f"n{number}": 1}, required(f"n{number}"))
        assert refuses(required(f"n{number}"), {f"n{number + 1}": 1})


def test_the_cache_is_bounded() -> None:
    class Tracked(dict[str, Any]):
        pass

    alive: list[weakref.ref[Tracked]] = []
    for number in range(3 * validator._CACHE_SIZE):
        schema = Tracked(required(f"n{number}"))
        alive.append(weakref.ref(schema))
        validator.validate({f"n{number}": 1}, schema)
        del schema
    gc.collect()
    assert sum(reference() is not None for reference in alive) <= validator._CACHE_SIZE


def test_a_schema_changed_after_its_first_use_is_not_judged_by_its_past() -> None:
    """Programs patch ``body_schema`` in tests, or build it up at import."""
    schema: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "string"}}}
    validator.validate({"a": "x"}, schema)
    schema["required"] = ["b"]
    assert refuses(schema, {"a": "x"})
    del schema["required"]
    validator.validate({"a": "x"}, schema)
    schema["properties"] = {"a": {"type": "integer"}}
    assert refuses(schema, {"a": "x"})
    validator.validate({"a": 1}, schema)


def test_a_wrong_schema_mended_in_place_is_read_again() -> None:
    schema: dict[str, Any] = {"type": "nonsense"}
    with pytest.raises(jsonschema.SchemaError):
        validator.validate({}, schema)
    schema["type"] = "object"
    validator.validate({}, schema)


def test_a_wrong_schema_is_reported_every_time() -> None:
    schema = {"type": "nonsense"}
    for _ in range(3):
        with pytest.raises(jsonschema.SchemaError):
            validator.validate({}, schema)


def test_threads_share_the_cache() -> None:
    start = threading.Barrier(8)
    shared = required("shared")

    def work(thread: int) -> None:
        start.wait()
        for number in range(150):
            own = required(f"t{thread}-{number}")
            validator.validate({f"t{thread}-{number}": 1}, own)
            validator.validate({"shared": 1}, shared)
            assert refuses(own, {})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert len(validator._cache) <= validator._CACHE_SIZE + 8
