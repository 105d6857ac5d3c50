"""Many sequences on two brokers, and what differs between them."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tests.conftest import IMITATED, authenticated
from tests.differential.comparing import Comparison, Difference
from tests.differential.known import Known, known
from tests.differential.operations import sequence
from tests.differential.side import Side
from tests.differential.smaller import smallest

from fedora_messaging.broker import Broker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.rabbitmq import RabbitNode

#: Seconds to wait for the same answer while a sequence is made smaller.
_HASTE: Final = 0.7


@dataclass
class Found:
    """What many sequences have shown.

    Attributes:
        sequences: How many there were.
        steps: How many steps they had together.
        differences: One smallest sequence for each difference that is not known.
        expected: How often each known difference was met.
        unstable: How many differences were none the second time: RabbitMQ was slow.
    """

    sequences: int = 0
    steps: int = 0
    differences: list[Difference] = field(default_factory=list)
    expected: Counter[Known] = field(default_factory=Counter)
    unstable: int = 0


def profile_of(node: RabbitNode) -> str:
    """Return the profile that imitates a RabbitMQ, or the one of its major version."""
    exact = [profile for profile, version in IMITATED.items() if version == node.version]
    return exact[0] if exact else str(node.version[0])


@contextmanager
def side_by_side(node: RabbitNode) -> Iterator[Comparison]:
    """Run an embedded broker beside a RabbitMQ."""
    with ExitStack() as running:
        embedded = running.enter_context(Broker(profile=profile_of(node), http_port=0))
        sides = [
            Side(node.url, node.management_url),
            Side(embedded.amqp_url, authenticated(embedded)),
        ]
        for side in sides:
            running.callback(side.close)
        yield Comparison(*sides)


def find(comparison: Comparison, profile: str, seed: int, count: int, say: Callable[[str], None]) -> Found:
    """Run so many sequences of a seed."""
    found = Found()
    kinds: set[str] = set()
    for number in range(count):
        operations = sequence(f"{seed}.{number}", comparison.has_management)
        found.sequences += 1
        found.steps += len(operations)
        difference = comparison.run(operations)
        if difference is None:
            continue
        if entry := known(difference, profile):
            found.expected[entry] += 1
            continue
        if difference.kind in kinds:
            continue
        if comparison.run(difference.given) is None:
            found.unstable += 1
            continue
        kinds.add(difference.kind)
        smaller = smallest(difference, lambda operations: comparison.run(operations, _HASTE))
        if entry := known(smaller, profile):
            found.expected[entry] += 1
        elif smaller.kind not in {one.kind for one in found.differences}:
            found.differences.append(smaller)
            say(f"Sequence {seed}.{number}:\n{smaller}\n")
    return found
