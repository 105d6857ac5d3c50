"""An administrator who uses RabbitMQ's management API, which the embedded broker has, too."""

from __future__ import annotations

import html
import uuid
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import httpx
from tests.support.waiting import WAIT, eventually

if TYPE_CHECKING:
    from typing import Self

SECRET: Final = "behaviour"


def path(*parts: str) -> str:
    """Join parts of a path, which may have slashes in them."""
    return "/".join(quote(part, safe="") for part in parts)


class Management:
    """The user guest, an administrator; as a context manager, undoes at the end what it has put."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=f"{url}/api/", timeout=WAIT)
        self._made: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for made in reversed(self._made):
            self._client.delete(made)
        self._client.close()

    def ask(self, method: str, *parts: str, json: Any = None, headers: Any = None) -> httpx.Response:
        """Make a request, whatever comes of it."""
        return self._client.request(method, path(*parts), json=json, headers=headers)

    def _done(self, method: str, *parts: str, json: Any = None) -> httpx.Response:
        answer = self.ask(method, *parts, json=json)
        answer.raise_for_status()
        return answer

    def get(self, *parts: str) -> Any:
        """Return what there is."""
        return self._done("GET", *parts).json()

    def put(self, *parts: str, **fields: Any) -> int:
        """Make or change something; returns the status."""
        self._made.append(path(*parts))
        return self._done("PUT", *parts, json=fields).status_code

    def refused(self, *parts: str, **fields: Any) -> tuple[int, Any]:
        """Put something wrong; returns the status and the reason. RabbitMQ 3.10 writes reasons as HTML."""
        self._made.append(path(*parts))
        answer = self.ask("PUT", *parts, json=fields)
        assert answer.is_error, f"accepted with {answer.status_code}"
        reason = answer.json()["reason"]
        return answer.status_code, html.unescape(reason) if isinstance(reason, str) else reason

    def delete(self, *parts: str) -> int:
        """Delete something; returns the status."""
        return self._done("DELETE", *parts).status_code

    def policy(
        self, pattern: str, *, operator: bool = False, vhost: str = "/", name: str = "", **fields: Any
    ) -> tuple[str, str, str]:
        """Make a policy.

        Args:
            pattern: Regular expression for names of queues and exchanges.
            operator: Make an operator policy.
            vhost: Virtual host.
            name: Its name, by default a new one.
            **fields: Settings, with _ for -, and priority and apply_to.

        Returns:
            The parts of its path.
        """
        outer: dict[str, Any] = {key: fields.pop(key) for key in ("priority", "apply_to") if key in fields}
        parts = ("operator-policies" if operator else "policies", vhost, name or _name())
        self.put(*parts, pattern=pattern, definition=dashed(fields), **dashed(outer))
        return parts

    def user(self, configure: str, write: str, read: str, tags: str = "") -> str:
        """Make a user with these permissions on the virtual host /."""
        name = self.stranger(tags)
        self.permit(name, configure, write, read)
        return name

    def stranger(self, tags: str = "") -> str:
        """Make a user without rights on any virtual host."""
        name = _name()
        self.put("users", name, password=SECRET, tags=tags)
        return name

    def permit(self, user: str, configure: str, write: str, read: str, vhost: str = "/") -> None:
        """Give a user permissions on a virtual host."""
        self.put("permissions", vhost, user, configure=configure, write=write, read=read)

    def vhost(self, **fields: Any) -> str:
        """Make a virtual host, which guest may use."""
        name = _name()
        self.put("vhosts", name, **fields)
        return name

    def close_connection(self, client_name: str, reason: str) -> None:
        """Close the connection that bears this name, once the API shows it."""

        def found() -> list[str]:
            return [
                one["name"]
                for one in self.get("connections")
                if one.get("client_properties", {}).get("connection_name") == client_name
            ]

        self.ask(
            "DELETE", "connections", eventually(found)[0], headers={"X-Reason": reason}
        ).raise_for_status()


def dashed(fields: dict[str, Any]) -> dict[str, Any]:
    """Return fields with - for _ in their names."""
    return {key.replace("_", "-"): value for key, value in fields.items()}


def _name() -> str:
    return f"behaviour-{uuid.uuid4().hex}"
