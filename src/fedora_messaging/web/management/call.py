"""One request: who asks, for what, with which body."""

import base64
import email
import email.policy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

import orjson

from ...broker.accounts import CONFIGURE, READ, WRITE, User
from ...broker.core.profile import RABBITMQ_3
from ...broker.permissions import Permissions
from .errors import bad_request, not_authorised, not_found

if TYPE_CHECKING:
    from ...broker.administration import Administration
    from ...broker.core.exchanges import Exchange
    from ...broker.core.queue import Queue
    from ...broker.core.vhost import VirtualHost
    from ...broker.server import Server
    from .rates import Rates

#: The tags that include others.
_INCLUDED: Final = {
    "management": {"management"},
    "policymaker": {"management", "policymaker"},
    "monitoring": {"management", "monitoring"},
    "administrator": {"management", "policymaker", "monitoring", "administrator"},
}
_MISSING: Final = object()
#: Levels of lists and objects that a body may have; field tables may have as many.
_DEEPEST: Final = 100
#: How paths name the default exchange.
_DEFAULT_EXCHANGE: Final = "amq.default"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is not simply JSON with status 200.

    Attributes:
        status: HTTP status.
        headers: Further headers.
        body: What the client is told as JSON; ``None`` for an empty answer.
    """

    status: int
    headers: Mapping[str, str]
    body: Any = None


NO_CONTENT: Final = Answer(204, {})
CREATED: Final = Answer(201, {})


def put_answer(is_new: bool) -> Answer:
    """Return the answer to a PUT that made something, or changed it."""
    return CREATED if is_new else NO_CONTENT


class Call:
    """A request of a user who is logged in.

    Attributes:
        server: The broker.
        user: Who asks.
        path: The variable parts of the path.
        query: Parameters of the request.
        headers: Headers of the request, with lower case names.
        rates: Rates of the broker's statistics.
        host: Address of the client, if it is known.
    """

    def __init__(
        self,
        server: "Server",
        user: User,
        path: Mapping[str, str],
        query: Mapping[str, str],
        headers: Mapping[str, str],
        raw: bytes,
        rates: "Rates",
        host: str | None = None,
    ) -> None:
        self.server = server
        self.path = path
        self.query = query
        self.headers = headers
        self.rates: Rates = rates
        self.host = host
        self._raw = raw
        self._body: dict[str, Any] | None = None
        self.become(user)

    @property
    def is_old(self) -> bool:
        """Whether answers are those of RabbitMQ 3.10."""
        return self.server.profile is RABBITMQ_3

    def become(self, user: User) -> None:
        """Go on as another user, who has logged in meanwhile."""
        self.user = user
        self._tags = {included for tag in user.tags for included in _INCLUDED.get(tag, ())}

    @property
    def admin(self) -> "Administration":
        """What administrators can do."""
        return self.server.administration

    def show_samples(self, source: "Queue | Exchange | None" = None) -> None:
        """Have the answer show the samples that the client asks for.

        Lists do not: those of thousands of queues would keep the broker busy for seconds.

        Args:
            source: What the answer is about; the broker keeps samples of it from now on.

        Raises:
            RequestError: 400 for a range that makes no sense.
        """
        self.rates = self.rates.with_samples(self.query)
        if source is not None and self.rates.samples is not None:
            self.rates.samples.looked_at(source)

    # Permissions

    def has_tag(self, tag: str) -> bool:
        """Whether the user has a tag, or one that includes it."""
        return tag in self._tags

    def require_tag(self, tag: str) -> None:
        """Refuse users without a tag.

        Raises:
            RequestError: 401.
        """
        if not self.has_tag(tag):
            reasons = {
                "management": "Not management user",
                "administrator": "Not administrator user",
                "monitoring": "Not monitor user",
                "policymaker": "User not authorised to access object",
            }
            raise not_authorised(reasons[tag])

    def sees_vhost(self, vhost: "VirtualHost", everywhere: str = "administrator") -> bool:
        """Whether the user may look into a virtual host.

        Args:
            vhost: The virtual host.
            everywhere: Tag of users who need no permission in it.
        """
        return self.has_tag(everywhere) or vhost.name in self.user.permissions

    def vhosts(self, everywhere: str = "administrator") -> list["VirtualHost"]:
        """Return the virtual hosts that the request is about, in the order of their names: one or all.

        Args:
            everywhere: See :meth:`sees_vhost`.

        Raises:
            RequestError: 404 for one that does not exist, or that the user may not look into.
        """
        if "vhost" in self.path:
            return [self.vhost(everywhere=everywhere)]
        return [
            vhost for _, vhost in sorted(self.server.vhosts.items()) if self.sees_vhost(vhost, everywhere)
        ]

    def vhost(self, writes: bool = False, everywhere: str = "administrator") -> "VirtualHost":
        """Return the virtual host in the path.

        Args:
            writes: Whether the request makes something in it; the error differs.
            everywhere: See :meth:`sees_vhost`.

        Raises:
            RequestError: 404 for one that does not exist, or that the user may not look into, which is 401 in
                profile 3.
        """
        vhost = self.server.vhosts.get(self.path["vhost"])
        if vhost is None:
            raise not_found("vhost_not_found" if writes else None)
        if not self.sees_vhost(vhost, everywhere):
            if self.is_old:
                raise not_authorised("User not authorised to access virtual host")
            raise not_found("Not Found")
        return vhost

    def require(self, permission: str, vhost: "VirtualHost", name: str) -> None:
        """Refuse users without a permission for a queue or exchange.

        Raises:
            RequestError: 401.
        """
        if not self.server.accounts.allows(self.user, vhost.name, permission, name):
            raise not_authorised("Access refused.")

    def require_topic(self, permission: str, exchange: "Exchange", key: str) -> None:
        """Refuse users who may not use a routing key with a topic exchange.

        Raises:
            RequestError: 401.
        """
        vhost = self.path["vhost"]
        if exchange.type == "topic" and not self.server.accounts.allows_topic(
            self.user, vhost, permission, exchange.name, key
        ):
            raise not_authorised("Access refused.")

    def permissions(self, vhost: "VirtualHost") -> Permissions:
        """Return what AMQP clients of this user may do."""
        return Permissions(self.server.accounts, self.user, vhost)

    def require_binding(
        self, vhost: "VirtualHost", source: "Exchange", destination: "Queue | Exchange", key: str
    ) -> None:
        """Refuse users who may not change a binding.

        Raises:
            RequestError: 401.
        """
        self.require(WRITE, vhost, destination.name)
        self.require(READ, vhost, source.name)
        self.require_topic(READ, source, key)

    def require_configure(self, vhost: "VirtualHost", name: str) -> None:
        """Refuse users who may not declare or delete a queue or exchange.

        Raises:
            RequestError: 401, also for the names that are the broker's own.
        """
        self.require(CONFIGURE, vhost, name)
        if name.startswith("amq.") or not name:
            raise not_authorised("Access refused.")

    # Parts of the path

    def queue(self) -> "Queue":
        """Return the queue in the path.

        Raises:
            RequestError: 404.
        """
        queue = self.vhost().queues.get(self.path["queue"])
        if queue is None:
            raise not_found()
        return queue

    @property
    def exchange_name(self) -> str:
        """The name of the exchange in the path."""
        return exchange_name(self.path["exchange"])

    def exchange(self) -> "Exchange":
        """Return the exchange in the path.

        Raises:
            RequestError: 404.
        """
        exchange = self.vhost().exchanges.get(self.exchange_name)
        if exchange is None:
            raise not_found()
        return exchange

    # The body

    @property
    def body(self) -> dict[str, Any]:
        """The body, an object.

        Raises:
            RequestError: 400.
        """
        if self._body is None:
            self._body = self._decoded()
        return self._body

    def _decoded(self) -> dict[str, Any]:
        if not self._raw.strip():
            return {}
        try:
            body = orjson.loads(self._raw)
        except orjson.JSONDecodeError:
            raise bad_request("not_json") from None
        if isinstance(body, str):
            raise bad_request(
                "invalid payload: the request body JSON-decoded to a string. "
                "Is the input doubly-JSON-encoded?"
            )
        if not isinstance(body, dict):
            raise bad_request("not_json")
        _check_depth(self._raw, body)
        return body

    @property
    def content_type(self) -> str:
        """The type of the body, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def form(self) -> dict[str, str]:
        """The body, a form that was filled in."""
        return dict(parse_qsl(self._raw.decode("utf-8", "surrogateescape"), errors="surrogateescape"))

    @property
    def upload(self) -> dict[str, Any]:
        """The body, an object, or such a file in a form, as browsers send it.

        Raises:
            RequestError: 400.
        """
        kind = self.headers.get("content-type", "")
        raw = _file_in_form(kind, self._raw) if kind.startswith("multipart/form-data") else self._raw
        try:
            body = orjson.loads(raw.strip() or b"{}")
        except orjson.JSONDecodeError:
            body = None
        if not isinstance(body, dict):
            raise bad_request("failed_to_parse_json")
        _check_depth(raw, body)
        return body

    def need(self, *names: str) -> None:
        """Refuse a body without these keys.

        Raises:
            RequestError: 400.
        """
        missing = [name for name in names if name not in self.body]
        if missing:
            raise bad_request("[" + ",".join(f"{{key_missing,{name}}}" for name in missing) + "]")

    def text(self, name: str, default: Any = _MISSING) -> str:
        """Return a text of the body.

        Raises:
            RequestError: 400 if it is missing or no text.
        """
        value = self._value(name, default)
        if not isinstance(value, str):
            raise bad_request(["not_string", name])
        return value

    def boolean(self, name: str) -> bool:
        """Return a truth value of the body, by default false.

        Raises:
            RequestError: 400 if it is none.
        """
        value = self._value(name, False)
        if value in ("true", "false"):
            return bool(value == "true")
        if not isinstance(value, bool):
            raise bad_request(["not_boolean", value])
        return value

    def integer(self, name: str, default: Any = _MISSING) -> int:
        """Return an integer of the body.

        Raises:
            RequestError: 400 if it is missing or none.
        """
        value = self._value(name, default)
        if isinstance(value, str):
            try:
                value = int(value)
            except ValueError:
                raise bad_request(["not_integer", value]) from None
        if isinstance(value, bool) or not isinstance(value, int):
            raise bad_request(["not_integer", value])
        return value

    def tags(self) -> list[str]:
        """Return the tags of the body, a list or a text with commas.

        Raises:
            RequestError: 400 if they are neither.
        """
        value = self.body.get("tags", [])
        if isinstance(value, str):
            return [tag.strip() for tag in value.split(",") if tag.strip()]
        if not isinstance(value, list) or not all(isinstance(tag, str) for tag in value):
            raise bad_request("tags must be a list of texts, or one text with commas")
        return value

    def _value(self, name: str, default: Any) -> Any:
        if name in self.body:
            return self.body[name]
        if default is _MISSING:
            self.need(name)
        return default


def _check_depth(raw: bytes, body: dict[str, Any]) -> None:
    """Refuse a body that is nested deeper than answers and field tables can be.

    Raises:
        RequestError: 400.
    """
    if raw.count(b"[") + raw.count(b"{") <= _DEEPEST:
        return
    level: list[Any] = [body]
    for _ in range(_DEEPEST):
        children = (part.values() if isinstance(part, dict) else part for part in level)
        level = [child for parts in children for child in parts if isinstance(child, dict | list)]
        if not level:
            return
    raise bad_request("the request body is nested too deeply")


def _file_in_form(content_type: str, raw: bytes) -> bytes:
    """Return the field ``file`` of a form; nothing if it has none."""
    head = f"content-type: {content_type}\r\n\r\n".encode("latin-1")
    form = email.message_from_bytes(head + raw, policy=email.policy.HTTP)
    for field in form.iter_parts() if form.is_multipart() else ():
        if field.get_param("name", header="content-disposition") == "file":
            content = field.get_payload(decode=True)
            return content if isinstance(content, bytes) else b""
    return b""


def exchange_name(text: str) -> str:
    """Return the name of an exchange that a path names."""
    return "" if text == _DEFAULT_EXCHANGE else text


def basic_credentials(header: str) -> tuple[str, str] | None:
    """Return name and password of an ``Authorization`` header; ``None`` if it has none."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode("utf-8", "surrogateescape")
    except ValueError:  # binascii.Error, or letters that are not ASCII
        return None
    name, colon, password = text.partition(":")
    return (name, password) if colon else None
