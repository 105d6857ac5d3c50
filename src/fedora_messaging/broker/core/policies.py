"""Policies: settings that operators give to all queues and exchanges whose names match a pattern."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ...validation import guarded_regex
from .profile import RABBITMQ_4, Profile
from .queue_arguments import (
    CLASSIC,
    FILTER_SIZES,
    MAX_SEGMENT_SIZE,
    OVERFLOWS,
    QUEUE_TYPES,
    QUORUM,
    STREAM,
    is_routing_key,
    read_age,
)

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
        """Whether the policy applies to an object: a queue supports all settings, and its name matches.

        Args:
            kind: ``exchange``, or the type of a queue.
            name: Name of the object.
        """
        if kind not in APPLY_TO[self.apply_to]:
            return False
        if kind != EXCHANGE and not all(kind in _ALL_SETTINGS[key].kinds for key in self.definition):
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
        noun: How error texts call its value, or all of the text with {} for a wrong value.
        check: Whether a value is valid.
        kinds: Types of queues that do not mind it.
    """

    noun: str
    check: Callable[[Any], bool]
    kinds: frozenset[str] = _ALL_QUEUES

    def refusal(self, value: Any) -> str:
        """Say that a value is wrong."""
        text = self.noun if "{}" in self.noun else f"{{}} is not a valid {self.noun}"
        return text.format(_term(value))


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _at_least(least: int) -> Callable[[Any], bool]:
    return lambda value: _is_integer(value) and value >= least


def _within(numbers: range) -> Callable[[Any], bool]:
    return lambda value: _is_integer(value) and value in numbers


def _one_of(*choices: str) -> Callable[[Any], bool]:
    return lambda value: value in choices


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_age(value: Any) -> bool:
    return isinstance(value, str) and read_age(value) is not None


_CLASSIC_AND_QUORUM: Final = frozenset({CLASSIC, QUORUM})
_CLASSIC: Final = frozenset({CLASSIC})
_QUORUM: Final = frozenset({QUORUM})
_STREAM: Final = frozenset({STREAM})
#: The settings of all releases.
_SETTINGS: Final[dict[str, _Setting]] = {
    "alternate-exchange": _Setting("alternate exchange name", _is_text),
    "dead-letter-exchange": _Setting("dead letter exchange name", _is_text, _CLASSIC_AND_QUORUM),
    "dead-letter-routing-key": _Setting("dead letter routing key", is_routing_key, _CLASSIC_AND_QUORUM),
    "dead-letter-strategy": _Setting(
        "dead letter strategy", _one_of("at-most-once", "at-least-once"), _QUORUM
    ),
    "delivery-limit": _Setting("delivery limit", _at_least(-1), _QUORUM),
    "expires": _Setting("queue expiry", _at_least(1), _CLASSIC_AND_QUORUM),
    "initial-cluster-size": _Setting("cluster size", _at_least(0), _STREAM),
    "max-age": _Setting("max age", _is_age, _STREAM),
    "max-in-memory-bytes": _Setting("maximum memory in bytes", _at_least(0), _QUORUM),
    "max-in-memory-length": _Setting("maximum memory in bytes", _at_least(0), _QUORUM),
    "max-length": _Setting("maximum length", _at_least(0), _CLASSIC_AND_QUORUM),
    "max-length-bytes": _Setting("maximum length in bytes", _at_least(0)),
    "message-ttl": _Setting("message TTL", _at_least(0), _CLASSIC_AND_QUORUM),
    "overflow": _Setting("overflow value", _one_of(*OVERFLOWS), _CLASSIC_AND_QUORUM),
    "queue-leader-locator": _Setting(
        "queue leader locator value", _one_of("client-local", "balanced", "random", "least-leaders")
    ),
    "queue-mode": _Setting("queue-mode value", _one_of("default", "lazy"), _CLASSIC),
    "queue-version": _Setting("queue-version value", _within(range(1, 3))),
    "stream-max-segment-size-bytes": _Setting("segment size", _within(range(MAX_SEGMENT_SIZE + 1)), _STREAM),
}
_PROMOTIONS: Final = _one_of("always", "when-synced")
#: Further settings of releases with mirrored queues, which have no effect on one node.
_MIRRORING: Final[dict[str, _Setting]] = {
    "ha-mode": _Setting("ha-mode value", _one_of("all", "exactly", "nodes"), _CLASSIC),
    "ha-params": _Setting("ha-params value", lambda _value: True, _CLASSIC),
    "ha-promote-on-failure": _Setting(
        'ha-promote-on-failure must be "always" or "when-synced", got {}', _PROMOTIONS, _CLASSIC
    ),
    "ha-promote-on-shutdown": _Setting(
        'ha-promote-on-shutdown must be "always" or "when-synced", got {}', _PROMOTIONS, _CLASSIC
    ),
    "ha-sync-batch-size": _Setting(
        "ha-sync-batch-size takes an integer greater than 0, {} given", _at_least(1), _CLASSIC
    ),
    "ha-sync-mode": _Setting(
        'ha-sync-mode must be "manual" or "automatic", got {}', _one_of("manual", "automatic"), _CLASSIC
    ),
    "queue-master-locator": _Setting(
        "{} invalid queue-master-locator value", _one_of("min-masters", "client-local", "random"), _CLASSIC
    ),
}
#: Further settings of the others.
_NEW_SETTINGS: Final[dict[str, _Setting]] = {
    "consumer-disconnected-timeout": _Setting("consumer disconnected timeout", _at_least(0)),
    "consumer-timeout": _Setting("consumer timeout", _at_least(0)),
    "stream-filter-size-bytes": _Setting(
        "{} is not a valid filter size. Valid range is 16-255", _within(FILTER_SIZES)
    ),
    "target-group-size": _Setting("qq target count value", _at_least(1), _QUORUM),
}
_ALL_SETTINGS: Final = _SETTINGS | _MIRRORING | _NEW_SETTINGS

#: Settings of which the smallest value counts, wherever it comes from.
_LIMITS: Final = frozenset(
    {
        "delivery-limit",
        "expires",
        "max-age",
        "max-in-memory-bytes",
        "max-in-memory-length",
        "max-length",
        "max-length-bytes",
        "message-ttl",
    }
)


#: Settings that operator policies of newer releases can have, too.
_NEW_FOR_OPERATORS: Final = frozenset({"overflow", "queue-version", "target-group-size"})


class PolicyError(ValueError):
    """A policy is wrong; the text is RabbitMQ's, one line a mistake."""


def make_policy(
    name: str,
    pattern: Any,
    definition: Mapping[str, Any],
    priority: Any,
    apply_to: Any,
    operator: bool,
    profile: Profile = RABBITMQ_4,
) -> Policy:
    """Check a policy, and make it.

    Args:
        name: Name.
        pattern: Regular expression.
        definition: The settings.
        priority: A number.
        apply_to: A key of :data:`APPLY_TO`.
        operator: Whether it is an operator policy, which can have fewer settings.
        profile: The release of RabbitMQ to imitate.

    Raises:
        PolicyError: Something is wrong.
    """
    wrong = list(_wrong_settings(definition, operator, profile))
    if not definition:
        wrong.append("no policy provided")
    choices = profile.policies_for
    if not isinstance(apply_to, str) or apply_to not in choices:
        shown = apply_to if isinstance(apply_to, str) else _term(apply_to)
        texts = (
            "one of: 'queues', 'classic_queues',  'quorum_queues', 'streams', 'exchanges', or 'all'"
            if "streams" in choices
            else "'queues', 'exchanges' or 'all'"
        )
        wrong.append(f"apply-to '{shown}' unrecognised; should be {texts}")
    if not isinstance(pattern, str):
        wrong.append(f"pattern should be a binary but was {_term(pattern)}")
    else:
        wrong += _wrong_pattern(pattern)
    if not _is_integer(priority) and not (isinstance(priority, float) and not math.isnan(priority)):
        wrong.append(f"priority should be a number, actually was {_term(priority)}")
    if wrong:
        raise PolicyError("".join(f"{line}\n" for line in wrong))
    return Policy(name, pattern, dict(definition), priority, apply_to)


def _wrong_pattern(pattern: str) -> Iterable[str]:
    problem, place = "", 0
    try:
        re.compile(pattern)
    except re.error as error:
        problem, place = error.msg, error.pos or 0
    except (OverflowError, RecursionError):
        problem = "regular expression is too large"
    if problem:
        yield f'pattern should be regular expression but is invalid: {{"{problem}",{place}}}'


def _wrong_settings(definition: Mapping[str, Any], operator: bool, profile: Profile) -> Iterable[str]:
    is_new = "streams" in profile.policies_for
    if operator:
        known = (_LIMITS | _NEW_FOR_OPERATORS if is_new else _LIMITS) - {"max-age"}
    else:
        known = frozenset(_SETTINGS | (_NEW_SETTINGS if is_new else _MIRRORING))
    unknown = [key for key in definition if key not in known]
    if unknown:
        pairs = ",".join(f"{{{_term(key)},{_term(definition[key])}}}" for key in reversed(unknown))
        yield f"[{pairs}] are not recognised policy settings"
    for key, value in definition.items():
        if key in known and not _ALL_SETTINGS[key].check(value):
            yield _ALL_SETTINGS[key].refusal(value)
    if not is_new and "ha-mode" not in definition and any(key.startswith("ha-") for key in definition):
        yield "ha-mode must be specified to specify ha-params, ha-sync-mode or ha-promote-on-shutdown"


def _term(value: Any) -> str:
    """Write a value as RabbitMQ's error texts do."""
    if isinstance(value, str):
        return f'<<"{value}">>' if value else "<<>>"
    if value is None:
        return "null"
    if value == {}:
        return "#{}"
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
        settings[key] = _stricter(key, settings[key], value) if key in _LIMITS and key in settings else value
    return settings


def _stricter(key: str, one: Any, other: Any) -> Any:
    """Return the smaller one of two limits."""
    if key == "max-age":
        return min(one, other, key=lambda age: read_age(age) or 0)
    if key == "delivery-limit" and min(one, other) < 0:
        return max(one, other)  # a negative number is no limit
    return min(one, other)


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
            arguments[name] = _stricter(key, own, value)
        elif own is None or (key == "overflow" and queue_type == QUORUM):
            arguments[name] = value
    return arguments
