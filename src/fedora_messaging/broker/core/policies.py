"""Policies: settings that operators give to all queues and exchanges whose names match a pattern."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ...validation import guarded_regex
from .queue_arguments import CLASSIC, MAX_AGE, OVERFLOWS, QUEUE_TYPES, QUORUM, STREAM

EXCHANGE: Final = "exchange"
_ALL_QUEUES: Final = frozenset(QUEUE_TYPES)
#: What each ``apply-to`` applies to: exchanges, or types of queues.
APPLY_TO: Final[dict[str, frozenset[str]]] = {
    "queues": _ALL_QUEUES,
    "classic_queues": frozenset({CLASSIC}),
    "quorum_queues": frozenset({QUORUM}),
    "streams": frozenset({STREAM}),
    "exchanges": frozenset({EXCHANGE}),
    "all": _ALL_QUEUES | {EXCHANGE},
}


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy or an operator policy.

    Attributes:
        name: Name, unique among the policies of the virtual host.
        pattern: Regular expression, which is searched for (unanchored) in names.
        definition: The settings.
        priority: Where several match, the one with the highest priority applies.
        apply_to: A key of :data:`APPLY_TO`.
    """

    name: str
    pattern: str
    definition: Mapping[str, Any]
    priority: float = 0
    apply_to: str = "all"

    def matches(self, kind: str, name: str) -> bool:
        """Whether the policy applies to an object: it supports all settings, and its name matches.

        Args:
            kind: ``exchange``, or the type of a queue.
            name: Name of the object.
        """
        if kind not in APPLY_TO[self.apply_to]:
            return False
        if not all(kind in _SETTINGS[key].kinds for key in self.definition):
            return False
        try:
            with guarded_regex.budget():
                return guarded_regex.search(self.pattern, name)
        except guarded_regex.TooCostlyError:
            return False


@dataclass(frozen=True, slots=True)
class _Setting:
    """A setting that policies can have.

    Attributes:
        noun: How error texts call its value.
        check: Whether a value is valid.
        kinds: What it is for.
        for_operators: Whether operator policies can have it.
    """

    noun: str
    check: Callable[[Any], bool]
    kinds: frozenset[str]
    for_operators: bool = False


def _at_least(least: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= least


def _one_of(*choices: Any) -> Callable[[Any], bool]:
    return lambda value: value in choices and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_age(value: Any) -> bool:
    return isinstance(value, str) and MAX_AGE.fullmatch(value) is not None


_CLASSIC_AND_QUORUM: Final = frozenset({CLASSIC, QUORUM})
_SETTINGS: Final[dict[str, _Setting]] = {
    "alternate-exchange": _Setting("alternate exchange name", _is_text, frozenset({EXCHANGE})),
    "consumer-timeout": _Setting("consumer timeout", _at_least(0), _CLASSIC_AND_QUORUM),
    "dead-letter-exchange": _Setting("dead letter exchange name", _is_text, _CLASSIC_AND_QUORUM),
    "dead-letter-routing-key": _Setting("dead letter routing key", _is_text, _CLASSIC_AND_QUORUM),
    "dead-letter-strategy": _Setting(
        "dead letter strategy", _one_of("at-most-once", "at-least-once"), frozenset({QUORUM})
    ),
    "delivery-limit": _Setting("delivery limit", _at_least(-1), frozenset({QUORUM}), True),
    "expires": _Setting("queue expiry", _at_least(1), _CLASSIC_AND_QUORUM, True),
    "initial-cluster-size": _Setting("cluster size", _at_least(0), frozenset({STREAM})),
    "max-age": _Setting("max age", _is_age, frozenset({STREAM})),
    "max-in-memory-bytes": _Setting("maximum memory in bytes", _at_least(0), frozenset({QUORUM}), True),
    "max-in-memory-length": _Setting("maximum memory in bytes", _at_least(0), frozenset({QUORUM}), True),
    "max-length": _Setting("maximum length", _at_least(0), _CLASSIC_AND_QUORUM, True),
    "max-length-bytes": _Setting("maximum length in bytes", _at_least(0), _ALL_QUEUES, True),
    "message-ttl": _Setting("message TTL", _at_least(0), _CLASSIC_AND_QUORUM, True),
    "overflow": _Setting("overflow value", _one_of(*OVERFLOWS), _CLASSIC_AND_QUORUM, True),
    "queue-leader-locator": _Setting(
        "queue leader locator value",
        _one_of("client-local", "balanced", "random", "least-leaders"),
        _ALL_QUEUES,
    ),
    "queue-mode": _Setting("queue-mode value", _one_of("default", "lazy"), frozenset({CLASSIC})),
    "queue-version": _Setting("queue-version value", _one_of(1, 2), frozenset({CLASSIC}), True),
    "stream-filter-size-bytes": _Setting("filter size", _at_least(16), frozenset({STREAM})),
    "stream-max-segment-size-bytes": _Setting("segment size", _at_least(0), frozenset({STREAM})),
    "target-group-size": _Setting("qq target count value", _at_least(1), frozenset({QUORUM}), True),
}

#: Settings of which the smallest value counts, wherever it comes from.
_LIMITS: Final = frozenset(
    {
        "delivery-limit",
        "expires",
        "max-in-memory-bytes",
        "max-in-memory-length",
        "max-length",
        "max-length-bytes",
        "message-ttl",
    }
)


class PolicyError(ValueError):
    """A policy is wrong; the text is RabbitMQ's, one line a mistake."""


def make_policy(
    name: str, pattern: Any, definition: Mapping[str, Any], priority: Any, apply_to: Any, operator: bool
) -> Policy:
    """Check a policy, and make it.

    Args:
        name: Name.
        pattern: Regular expression.
        definition: The settings.
        priority: A number.
        apply_to: A key of :data:`APPLY_TO`.
        operator: Whether it is an operator policy, which can have fewer settings.

    Raises:
        PolicyError: Something is wrong.
    """
    wrong = list(_wrong_settings(definition, operator))
    if not definition:
        wrong.append("no policy provided")
    if apply_to not in APPLY_TO:
        wrong.append(
            f"apply-to {str(apply_to)!r} unrecognised; should be one of: "
            "'queues', 'classic_queues',  'quorum_queues', 'streams', 'exchanges', or 'all'"
        )
    if not isinstance(pattern, str):
        wrong.append(f"pattern should be a binary but was {_term(pattern)}")
    else:
        try:
            re.compile(pattern)
        except re.error as error:
            wrong.append(
                f'pattern should be regular expression but is invalid: {{"{error.msg}",{error.pos or 0}}}'
            )
    if isinstance(priority, bool) or not isinstance(priority, int | float):
        wrong.append(f"priority should be a number, actually was {_term(priority)}")
    if wrong:
        raise PolicyError("".join(f"{line}\n" for line in wrong))
    return Policy(name, pattern, dict(definition), priority, apply_to)


def _wrong_settings(definition: Mapping[str, Any], operator: bool) -> Iterable[str]:
    known = {key for key, setting in _SETTINGS.items() if setting.for_operators or not operator}
    unknown = [key for key in definition if key not in known]
    if unknown:
        pairs = ",".join(f"{{{_term(key)},{_term(definition[key])}}}" for key in reversed(unknown))
        yield f"[{pairs}] are not recognised policy settings"
    for key, value in definition.items():
        if key in known and not _SETTINGS[key].check(value):
            yield f"{_term(value)} is not a valid {_SETTINGS[key].noun}"


def _term(value: Any) -> str:
    """Write a value as RabbitMQ's error texts do."""
    if isinstance(value, str):
        return f'<<"{value}">>'
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


class Policies:
    """The policies of a virtual host.

    Attributes:
        ordinary: Policies by name.
        operator: Operator policies by name; an ordinary one cannot override their limits.
    """

    def __init__(self) -> None:
        self.ordinary: dict[str, Policy] = {}
        self.operator: dict[str, Policy] = {}

    def find(self, kind: str, name: str) -> tuple[Policy | None, Policy | None]:
        """Find the policy and the operator policy of an object; see :meth:`Policy.matches`."""
        return _best(self.ordinary, kind, name), _best(self.operator, kind, name)


def _best(policies: Mapping[str, Policy], kind: str, name: str) -> Policy | None:
    # Among equals, the first name wins, as in RabbitMQ 4.3.
    ranked = sorted(policies.values(), key=lambda policy: (-policy.priority, policy.name))
    return next((policy for policy in ranked if policy.matches(kind, name)), None)


def combine(ordinary: Policy | None, operator: Policy | None) -> dict[str, Any]:
    """Return the settings of a policy and an operator policy together."""
    settings = dict(ordinary.definition) if ordinary is not None else {}
    for key, value in (operator.definition if operator is not None else {}).items():
        settings[key] = min(settings[key], value) if key in _LIMITS and key in settings else value
    return settings


def override(declared: Mapping[str, Any], settings: Mapping[str, Any], queue_type: str) -> dict[str, Any]:
    """Return the arguments of a queue with those that its policies add, as if they had been declared.

    Args:
        declared: Arguments of the declaration.
        settings: Settings of the policies; see :func:`combine`.
        queue_type: Type of the queue.
    """
    arguments = dict(declared)
    for key, value in settings.items():
        name = f"x-{key}"
        own = arguments.get(name)
        if own is not None and key in _LIMITS:
            arguments[name] = min(own, value)
        elif own is None or (key == "overflow" and queue_type == QUORUM):
            arguments[name] = value
    return arguments
