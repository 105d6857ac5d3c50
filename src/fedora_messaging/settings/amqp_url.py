"""Reading ``amqp://`` URLs.

``amqp[s]://[user:password@][host][:port][/vhost][?param=value&...]``, and
``amqp+unix:///path/of/socket[?vhost=...]`` for a broker on a Unix socket.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from ..limits import CHANNEL_MAX, FRAME_MAX, FRAME_MAX_FLOOR
from ..options import ConnectionOptions, TLSOptions

_PLAIN: Final = frozenset({"amqp", "http"})
_SECURE: Final = frozenset({"amqps", "https"})
_UNIX: Final = "amqp+unix"
#: A literal in a URL holds a handful of settings; a longer one is an attack on the parser (promise P28).
_LITERAL_MAX: Final = 4096


#: Parameters that error texts and logs may show; the values of others may be secrets.
_HARMLESS: Final = frozenset(
    (
        "blocked_connection_timeout",
        "channel_max",
        "connection_attempts",
        "frame_max",
        "heartbeat",
        "locale",
        "retry_delay",
        "socket_timeout",
        "stack_timeout",
        "vhost",
    )
)

_MALFORMED: Final = (
    "the URL is malformed: host or port cannot be read; characters like / ? # : @ in a user name or password "
    "must be percent-encoded (for example / as %2F)"
)


class _Malformed(ValueError):
    """The URL cannot be split into its parts, so an error text must not quote any of it."""


def parse(url: str) -> ConnectionOptions:
    """Read a URL.

    Returns:
        The options; ``tls`` is set, with its defaults, when the URL asks for TLS.

    Raises:
        ValueError: The URL is wrong; the text says how, and never has the password.
    """
    if "://" not in url:
        url = f"amqp://{url.lstrip('/')}"
    try:
        return _parse(url)
    except _Malformed:
        raise ValueError(_MALFORMED) from None
    except ValueError:
        # An apparent parameter may be the end of a password with an unescaped question mark.
        if "@" in url.partition("?")[2]:
            raise ValueError(_MALFORMED) from None
        raise


def _parse(url: str) -> ConnectionOptions:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        # The error quotes parts of the URL, perhaps the password.
        raise _Malformed from None
    scheme = parts.scheme.lower()
    if scheme not in _PLAIN | _SECURE | {_UNIX}:
        raise ValueError(f"the scheme {parts.scheme!r} is not known: use amqp:// or amqps://")
    options = ConnectionOptions()
    if scheme in _SECURE:
        options = options._replace(tls=TLSOptions(), port=5671)
    if scheme != _UNIX and "@" not in parts.netloc and "@" in parts.path + parts.fragment:
        # The end of a password with an unescaped slash.
        raise _Malformed
    if scheme == _UNIX:
        if not parts.path.strip("/"):
            raise ValueError("the URL lacks the path of the socket: write amqp+unix:///path/of/socket")
        options = options._replace(unix_path=unquote(parts.path))
    else:
        options = options._replace(vhost=_vhost(parts.path), host=parts.hostname or "localhost")
    if port is not None:
        options = options._replace(port=port)
    options = _credentials(options, parts.username, parts.password)
    return _parameters(options, parts.query, port is not None)


def redact(url: str) -> str:
    """Replace the password of a URL by asterisks, for showing it to people."""
    head, at, tail = url.rpartition("@")
    tail, mark, query = tail.partition("?")
    tail += mark + "&".join(_shown(part) for part in query.split("&"))
    if not at:
        return tail
    scheme, sep, login = head.partition("://")
    if not sep:
        scheme, login = "", head
    user, colon, _password = login.partition(":")
    return f"{scheme}{sep}{user}{':***' if colon else ''}@{tail}"


def redacted(setting: Any) -> Any:
    """Replace the passwords of all URLs in a value of ``amqp_url``; a value of another type is unchanged."""
    if isinstance(setting, list):
        return [redacted(each) for each in setting]
    return redact(setting) if isinstance(setting, str) else setting


def _shown(parameter: str) -> str:
    name, _, value = parameter.partition("=")
    return parameter if name in _HARMLESS or not parameter else f"{name if value else ''}=***"


def _vhost(path: str) -> str:
    first = path.removeprefix("/").split("/", 1)[0]
    return unquote(first) or "/"


def _credentials(options: ConnectionOptions, user: str | None, password: str | None) -> ConnectionOptions:
    if user is None and password is None:
        return options
    if password is None:
        raise ValueError(
            "the URL has a user but no password: write user:password@ (or user:@ for an empty one)"
        )
    return options._replace(username=unquote(user or ""), password=unquote(password))


def _parameters(options: ConnectionOptions, query: str, has_port: bool) -> ConnectionOptions:
    values: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in _KNOWN:
            # A name after ssl_options may be the rest of a passphrase with an unescaped ampersand.
            shown = "(not shown)" if "ssl_options" in values else repr(name)
            raise ValueError(f"Unknown URL parameter: {shown}; known are {', '.join(sorted(_KNOWN))}")
        if name in values:
            raise ValueError(f"the URL parameter {name!r} is given twice")
        values[name] = value
    changes: dict[str, Any] = {}
    for name, text in values.items():
        target, read = _KNOWN[name]
        value = read(name, text)
        if target is not None:
            changes[target] = value
    if "ssl_options" in values and options.tls is None:
        changes["tls"] = TLSOptions()
        if not has_port:
            changes["port"] = 5671
    return options._replace(**changes)


def _integer(low: int, high: int | None) -> Callable[[str, str], int]:
    def read(name: str, text: str) -> int:
        return int(_number(name, text, int, low, high))

    return read


def _decimal(low: float, exclusive: bool = False) -> Callable[[str, str], float]:
    def read(name: str, text: str) -> float:
        value = _number(name, text, float, low, None)
        if exclusive and value <= low:
            raise ValueError(f"Invalid {name} value {text!r}: it must be above {low:g}")
        return value

    return read


def _number(name: str, text: str, kind: Callable[[str], float], low: float, high: float | None) -> float:
    try:
        value = kind(text)
    except ValueError:
        raise ValueError(f"Invalid {name} value {text!r}: it must be a number") from None
    if not value >= low or (high is not None and value > high):
        limits = f"at least {low:g}" if high is None else f"from {low:g} to {high:g}"
        raise ValueError(f"Invalid {name} value {text!r}: it must be {limits}")
    return value


def _frame_max(name: str, text: str) -> int:
    # RabbitMQ 4.1 and newer refuse less than 8192, so a lower value is raised to that.
    return max(_integer(4096, FRAME_MAX)(name, text), FRAME_MAX_FLOOR)


def _text(_name: str, text: str) -> str:
    return text


def _literal(name: str, text: str) -> Mapping[str, Any]:
    if len(text) > _LITERAL_MAX:
        raise ValueError(f"Invalid {name} value: longer than {_LITERAL_MAX} characters")
    import ast  # takes longer to import than the rest of this module

    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        raise ValueError(f"Invalid {name} value: it must be a Python dictionary literal") from None
    if not isinstance(value, dict):
        raise ValueError(f"Invalid {name} value: it must be a Python dictionary literal")
    return value


_KNOWN: Final[dict[str, tuple[str | None, Callable[[str, str], Any]]]] = {
    "blocked_connection_timeout": ("blocked_connection_timeout", _decimal(0)),
    "channel_max": ("channel_max", _integer(1, CHANNEL_MAX)),
    "client_properties": ("client_properties", _literal),
    "connection_attempts": (None, _integer(1, None)),
    "frame_max": ("frame_max", _frame_max),
    "heartbeat": ("heartbeat", _integer(0, 65535)),
    "locale": ("locale", _text),
    "retry_delay": (None, _decimal(float("-inf"))),
    "socket_timeout": (None, _decimal(0, exclusive=True)),
    "ssl_options": (None, _literal),
    "stack_timeout": (None, _decimal(0, exclusive=True)),
    "tcp_options": (None, _literal),
    "vhost": ("vhost", _text),
}
