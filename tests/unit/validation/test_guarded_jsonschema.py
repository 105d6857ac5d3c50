"""Checks of JSON Schema that a message cannot make take for ever, and that judge as jsonschema does (P21)."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema._utils import equal
from tests.unit.validation.test_guarded_regex import EVIL, LONG, PATTERNS, TEXTS

from fedora_messaging.validation import validator
from fedora_messaging.validation.guarded_jsonschema import _all_differ

DRAFTS = [
    "http://json-schema.org/draft-04/schema#",
    "http://json-schema.org/draft-06/schema#",
    "http://json-schema.org/draft-07/schema#",
    "https://json-schema.org/draft/2019-09/schema",
    "https://json-schema.org/draft/2020-12/schema",
]


def complaint(schema: Any, instance: Any) -> str | None:
    try:
        validator.validate(instance, schema)
    except jsonschema.ValidationError as error:
        return str(error.message)
    return None


def theirs(schema: Any, instance: Any) -> Any:
    cls = jsonschema.validators.validator_for(schema)
    error = jsonschema.exceptions.best_match(cls(schema).iter_errors(instance))
    return None if error is None else error.message


# Without these protections none of these tests ends within the time-out of the suite.


@pytest.mark.parametrize("draft", DRAFTS)
@pytest.mark.parametrize("pattern", EVIL)
def test_p21_evil_patterns_end(pattern: str, draft: str) -> None:
    schema = {"$schema": draft, "properties": {"x": {"type": "string", "pattern": pattern}}}
    assert complaint(schema, {"x": LONG}) is not None
    # As names, which do not match.
    assert complaint({"$schema": draft, "patternProperties": {pattern: {"type": "null"}}}, {LONG: 1}) is None


@pytest.mark.parametrize("draft", DRAFTS)
def test_p21_evil_patterns_beside_other_keywords_end(draft: str) -> None:
    schema = {"$schema": draft, "patternProperties": {"^(a+)+$": {}}, "additionalProperties": False}
    assert "in bounded time" in (complaint(schema, {LONG: 1}) or "")
    if "draft/20" in draft:
        schema = {"$schema": draft, "patternProperties": {"^(a+)+$": {}}, "unevaluatedProperties": False}
        assert "in bounded time" in (complaint(schema, {LONG: 1}) or "")
        nested = {
            "$schema": draft,
            "allOf": [{"patternProperties": {"^(a+)+$": {}}}],
            "unevaluatedProperties": False,
        }
        assert complaint(nested, {LONG: 1}) is not None


def test_p21_many_texts_share_a_budget() -> None:
    """Each would be cheap enough alone."""
    schema = {"items": {"pattern": "^[a-z]*[b-y]*[c-x]*$"}}
    assert complaint(schema, ["c" * 200 + "!"] * 20_000) is not None


@pytest.mark.parametrize("draft", DRAFTS)
def test_p21_reference_to_a_root_that_names_its_draft(draft: str) -> None:
    schema = {"$schema": draft, "properties": {"below": {"$ref": "#"}, "x": {"pattern": "^(a+)+$"}}}
    assert complaint(schema, {"below": {"below": {"x": LONG}}}) is not None


def test_p21_subschema_of_another_draft() -> None:
    schema = {
        "$schema": DRAFTS[4],
        "properties": {"x": {"$schema": DRAFTS[2], "$id": "urn:x", "pattern": "^(a+)+$"}},
    }
    assert complaint(schema, {"x": LONG}) is not None


@pytest.mark.parametrize("draft", DRAFTS)
def test_p21_unique_items_of_a_long_array(draft: str) -> None:
    schema = {"$schema": draft, "type": "array", "uniqueItems": True, "not": {"maxItems": 0}}
    items: list[Any] = [{"n": n, "list": [n, {"m": n}]} for n in range(30_000)]
    assert complaint(schema, items) is None
    assert (complaint(schema, [*items, items[5]]) or "").endswith("has non-unique elements")


def test_p21_valid_texts_of_costly_patterns_are_valid() -> None:
    """Where Python's engine is not asked, another one is."""
    schema = {"properties": {"x": {"pattern": r"^([a-z]+\.)+[a-z]+$"}}}
    assert complaint(schema, {"x": ".".join(["word"] * 50)}) is None
    assert "does not match" in (complaint(schema, {"x": ".".join(["word"] * 50) + "!"}) or "")


WITHOUT = """
import sys
sys.modules["jsonschema_rs"] = None
import jsonschema
from fedora_messaging.validation import validator
schema = {"properties": {"x": {"pattern": "^(a+)+$"}}}
validator.validate({"x": "aaa"}, schema)
for text in ("a" * 100 + "!", "a" * 100):
    try:
        validator.validate({"x": text}, schema)
    except jsonschema.ValidationError as error:
        print(error.message)
"""


def test_p21_without_another_engine_nobody_decides() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(validator.__file__).parents[1])},
    )
    shown = "a" * 40
    assert (
        done.stdout.splitlines()
        == [f"whether '{shown}...' matches '^(a+)+$' cannot be told in bounded time"] * 2
    )


# Verdicts are jsonschema's

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([0.0, 1.0, 1.5])
    | st.sampled_from(["", "a"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2)
    ),
    max_leaves=6,
)


@given(st.lists(VALUES, max_size=8))
def test_equality_of_items_is_that_of_jsonschema(items: list[Any]) -> None:
    expected = not any(equal(one, two) for one, two in itertools.combinations(items, 2))
    assert _all_differ(items) == expected


@given(PATTERNS, TEXTS)
def test_short_texts_are_judged_by_jsonschema(pattern: str, text: str) -> None:
    for schema in ({"pattern": pattern}, {"propertyNames": {"pattern": pattern}}):
        for instance in (text, {text: 1}, 5, [text]):
            assert complaint(schema, instance) == theirs(schema, instance)


@pytest.mark.parametrize("draft", DRAFTS)
@given(
    st.dictionaries(st.text("ab1", max_size=3), st.integers(0, 3) | st.text("ab", max_size=2), max_size=4),
    st.booleans() | st.just({"type": "integer"}),
)
def test_properties_are_judged_by_jsonschema(draft: str, instance: dict[str, Any], more: Any) -> None:
    schema = {
        "$schema": draft,
        "properties": {"a": {"type": "integer"}},
        "patternProperties": {"^b": {"type": "string"}, "1$": {"type": "integer"}},
        "additionalProperties": more,
    }
    assert complaint(schema, instance) == theirs(schema, instance)


def test_wrong_expression_is_as_wrong_as_ever() -> None:
    with pytest.raises(jsonschema.SchemaError):
        validator.validate({"x": "a"}, {"properties": {"x": {"pattern": "("}}})
