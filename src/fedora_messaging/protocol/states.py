"""The states of a connection and of a channel: state and input on the left, the next state on the right.

An input is a method that the peer sends, or a :class:`Step`. A pair that a table lacks is an error: a mistake
of the peer if the input is a method, our own if it is a step. The tests walk through all pairs.
"""

from enum import Enum
from typing import Final, TypeAlias

from ..wire import methods as m
from ..wire.methods import Method


class Role(Enum):
    """Which end of the connection we are."""

    CLIENT = "client"
    SERVER = "server"


class State(Enum):
    """The state of a connection (AMQP 0-9-1 section 2.2.4)."""

    EXPECT_HEADER = "server: waits for the protocol header"
    EXPECT_START = "client: has sent the protocol header"
    EXPECT_START_OK = "server: has sent start"
    AUTHENTICATING = "server: its owner looks at the login"
    EXPECT_TUNE = "client: has sent start-ok"
    EXPECT_TUNE_OK = "server: has sent tune"
    EXPECT_OPEN = "server: has tune-ok"
    OPENING = "server: its owner looks at the virtual host"
    EXPECT_OPEN_OK = "client: has sent tune-ok and open"
    OPEN = "open"
    CLOSING = "has sent close"
    CLOSED = "over"


class ChannelState(Enum):
    """The state of a channel."""

    CLOSED = "there is no channel of this number"
    OPENING = "client: has sent open"
    OPEN = "open"
    CLOSING = "has sent close"


class Step(Enum):
    """An event, other than a method of the peer, that changes the state of a connection or a channel."""

    HEADER = "server: the client's protocol header came"
    LOGIN_ACCEPTED = "server: its owner knows the user"
    VHOST_ACCEPTED = "server: its owner lets the user in"
    OPEN = "client: its owner opens a channel"
    CLOSE = "the owner closes, or the peer broke a rule"
    END = "the network connection ended, or is worth nothing any more"


Input: TypeAlias = type[Method] | Step

#: Transitions of a connection. The methods are those on channel 0.
CONNECTION: Final[dict[Role, dict[State, dict[Input, State]]]] = {
    Role.CLIENT: {
        State.EXPECT_START: {
            m.ConnectionStart: State.EXPECT_TUNE,
            m.ConnectionClose: State.CLOSED,
            Step.END: State.CLOSED,
        },
        State.EXPECT_TUNE: {
            m.ConnectionSecure: State.EXPECT_TUNE,
            m.ConnectionTune: State.EXPECT_OPEN_OK,
            m.ConnectionClose: State.CLOSED,
            Step.CLOSE: State.CLOSING,
            Step.END: State.CLOSED,
        },
        State.EXPECT_OPEN_OK: {
            m.ConnectionOpenOk: State.OPEN,
            m.ConnectionClose: State.CLOSED,
            Step.CLOSE: State.CLOSING,
            Step.END: State.CLOSED,
        },
        State.OPEN: {
            m.ConnectionBlocked: State.OPEN,
            m.ConnectionUnblocked: State.OPEN,
            m.ConnectionUpdateSecretOk: State.OPEN,
            m.ConnectionClose: State.CLOSED,
            Step.CLOSE: State.CLOSING,
            Step.END: State.CLOSED,
        },
        State.CLOSING: {
            m.ConnectionClose: State.CLOSING,
            m.ConnectionCloseOk: State.CLOSED,
            Step.END: State.CLOSED,
        },
        State.CLOSED: {},
    },
    Role.SERVER: {
        State.EXPECT_HEADER: {
            Step.HEADER: State.EXPECT_START_OK,
            Step.END: State.CLOSED,
        },
        State.EXPECT_START_OK: {
            m.ConnectionStartOk: State.AUTHENTICATING,
            Step.CLOSE: State.CLOSING,
            Step.END: State.CLOSED,
        },
        State.AUTHENTICATING: {
            Step.LOGIN_ACCEPTED: State.EXPECT_TUNE_OK,
            Step.CLOSE: State.CLOSING,
            Step.END: State.CLOSED,
        },
        State.EXPECT_TUNE_OK: {
            m.ConnectionTuneOk: State.EXPECT_OPEN,
            m.ConnectionClose: State.CLOSED,
            Step.CLOSE: State.CLOSING,
            Step.END: State.CLOSED,
        },
        State.EXPECT_OPEN: {
            m.ConnectionOpen: State.OPENING,
            m.ConnectionClose: State.CLOSED,
            Step.CLOSE: State.CLOSING,
            Step.END: State.CLOSED,
        },
        State.OPENING: {
            m.ConnectionClose: State.CLOSED,
            Step.VHOST_ACCEPTED: State.OPEN,
            Step.CLOSE: State.CLOSING,
            Step.END: State.CLOSED,
        },
        State.OPEN: {
            m.ConnectionUpdateSecret: State.OPEN,
            m.ConnectionClose: State.CLOSED,
            Step.CLOSE: State.CLOSING,
            Step.END: State.CLOSED,
        },
        State.CLOSING: {
            m.ConnectionClose: State.CLOSING,
            m.ConnectionCloseOk: State.CLOSED,
            Step.END: State.CLOSED,
        },
        State.CLOSED: {},
    },
}

#: Transitions of a channel. ``CHANNEL_RECEIVES`` has the methods that arrive on an open channel and leave it
#: open.
CHANNEL: Final[dict[Role, dict[ChannelState, dict[Input, ChannelState]]]] = {
    Role.CLIENT: {
        ChannelState.CLOSED: {Step.OPEN: ChannelState.OPENING},
        ChannelState.OPENING: {
            m.ChannelOpenOk: ChannelState.OPEN,
            m.ChannelClose: ChannelState.CLOSED,
        },
        ChannelState.OPEN: {
            m.ChannelClose: ChannelState.CLOSED,
            Step.CLOSE: ChannelState.CLOSING,
        },
        ChannelState.CLOSING: {
            m.ChannelClose: ChannelState.CLOSING,
            m.ChannelCloseOk: ChannelState.CLOSED,
        },
    },
    Role.SERVER: {
        ChannelState.CLOSED: {m.ChannelOpen: ChannelState.OPEN},
        ChannelState.OPEN: {
            m.ChannelClose: ChannelState.CLOSED,
            Step.CLOSE: ChannelState.CLOSING,
        },
        ChannelState.CLOSING: {
            m.ChannelClose: ChannelState.CLOSING,
            m.ChannelCloseOk: ChannelState.CLOSED,
        },
    },
}

#: The answers that a client's request on a channel may get.
REPLIES: Final[dict[type[Method], tuple[type[Method], ...]]] = {
    m.ChannelOpen: (m.ChannelOpenOk,),
    m.ChannelFlow: (m.ChannelFlowOk,),
    m.ExchangeDeclare: (m.ExchangeDeclareOk,),
    m.ExchangeDelete: (m.ExchangeDeleteOk,),
    m.ExchangeBind: (m.ExchangeBindOk,),
    m.ExchangeUnbind: (m.ExchangeUnbindOk,),
    m.QueueDeclare: (m.QueueDeclareOk,),
    m.QueueBind: (m.QueueBindOk,),
    m.QueueUnbind: (m.QueueUnbindOk,),
    m.QueuePurge: (m.QueuePurgeOk,),
    m.QueueDelete: (m.QueueDeleteOk,),
    m.BasicQos: (m.BasicQosOk,),
    m.BasicConsume: (m.BasicConsumeOk,),
    m.BasicCancel: (m.BasicCancelOk,),
    m.BasicGet: (m.BasicGetOk, m.BasicGetEmpty),
    m.BasicRecover: (m.BasicRecoverOk,),
    m.ConfirmSelect: (m.ConfirmSelectOk,),
    m.TxSelect: (m.TxSelectOk,),
    m.TxCommit: (m.TxCommitOk,),
    m.TxRollback: (m.TxRollbackOk,),
}

#: Methods that may arrive on an open channel and leave it open, by role. A client also receives the answers
#: that it waits for.
CHANNEL_RECEIVES: Final[dict[Role, frozenset[type[Method]]]] = {
    Role.CLIENT: frozenset(
        {
            m.ChannelFlow,
            m.BasicDeliver,
            m.BasicReturn,
            m.BasicAck,
            m.BasicNack,
            m.BasicCancel,
        }
    ),
    Role.SERVER: frozenset(REPLIES) - {m.ChannelOpen}
    | {
        m.ChannelFlowOk,
        m.BasicPublish,
        m.BasicAck,
        m.BasicNack,
        m.BasicReject,
        m.BasicRecoverAsync,
        m.BasicCancelOk,
    },
}
