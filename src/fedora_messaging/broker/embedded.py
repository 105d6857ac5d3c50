"""A broker inside a program: ``with Broker() as broker`` or ``async with AsyncBroker() as broker``."""

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ..printable import printable
from ..transport.tls import ServerTLSOptions
from .accounts import Accounts
from .administration import AdministrationError
from .alarms import ResourceLimits
from .core.profile import find_profile
from .definitions import import_definitions
from .faults import Faults
from .server import CONSUMER_TIMEOUT, BrokerError, Server

if TYPE_CHECKING:
    from ..web.broker_site import BrokerSite


class AsyncBroker:
    """A broker in the running event loop.

    Args:
        host: Address to listen on.
        port: TCP port; 0 takes a free one.
        data: Directory for durable data; ``None`` keeps everything in memory.
        accounts: The users; by default ``guest`` with password ``guest``, from this machine only.
        tls: Options for TLS; ``None`` listens without TLS.
        unix_path: Listen on this Unix socket, too.
        resources: Limits of memory and disk at which publishers are blocked.
        profile: The release of RabbitMQ to imitate, ``"4"`` or ``"3"``.
        http_port: Serve web pages and the management API on this TCP port of the same host, too; 0 takes a
            free one. Needs the extra ``[web]``.
        consumer_timeout: Seconds after which a delivery that is not settled closes its channel; ``None`` for
            never.
        definitions: Definitions in RabbitMQ's form, which are added at each start. Users in ``accounts``
            stay as they are.
        allow_changes: Whether visitors of the web pages may change something without signing in.
        archive: Location of the archive that the web pages show.

    Raises:
        BrokerError: On start: a port or the data directory cannot be used, or the definitions are wrong. On
            leaving: some changes could not be written; no publisher was told that they were.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        data: str | Path | None = None,
        accounts: Accounts | None = None,
        tls: ServerTLSOptions | None = None,
        unix_path: str | None = None,
        resources: ResourceLimits | None = None,
        profile: str = "4",
        http_port: int | None = None,
        consumer_timeout: float | None = CONSUMER_TIMEOUT,
        definitions: Mapping[str, Any] | None = None,
        allow_changes: bool = False,
        archive: str | None = None,
    ) -> None:
        self._host = host
        self._port = port
        self._tls = tls
        self._unix_path = unix_path
        self._http_port = http_port
        self._http: BrokerSite | None = None
        self._definitions = definitions
        self._allow_changes = allow_changes
        self._archive = archive
        self._server = Server(
            accounts=accounts,
            data=None if data is None else Path(data),
            resources=resources,
            profile=find_profile(profile),
            consumer_timeout=consumer_timeout,
        )

    async def __aenter__(self) -> Self:
        await self._server.start(self._host, self._port, tls=self._tls, unix_path=self._unix_path)
        try:
            if self._definitions is not None:
                import_definitions(self._server, self._definitions, kept_users=self._server.users_of_program)
            if self._http_port is not None:
                self._http = await self._serve_http(self._http_port)
        except AdministrationError as error:
            await self._server.stop()
            reason = printable(" ".join(error.reason.split()))
            raise BrokerError(f"The definitions are wrong: {reason}") from error
        except BaseException:
            await self._server.stop()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._http is not None:
            await self._http.__aexit__(*exc_info)
        await self._server.stop()

    async def _serve_http(self, port: int) -> "BrokerSite":
        try:
            from ..archive.database import ArchiveError
            from ..web.broker_site import BrokerSite
            from ..web.server import HttpServerError
        except ModuleNotFoundError as error:
            raise BrokerError(
                f"The web pages and the management API need {error.name}: pip install 'fedora-messaging[web]'"
            ) from error
        try:
            return await BrokerSite(
                self._server, self._host, port, self._allow_changes, self._archive
            ).__aenter__()
        except (HttpServerError, ArchiveError) as error:
            raise BrokerError(str(error)) from error

    @property
    def management_url(self) -> str | None:
        """Base URL of the management API without ``/api``; ``None`` if it is not served."""
        return self._http.url if self._http is not None else None

    def reload_tls(self) -> None:
        """Read the TLS files again, for connections from now on.

        Raises:
            ConfigurationException: A file is missing or wrong; the old ones stay in use.
        """
        self._server.reload_tls()

    async def failed(self) -> str:
        """Wait until the broker can store nothing any more, for example because its file is damaged.

        By then it has logged that, closed all connections and stopped accepting new ones.

        Returns:
            A description of the failure.
        """
        await self._server.failed.wait()
        return str(self._server.failure)

    @property
    def accounts(self) -> Accounts:
        """The users, which may be changed while the broker runs."""
        return self._server.accounts

    @property
    def faults(self) -> Faults:
        """Faults on demand, for tests of applications."""
        return self._server.faults

    def close_connections(self, reason: str, name: str | None = None) -> int:
        """Close connections as an operator would, with reply code 320.

        Args:
            reason: Text for the clients.
            name: Close only connections with this ``connection_name``; by default all.

        Returns:
            How many connections were closed.
        """
        return self._server.close_connections(reason, name)

    @property
    def alarm(self) -> str | None:
        """Why publishers are blocked, for example ``"low on memory"``, or ``None`` if they are not."""
        return self._server.alarms.reason

    @property
    def port(self) -> int:
        """The TCP port in use."""
        return self._server.port

    @property
    def amqp_url(self) -> str:
        """URL for clients; it names no user, so clients log in with their default, ``guest``."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'amqps' if self._tls else 'amqp'}://{host}:{self.port}"


class Broker:
    """A broker in a thread of its own; arguments and errors are those of :class:`AsyncBroker`."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        data: str | Path | None = None,
        accounts: Accounts | None = None,
        tls: ServerTLSOptions | None = None,
        unix_path: str | None = None,
        resources: ResourceLimits | None = None,
        profile: str = "4",
        http_port: int | None = None,
        consumer_timeout: float | None = CONSUMER_TIMEOUT,
        definitions: Mapping[str, Any] | None = None,
        allow_changes: bool = False,
        archive: str | None = None,
    ) -> None:
        self._broker = AsyncBroker(
            host,
            port,
            data=data,
            accounts=accounts,
            tls=tls,
            unix_path=unix_path,
            resources=resources,
            profile=profile,
            http_port=http_port,
            consumer_timeout=consumer_timeout,
            definitions=definitions,
            allow_changes=allow_changes,
            archive=archive,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread: threading.Thread | None = None
        self._started = threading.Event()
        self._error: BaseException | None = None

    def start(self) -> Self:
        """Start the broker; returns when it accepts connections.

        Raises:
            BrokerError: The port or the data directory cannot be used.
        """
        self._started.clear()
        self._thread = threading.Thread(target=asyncio.run, args=(self._main(),), name="broker", daemon=True)
        self._thread.start()
        self._started.wait()
        if self._error is not None:
            error, self._error = self._error, None
            self._thread.join()
            raise error
        return self

    def stop(self) -> None:
        """Stop in good order: tell the clients, and write durable data.

        Raises:
            BrokerError: Some changes could not be written; no publisher was told that they were.
        """
        if self._thread is None or self._loop is None or self._stop is None:
            return
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        try:
            async with self._broker:
                self._started.set()
                await self._stop.wait()
        except Exception as error:
            self._error = error
            self._started.set()

    @property
    def accounts(self) -> Accounts:
        """The users, which may be changed while the broker runs."""
        return self._broker.accounts

    @property
    def faults(self) -> Faults:
        """Faults on demand, for tests of applications."""
        return self._broker.faults

    def close_connections(self, reason: str, name: str | None = None) -> int:
        """Close connections as an operator would; see :meth:`AsyncBroker.close_connections`."""
        if self._loop is None:
            return 0

        async def close() -> int:
            return self._broker.close_connections(reason, name)

        return asyncio.run_coroutine_threadsafe(close(), self._loop).result()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def management_url(self) -> str | None:
        """Base URL of the management API; see :attr:`AsyncBroker.management_url`."""
        return self._broker.management_url

    @property
    def alarm(self) -> str | None:
        """The resource that is running out; see :attr:`AsyncBroker.alarm`."""
        return self._broker.alarm

    @property
    def port(self) -> int:
        """The TCP port in use."""
        return self._broker.port

    @property
    def amqp_url(self) -> str:
        """URL for clients; see :attr:`AsyncBroker.amqp_url`."""
        return self._broker.amqp_url
