"""A session: what it refuses and when it gives up, what it stops reading for, and how it ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.protocol.machines import cut, frame
from tests.support.pipes import NarrowPipe
from tests.unit.broker.support import Client, MemoryServer, SlowJournal, Told, publish
from tests.unit.client.support import event_loop

from fedora_messaging.broker.accounts import Accounts, Permissions
from fedora_messaging.broker.alarms import ResourceLimits
from fedora_messaging.broker.core.declarations import QueueDeclaration
from fedora_messaging.broker.core.journal import NoJournal
from fedora_messaging.broker.session import Session
from fedora_messaging.protocol.connection import Limits
from fedora_messaging.protocol.errors import ChannelError
from fedora_messaging.protocol.server_handshake import ServerMachine
from fedora_messaging.protocol.states import State
from fedora_messaging.wire import frames as f
from fedora_messaging.wire import methods as m

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fedora_messaging.wire.methods import Method

CLOSES: dict[str, Any] = {"capabilities": {"authentication_failure_close": True}}
BLOCKING: dict[str, Any] = {"capabilities": {"connection.blocked": True}}
#: How many bytes of answers a client may leave unread.
OWED = 1_000_000


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that never waits: the time that it would wait for has passed."""
    made = event_loop()
    yield made
    made.close()


def wait(client: Client, seconds: float) -> None:
    """Let time pass."""
    client.session._server.loop.run_until_complete(asyncio.sleep(seconds))


def greet(client: Client) -> Client:
    (told,) = client.feed(f.PROTOCOL_HEADER)
    assert isinstance(told.method, m.ConnectionStart)
    return client


def authenticate(client: Client, password: str = "guest", **properties: Any) -> list[Told]:
    response = f"\0guest\0{password}".encode()
    return greet(client).send(m.ConnectionStartOk(properties, "PLAIN", response, "en_US"), channel=0)


def tune(client: Client) -> Client:
    """Go as far as the choice of a virtual host."""
    authenticate(client)
    client.send(m.ConnectionTuneOk(2047, 131072, 0), channel=0)
    return client


def declare(client: Client, name: str = "q") -> None:
    client.session.vhost.declare_queue(QueueDeclaration(name), owner=None)


def names(told: list[Told]) -> list[str]:
    return [one.method.name for one in told]


def the_close(told: list[Told]) -> tuple[int, str, int, int]:
    """The only thing that the broker said: why it closes the connection, and the method to blame."""
    (one,) = told
    assert isinstance(one.method, m.ConnectionClose)
    return one.method.reply_code, one.method.reply_text, one.method.class_id, one.method.method_id


# Beginning


def test_refused_login_is_told_and_the_answer_awaited(
    server: MemoryServer, caplog: pytest.LogCaptureFixture
) -> None:
    client = Client(server)
    text = (
        "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. "
        "For details see the broker logfile."
    )
    assert the_close(authenticate(client, "wrong", **CLOSES)) == (403, text, 0, 0)
    assert caplog.messages == ["Login from a Unix socket by PLAIN refused: user guest: the password is wrong"]
    assert not client.pipe.is_closing()
    client.send(m.ConnectionCloseOk(), channel=0)
    assert client.pipe.is_closing()
    assert server.sessions == set()


@pytest.mark.parametrize("capabilities", [{}, {"authentication_failure_close": "yes"}, "all of them"])
def test_refused_login_that_is_not_told_ends_after_three_seconds(
    server: MemoryServer, capabilities: object, caplog: pytest.LogCaptureFixture
) -> None:
    """A client that may try again at once would do so, and the log would fill."""
    client = Client(server)
    assert authenticate(client, "wrong", capabilities=capabilities) == []
    wait(client, 2.9)
    assert not client.pipe.is_closing()
    wait(client, 0.2)
    assert client.told() == []
    assert client.pipe.is_closing()
    assert client.session.ended.done()
    wait(client, 10)
    assert caplog.messages == ["Login from a Unix socket by PLAIN refused: user guest: the password is wrong"]


def test_virtual_host_that_does_not_exist(server: MemoryServer, caplog: pytest.LogCaptureFixture) -> None:
    client = tune(Client(server))
    text = "NOT_ALLOWED - vhost nope not found"
    assert the_close(client.send(m.ConnectionOpen("nope"), channel=0)) == (530, text, 10, 40)
    client.send(m.ConnectionCloseOk(), channel=0)
    assert client.pipe.is_closing()
    assert caplog.messages == [f"Connection from a Unix socket closed: {text}"]
    assert not hasattr(client.session, "vhost")


def test_virtual_host_of_others(loop: asyncio.AbstractEventLoop) -> None:
    accounts = Accounts(guest=False)
    accounts.add_user("guest", "guest")
    client = tune(Client(MemoryServer(loop, accounts=accounts)))
    text = "NOT_ALLOWED - access to vhost '/' refused for user 'guest'"
    assert the_close(client.send(m.ConnectionOpen("/"), channel=0)) == (530, text, 10, 40)
    assert not hasattr(client.session, "vhost")


@pytest.mark.parametrize(
    "so_far", [lambda client: client, greet, tune], ids=["connected", "greeted", "logged in"]
)
def test_client_that_does_not_come_in_is_cut(
    server: MemoryServer, so_far: Callable[[Client], Client], caplog: pytest.LogCaptureFixture
) -> None:
    client = so_far(Client(server))
    wait(client, 9.9)
    assert not client.pipe.is_closing()
    wait(client, 0.2)
    assert client.pipe.is_closing()
    assert client.told() == []
    assert caplog.messages == ["Connection from a Unix socket did not log in within 10 s"]
    assert server.sessions == set()


def test_client_that_never_connects_is_not_missed(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    """The broker makes a session before the TLS handshake, which may fail."""
    server = MemoryServer(loop)
    Session(server, ServerMachine(now=loop.time(), limits=server.limits))
    loop.run_until_complete(asyncio.sleep(60))
    assert caplog.messages == []


def test_client_that_has_come_in_may_be_silent(server: MemoryServer) -> None:
    client = tune(Client(server))
    wait(client, 9.9)
    assert names(client.send(m.ConnectionOpen("/"), channel=0)) == ["connection.open-ok"]
    wait(client, 1000)
    assert not client.pipe.is_closing()


@pytest.mark.parametrize(
    ("properties", "name"),
    [({"connection_name": "koji"}, "koji"), ({"connection_name": 7}, None), ({}, None)],
    ids=["a text", "a number", "none"],
)
def test_name_of_a_connection(server: MemoryServer, properties: dict[str, Any], name: str | None) -> None:
    client = Client(server, **properties)
    assert client.session.name is None
    assert client.login().session.name == name


# Errors


def test_methods_behind_a_channel_error_do_nothing(client: Client) -> None:
    """They came together, and the other channels go on."""
    client.send(m.ChannelOpen(), channel=2)
    told = client.send(m.QueueDeclare("missing", passive=True), m.QueueDeclare("late"), m.QueueDelete("late"))
    assert [(one.channel, one.method.name) for one in told] == [(1, "channel.close")]
    close = told[0].method
    assert isinstance(close, m.ChannelClose)
    assert (close.reply_code, close.class_id, close.method_id) == (404, 50, 10)
    assert client.feed(publish("", "late", mandatory=True)) == []
    assert list(client.session.vhost.queues) == []
    assert names(client.send(m.QueueDeclare("q"), channel=2)) == ["queue.declare-ok"]


def test_methods_behind_a_connection_error_do_nothing(client: Client) -> None:
    told = client.send(m.BasicQos(0, 1), m.QueueDeclare("q"), m.ChannelFlow(False))
    late = client.send(m.QueueDeclare("late"))
    assert names(told[:-1]) == ["basic.qos-ok", "queue.declare-ok"]
    assert the_close(told[-1:]) == (540, "NOT_IMPLEMENTED - active=false", 20, 20)
    assert late == []
    assert list(client.session.vhost.queues) == ["q"]


def test_methods_that_came_with_a_connection_error_do_nothing(client: Client) -> None:
    error = frame(1, m.ChannelFlow(False)) + frame(1, m.QueueDeclare("late"))
    told = client.feed(error + frame(2, m.ChannelOpen()) + frame(2, m.QueueDeclare("later")))
    assert the_close([one for one in told if one.channel == 0]) == (
        540,
        "NOT_IMPLEMENTED - active=false",
        20,
        20,
    )
    assert "queue.declare-ok" not in names(told)
    assert list(client.session.vhost.queues) == []


def test_client_that_does_not_answer_a_close_is_cut(client: Client, server: MemoryServer) -> None:
    the_close(client.send(m.ChannelFlow(False)))
    wait(client, 29.9)
    assert not client.pipe.is_closing()
    wait(client, 0.2)
    assert client.pipe.is_closing()
    assert server.sessions == set()


def test_client_that_breaks_the_rules_has_time_to_read_why(client: Client, server: MemoryServer) -> None:
    client.send(m.QueueDeclare("q", exclusive=True))
    assert the_close(client.feed(b"\x09\0\0\0\0\0\0\xce"))[0] == 501
    # Its queues are gone at once; what it still sends does not matter.
    assert client.session.vhost.queues == {}
    assert client.feed(b"\xff" * 100) == []
    wait(client, 29.9)
    assert not client.pipe.is_closing()
    assert server.close_connections("for a test") == 0
    wait(client, 0.2)
    assert client.pipe.is_closing()
    assert server.sessions == set()


def test_mistake_behind_a_close_leaves_time_to_read_why(client: Client) -> None:
    """The client has not read the close yet, and breaks the rules; so its answer has to be looked for."""
    assert the_close(client.send(m.BasicQos(prefetch_size=1)))[0] == 540
    client.feed(b"\x09\0\0\0\0\0\0\xce" + b"x" * 100)
    assert not client.pipe.is_closing()
    client.feed(frame(0, m.ConnectionCloseOk()))
    assert client.pipe.is_closing()


@pytest.mark.parametrize("cut", range(1, 12))
def test_socket_ends_when_the_client_has_confirmed_the_end(client: Client, cut: int) -> None:
    """Although a mistake has hidden where its frames begin; and in whatever pieces the frame comes."""
    the_close(client.feed(b"\x01\0\0\0\0\0\1\0\0"))
    close_ok = frame(0, m.ConnectionCloseOk())
    client.feed(b"\x01\0\x01" + close_ok[:cut])
    assert not client.pipe.is_closing()
    client.feed(close_ok[cut:])
    assert client.pipe.is_closing()


def test_client_that_closes_ends_the_socket_itself(client: Client) -> None:
    (told,) = client.send(m.ConnectionClose(200, "bye", 0, 0), channel=0)
    assert isinstance(told.method, m.ConnectionCloseOk)
    assert not client.pipe.is_closing()
    wait(client, 30)
    assert client.pipe.is_closing()


class BrokenJournal(NoJournal):
    """A journal with a fault: it cannot take queues."""

    def queue_added(self, queue: Any) -> None:
        """Fail."""
        raise ZeroDivisionError("a fault")


def test_fault_of_the_broker_ends_the_connection_and_no_other(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    server = MemoryServer(loop, BrokenJournal())
    client, other = (Client(server).login() for _ in range(2))
    told = client.send(m.QueueDeclare("q", durable=True), m.BasicQos(0, 1))
    assert the_close(told) == (541, "INTERNAL_ERROR - the broker failed; see its log", 0, 0)
    (line,) = caplog.records
    assert line.getMessage() == "Internal error while acting on MethodReceived"
    assert line.exc_info is not None
    assert str(line.exc_info[1]) == "a fault"
    assert names(other.send(m.BasicQos(0, 1))) == ["basic.qos-ok"]
    client.send(m.ConnectionCloseOk(), channel=0)
    assert server.sessions == {other.session}


def test_channel_that_fails_soon_may_be_another_one_by_then(client: Client) -> None:
    """A channel that was opened anew under the same number has done nothing wrong."""
    session, old = client.session, client.channel
    session.fail_soon(old, ChannelError(406, "too big"), m.BasicConsume)
    client._link.data_received(frame(1, m.ChannelClose(0, "", 0, 0)) + frame(1, m.ChannelOpen()))
    assert client.channel is not old
    assert names(client.told()) == ["channel.close-ok", "channel.open-ok"]
    session.fail_soon(client.channel, ChannelError(406, "too big"), m.BasicConsume)
    (told,) = client.told()
    assert repr(told.method) == repr(m.ChannelClose(406, "PRECONDITION_FAILED - too big", 60, 20))
    assert session._channels == {}


# Flow


class SlowServer(MemoryServer):
    """A server whose disk is behind when the test says so."""

    behind = False

    @property
    def journal_is_behind(self) -> bool:
        """Whether publishers should wait for the disk."""
        return self.behind


def publishing(server: MemoryServer, **properties: Any) -> Client:
    client = Client(server, **properties).login()
    declare(client)
    client.ask(m.ConfirmSelect())
    return client


def purge(client: Client) -> None:
    """Empty the queue, so that the next look finds room."""
    client.session.vhost.queues["q"].purge()
    client.session._server._watch_resources()


@pytest.mark.parametrize("first", ["alarm", "journal"])
def test_reading_goes_on_when_nothing_keeps_it_any_more(loop: asyncio.AbstractEventLoop, first: str) -> None:
    journal = SlowJournal()
    server = SlowServer(loop, journal, resources=ResourceLimits(memory=1000))
    client = publishing(server, **BLOCKING)
    server.behind = True
    assert names(client.feed(publish("", "q", b"x" * 2000))) == ["basic.ack", "connection.blocked"]
    assert (client.pipe.reads, client.session.blocked) == (False, "low on memory")
    told = []
    for reason in ("alarm", "journal") if first == "alarm" else ("journal", "alarm"):
        assert not client.pipe.reads
        if reason == "alarm":
            purge(client)
        else:
            journal.catch_up()
        told += names(client.told())
    assert (client.pipe.reads, client.session.blocked) == (True, None)
    assert told == ["connection.unblocked"]


def test_client_that_knows_no_blocking_is_read_from_again_without_a_word(
    loop: asyncio.AbstractEventLoop,
) -> None:
    server = MemoryServer(loop, resources=ResourceLimits(memory=1000))
    client = publishing(server)
    assert names(client.feed(publish("", "q", b"x" * 2000))) == ["basic.ack"]
    assert (client.pipe.reads, client.session.blocked) == (False, "low on memory")
    purge(client)
    assert client.told() == []
    assert (client.pipe.reads, client.session.blocked) == (True, None)


def test_disk_that_is_behind_stops_only_who_waits_for_confirms(loop: asyncio.AbstractEventLoop) -> None:
    journal = SlowJournal()
    server = SlowServer(loop, journal)
    server.behind = True
    client, unconfirmed = publishing(server), Client(server).login()
    unconfirmed.feed(publish("", "q"))
    assert (client.pipe.reads, unconfirmed.pipe.reads, journal.waiting) == (True, True, [])
    client.feed(publish("", "q"))
    assert (client.pipe.reads, unconfirmed.pipe.reads) == (False, True)
    journal.catch_up()
    assert client.pipe.reads


def test_connection_that_is_being_closed_hears_of_no_alarm(loop: asyncio.AbstractEventLoop) -> None:
    """Its answer must be read."""
    server = MemoryServer(loop, resources=ResourceLimits(memory=1000))
    closing, other = publishing(server, **BLOCKING), publishing(server, **BLOCKING)
    closing.feed(publish("", "q"))
    closing.session.force_close("enough")
    assert names(other.feed(publish("", "q", b"x" * 2000))) == ["basic.ack", "connection.blocked"]
    assert names(closing.told()) == ["connection.close"]
    assert (closing.pipe.reads, closing.session.blocked) == (True, None)


@pytest.fixture
def roomy(loop: asyncio.AbstractEventLoop) -> Client:
    """A client that may send large frames."""
    client = Client(MemoryServer(loop, limits=Limits(frame_max=2 * OWED)), frame_max=2 * OWED).login()
    declare(client)
    return client


def test_client_that_leaves_answers_unread_is_not_heard(roomy: Client) -> None:
    client = roomy
    for _ in range(3):
        client.feed(publish("", "q", bytes(OWED // 2)))
    get = m.BasicGet("q", no_ack=True)
    client._link.pause_writing()
    assert names(client.send(get)) == ["basic.get-ok"]
    assert client.pipe.reads
    # What comes behind too many answers must wait.
    assert names(client.send(get, get, m.QueueDeclare("late"))) == ["basic.get-ok"]
    assert not client.pipe.reads
    assert list(client.session.vhost.queues) == ["q"]
    # What has been sent already waits, too.
    assert client.send(m.QueueDelete("late")) == []
    client._link.resume_writing()
    assert names(client.told()) == ["basic.get-ok", "queue.declare-ok", "queue.delete-ok"]
    assert client.pipe.reads


def test_answers_to_come_count_with_those_that_wait(roomy: Client) -> None:
    client = roomy
    for _ in range(3):
        client.feed(publish("", "q", bytes(OWED * 4 // 10)))
    get = m.BasicGet("q", no_ack=True)
    client._link.pause_writing()
    assert names(client.send(get)) == ["basic.get-ok"]
    assert names(client.send(get, get, m.QueueDeclare("late"))) == ["basic.get-ok"] * 2
    assert not client.pipe.reads
    assert list(client.session.vhost.queues) == ["q"]


def test_answers_behind_a_large_message_count(client: Client) -> None:
    """A client that has stopped in the middle of a message may not ask for more without end."""
    declare(client)
    method = m.BasicPublish("", "q").encode()
    client.feed(f.encode_content(1, method, b"\0\0", bytes(4_000_000), 131072))
    pipe = NarrowPipe(client._link)
    client._link._transport = pipe
    client.send(m.BasicGet("q", no_ack=True))
    asked = [m.QueueDeclare("q", passive=True)] * 5000
    for _ in range(100):
        if pipe.reads:
            client.send(*asked)
    assert not pipe.reads
    assert len(pipe.buffer) < 1_300_000
    assert OWED <= client._link.owed < OWED + 100
    seen = pipe.take_all()
    # The session goes on by turns.
    while client.told() or not pipe.reads or pipe.buffer:
        seen += pipe.take_all()
    answers = [one.method.name for one in cut(seen) if one.method is not None]
    assert answers[0] == "basic.get-ok"
    assert len(answers) % 5000 == 1
    assert set(answers[1:]) == {"queue.declare-ok"}


def test_client_that_reads_may_ask_for_any_amount(roomy: Client) -> None:
    client = roomy
    client.feed(publish("", "q", bytes(OWED)))
    get = m.BasicGet("q")
    asked = [method for tag in (1, 2, 3) for method in (get, m.BasicNack(tag, False, True))]
    assert names(client.send(*asked)) == ["basic.get-ok"] * 3
    assert client.pipe.reads


def test_deliveries_wait_for_room_in_the_socket(client: Client) -> None:
    declare(client)
    client.send(m.BasicConsume("q", "t", no_ack=True))
    client._link.pause_writing()
    assert client.feed(publish("", "q")) == []
    assert client.session.can_send() is False
    client._link.resume_writing()
    assert names(client.told()) == ["basic.deliver"]


def test_deliveries_leave_in_portions(client: Client) -> None:
    """However many wait, only some are encoded at a time; all leave in the end."""
    declare(client)
    for _ in range(10):
        client.feed(publish("", "q", bytes(100_000)))
    client._link.data_received(frame(1, m.BasicConsume("q", "t", no_ack=True)))
    # Three are the first that take more than 262144 bytes.
    assert len(client.session.vhost.queues["q"]) == 7
    told = client.told() + client.told()
    assert names(told) == ["basic.consume-ok"] + ["basic.deliver"] * 10
    assert {len(one.body) for one in told[1:]} == {100_000}


# End


def refused(client: Client) -> Client:
    assert authenticate(client, "wrong") == []
    return client


def choosing(client: Client) -> Client:
    authenticate(client)
    return client


def closing(client: Client) -> Client:
    client.login().send(m.ChannelFlow(False))
    return client


@pytest.mark.parametrize(
    ("so_far", "state", "is_told"),
    [
        (lambda client: client, State.EXPECT_HEADER, False),
        (greet, State.EXPECT_START_OK, False),
        (refused, State.AUTHENTICATING, False),
        (choosing, State.EXPECT_TUNE_OK, False),
        (tune, State.EXPECT_OPEN, True),
        (Client.login, State.OPEN, True),
        (closing, State.CLOSING, False),
    ],
    ids=lambda value: value.name if isinstance(value, State) else "",
)
def test_operator_closes_a_connection(
    server: MemoryServer, so_far: Callable[[Client], Client], state: State, is_told: bool
) -> None:
    """A client that can understand a close is told, and may answer; any other is cut."""
    client = so_far(Client(server))
    assert client.session.machine.state is state
    client.session.force_close("enough")
    told = client.told()
    assert [repr(one.method) for one in told] == (
        [repr(m.ConnectionClose(320, "CONNECTION_FORCED - enough", 0, 0))] if is_told else []
    )
    assert client.pipe.is_closing() is not is_told
    client.session.force_close("once more")
    assert client.told() == []
    assert client.pipe.is_closing()
    assert client.session.ended.done()


def test_lost_connection_takes_its_channels_along(client: Client, server: MemoryServer) -> None:
    """What was sent behind it, and what comes due later, finds nothing."""
    client.send(m.QueueDeclare("mine", exclusive=True), m.BasicConsume("mine", "t"))
    channel, vhost = client.channel, client.session.vhost
    client.session.fail_soon(channel, ChannelError(406, "late"), m.BasicConsume)
    client.pipe.close()
    assert client.session.ended.done()
    assert (client.session._channels, server.sessions, list(vhost.queues)) == ({}, set(), [])
    assert client.told() == []
    client.session.force_close("late")
    assert client.told() == []


# Limits that administrators set


def opened(client: Client, user: str = "guest", vhost: str = "/") -> Method:
    """Log in, and open a virtual host; returns the answer."""
    response = f"\0{user}\0{user}".encode()
    greet(client).send(m.ConnectionStartOk({}, "PLAIN", response, "en_US"), channel=0)
    (told,) = client.send(m.ConnectionTuneOk(2047, 131072, 0), m.ConnectionOpen(vhost), channel=0)
    return told.method


def refusal_of(method: Method) -> str:
    """Return the text of a close with 530."""
    assert isinstance(method, m.ConnectionClose)
    assert method.reply_code == 530
    return method.reply_text


def test_connections_of_a_virtual_host_are_limited(server: MemoryServer) -> None:
    """Those to others do not count, and the end of one makes room."""
    server.administration.set_vhost("v")
    server.administration.set_permissions("v", "guest", Permissions())
    server.administration.set_vhost_limit("/", "max-connections", 1)
    assert isinstance(opened(Client(server), vhost="v"), m.ConnectionOpenOk)
    first = Client(server)
    assert isinstance(opened(first), m.ConnectionOpenOk)
    text = "NOT_ALLOWED - access to vhost '/' refused for user 'guest': connection limit (1) is reached"
    assert refusal_of(opened(Client(server))) == text
    first.send(m.ConnectionClose(200, "", 0, 0), channel=0)
    assert isinstance(opened(Client(server)), m.ConnectionOpenOk)


def test_connections_of_a_user_are_limited(server: MemoryServer) -> None:
    """In all virtual hosts together; other users do not count."""
    server.administration.set_vhost("v")
    for name in ("one", "two"):
        server.accounts.add_user(name, name)
        for vhost in ("/", "v"):
            server.accounts.set_permissions(name, vhost, Permissions())
    server.administration.set_user_limit("one", "max-connections", 2)
    assert isinstance(opened(Client(server), "two"), m.ConnectionOpenOk)
    for vhost in ("/", "v"):
        assert isinstance(opened(Client(server), "one", vhost), m.ConnectionOpenOk)
    text = "NOT_ALLOWED - connection refused for user 'one': user connection limit (2) is reached"
    assert refusal_of(opened(Client(server), "one", "v")) == text
    assert isinstance(opened(Client(server), "two"), m.ConnectionOpenOk)


@pytest.mark.parametrize(("limit", "allowed"), [(0, False), (-1, True), (-5, True), (None, True)])
def test_limits_that_allow_nothing_or_everything(
    server: MemoryServer, limit: int | None, allowed: bool
) -> None:
    server.administration.set_vhost_limit("/", "max-connections", limit)
    assert isinstance(opened(Client(server)), m.ConnectionOpenOk) is allowed
    server.administration.set_vhost_limit("/", "max-connections", None)
    server.administration.set_user_limit("guest", "max-connections", limit)
    if limit == 0:
        assert not isinstance(opened(Client(server)), m.ConnectionOpenOk)


def test_limit_that_is_set_later_leaves_connections_alone(server: MemoryServer, client: Client) -> None:
    server.administration.set_vhost_limit("/", "max-connections", 0)
    server.administration.set_user_limit("guest", "max-connections", 0)
    assert client.told() == []
    assert isinstance(client.ask(m.QueueDeclare("q")), m.QueueDeclareOk)


def test_channels_of_a_user_are_limited(server: MemoryServer, client: Client) -> None:
    """On all of the user's connections together. The connection of one too many ends."""
    server.administration.set_user_limit("guest", "max-channels", 2)
    other = Client(server)
    assert isinstance(opened(other), m.ConnectionOpenOk)
    assert isinstance(other.send(m.ChannelOpen())[0].method, m.ChannelOpenOk)
    told = other.send(m.ChannelOpen(), channel=2)[-1]
    assert refusal_of(told.method) == (
        "NOT_ALLOWED - number of channels opened for user 'guest' has reached the maximum allowed user "
        "limit of 2"
    )
    assert isinstance(client.ask(m.QueueDeclare("q")), m.QueueDeclareOk)
    other.send(m.ConnectionCloseOk(), channel=0)
    # The channels of the connection that ended make room.
    assert isinstance(client.send(m.ChannelOpen(), channel=2)[0].method, m.ChannelOpenOk)


def test_closed_channel_makes_room(server: MemoryServer, client: Client) -> None:
    server.administration.set_user_limit("guest", "max-channels", 1)
    client.ask(m.ChannelClose(200, "", 0, 0))
    assert isinstance(client.ask(m.ChannelOpen()), m.ChannelOpenOk)


def test_virtual_host_that_is_made_while_the_broker_runs(server: MemoryServer) -> None:
    expected = "NOT_ALLOWED - vhost v not found"
    assert refusal_of(opened(Client(server), vhost="v")) == expected
    server.administration.set_vhost("v")
    found = refusal_of(opened(Client(server), vhost="v"))
    assert found == "NOT_ALLOWED - access to vhost 'v' refused for user 'guest'"
    server.administration.set_permissions("v", "guest", Permissions())
    assert isinstance(opened(Client(server), vhost="v"), m.ConnectionOpenOk)
