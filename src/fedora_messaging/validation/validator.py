"""Checks values against JSON Schemas: compiles each schema once, and gives jsonschema's verdicts.

jsonschema-rs quickly confirms that a value is valid, for schemas on which both libraries certainly agree.
If it does not (or cannot read the value, as with NaN), jsonschema decides: so verdicts and exceptions are
jsonschema's. There is one exception: a tuple passes as an array, because it is sent as one. Neither library
fetches a reference from the network (promise P21).
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final, Protocol

from ..forking import setting_up
from . import rust
from .fast_path import is_supported
from .guarded_regex import budget

#: How many compiled schemas are kept. A process sees one per message class and version; the limit matters
#: for classes that build a new schema at every use.
_CACHE_SIZE: Final = 1024


class _SlowValidator(Protocol):
    def iter_errors(self, instance: Any) -> Any: ...


class _Compiled:
    """A schema with its checks.

    Attributes:
        schema: Kept alive, so that no other schema can get its ``id()``.
        shape: A copy of it from compile time; if its keywords or their values are others now, the schema is
            compiled again. (A change deeper inside goes unnoticed: do not change schemas that are in use.)
        is_valid: The quick check; if it is ``None``, the slow validator checks everything.
    """

    __slots__ = ("_slow", "is_valid", "schema", "shape")

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.schema = schema
        self.shape = dict(_shape(schema))
        self._slow: _SlowValidator | None = None
        self.is_valid = _fast_check(schema)

    def slow_validator(self) -> _SlowValidator:
        if self._slow is None:
            self._slow = _make_slow_validator(self.schema)
        return self._slow


def _shape(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema as a dictionary; comparing two looks into a value only if it is another object."""
    if type(schema) is dict:
        return schema
    return dict(schema) if isinstance(schema, Mapping) else {}


_cache: OrderedDict[int, _Compiled] = OrderedDict()


def validate(instance: Any, schema: Mapping[str, Any]) -> None:
    """Check a value.

    Raises:
        jsonschema.ValidationError: It violates the schema.
        jsonschema.SchemaError: The schema is wrong, or refers to another document.
    """
    compiled = _cache.get(id(schema))
    if compiled is None or compiled.schema is not schema or compiled.shape != _shape(schema):
        compiled = _cache[id(schema)] = _Compiled(schema)
        if len(_cache) > _CACHE_SIZE:
            _cache.popitem(last=False)
    if compiled.is_valid is not None:
        try:
            if compiled.is_valid(instance):
                return
        except (ValueError, TypeError, RecursionError):
            pass  # not a JSON value: jsonschema decides
    _decide(compiled, instance)


def _decide(compiled: _Compiled, instance: Any) -> None:
    with setting_up:
        from jsonschema.exceptions import SchemaError, best_match
        from referencing.exceptions import Unresolvable

        validator = compiled.slow_validator()
    try:
        with budget():
            error = best_match(validator.iter_errors(instance))
    except Unresolvable as error:
        raise SchemaError(
            f"the schema refers to {error.ref!r}, which is not part of it; other documents are never fetched",
            validator="$ref",
            validator_value=error.ref,
            instance=compiled.schema,
            schema=compiled.schema,
        ) from error
    if error is not None:
        raise error


def _fast_check(schema: Mapping[str, Any]) -> Any:
    library = rust.library()
    if library is None or not is_supported(schema):
        return None
    try:
        return library.validator_for(dict(schema), validate_formats=False, retriever=_refuse).is_valid
    except (ValueError, TypeError, RecursionError):
        return None  # jsonschema will say what is wrong with the schema


def _refuse(uri: str) -> Any:
    raise ValueError(f"other documents are never fetched: {uri}")


def _make_slow_validator(schema: Mapping[str, Any]) -> _SlowValidator:
    from jsonschema.validators import validator_for
    from jsonschema_specifications import REGISTRY

    from .guarded_jsonschema import guarded

    cls = validator_for(schema)
    cls.check_schema(schema)
    validator: _SlowValidator = guarded(cls)(schema, registry=REGISTRY)
    return validator
