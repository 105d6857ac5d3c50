"""Random operations have the same outcome on the embedded broker and on the RabbitMQ that it imitates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.differential.comparing import Comparison
from tests.differential.finding import find, profile_of, side_by_side
from tests.differential.operations import Operation, sequence
from tests.differential.side import Side
from tests.differential.smaller import smallest

from fedora_messaging.broker import Broker

if TYPE_CHECKING:
    import pytest
    from tests.support.rabbitmq import RabbitNode

SEED: Final = 1
SEQUENCES: Final = 300


def test_random_sequences(rabbitmq: RabbitNode, capsys: pytest.CaptureFixture[str]) -> None:
    with side_by_side(rabbitmq) as comparison:
        found = find(comparison, profile_of(rabbitmq), SEED, SEQUENCES, print)
    assert found.sequences == SEQUENCES
    assert found.differences == [], capsys.readouterr().out


def test_a_difference_is_found_and_made_small() -> None:
    """Two embedded brokers of different profiles differ in what `x-queue-mode` may be."""
    with Broker(profile="3") as old, Broker(profile="4") as new:
        sides = [Side(broker.amqp_url, None) for broker in (old, new)]
        comparison = Comparison(*sides)
        steps = [
            Operation("exchange.declare", fields={"exchange": "x0", "exchange_type": "fanout"}),
            Operation("queue.declare", fields={"queue": "q0", "durable": True}),
            Operation("queue.declare", fields={"queue": "q1", "arguments": {"x-queue-mode": "odd"}}),
            Operation("queue.purge", fields={"queue": "q0"}),
        ]
        found = comparison.run(steps, 0.05)
        assert found is not None
        assert found.operations == tuple(steps[:3])
        smaller = smallest(found, lambda operations: comparison.run(operations, 0.05))
        for side in sides:
            side.close()
    assert smaller.operations == (steps[2],)
    text = "invalid arg 'x-queue-mode' for queue 'q1' in vhost '/': \"unsupported queue mode 'odd'\""
    theirs, ours = smaller.facts["0/1 got"]
    assert theirs == [f"closed 406 PRECONDITION_FAILED - {text} (50, 10)"]
    assert ours is None


def test_a_seed_makes_the_same_sequence_again() -> None:
    assert sequence("1.7", True) == sequence("1.7", True)
    assert sequence("1.7", True) != sequence("1.8", True)
