"""The connection's and channels' states, and which method may come in which of them.

What a table lacks is an error of the peer. The tests walk the whole product.
"""

from enum import Enum
from typing import Final

from ..wire import methods as m
from ..wire.methods import Method


class Role(Enum):
    """Which end of the connection we are."""

    CLIENT = "client"
    SERVER = "server"


class State(Enum):
    """Where a connection is (AMQP 0-9-1 section 2.2.4)."""

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
    """Where a channel is; a number without a channel is closed."""

    OPENING = "client: has sent open"
    OPEN = "open"
    CLOSING = "has sent close"


#: Methods on channel 0, by role: what may be received in which state.
CONNECTION_RECEIVES: Final[dict[Role, dict[State, frozenset[type[Method]]]]] = {
    Role.CLIENT: {
        State.EXPECT_START: frozenset({m.ConnectionStart, m.ConnectionClose}),
        State.EXPECT_TUNE: frozenset({m.ConnectionSecure, m.ConnectionTune, m.ConnectionClose}),
        State.EXPECT_OPEN_OK: frozenset({m.ConnectionOpenOk, m.ConnectionClose}),
        State.OPEN: frozenset(
            {m.ConnectionClose, m.ConnectionBlocked, m.ConnectionUnblocked, m.ConnectionUpdateSecretOk}
        ),
    },
    Role.SERVER: {
        State.EXPECT_START_OK: frozenset({m.ConnectionStartOk}),
        State.EXPECT_TUNE_OK: frozenset({m.ConnectionTuneOk, m.ConnectionClose}),
        State.EXPECT_OPEN: frozenset({m.ConnectionOpen, m.ConnectionClose}),
        State.OPENING: frozenset({m.ConnectionClose}),
        State.OPEN: frozenset({m.ConnectionClose, m.ConnectionUpdateSecret}),
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

#: Methods that may come on an open channel, by role. For a client the answers come on top, but only
#: those it waits for.
CHANNEL_RECEIVES: Final[dict[Role, frozenset[type[Method]]]] = {
    Role.CLIENT: frozenset(
        {
            m.ChannelClose,
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
        m.ChannelClose,
        m.ChannelFlowOk,
        m.BasicPublish,
        m.BasicAck,
        m.BasicNack,
        m.BasicReject,
        m.BasicRecoverAsync,
        m.BasicCancelOk,
    },
}
