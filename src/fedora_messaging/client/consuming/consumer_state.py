"""The states of a consumer: state and input on the left, the next state on the right."""

from enum import Enum
from typing import Final


class ConsumerState(Enum):
    """The state of a consumer."""

    NEW = "has not subscribed yet"
    CONSUMING = "the broker delivers"
    ASKING = "the broker canceled the subscription; we ask whether the queue is gone"
    RESUMING = "has lost its channel, and subscribes again"
    HALTED = "begins no more callbacks"
    STOPPING = "waits for the callback that runs, and closes its channel"
    ENDED = "over"


class Input(Enum):
    """An event that may change the state of a consumer."""

    SUBSCRIBED = "the broker confirmed the subscription"
    CANCELED = "the broker canceled the subscription"
    LOST = "the channel or its connection is gone, or we gave it up"
    HALT = "the program asks for no more callbacks"
    STOP = "the program, an error or a callback ends the consumer"
    SHUT_DOWN = "no callback runs, and the channel is closed"


#: An input that a row lacks cannot happen in that state; :class:`~.consumer.Consumer` would raise
#: ``KeyError``.
TRANSITIONS: Final[dict[ConsumerState, dict[Input, ConsumerState]]] = {
    ConsumerState.NEW: {
        Input.SUBSCRIBED: ConsumerState.CONSUMING,
        Input.HALT: ConsumerState.HALTED,
        Input.STOP: ConsumerState.STOPPING,
    },
    ConsumerState.CONSUMING: {
        Input.CANCELED: ConsumerState.ASKING,
        Input.LOST: ConsumerState.RESUMING,
        Input.HALT: ConsumerState.HALTED,
        Input.STOP: ConsumerState.STOPPING,
    },
    ConsumerState.ASKING: {
        Input.LOST: ConsumerState.RESUMING,
        Input.HALT: ConsumerState.HALTED,
        Input.STOP: ConsumerState.STOPPING,
    },
    ConsumerState.RESUMING: {
        Input.SUBSCRIBED: ConsumerState.CONSUMING,
        Input.HALT: ConsumerState.HALTED,
        Input.STOP: ConsumerState.STOPPING,
    },
    ConsumerState.HALTED: {
        Input.HALT: ConsumerState.HALTED,
        Input.STOP: ConsumerState.STOPPING,
    },
    ConsumerState.STOPPING: {
        Input.HALT: ConsumerState.STOPPING,
        Input.SHUT_DOWN: ConsumerState.ENDED,
    },
    ConsumerState.ENDED: {
        Input.HALT: ConsumerState.ENDED,
    },
}
#: States in which deliveries arrive, or will soon arrive again.
RUNNING: Final = frozenset(
    {ConsumerState.CONSUMING, ConsumerState.ASKING, ConsumerState.RESUMING, ConsumerState.HALTED}
)
#: States in which no more callbacks begin.
ENDING: Final = frozenset({ConsumerState.HALTED, ConsumerState.STOPPING, ConsumerState.ENDED})
