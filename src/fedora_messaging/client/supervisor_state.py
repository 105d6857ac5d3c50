"""The states of a supervisor: state and input on the left, the next state on the right."""

from enum import Enum
from typing import Final


class SupervisorState(Enum):
    """The state of a supervisor."""

    IDLE = "nobody needed a connection yet"
    CONNECTING = "dials, or waits before it dials again"
    CONNECTED = "has a connection"
    GIVEN_UP = "was told to give up, and did"
    CLOSING = "takes nothing new, and lets publishes be confirmed"
    CLOSED = "over"


class Input(Enum):
    """An event that may change the state of a supervisor."""

    START = "somebody needs a connection"
    CONNECT = "a connection was made, and the consumers have had their chance to subscribe"
    LOSE = "the connection ended"
    GIVE_UP = "no attempt to connect is left"
    CLOSE = "the client is closed, and its consumers have ended"
    END = "the connection is closed, and no task runs"


#: An input that a row lacks cannot happen in that state; :class:`~.supervisor.Supervisor` would raise
#: ``KeyError``.
TRANSITIONS: Final[dict[SupervisorState, dict[Input, SupervisorState]]] = {
    SupervisorState.IDLE: {
        Input.START: SupervisorState.CONNECTING,
        Input.CLOSE: SupervisorState.CLOSING,
    },
    SupervisorState.CONNECTING: {
        Input.CONNECT: SupervisorState.CONNECTED,
        Input.GIVE_UP: SupervisorState.GIVEN_UP,
        Input.CLOSE: SupervisorState.CLOSING,
    },
    SupervisorState.CONNECTED: {
        Input.LOSE: SupervisorState.CONNECTING,
        Input.CLOSE: SupervisorState.CLOSING,
    },
    SupervisorState.GIVEN_UP: {
        Input.CLOSE: SupervisorState.CLOSING,
    },
    SupervisorState.CLOSING: {
        # An attempt that has begun may still succeed, and the waiting publishes use that connection.
        Input.CONNECT: SupervisorState.CLOSING,
        Input.LOSE: SupervisorState.CLOSING,
        Input.CLOSE: SupervisorState.CLOSING,
        Input.END: SupervisorState.CLOSED,
    },
    SupervisorState.CLOSED: {
        Input.CLOSE: SupervisorState.CLOSED,
        Input.END: SupervisorState.CLOSED,
    },
}
