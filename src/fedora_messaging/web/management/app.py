"""The ASGI application: finds the endpoint of a request, lets its user in, and writes the answer."""

import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ...broker.accounts import User
from ...broker.administration import AdministrationError
from ...logs import REPEATABLE, logger
from ...printable import printable
from . import bindings, connections, definitions, exchanges, logins, overview, policies, queues, users, vhosts
from .call import Answer, Call, basic_credentials
from .errors import NOT_FOUND_BODY, RequestError, bad_request
from .negotiation import compress, takes_json
from .openapi import describe
from .prometheus import CONTENT_TYPE, metrics
from .rates import Rates
from .routes import Endpoint, Handler
from .samples import Samples

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from ...broker.server import Server

_log = logger(__name__)

#: Most bytes of a body; definitions may be larger.
_LARGEST_BODY: Final = 16 * 1024 * 1024
_LARGEST_DEFINITIONS: Final = 64 * 1024 * 1024
#: Parts of paths that are names of AMQP, which may have any bytes.
_ANY_BYTES: Final = frozenset({"queue", "exchange", "destination", "props"})
#: Who asks for what needs no login.
_STRANGER: Final = User("", None)
_SECURITY: Final = {
    "cache-control": "no-cache",
    "content-security-policy": "script-src 'self'; object-src 'self'",
    "vary": "accept, accept-encoding, origin",
    "x-content-type-options": "nosniff",
}

ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    *overview.ENDPOINTS,
    *queues.ENDPOINTS,
    *exchanges.ENDPOINTS,
    *bindings.ENDPOINTS,
    *connections.ENDPOINTS,
    *vhosts.ENDPOINTS,
    *logins.ENDPOINTS,
    *users.ENDPOINTS,
    *policies.ENDPOINTS,
    *definitions.ENDPOINTS,
)


def make_app(server: "Server", samples: Samples | None = None) -> "ASGIApp":
    """Make the application that serves the management API and the metrics of a broker.

    Args:
        server: The broker.
        samples: Samples that somebody takes; without them answers have none.
    """
    rates = Rates(server.clock, samples)
    endpoints = [endpoint for endpoint in ENDPOINTS if server.profile.name in endpoint.profiles]
    routes = [Route(f"/api/{endpoint.path}", _endpoint(server, endpoint, rates)) for endpoint in endpoints]
    for route in routes:
        route.methods = None  # an endpoint answers all requests for its path, lest they go to another one

    async def show_metrics(request: Request) -> Response:
        per_object = request.url.path.endswith("/per-object")
        answer = Response(metrics(server, per_object), 200, {"vary": "accept-encoding"}, CONTENT_TYPE)
        return compress(request, answer)

    async def show_openapi(request: Request) -> Response:
        return _json(describe(endpoints, server.profile.version))

    routes += [
        Route("/metrics", show_metrics),
        Route("/metrics/per-object", show_metrics),
        Route("/api/openapi.json", show_openapi),
    ]
    app = Starlette(routes=routes, exception_handlers={404: _not_found, 405: _wrong_method})
    app.router.redirect_slashes = False  # it would send clients to the host that they name
    return _encoded_paths(app)


def trusting(app: "ASGIApp", who: Callable[[], User | None]) -> "ASGIApp":
    """Return the application for requests from this process, which need no password: never serve it.

    Args:
        app: The application.
        who: Returns the user who asks, or ``None`` if requests need a login now.
    """

    async def with_user(scope: "Scope", receive: "Receive", send: "Send") -> None:
        await app({**scope, "user": who()}, receive, send)

    return with_user


def _encoded_paths(app: "ASGIApp") -> "ASGIApp":
    """Match paths before they are decoded: ``%2F`` in a name is no end of a segment."""

    async def with_encoded_path(scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] == "http":
            raw: bytes = scope.get("raw_path") or scope["path"].encode()
            # Some servers leave the query in it.
            path = raw.partition(b"?")[0].decode("ascii", "replace")
            if len(path) > 1 and path.endswith("/"):
                path = path[:-1]
            if path.startswith("/api/exchanges/"):
                # An empty segment is the name of the default exchange.
                path = path.replace("//", "/amq.default/")
            scope = {**scope, "path": path}
        await app(scope, receive, send)

    return with_encoded_path


def _endpoint(server: "Server", endpoint: Endpoint, rates: Rates) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response(headers={**_SECURITY, **_allow(endpoint)})
        method = "GET" if request.method == "HEAD" else request.method
        if method not in endpoint.methods:
            return Response(status_code=405, headers={**_SECURITY, **_allow(endpoint)})
        try:
            done = await _carry_out(server, endpoint, method, endpoint.methods[method], request, rates)
            return compress(request, done)
        except RequestError as error:
            return _refusal(error)
        except AdministrationError as error:
            return _refusal(_as_request_error(error))
        except Exception:
            _log.exception("Internal error while answering %s", printable(request.url.path), extra=REPEATABLE)
            return Response(status_code=500)

    return answer


async def _carry_out(
    server: "Server",
    endpoint: Endpoint,
    method: str,
    handler: Handler,
    request: Request,
    rates: Rates,
) -> Response:
    user = _STRANGER if endpoint.tag is None else await _log_in(server, request)
    path = {name: _decoded(name, value) for name, value in request.path_params.items()}
    is_import = endpoint.path.startswith(("definitions", "all-configuration"))
    most = _LARGEST_DEFINITIONS if is_import else _LARGEST_BODY
    raw = await _body(request, most)
    call = Call(server, user, path, _query(request), dict(request.headers), raw, rates, _host(request))
    tag = endpoint.tag_for(method)
    if tag is not None:
        call.require_tag("management")
        call.require_tag(tag)
    if not takes_json(call.headers.get("accept")):
        raise RequestError(406)
    result = handler(call)
    if inspect.isawaitable(result):
        result = await result
    if method != "GET":
        await server.stored()
    if isinstance(result, Answer):
        if result.body is None:
            return Response(status_code=result.status, headers={**_SECURITY, **result.headers})
        answer = _json(result.body, result.status)
        answer.headers.update(result.headers)
        return answer
    if method in ("PUT", "DELETE"):
        return Response(status_code=204, headers=_SECURITY)
    return _json(result)


def _decoded(name: str, value: str) -> str:
    """Decode a variable part of a path: only queues, exchanges and bindings have names that may be no text.

    Raises:
        RequestError: 400.
    """
    decoded = unquote(value, "utf-8", "surrogateescape")
    if name not in _ANY_BYTES:
        try:
            decoded.encode()
        except UnicodeEncodeError:
            raise RequestError(400) from None
    return decoded


def _query(request: Request) -> dict[str, str]:
    query: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        query.setdefault(name, value)
    return query


async def _log_in(server: "Server", request: Request) -> User:
    header = request.headers.get("authorization")
    known = request.scope.get("user")
    if header is None and isinstance(known, User):
        return known  # another application in this process asks, as :func:`trusting` says
    if header is None:
        raise RequestError(401, headers={"www-authenticate": 'Basic realm="RabbitMQ Management"'})
    credentials = basic_credentials(header)
    if credentials is None:
        raise RequestError(400)
    return await logins.log_in(server, *credentials, _host(request))


def _host(request: Request) -> str | None:
    return None if request.client is None else request.client.host


async def _body(request: Request, most: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > most:
            raise bad_request("Exceeded HTTP request body size limit")
        pieces.append(piece)
    return b"".join(pieces)


def _as_request_error(error: AdministrationError) -> RequestError:
    if error.error == "not_found":
        found = NOT_FOUND_BODY if error.reason == "Not Found" else None
        return RequestError(404, found or {"error": "not_found", "reason": error.reason})
    status = 412 if error.error == "precondition_failed" else 400
    return RequestError(status, {"error": error.error, "reason": error.reason})


def _allow(endpoint: Endpoint) -> dict[str, str]:
    methods = [name for name in ("GET", "PUT", "POST", "DELETE") if name in endpoint.methods]
    head = ["HEAD"] if "GET" in endpoint.methods else []
    return {"allow": ", ".join([*head, *methods, "OPTIONS"])}


def _refusal(error: RequestError) -> Response:
    if error.body is None:
        return Response(status_code=error.status, headers={**_SECURITY, **error.headers})
    answer = _json(_readable(error.body), error.status)
    answer.headers.update(error.headers)
    return answer


def _readable(value: Any) -> Any:
    """Return what an answer says of a mistake, with a sign in place of bytes of names that are no text."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if isinstance(value, dict):
        return {name: _readable(element) for name, element in value.items()}
    return [_readable(element) for element in value] if isinstance(value, list) else value


def _json(value: Any, status: int = 200) -> Response:
    encoded = orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
    return Response(encoded, status, _SECURITY, "application/json")


async def _not_found(_request: Request, _error: Exception) -> Response:
    return _json(NOT_FOUND_BODY, 404)


async def _wrong_method(_request: Request, error: Any) -> Response:
    return Response(status_code=405, headers=error.headers)
