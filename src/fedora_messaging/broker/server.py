"""The broker's server: it listens, and holds everything that its connections share."""

import asyncio
import errno
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .._version import __version__
from ..logs import logger
from ..protocol import sasl
from ..protocol.connection import Limits
from ..protocol.errors import INTERNAL_ERROR, RESOURCE_ERROR
from ..protocol.server_handshake import ServerMachine
from ..transport.link import Link
from ..transport.tls import ServerTLSOptions, refresh, server_context
from ..wire.frames import room_for_properties
from .accounts import Accounts, User
from .administration import SECTIONS, Administration, AdministrationError
from .alarms import Alarms, ResourceLimits
from .attempts import LoginCounter
from .chores import Chores
from .clock import Clock
from .core.churn import Churn
from .core.journal import NoJournal
from .core.memory import MemoryUse
from .core.profile import RABBITMQ_4, Profile
from .core.queue import Queue
from .core.queue_arguments import CLASSIC
from .core.vhost import VirtualHost
from .faults import Faults
from .listener import Listener, check_unused
from .reply_to import Replies
from .session import PATIENCE, Session
from .storage.pages import FilePages
from .strangers import Strangers
from .timers import Timers

if TYPE_CHECKING:
    from .storage.sqlite import SqliteStore

_log = logger(__name__)

#: Seconds that clients have to answer the broker's close.
_FAREWELL: Final = 2.0
#: Sections of the stored definitions whose keys name a virtual host and then a user.
_OF_USERS: Final = ("permissions", "topic_permissions")
#: Seconds between two checks of memory and disk.
_WATCH_INTERVAL: Final = 0.25
#: Seconds after which a delivery that is not settled closes its channel, as in RabbitMQ.
CONSUMER_TIMEOUT: Final = 1800.0
#: Seconds between two looks for such deliveries, at most.
_TIMEOUT_CHECK: Final = 10.0
#: Unfinished messages may take this part of the memory limit.
_UNFINISHED_PART: Final = 4
#: What clients declare may take this part of the memory limit.
_DECLARED_PART: Final = 2
#: Bytes that they may take however small the limit is.
_DECLARED_LEAST: Final = 16_000_000

_CAPABILITIES: Final = dict.fromkeys(
    (
        "publisher_confirms",
        "exchange_exchange_bindings",
        "basic.nack",
        "consumer_cancel_notify",
        "connection.blocked",
        "consumer_priorities",
        "authentication_failure_close",
        "per_consumer_qos",
        "direct_reply_to",
    ),
    True,
)


class BrokerError(Exception):
    """The broker cannot start, or could not write all changes; the text says why and what to do."""


class Server:
    """A broker in an event loop.

    Args:
        accounts: The users; by default ``guest``, from this machine only.
        data: Directory for durable data; ``None`` keeps everything in memory.
        limits: Limits of a connection that are offered to clients.
        resources: Limits of memory and disk at which publishers are blocked.
        profile: The release of RabbitMQ to imitate.
        consumer_timeout: Seconds after which a delivery that is not settled closes its channel; ``None`` for
            never.

    Attributes:
        port: TCP port in use, 0 before the start.
        http_port: TCP port of the management API, 0 without one.
        data: Directory for durable data, or ``None``.
        started_at: Time of the start, by :attr:`clock`.
        limits: Limits of a connection that are offered to clients.
        profile: The release of RabbitMQ to imitate.
        strangers: The connections that have not logged in.
        logins: Counts the logins.
        churn: Counts the connections and channels that come and go.
        administration: What administrators do to it.
        vhosts: The virtual hosts by name.
        memory: Memory that messages take.
        sessions: Open connections.
        alarms: Alarms of memory and disk.
        faults: Faults on demand, for tests of applications.
        consumer_timeout: Seconds after which a delivery that is not settled closes its channel, or ``None``.
        clock: The clock that measures the age of messages and queues.
        failure: Why the broker can store nothing any more, or ``None``.
        failed: Set together with ``failure``; only for the loop's thread.
    """

    def __init__(
        self,
        *,
        accounts: Accounts | None = None,
        data: Path | None = None,
        limits: Limits | None = None,
        resources: ResourceLimits | None = None,
        profile: Profile = RABBITMQ_4,
        consumer_timeout: float | None = CONSUMER_TIMEOUT,
    ) -> None:
        self.accounts: Accounts = accounts or Accounts()
        self._has_own_accounts = accounts is not None
        self._users_of_program: frozenset[str] = frozenset()
        self.administration: Administration = Administration(self, None)
        self.port: int = 0
        self.sessions: set[Session] = set()
        self.vhosts: dict[str, VirtualHost] = {}
        self.replies: Replies = Replies()
        self.loop: asyncio.AbstractEventLoop
        self.data = data
        self.http_port = 0
        self.started_at: float = 0.0
        self.profile = profile
        self.limits: Limits = limits or Limits(
            channel_max=2047,
            frame_max=131072,
            heartbeat=60,
            frame_min=profile.frame_min,
            max_body=profile.max_body,
        )
        self._store: SqliteStore | None = None
        self._timers: Timers | None = None
        self._chores: Chores | None = None
        self.clock: Clock = Clock()
        self.strangers: Strangers = Strangers(self.clock)
        self.logins: LoginCounter = LoginCounter()
        self.churn: Churn = Churn()
        limits_of_resources = resources or ResourceLimits()
        self.memory: MemoryUse = MemoryUse()
        self.memory.bodies_limit = limits_of_resources.bodies
        self.alarms: Alarms = Alarms(self.memory, limits_of_resources, data)
        # What is left of the disk is for the messages that are stored.
        self._pages = self.memory.pages = FilePages(data, lambda: not self.alarms.is_low("disk"))
        if self.alarms.memory_limit:
            self.memory.declared_limit = max(_DECLARED_LEAST, self.alarms.memory_limit // _DECLARED_PART)
        self.failure: str | None = None
        self.failed: asyncio.Event = asyncio.Event()
        self.consumer_timeout = consumer_timeout
        self._next_check = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self.faults: Faults = Faults(self, self._run_in_loop)
        self._listeners: list[Listener] = []
        self._tls: ServerTLSOptions | None = None
        self._context: ssl.SSLContext | None = None
        self._closing: list[asyncio.Task[None]] = []

    @property
    def node(self) -> str:
        """Name of the node, as RabbitMQ would name it."""
        return f"rabbit@{socket.gethostname().partition('.')[0]}"

    @property
    def users_of_program(self) -> frozenset[str]:
        """Names of the users that the program gave, rather than administrators."""
        return self._users_of_program

    @property
    def journal_is_behind(self) -> bool:
        """Whether publishers should wait for the disk."""
        return self._store is not None and self._store.is_behind

    async def start(
        self,
        host: str = "127.0.0.1",
        port: int = 5672,
        *,
        tls: ServerTLSOptions | None = None,
        unix_path: str | None = None,
    ) -> None:
        """Recover durable data and listen.

        Args:
            host: Address to listen on.
            port: TCP port; 0 takes a free one, see :attr:`port`.
            tls: Options for TLS on that port; ``None`` listens without TLS.
            unix_path: Listen on this Unix socket, too.

        Raises:
            BrokerError: The port is in use, or the data directory cannot be used.
        """
        self.open(asyncio.get_running_loop())
        try:
            await self._listen(host, port, tls, unix_path)
        except BaseException:
            await self.stop()
            raise
        self.accounts.on_removed.add(self._user_removed)
        self._watch_resources()

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Recover durable data; :meth:`start` does it, too.

        Raises:
            BrokerError: The data directory cannot be used.
        """
        self._forget_former_start()
        self.loop = loop
        self.started_at = self.clock()
        self._timers = Timers(loop, self.clock)
        self._chores = Chores(loop)
        if self._has_own_accounts:
            self._users_of_program = frozenset(user.name for user in self.accounts)
        self._open_storage()

    def _forget_former_start(self) -> None:
        self.vhosts.clear()
        self.memory.bytes = self.memory.declared = 0
        self.administration = Administration(self, None)
        self.failure = None
        self.failed = asyncio.Event()
        self._listeners.clear()

    def _user_removed(self, name: str) -> None:
        with suppress(RuntimeError):  # the loop has ended, and with it all connections
            self.loop.call_soon_threadsafe(self._close_connections_of, name)

    def _close_connections_of(self, name: str) -> None:
        for session in list(self.sessions):
            if session.user_name == name:
                session.force_close(f"user '{name}' is deleted")

    def _watch_resources(self) -> None:
        """Check memory and disk, now and from time to time."""
        if self.failure is not None:
            return
        self._watch = self.loop.call_later(_WATCH_INTERVAL, self._watch_resources)
        # The loop's timers do not count time in which the machine sleeps, so overdue work is done here.
        self.catch_up()
        if self._store is not None and not self._store.is_in_place:
            self.storage_failed(
                f"The data file in {self.data}, or its log, was deleted or replaced while the broker used "
                "it: the next start would not find what is written. Put it back, or start without it."
            )
        buffered = sum(session.buffered for session in self.sessions)
        self._bound_unfinished()
        self._check_deliveries()
        changes = (self.alarms.look_at_memory(buffered), self._look_at_disk())
        if any(changes):
            self._tell_of_alarms()

    def _check_deliveries(self) -> None:
        """Close the channels on which a delivery has been out for too long."""
        now = time.monotonic()
        default = self.consumer_timeout
        if default is None or now < self._next_check:
            return
        self._next_check = now + min(_TIMEOUT_CHECK, default / 4)

        def timeout_of(queue: Queue) -> float | None:
            arguments = queue.arguments
            if arguments.queue_type == CLASSIC and not self.profile.classic_consumer_timeout:
                return None
            own = arguments.consumer_timeout
            # Releases that have one for classic queues know no timeout of a queue.
            if own is None or self.profile.classic_consumer_timeout:
                return default
            return own / 1000

        for session in list(self.sessions):
            session.check_deliveries(now, timeout_of)

    def _bound_unfinished(self) -> None:
        """Close connections whose unfinished messages take too much memory: they may never be finished."""
        most = self.alarms.memory_limit // _UNFINISHED_PART
        by_size = sorted(self.sessions, key=lambda session: session.machine.unfinished)
        left = sum(session.machine.unfinished for session in by_size)
        while most and left > most:
            session = by_size.pop()
            left -= session.machine.unfinished
            session.force_close(
                f"unfinished messages of all connections take more than {most} bytes of memory, and yours "
                "most of it",
                RESOURCE_ERROR,
            )

    def block_on_demand(self, reason: str | None) -> None:
        """Block publishers for a reason of somebody else's; ``None`` lets them go on."""
        if self.alarms.set_manually(reason):
            self._tell_of_alarms()

    def _run_in_loop(self, call: Callable[[], Any]) -> Any:
        """Call a function in the thread of the event loop, from any thread."""
        loop: asyncio.AbstractEventLoop | None = getattr(self, "loop", None)
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        # Before the start and after the stop nobody else uses the server.
        if loop is None or loop is running or not loop.is_running():
            return call()

        async def run() -> Any:
            return call()

        return asyncio.run_coroutine_threadsafe(run(), loop).result()

    def look_at_resources(self) -> None:
        """Raise an alarm if published messages take too much memory or disk."""
        if self.alarms.reason is None and (self.alarms.look_at_memory() or self._look_at_disk()):
            self._tell_of_alarms()

    def _look_at_disk(self) -> bool:
        journal = self._store
        if journal is None:
            return False
        return self.alarms.look_at_disk(journal.pending, journal.reusable, journal.trouble is not None)

    def storage_changed(self) -> None:
        """Check the alarms, because writing has begun to fail or works again."""
        if self._look_at_disk():
            self._tell_of_alarms()

    def storage_failed(self, why: str) -> None:
        """End all connections and accept no new ones, because nothing can be stored any more."""
        if self.failure is not None or self._store is None:  # while stopping, stop() raises the error
            return
        self.failure = why
        _log.critical("The broker ends. %s", why)
        self._closing = [self.loop.create_task(listener.close()) for listener in self._listeners]
        for session in list(self.sessions):
            session.force_close(f"the broker can store nothing any more: {why}", INTERNAL_ERROR)
        self.failed.set()

    def _tell_of_alarms(self) -> None:
        for session in list(self.sessions):
            session.heed_alarms()

    def _open_storage(self) -> None:
        if self.data is None:
            self.administration.set_vhost("/")
            return
        from .storage.database_file import StorageError
        from .storage.sqlite import SqliteStore

        try:
            self._store = SqliteStore(self.data, self.loop, self)
        except StorageError as error:
            raise BrokerError(str(error)) from error
        try:
            defaults = () if self._has_own_accounts else [user.name for user in self.accounts]
            self.administration = Administration(self, self._store.save_definition, defaults)
            self._store.restore_definitions(self._restore_definitions)
            self._store.load(self.vhosts.values())
        except StorageError as error:
            self._store = None
            raise BrokerError(str(error)) from error
        self._store.start()

    def _restore_definitions(self, stored: list[tuple[str, str, str]]) -> None:
        """Take back what administrators have defined; what the program says of its users wins."""
        rows = [(section, tuple(json.loads(key)), value) for section, key, value in stored]
        for section, key, _ in rows:
            self.administration.note_stored(section, key)
            if section == "users" and not self._has_own_accounts:
                self._forget_default_permissions(key[0])
        said = {key for user in self.accounts for key in _keys_of(user)} if self._has_own_accounts else set()
        for section, key, value in sorted(rows, key=lambda row: SECTIONS.index(row[0])):
            # Users of former starts may be missing, and with them those that their permissions are for.
            is_of_nobody = section in _OF_USERS and self.accounts.user(key[1]) is None
            if (section, key) not in said and not is_of_nobody:
                self._restore(section, key, value)
        if not any(section == "vhosts" for section, _, _ in rows):
            self.administration.set_vhost("/")

    def _restore(self, section: str, key: tuple[str, ...], value: str) -> None:
        from .storage.database_file import StorageError

        try:
            self.administration.restore(section, value)
        except AdministrationError as error:
            name, reason = ", ".join(map(repr, key)), " ".join(error.reason.split())
            raise StorageError(
                f"In the data directory {self.data}, {section} has an item {name} that is refused "
                f"({reason}): if it was defined with another profile than {self.profile.name}, use that "
                "profile, or delete the item with it first."
            ) from error

    def _forget_default_permissions(self, name: str) -> None:
        """Take a user's first permissions away, because what the user may do is stored."""
        user = self.accounts.user(name)
        if user is not None:
            user.permissions.clear()

    def create_vhost(self, name: str) -> VirtualHost:
        """Add an empty virtual host."""
        assert self._timers is not None  # start() has set it
        room = room_for_properties(self.limits.frame_max)
        journal = NoJournal() if self._store is None else self._store.journal_of(name)
        vhost = VirtualHost(
            name,
            self.clock,
            journal,
            self._timers.schedule,
            self.memory,
            self.work_off,
            time.time,
            room,
            self.profile,
        )
        self.vhosts[name] = vhost
        return vhost

    def work_off(self, steps: Iterator[None]) -> None:
        """Do work for which no client waits; if it is long, with the turns of others in between."""
        assert self._chores is not None  # start() has set it
        self._chores.run(steps)

    def drop_vhost(self, vhost: VirtualHost) -> None:
        """Remove a virtual host with all that is in it, and close its connections."""
        del self.vhosts[vhost.name]
        for session in self.sessions_of(vhost):
            session.force_close(f"vhost '{vhost.name}' is deleted")
        vhost.clear()

    def session_of(self, owner: object) -> Session | None:
        """Return the connection that owns an exclusive queue."""
        return owner if isinstance(owner, Session) else None

    async def stored(self) -> None:
        """Wait until all changes so far are safe on disk."""
        if self._store is not None:
            await self._told_by(self._store.when_durable)

    async def durable(self, vhost: VirtualHost) -> None:
        """Wait until all changes of a virtual host so far are safe on disk."""
        await self._told_by(vhost.journal.when_durable)

    async def _told_by(self, when_durable: Callable[[Callable[[], None]], None]) -> None:
        done: asyncio.Future[None] = self.loop.create_future()

        def tell() -> None:
            if not done.done():
                done.set_result(None)

        when_durable(tell)
        await done

    def sessions_of(self, vhost: VirtualHost) -> list[Session]:
        """Return the connections to a virtual host."""
        return [session for session in self.sessions if session.open_vhost is vhost]

    def catch_up(self) -> None:
        """Do overdue work of the queues before anything else."""
        assert self._timers is not None  # start() has set it
        self._timers.catch_up()

    async def _listen(
        self, host: str, port: int, tls: ServerTLSOptions | None, unix_path: str | None
    ) -> None:
        context = server_context(tls) if tls is not None else None
        self._tls, self._context = tls, context
        try:
            bound = await self.loop.create_server(
                asyncio.Protocol, host, port, reuse_address=True, start_serving=False
            )
        except OSError as error:
            raise BrokerError(_explain(f"{host}:{port}", error, "another port (0: any free one)")) from error
        self.port = bound.sockets[0].getsockname()[1]
        self._listeners.append(Listener(bound, lambda: self._accept(context), context))
        if unix_path is None:
            return
        try:
            check_unused(Path(unix_path))
            bound = await self.loop.create_unix_server(asyncio.Protocol, unix_path, start_serving=False)
        except OSError as error:
            raise BrokerError(_explain(unix_path, error, "another path")) from error
        self._listeners.append(Listener(bound, lambda: self._accept(None), None))

    def reload_tls(self) -> None:
        """Read the TLS files again, for connections from now on.

        Raises:
            ConfigurationException: A file is missing or wrong; the old ones stay in use.
        """
        if self._tls is not None and self._context is not None:
            server_context(self._tls)  # a half-changed context would be worse than an old one
            refresh(self._context, self._tls)

    def _accept(self, context: ssl.SSLContext | None) -> Link:
        mechanisms: tuple[str, ...] = (sasl.PLAIN, sasl.AMQPLAIN)
        if context is not None and context.verify_mode is ssl.CERT_REQUIRED:
            mechanisms = (sasl.EXTERNAL, *mechanisms)
        machine = ServerMachine(
            now=self.loop.time(),
            limits=self.limits,
            mechanisms=mechanisms,
            server_properties=_server_properties(self.profile, self.administration.cluster_name),
        )
        return Link(machine, Session(self, machine), self.loop, PATIENCE)

    def close_connections(self, reason: str, name: str | None = None) -> int:
        """Close all connections, or those of a name; returns how many."""
        alive = [session for session in self.sessions if not session.machine.is_closed]
        chosen = [session for session in alive if name is None or session.name == name]
        for session in chosen:
            session.force_close(reason)
        return len(chosen)

    async def stop(self) -> None:
        """Close all connections in good order, write all changes, and release the port and the directory.

        Raises:
            BrokerError: Some changes could not be written; no publisher was told that they were.
        """
        self.accounts.on_removed.discard(self._user_removed)
        self.faults.clear()
        for listener in self._listeners:
            await listener.close()
        if self._watch is not None:
            self._watch.cancel()
        ended = [session.ended for session in self.sessions]
        for session in list(self.sessions):
            session.force_close("broker forced connection closure with reason 'shutdown'")
        if ended:
            await asyncio.wait(ended, timeout=_FAREWELL)
        for session in list(self.sessions):
            session.abort()
        if ended:
            await asyncio.wait(ended, timeout=_FAREWELL)
        if self._timers is not None and self._chores is not None:
            self._timers.stop()
            self._chores.finish()
        if self._store is not None:
            from .storage.database_file import StorageError

            journal, self._store = self._store, None
            try:
                await self.loop.run_in_executor(None, journal.close)
            except StorageError as error:
                raise BrokerError(self.failure or str(error)) from error
            finally:
                self._pages.close()
        else:
            self._pages.close()
        if self.failure is not None:
            raise BrokerError(self.failure)


def _keys_of(user: User) -> Iterable[tuple[str, tuple[str, ...]]]:
    """Return section and key of all definitions that say something about a user."""
    yield "users", (user.name,)
    for vhost in user.permissions:
        yield "permissions", (vhost, user.name)
    for vhost, exchange in user.topic_permissions:
        yield "topic_permissions", (vhost, user.name, exchange)


def _explain(where: str, error: OSError, alternative: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"{where} is in use already: stop what listens there, or choose {alternative}."
    return f"Cannot listen on {where}: {error.strerror or error}"


def _server_properties(profile: Profile, cluster_name: str) -> dict[str, Any]:
    return {
        "capabilities": _CAPABILITIES,
        "cluster_name": cluster_name,
        "copyright": "The fedora-messaging developers",
        "information": "Licensed under the MIT licence",
        "platform": f"fedora-messaging {__version__}",
        # Clients choose by product and version what they may ask for.
        "product": "RabbitMQ",
        "version": profile.version,
    }
