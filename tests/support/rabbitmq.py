"""A private RabbitMQ node for tests: own name, ports, data, cookie and epmd, and no system service."""

import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import SystemRandom
from typing import Self

SBIN_VARIABLE = "FM_TEST_RABBITMQ_SBIN"

_HOST = "127.0.0.1"
_AMQP_HEADER = b"AMQP\x00\x00\x09\x01"
_METHOD_FRAME = b"\x01"

# Seconds. A start takes about 6 on two idle cores; the rest is room for a machine busy with other tests.
_START_DEADLINE = 90.0
_STOP_DEADLINE = 30.0
_CTL_DEADLINE = 60.0
_PROBE_TIMEOUT = 2.0
_POLL_INTERVAL = 0.05

_LOG_TAIL_LINES = 40

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
    """
    if shutil.which("erl") is None:
        return None
    if named := os.environ.get(SBIN_VARIABLE):
        return _if_release(Path(named))
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


def _if_release(sbin: Path) -> Path | None:
    scripts = ("rabbitmq-env", "rabbitmq-server", "rabbitmqctl")
    return sbin if all((sbin / script).is_file() for script in scripts) else None


def _version(release: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", release.name)]


def free_ports(count: int) -> list[int]:
    """Choose ports nobody listens on now; all are held until the last is chosen, so they differ."""
    chosen: list[int] = []
    with contextlib.ExitStack() as held:
        for port in SystemRandom().sample(_PORTS, len(_PORTS)):
            if len(chosen) == count:
                break
            probe = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                probe.bind((_HOST, port))
                chosen.append(port)
    if len(chosen) < count:
        raise RabbitNodeError(f"no {count} free ports on {_HOST} between {_PORTS.start} and {_PORTS.stop}")
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
        with output.open("ab") as log:
            self._process = subprocess.Popen(
                command,
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

    def stop(self, patience: float) -> None:
        """Ask for the end, and enforce it after ``patience`` seconds."""
        self._process.terminate()
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


class RabbitNode:
    """A RabbitMQ node with the management plugin, listening on 127.0.0.1 only.

    User ``guest`` with password ``guest`` is administrator and may do everything in the virtual host ``/``.
    The ports are chosen once, so the URLs stay the same over restarts, and durable data stays in the
    directory: it survives `stop` and `kill`.

    As a context manager, starts the node, and ends it on leaving without the six seconds of an orderly stop.

    Attributes:
        nodename: Full Erlang name of the node, as in "fm@localhost".
        port: Port of the AMQP listener.
        management_port: Port of the management HTTP API.
    """

    def __init__(
        self, directory: Path, *, name: str = "fm", extra_config: str = "", plugins: Sequence[str] = ()
    ) -> None:
        """Choose names and ports; nothing is written or started yet.

        Args:
            directory: Where all files of the node go; made when it is missing.
            name: Part of the Erlang node name before the @.
            extra_config: Lines for rabbitmq.conf; they win over the lines written here.
            plugins: Plugins to enable besides rabbitmq_management.

        Raises:
            RabbitNodeError: When RabbitMQ is not installed, or there are no free ports.
        """
        sbin = find_rabbitmq()
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
        self._plugins = ("rabbitmq_management", *plugins)
        self.nodename = f"{name}@localhost"
        self.port, self.management_port, self._distribution_port, self._epmd_port = free_ports(4)
        self._epmd: _Child | None = None
        self._node: _Child | None = None

    @property
    def url(self) -> str:
        """AMQP URL of the virtual host ``/``, with user and password."""
        return f"amqp://guest:guest@{_HOST}:{self.port}/%2F"

    @property
    def management_url(self) -> str:
        """Base URL of the management HTTP API (without ``/api``), with user and password."""
        return f"http://guest:guest@{_HOST}:{self.management_port}"

    def start(self) -> None:
        """Start the node and wait until it speaks AMQP and accepts HTTP connections.

        Raises:
            RabbitNodeError: When it already runs, or is not ready in time. Nothing is left running then.
        """
        if self._node is not None and self._node.status is None:
            raise RabbitNodeError(f"{self.nodename} is already running")
        self.kill()
        try:
            self._write_files()
            self._start_epmd()
            self._start_node()
        except BaseException:
            self._stop_children(patience=0)
            raise

    def stop(self) -> None:
        """Stop the node in good order, or by force after a deadline, and its epmd. Harmless when stopped.

        Takes about six seconds, five of which RabbitMQ 3.10 waits for its management plugin.
        """
        self._stop_children(patience=_STOP_DEADLINE)

    def kill(self) -> None:
        """End the node at once, as a crash would, by SIGKILL. Harmless when stopped."""
        if self._node is not None:
            self._node.kill()
            self._node = None

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
            cookie.write_text(secrets.token_hex(16), encoding="ascii")
        # Erlang refuses to boot with a cookie that others may read, and RabbitMQ widens it again.
        cookie.chmod(0o400)
        self._config.write_text(self._config_text(), encoding="utf-8")
        self._advanced_config.write_text("[].\n", encoding="ascii")
        self._enabled_plugins.write_text(f"[{','.join(self._plugins)}].\n", encoding="ascii")

    def _config_text(self) -> str:
        lines = (
            f"listeners.tcp.1 = {_HOST}:{self.port}",
            f"management.tcp.ip = {_HOST}",
            f"management.tcp.port = {self.management_port}",
            "default_user = guest",
            "default_pass = guest",
            "loopback_users = none",
            "log.console = false",
            # Absolute, so that a small or full machine does not make the node block its publishers.
            "vm_memory_high_watermark.absolute = 1GB",
            "disk_free_limit.absolute = 50MB",
        )
        return "\n".join((*lines, self._extra_config, ""))

    def _start_epmd(self) -> None:
        """Start the port mapper as a child: one that Erlang starts is a daemon whose pid nobody tells."""
        if self._epmd is not None and self._epmd.status is None:
            return
        erl = shutil.which("erl")
        if erl is None:
            raise RabbitNodeError("Erlang is not installed")
        epmd = str(Path(erl).resolve().with_name("epmd"))
        self._epmd = _Child(
            [epmd, "-port", str(self._epmd_port), "-address", _HOST],
            environment=self._environment(),
            output=self._console,
        )
        self._wait(self._epmd, "epmd", lambda: _accepts(self._epmd_port))

    def _start_node(self) -> None:
        self._node = _Child(
            [str(self._sbin / "rabbitmq-server")], environment=self._environment(), output=self._console
        )
        self._wait(
            self._node,
            self.nodename,
            lambda: _speaks_amqp(self.port) and _accepts(self.management_port),
        )

    def _wait(self, child: _Child, what: str, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_DEADLINE
        while not ready():
            if child.status is not None:
                raise RabbitNodeError(f"{what} ended with status {child.status}\n{self._log_tail()}")
            if time.monotonic() > deadline:
                raise RabbitNodeError(f"{what} is not ready after {_START_DEADLINE} s\n{self._log_tail()}")
            time.sleep(_POLL_INTERVAL)

    def _stop_children(self, *, patience: float) -> None:
        try:
            if self._node is not None:
                self._node.stop(patience)
                self._node = None
        finally:
            if self._epmd is not None:
                self._epmd.kill()
                self._epmd = None

    def _log_tail(self) -> str:
        tails = []
        for log in (self._console, *sorted(self._logs.glob("*.log"))):
            with contextlib.suppress(FileNotFoundError):
                lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
                tails.append("\n".join((f"--- end of {log}", *lines[-_LOG_TAIL_LINES:])))
        return "\n".join(tails)

    def _environment(self) -> dict[str, str]:
        """Everything the scripts may see: nothing but the path comes from outside."""
        own = "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}"
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": str(self._home),
            # Erlang would leave it in the current directory, which is the source tree.
            "ERL_CRASH_DUMP": str(self._crash_dump),
            "ERL_EPMD_PORT": str(self._epmd_port),
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
            # No busy waiting: the node shares a small machine with the tests.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"+sbwt none +sbwtdcpu none +sbwtdio none {own}",
            "RABBITMQ_CTL_ERL_ARGS": own,
            # Makes the script replace itself by the Erlang machine, so that our child is the node itself.
            "RUNNING_UNDER_SYSTEMD": "true",
        }
