"""Logging in: who a client is, how often clients have tried, and hashes of passwords."""

import asyncio
import base64
from typing import TYPE_CHECKING, Any, Final

from ...broker.accounts import LoginRefused, User
from ...broker.passwords import PasswordHash
from ...logs import REPEATABLE, logger
from ...printable import printable
from .call import NO_CONTENT, Answer, Call
from .errors import RequestError, not_found
from .routes import NEW, OLD, Endpoint

if TYPE_CHECKING:
    from ...broker.server import Server

_log = logger(__name__)

_PROTOCOL: Final = "http"
_FORM: Final = "application/x-www-form-urlencoded"


async def log_in(server: "Server", name: str, password: str, host: str | None) -> User:
    """Return the user who logs in from an address.

    Raises:
        RequestError: 401, at once or after a while.
    """
    try:
        user = server.accounts.login(name, password, host)
    except LoginRefused as error:
        server.logins.count(_PROTOCOL, False)
        _log.warning("HTTP login of %s from %s refused: %s", printable(name), host, error, extra=REPEATABLE)
        delay = server.strangers.delay_of_refusal(host)
        if delay:
            await asyncio.sleep(delay)
        old = server.profile.name == "3"
        body = {"error": "not_authorized", "reason": "Login failed" if old else "Not_Authorized"}
        raise RequestError(401, body) from None
    server.logins.count(_PROTOCOL, True)
    return user


def whoami(call: Call) -> dict[str, Any]:
    """Show who the user is."""
    shown = {"name": call.user.name, "tags": list(call.user.tags)}
    return shown if call.is_old else {**shown, "is_internal_user": True}


def user_interface(call: Call) -> dict[str, Any]:
    """Show how the user interface logs in: with name and password."""
    return {"enable_uaa": False, "uaa_client_id": "", "uaa_location": ""}


async def fill_in(call: Call) -> Any:
    """Log in with a form; the answer has what to send with further requests."""
    if call.content_type != _FORM:
        raise RequestError(415)
    name, password = call.form.get("username", ""), call.form.get("password", "")
    call.become(await log_in(call.server, name, password, call.host))
    call.require_tag("management")
    token = base64.b64encode(f"{name}:{password}".encode()).decode()
    if call.is_old:
        return Answer(200, {"set-cookie": f"auth={token}; Version=1"}, "ok")
    return {
        "user": whoami(call),
        "token": {"type": "basic", "value": token},
    }


def log_out(call: Call) -> Answer:
    """Log out, which is nothing to do: each request logs in."""
    return NO_CONTENT


def hash_password(call: Call) -> dict[str, str]:
    """Show the hash of a password with a new salt."""
    return {"ok": PasswordHash.of(call.path["password"]).text}


def attempts(call: Call) -> list[dict[str, Any]]:
    """Show how often clients have tried to log in, by protocol."""
    _check_node(call)
    return [
        {
            "protocol": attempt.protocol,
            "auth_attempts": attempt.failed + attempt.succeeded,
            "auth_attempts_failed": attempt.failed,
            "auth_attempts_succeeded": attempt.succeeded,
        }
        for attempt in call.server.logins
    ]


def attempts_by_source(call: Call) -> list[dict[str, Any]]:
    """Show the attempts of each address, which are not counted."""
    _check_node(call)
    return []


def reset_attempts(call: Call) -> Answer:
    """Begin to count attempts again."""
    _check_node(call)
    call.server.logins.reset()
    return NO_CONTENT


def _check_node(call: Call) -> None:
    if call.path["node"] != call.server.node:
        raise not_found()


_ATTEMPTS: Final = {
    "auth/attempts/{node}": attempts,
    "auth/attempts/{node}/source": attempts_by_source,
}

ENDPOINTS: Final = (
    Endpoint("whoami", {"GET": whoami}),
    Endpoint("auth", {"GET": user_interface}, None, profiles=OLD),
    Endpoint("login", {"POST": fill_in}, None, profiles=OLD),
    Endpoint("login", {"POST": fill_in, "DELETE": log_out}, None, profiles=NEW),
    Endpoint("auth/hash_password/{password}", {"GET": hash_password}, "administrator", profiles=NEW),
    *(
        Endpoint(
            path,
            {"GET": handler, "DELETE": reset_attempts},
            "monitoring",
            write_tags={"DELETE": tag},
            profiles=profiles,
        )
        for path, handler in _ATTEMPTS.items()
        for tag, profiles in (("administrator", NEW), ("monitoring", OLD))
    ),
)
