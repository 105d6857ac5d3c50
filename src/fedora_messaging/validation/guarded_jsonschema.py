"""jsonschema's validators, made so that no message can keep them busy for long (promise P21).

Verdicts and texts are jsonschema's. :mod:`.guarded_regex` deals with regular expressions that would take too
long. ``uniqueItems`` of a long array compares hashes, where jsonschema compares each item with all others.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

from .guarded_regex import TooCostlyError, is_affordable, search

#: Longest array whose ``uniqueItems`` jsonschema itself checks.
_FEW: Final = 256
#: Longest text that the error of a check that would take too long repeats.
_SHOWN: Final = 40

Errors = Iterator[ValidationError]
Keyword = Callable[[Any, Any, Any, Any], Any]


@lru_cache(maxsize=32)
def guarded(cls: Any) -> Any:
    """Return a guarded version of one of jsonschema's validator classes."""
    keywords = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "uniqueItems": _unique_items(cls.VALIDATORS["uniqueItems"]),
    }
    for name in ("additionalProperties", "unevaluatedProperties"):
        if name in cls.VALIDATORS:
            keywords[name] = _beside_patterns(cls.VALIDATORS[name])
    made = extend(cls, {name: keyword for name, keyword in keywords.items() if name in cls.VALIDATORS})
    evolve = made.evolve

    def evolve_guarded(self: Any, **changes: Any) -> Any:
        # If a subschema names its draft, the class of that draft checks it.
        evolved = evolve(self, **changes)
        if not hasattr(type(evolved), "is_guarded"):
            cls: Any = type(evolved)
            evolved = guarded(cls)(
                evolved.schema,
                format_checker=evolved.format_checker,
                registry=evolved._registry,
                _resolver=evolved._resolver,
            )
        return evolved

    made.evolve = evolve_guarded
    made.is_guarded = True
    return made


def _too_costly(text: str, pattern: str) -> ValidationError:
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return ValidationError(f"whether {shown!r} matches {pattern!r} cannot be told in bounded time")


def _pattern(validator: Any, pattern: str, instance: Any, _schema: Any) -> Errors:
    if not validator.is_type(instance, "string"):
        return
    try:
        if not search(pattern, instance):
            yield ValidationError(f"{instance!r} does not match {pattern!r}")
    except TooCostlyError:
        yield _too_costly(instance, pattern)


def _pattern_properties(validator: Any, patterns: Mapping[str, Any], instance: Any, _schema: Any) -> Errors:
    if not validator.is_type(instance, "object"):
        return
    for pattern, subschema in patterns.items():
        for key, value in instance.items():
            try:
                if search(pattern, key):
                    yield from validator.descend(value, subschema, path=key, schema_path=pattern)
            except TooCostlyError:
                yield _too_costly(key, pattern)


def _beside_patterns(keyword: Keyword) -> Keyword:
    """Guard a keyword that itself matches property names with the ``patternProperties`` beside it."""

    def check(validator: Any, value: Any, instance: Any, schema: Any) -> Errors:
        if validator.is_type(instance, "object"):
            for patterns in _tables(schema):
                joined = "|".join(patterns)
                for key in instance:
                    if not is_affordable(joined, key):
                        yield _too_costly(key, joined)
                        return
        yield from keyword(validator, value, instance, schema) or ()

    return check


def _tables(schema: Any) -> Iterator[Mapping[str, Any]]:
    """Find all `patternProperties` in a schema."""
    pending = [schema]
    while pending:
        value = pending.pop()
        if isinstance(value, Mapping):
            table = value.get("patternProperties")
            if isinstance(table, Mapping) and table:
                yield table
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)


def _unique_items(keyword: Keyword) -> Keyword:
    def check(validator: Any, unique: Any, instance: Any, schema: Any) -> Errors:
        if not (unique and validator.is_type(instance, "array")) or len(instance) <= _FEW:
            yield from keyword(validator, unique, instance, schema) or ()
        elif not _all_differ(instance):
            yield ValidationError(f"{instance!r} has non-unique elements")

    return check


def _all_differ(items: Sequence[Any]) -> bool:
    seen = set()
    for item in items:
        key = _key(item)
        if key in seen:
            return False
        seen.add(key)
    return True


def _key(value: Any) -> Any:
    """Return a hashable key; keys are equal exactly if JSON Schema calls the values equal."""
    # 1 and 1.0 are equal in JSON Schema and in Python; True equals 1 in Python only.
    if isinstance(value, bool):
        return ("boolean", value)
    if isinstance(value, Mapping):
        return ("object", frozenset((key, _key(item)) for key, item in value.items()))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ("array", tuple(map(_key, value)))
    return value
