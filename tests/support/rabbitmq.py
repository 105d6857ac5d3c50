"""Private RabbitMQ nodes and clusters for tests: own names, ports, data, cookie, epmd; no system service."""

import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from random import SystemRandom
from typing import Final, Self

from tests.support.erlang import ErlangNetwork

SBIN_VARIABLE = "FM_TEST_RABBITMQ_SBIN"
#: Bytes at which a node blocks publishers: absolute, so that the machine does not matter; tests need less.
MEMORY_LIMIT: Final = 4_000_000_000

_HOST = "127.0.0.1"
_AMQP_HEADER = b"AMQP\x00\x00\x09\x01"
_METHOD_FRAME = b"\x01"

# Seconds. A start takes about 6 on two idle cores; the rest is room for a machine busy with other tests.
_START_DEADLINE = 180.0
_STOP_DEADLINE = 30.0
_CTL_DEADLINE = 60.0
_PROBE_TIMEOUT = 2.0
_POLL_INTERVAL = 0.05
# What a cluster needs to become whole by itself once all nodes run is a second or two.
_HEAL_PATIENCE = 20.0

_LOG_TAIL_LINES = 40

#: The strategy with which a node that cannot see most of the others stops to serve clients.
PAUSE_MINORITY: Final = "pause_minority"
#: From this release on, nodes have no such strategy.
NO_PARTITION_HANDLING: Final = (4, 3)

#: Seconds; Erlang's default.
_TICK: Final = 60
# Waits of RabbitMQ, in milliseconds, shortened so that tests need not take as long:
# - When 4.3 loses the node of a consumer, it waits a minute until it gives what that consumer has not settled
#   to another one. Older releases do not wait, and ignore the setting.
# - When a queue that is to get dead letters of a quorum queue has no leader, the next attempt is after three
#   minutes.
_CLUSTER_SETTINGS: Final = """
[{{kernel, [{{net_ticktime, {tick}}}]}},
 {{rabbit, [{{consumer_disconnected_timeout, 5000}},
            {{dead_letter_worker_publisher_confirm_timeout, 20000}}]}}].
"""

# Counts the members that serve clients, and know all the others as members that run. A node that goes on
# after the others have given it up is not among theirs until it has joined them again. It calls nothing of
# Mnesia, which RabbitMQ 4.3 does not have.
_IS_WHOLE = """
length([Node || Members <- [lists:sort(rabbit_nodes:all())], Node <- Members,
    rabbit:is_running(Node),
    lists:sort(rpc:call(Node, rabbit_nodes, all_running, [], 5000)) =:= Members]).
"""

# Below the ephemeral ports (32768 and up on Linux, 49152 and up elsewhere): while the node is down, a client
# that keeps reconnecting to an ephemeral port of its own host can be given that very port as its source,
# connect to itself, and so keep the node from listening again.
_PORTS = range(20_000, 32_000)


class RabbitNodeError(Exception):
    """A node could not be started, or a ``rabbitmqctl`` command failed."""


def find_rabbitmq() -> Path | None:
    """Find the directory with the release's own scripts (not the distribution's wrappers).

    ``FM_TEST_RABBITMQ_SBIN`` names it, or else it is looked for around the ``rabbitmq-server`` on the path.

    Returns:
        The ``sbin`` directory of the newest release found, or None without RabbitMQ or without Erlang.
        Scripts that are named may bring an Erlang of their own, as those of ``tools/debian-root`` do.
    """
    if named := os.environ.get(SBIN_VARIABLE):
        return _if_release(Path(named))
    if shutil.which("erl") is None:
        return None
    # Distributions install into sbin, which is often not on the path of an ordinary user.
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"))
    command = shutil.which("rabbitmq-server", path=path)
    if command is None:
        return None
    script = Path(command).resolve()
    prefix = script.parent.parent
    # Debian links the command into <prefix>/lib/rabbitmq/bin, others keep a wrapper in <prefix>/sbin.
    releases = [*prefix.glob("lib/rabbitmq_server-*"), *prefix.glob("lib/rabbitmq/lib/rabbitmq_server-*")]
    newest_first = sorted(releases, key=_version, reverse=True)
    candidates = [*(release / "sbin" for release in newest_first), script.parent]
    return next((found for found in map(_if_release, candidates) if found), None)


def available_plugins() -> frozenset[str]:
    """Return the names of the plugins that the release of RabbitMQ brings."""
    sbin = find_rabbitmq()
    if sbin is None:
        return frozenset()
    # Scripts of `tools/debian-root` lie beside the directories of the distribution.
    files = [*sbin.parent.glob("plugins/*"), *sbin.parent.glob("usr/lib/rabbitmq/lib/*/plugins/*")]
    return frozenset(file.name.partition("-")[0] for file in files)


def _if_release(sbin: Path) -> Path | None:
    scripts = ("rabbitmq-env", "rabbitmq-server", "rabbitmqctl")
    return sbin if all((sbin / script).is_file() for script in scripts) else None


def _version(release: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", release.name)]


# What was chosen is used later, or again after a restart: meanwhile it looks free, and is not.
_given_out: set[int] = set()


def free_ports(count: int) -> list[int]:
    """Choose ports nobody listens on now, none of which this process has chosen before."""
    chosen: list[int] = []
    with contextlib.ExitStack() as held:
        for port in SystemRandom().sample(_PORTS, len(_PORTS)):
            if len(chosen) == count:
                break
            if port in _given_out:
                continue
            probe = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                probe.bind((_HOST, port))
                chosen.append(port)
    if len(chosen) < count:
        raise RabbitNodeError(f"no {count} free ports on {_HOST} between {_PORTS.start} and {_PORTS.stop}")
    _given_out.update(chosen)
    return chosen


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection((_HOST, port), _PROBE_TIMEOUT):
            return True
    except OSError:
        return False


def _speaks_amqp(port: int) -> bool:
    """Whether the port answers the protocol header with a method frame (connection.start)."""
    try:
        with socket.create_connection((_HOST, port), _PROBE_TIMEOUT) as connection:
            connection.sendall(_AMQP_HEADER)
            return connection.recv(1) == _METHOD_FRAME
    except OSError:
        return False


class _Child:
    """A process in a session of its own, killed at the latest when this process ends, however it ends."""

    def __init__(self, command: Sequence[str], *, environment: Mapping[str, str], output: Path) -> None:
        """Start it in the directory of its output: Mnesia leaves its dumps where it was started."""
        with output.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=output.parent,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A Ctrl-C at the terminal is for pytest alone, which then stops the child in good order.
                start_new_session=True,
            )
        # Exit handlers do not run when pytest is killed or leaves through os._exit (pytest-timeout, xdist).
        # The end of a pipe always arrives. The child leads its process group, hence the minus sign.
        self._guard = subprocess.Popen(
            ["sh", "-c", 'read -r _; kill -s KILL -- "-$0"', str(self._process.pid)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    @property
    def status(self) -> int | None:
        return self._process.poll()

    def pause(self) -> None:
        """Halt it, and all it has started; returns when it stands still. `kill` ends it all the same."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGSTOP)
            # Also returns if it has just ended, whose status is left for others to collect.
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """Let it go on."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGCONT)

    def stop(self, patience: float) -> None:
        """Ask for the end, and enforce it after ``patience`` seconds."""
        self._process.terminate()
        self.resume()
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(patience)
        finally:
            self.kill()

    def kill(self) -> None:
        # Only while its pid is surely its own: after the status was collected it may be another's.
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        with self._guard:
            self._guard.kill()


def _wait(child: _Child, what: str, ready: Callable[[], bool], logs: Callable[[], Sequence[Path]]) -> None:
    """Wait until it is ready; when it does not come to that, the error shows the ends of its logs."""
    deadline = time.monotonic() + _START_DEADLINE
    while not ready():
        if child.status is not None:
            raise RabbitNodeError(f"{what} ended with status {child.status}\n{_tails(logs())}")
        if time.monotonic() > deadline:
            raise RabbitNodeError(f"{what} is not ready after {_START_DEADLINE} s\n{_tails(logs())}")
        time.sleep(_POLL_INTERVAL)


def _tails(logs: Sequence[Path]) -> str:
    tails = []
    for log in logs:
        with contextlib.suppress(FileNotFoundError):
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
            tails.append("\n".join((f"--- end of {log}", *lines[-_LOG_TAIL_LINES:])))
    return "\n".join(tails)


def _find_epmd() -> Path | None:
    if (named := os.environ.get(SBIN_VARIABLE)) and (beside := Path(named) / "epmd").is_file():
        return beside
    erl = shutil.which("erl")
    return None if erl is None else Path(erl).resolve().with_name("epmd")


class Epmd:
    """An Erlang port mapper of our own: one that Erlang starts is a daemon whose pid nobody tells.

    Attributes:
        port: Where it listens.
    """

    def __init__(self, log: Path) -> None:
        self.port = free_ports(1)[0]
        self._log = log
        self._child: _Child | None = None

    def start(self) -> None:
        """Start it, unless it runs, and wait until it listens.

        Raises:
            RabbitNodeError: When Erlang is not installed, or it does not start.
        """
        if self._child is not None and self._child.status is None:
            return
        epmd = _find_epmd()
        if epmd is None:
            raise RabbitNodeError("Erlang is not installed")
        self.kill()
        self._child = _Child(
            [str(epmd), "-port", str(self.port), "-address", _HOST],
            environment={"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"},
            output=self._log,
        )
        _wait(self._child, "epmd", lambda: _accepts(self.port), lambda: [self._log])

    def kill(self) -> None:
        """End it. Harmless when it has ended."""
        if self._child is not None:
            self._child.kill()
            self._child = None


class RabbitNode:
    """A RabbitMQ node, by default with the management plugin, listening on 127.0.0.1 only.

    User ``guest`` with password ``guest`` is administrator and may do everything in the virtual host ``/``.
    The ports are chosen once, so the URLs stay the same over restarts, and durable data stays in the
    directory: it survives `stop` and `kill`.

    As a context manager, starts the node, and ends it on leaving without the six seconds of an orderly stop.

    Attributes:
        nodename: Full Erlang name of the node, as in "fm@localhost".
        port: Port of the AMQP listener.
        management_port: Port of the management HTTP API, if that is enabled.
    """

    def __init__(
        self,
        directory: Path,
        *,
        name: str = "fm",
        extra_config: str = "",
        plugins: Sequence[str] = (),
        management: bool = True,
        advanced_config: str = "[].",
        port_mapper: int | None = None,
        cookie: str | None = None,
        sbin: Path | None = None,
    ) -> None:
        """Choose names and ports; nothing is written or started yet.

        Args:
            directory: Where all files of the node go; made when it is missing.
            name: Part of the Erlang node name before the @.
            extra_config: Lines for rabbitmq.conf; they win over the lines written here.
            plugins: Plugins to enable besides rabbitmq_management.
            management: Enable rabbitmq_management.
            advanced_config: All of advanced.config, a list of Erlang settings.
            port_mapper: Port of a port mapper that somebody else starts and ends; by default the node has
                its own.
            cookie: What the nodes of a cluster have in common; by default a secret of the node's own.
            sbin: Directory with the scripts of a release; by default the one that `find_rabbitmq` finds.

        Raises:
            RabbitNodeError: When RabbitMQ is not installed, or there are no free ports.
        """
        sbin = sbin or find_rabbitmq()
        if sbin is None:
            raise RabbitNodeError("RabbitMQ or Erlang is not installed")
        self._sbin = sbin
        directory = directory.absolute()
        self._home = directory / "home"
        self._logs = directory / "log"
        self._data = directory / "data"
        self._config_parts = directory / "conf.d"
        self._config = directory / "rabbitmq.conf"
        self._advanced_config = directory / "advanced.config"
        self._enabled_plugins = directory / "enabled_plugins"
        self._pid_file = directory / "node.pid"
        self._console = directory / "console.log"
        self._crash_dump = directory / "erl_crash.dump"
        self._extra_config = extra_config
        self._advanced_config_text = advanced_config
        self._has_management = management
        self._plugins = (*(("rabbitmq_management",) if management else ()), *plugins)
        self.nodename = f"{name}@localhost"
        self.port, self.management_port, self._distribution_port = free_ports(3)
        self._cookie = cookie or secrets.token_hex(16)
        self._epmd = None if port_mapper else Epmd(self._console)
        self._port_mapper = self._epmd.port if self._epmd else port_mapper
        self._node: _Child | None = None

    @property
    def url(self) -> str:
        """AMQP URL of the virtual host ``/``, with user and password."""
        return f"amqp://guest:guest@{_HOST}:{self.port}/%2F"

    @property
    def management_url(self) -> str:
        """Base URL of the management HTTP API (without ``/api``), with user and password."""
        return f"http://guest:guest@{_HOST}:{self.management_port}"

    @cached_property
    def version(self) -> tuple[int, int]:
        """Major and minor version, as the running node tells each client that connects.

        Raises:
            RabbitNodeError: When the node does not run.
        """
        try:
            with socket.create_connection((_HOST, self.port), _PROBE_TIMEOUT) as connection:
                connection.sendall(_AMQP_HEADER)
                stream = connection.makefile("rb")
                (size,) = struct.unpack(">3xL", stream.read(7))
                start = stream.read(size)
        except (OSError, struct.error) as error:
            raise RabbitNodeError(f"{self.nodename} does not tell its version: {error}") from error
        found = re.search(rb"\x07versionS....(\d+)\.(\d+)", start, re.DOTALL)
        if found is None:
            raise RabbitNodeError(f"{self.nodename} does not tell its version: it sent {start!r}")
        return int(found[1]), int(found[2])

    @property
    def is_running(self) -> bool:
        """Whether there is a process, be it of any use or not."""
        return self._node is not None and self._node.status is None

    def is_ready(self) -> bool:
        """Whether the node speaks AMQP and accepts HTTP connections, if it is to."""
        return _speaks_amqp(self.port) and (not self._has_management or _accepts(self.management_port))

    def start(self) -> None:
        """Start the node and wait until it speaks AMQP and accepts HTTP connections.

        Raises:
            RabbitNodeError: When it already runs, or is not ready in time. Nothing is left running then.
        """
        if self.is_running:
            raise RabbitNodeError(f"{self.nodename} is already running")
        self.kill()
        try:
            self._write_files()
            if self._epmd is not None:
                self._epmd.start()
            self._start_node()
        except BaseException:
            self._stop_children(patience=0)
            raise

    def stop(self) -> None:
        """Stop the node in good order, or by force after a deadline, and its own epmd. Harmless when stopped.

        Takes about six seconds, five of which RabbitMQ 3.10 waits for its management plugin.
        """
        self._stop_children(patience=_STOP_DEADLINE)

    def kill(self) -> None:
        """End the node at once, as a crash would, by SIGKILL. Harmless when stopped."""
        if self._node is not None:
            self._node.kill()
            self._node = None

    def write_definitions(self) -> None:
        """Have what was declared survive `kill`.

        Mnesia writes a new binding to its log only some time after it was made. A newer node keeps its
        definitions in Khepri, which waits for the disk; it answers that no Mnesia runs.
        """
        self.ctl("eval", "mnesia:sync_log().")

    def log_files(self) -> list[Path]:
        """Files that say why the node does not start."""
        return [self._console, *sorted(self._logs.glob("*.log"))]

    def pause(self) -> None:
        """Make the node stall, by SIGSTOP: its connections stay, and it does not answer."""
        if self._node is not None:
            self._node.pause()

    def resume(self) -> None:
        """Let a node go on that stalls, by SIGCONT. Harmless when it does not."""
        if self._node is not None:
            self._node.resume()

    def restart(self) -> None:
        """Stop the node in good order and start it again."""
        self.stop()
        self.start()

    def ctl(self, *arguments: str) -> str:
        """Run ``rabbitmqctl --quiet`` on this node (about a second each).

        Args:
            *arguments: Command and arguments, as in ``ctl("list_queues", "name", "messages")``.

        Returns:
            What the command wrote to its standard output.

        Raises:
            RabbitNodeError: When the command fails or does not end in time.
        """
        what = f"rabbitmqctl {' '.join(arguments)}"
        try:
            result = subprocess.run(
                [str(self._sbin / "rabbitmqctl"), "--quiet", *arguments],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=_CTL_DEADLINE,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise RabbitNodeError(f"{what}: no end in {_CTL_DEADLINE} s") from error
        if result.returncode:
            raise RabbitNodeError(f"{what}: status {result.returncode}\n{result.stdout}{result.stderr}")
        return result.stdout

    def __enter__(self) -> Self:
        """Start the node."""
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """End the node by force: whoever leaves is done with it."""
        self._stop_children(patience=0)

    def _write_files(self) -> None:
        for directory in (self._home, self._logs, self._data, self._config_parts):
            directory.mkdir(parents=True, exist_ok=True)
        cookie = self._home / ".erlang.cookie"
        if not cookie.exists():
            cookie.write_text(self._cookie, encoding="ascii")
        # Erlang refuses to boot with a cookie that others may read, and RabbitMQ widens it again.
        cookie.chmod(0o400)
        self._config.write_text(self._config_text(), encoding="utf-8")
        self._advanced_config.write_text(f"{self._advanced_config_text}\n", encoding="ascii")
        self._enabled_plugins.write_text(f"[{','.join(self._plugins)}].\n", encoding="ascii")

    def _config_text(self) -> str:
        management = {"ip": _HOST, "port": self.management_port} if self._has_management else {}
        lines = (
            f"listeners.tcp.1 = {_HOST}:{self.port}",
            *(f"management.tcp.{key} = {value}" for key, value in management.items()),
            "default_user = guest",
            "default_pass = guest",
            "loopback_users = none",
            "log.console = false",
            f"vm_memory_high_watermark.absolute = {MEMORY_LIMIT}",
            "disk_free_limit.absolute = 50MB",
        )
        return "\n".join((*lines, self._extra_config, ""))

    def _start_node(self) -> None:
        self._node = _Child(
            [str(self._sbin / "rabbitmq-server")], environment=self._environment(), output=self._console
        )
        _wait(self._node, self.nodename, self.is_ready, self.log_files)

    def _stop_children(self, *, patience: float) -> None:
        try:
            if self._node is not None:
                self._node.stop(patience)
                self._node = None
        finally:
            if self._epmd is not None:
                self._epmd.kill()

    def _environment(self) -> dict[str, str]:
        """Everything the scripts may see: nothing but the path comes from outside."""
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": str(self._home),
            # Erlang would leave it in the current directory, which is the source tree.
            "ERL_CRASH_DUMP": str(self._crash_dump),
            "ERL_EPMD_PORT": str(self._port_mapper),
            "ERL_EPMD_ADDRESS": _HOST,
            "RABBITMQ_NODENAME": self.nodename,
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_CONFIG_FILE": str(self._config),
            "RABBITMQ_CONFIG_FILES": str(self._config_parts),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self._advanced_config),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._enabled_plugins),
            "RABBITMQ_MNESIA_BASE": str(self._data),
            "RABBITMQ_LOG_BASE": str(self._logs),
            "RABBITMQ_PID_FILE": str(self._pid_file),
            # For all Erlang machines: node, rabbitmqctl, and those that both start only to have an epmd.
            "ERL_FLAGS": "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}",
            # No busy waiting: the node shares a small machine with the tests.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none +sbwtdcpu none +sbwtdio none",
            # Makes the script replace itself by the Erlang machine, so that our child is the node itself.
            "RUNNING_UNDER_SYSTEMD": "true",
        }


class RabbitCluster:
    """Nodes on this machine that form one cluster, without the management plugin.

    User and virtual host are those of :class:`RabbitNode`. The nodes may be killed, started, paused and
    resumed in any order, and separated from each other. Those that are paused for more than a minute are
    given up by the others; then they may stay apart, until they are killed or the cluster is repaired.

    As a context manager, starts the cluster (12 seconds on two idle cores), and ends it by force.

    Attributes:
        nodes: All nodes, whether they run or not.
        version: Major and minor version of all nodes, once they have been started.
    """

    def __init__(
        self,
        directory: Path,
        *,
        size: int = 3,
        extra_config: str = "",
        partition_handling: str = PAUSE_MINORITY,
        tick: int = _TICK,
    ) -> None:
        """Choose names and ports; nothing is started yet.

        Args:
            directory: Where all files of the nodes go; made when it is missing.
            size: How many nodes.
            extra_config: Lines for the rabbitmq.conf of each node; they win over the lines written here.
            partition_handling: What a node does that can no longer see most of the others. By default it
                stops to serve clients until it does. RabbitMQ 4.3 ignores the setting: the node goes on, and
                what needs a majority waits or fails.
            tick: Seconds after which a node gives up another one that does not answer, or a little later.

        Raises:
            RabbitNodeError: When RabbitMQ is not installed, or there are no free ports.
        """
        self._directory = directory.absolute()
        names = [f"fm{number}" for number in range(1, size + 1)]
        self._network = ErlangNetwork(names, free_ports)
        self._started = contextlib.ExitStack()
        self._pauses = partition_handling == PAUSE_MINORITY
        self._isolated: RabbitNode | None = None
        self.version = (0, 0)
        cookie = secrets.token_hex(16)
        self.nodes = [
            RabbitNode(
                self._directory / name,
                name=name,
                extra_config=f"cluster_partition_handling = {partition_handling}\n{extra_config}",
                # With it, each stop of the application takes five seconds more.
                management=False,
                advanced_config=_CLUSTER_SETTINGS.format(tick=tick),
                port_mapper=self._network.ports[name],
                cookie=cookie,
            )
            for name in names
        ]

    @property
    def urls(self) -> list[str]:
        """AMQP URLs of all nodes."""
        return [node.url for node in self.nodes]

    def ready_node(self) -> RabbitNode:
        """Find a node that serves clients.

        Raises:
            RabbitNodeError: When there is none.
        """
        node = next((node for node in self.nodes if node.is_ready()), None)
        if node is None:
            raise RabbitNodeError("no node of the cluster serves clients")
        return node

    def ctl(self, *arguments: str) -> str:
        """Run ``rabbitmqctl --quiet`` on a node that serves clients; see :meth:`RabbitNode.ctl`.

        Raises:
            RabbitNodeError: When there is none; when the command fails or does not end in time.
        """
        return self.ready_node().ctl(*arguments)

    def await_whole(self, timeout: float = _START_DEADLINE) -> None:
        """Wait until all nodes serve clients, as members of one cluster.

        Raises:
            RabbitNodeError: When it does not come to that in time.
        """
        deadline = time.monotonic() + timeout
        while not self._is_whole():
            if time.monotonic() > deadline:
                logs = [log for node in self.nodes for log in node.log_files()]
                raise RabbitNodeError(f"the cluster is not whole after {timeout} s\n{_tails(logs)}")
            time.sleep(_POLL_INTERVAL)

    @property
    def pauses_minority(self) -> bool:
        """Whether a node that is alone stops to serve clients, which the release has to support."""
        return self._pauses and self.version < NO_PARTITION_HANDLING

    def isolate(self, node: RabbitNode, *, silently: bool = False) -> None:
        """Separate a node from all others, until :meth:`heal`. Clients reach it as before.

        Args:
            node: Which one; the others still see each other.
            silently: Have the nodes notice only when they get no answer. By default their connections break.
        """
        self._isolated = node
        self._network.isolate(_short_name(node), silently=silently)

    def heal(self) -> None:
        """Let all nodes see each other again; returns before the cluster is whole, see :meth:`await_whole`.

        RabbitMQ before 4.3 keeps users, queues and bindings in Mnesia, whose two sides do not join again by
        themselves when both have gone on. Then an operator has to choose a side and restart the other one. So
        does this method, with the node that was alone.
        """
        self._network.heal()
        node, self._isolated = self._isolated, None
        if node is not None and self.version < NO_PARTITION_HANDLING and not self._pauses:
            node.kill()
            node.start()

    def repair(self) -> None:
        """Make the cluster whole, whatever became of its nodes.

        Raises:
            RabbitNodeError: When it does not come to that in time.
        """
        self._network.heal()
        self._isolated = None
        for node in self.nodes:
            node.resume()
        if self._is_whole():
            return
        try:
            # All at once, because the first may wait for the others.
            _on_all(self.nodes, _bring_back)
            self.await_whole(_HEAL_PATIENCE)
        except RabbitNodeError:
            # They have been apart for too long.
            for node in self.nodes:
                node.kill()
            _on_all(self.nodes, RabbitNode.start)
            self.await_whole()

    def __enter__(self) -> Self:
        """Start the nodes and join them."""
        self._directory.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._network)
            for node in self.nodes:
                stack.callback(node.kill)
            _on_all(self.nodes, RabbitNode.start)
            self.version = self.nodes[0].version
            self._join()
            self.await_whole()
            self._started = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        """End the nodes by force: whoever leaves is done with them."""
        self._started.close()

    def _join(self) -> None:
        first, *others = self.nodes
        _on_all(others, _empty)
        # One by one: each asks all members what they know of the others, which must agree.
        for node in others:
            node.ctl("join_cluster", first.nodename)
        _on_all(others, _start_application)

    def _is_whole(self) -> bool:
        if not all(node.is_ready() for node in self.nodes):
            return False
        try:
            return self.ctl("eval", _IS_WHOLE).strip() == str(len(self.nodes))
        except RabbitNodeError:
            return False  # it went away at this very moment


def _short_name(node: RabbitNode) -> str:
    return node.nodename.partition("@")[0]


def _on_all(nodes: Sequence[RabbitNode], work: Callable[[RabbitNode], None]) -> None:
    """Do something with all nodes at the same time."""
    with ThreadPoolExecutor(len(nodes)) as pool:
        for done in [pool.submit(work, node) for node in nodes]:
            done.result()


def _empty(node: RabbitNode) -> None:
    node.ctl("stop_app")
    node.ctl("reset")


def _start_application(node: RabbitNode) -> None:
    node.ctl("start_app")


def _bring_back(node: RabbitNode) -> None:
    if not node.is_running:
        node.start()
    elif not node.is_ready():
        # Harmless when it is about to start by itself.
        _start_application(node)
