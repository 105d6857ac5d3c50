"""What lies between the workers and the brokers."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, Self

from tests.faults.children import HarnessError, wait_until
from tests.support.proxy import Direction, Method, Proxy

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Low, so that some stalls cost a connection and others do not.
_HEARTBEAT: Final = 5
_PORT_PATIENCE: Final = 20.0


class _QuietProxy(Proxy):
    """Keeps no list of what passes: a soak may last for hours."""

    def note(self, direction: Direction, methods: list[tuple[int, Method]]) -> None:
        pass


class Network:
    """A proxy for each URL; a context manager.

    Attributes:
        proxies: In the order of the URLs.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        self.proxies: list[Proxy] = [_QuietProxy(url) for url in urls]
        self._stack = ExitStack()

    @property
    def urls(self) -> list[str]:
        """What workers connect to."""
        return [proxy.url(heartbeat=_HEARTBEAT) for proxy in self.proxies]

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for proxy in self.proxies:
                stack.enter_context(proxy)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()


def heal(proxies: Sequence[Proxy]) -> None:
    """Have proxies forward and listen again.

    Raises:
        HarnessError: Somebody else has taken the port meanwhile, and keeps it.
    """
    for proxy in proxies:
        if not wait_until(lambda proxy=proxy: _resumes(proxy), _PORT_PATIENCE):  # type: ignore[misc]
            raise HarnessError(f"the proxy cannot listen on port {proxy.port} again")


def _resumes(proxy: Proxy) -> bool:
    try:
        proxy.resume()
    except OSError:
        return False
    return True
