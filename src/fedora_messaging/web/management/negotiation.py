"""What a client accepts: JSON or not, compressed or not."""

import gzip
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.requests import Request
    from starlette.responses import Response

_JSON: Final = frozenset({"application/json", "application/*", "*/*"})
#: Shorter answers gain nothing by compression; for longer ones it would keep messages waiting.
_LEAST: Final = 300
_MOST: Final = 1_000_000
_LEVEL: Final = 1  # the fastest


def takes_json(accept: str | None) -> bool:
    """Whether a client takes JSON, by its header ``Accept``; RabbitMQ, too, does not look at qualities."""
    return accept is None or any(kind in _JSON for kind, _ in _items(accept))


def takes_gzip(accept_encoding: str) -> bool:
    """Whether a client takes answers that are compressed, by its header ``Accept-Encoding``."""
    return any(coding == "gzip" and quality > 0 for coding, quality in _items(accept_encoding))


def compress(request: "Request", answer: "Response") -> "Response":
    """Compress an answer if that is worth it, and the client takes it."""
    body = bytes(answer.body)
    if _LEAST < len(body) <= _MOST and takes_gzip(request.headers.get("accept-encoding", "")):
        answer.body = gzip.compress(body, _LEVEL)
        answer.headers["content-encoding"] = "gzip"
        answer.headers["content-length"] = str(len(answer.body))
    return answer


def _items(header: str) -> "Iterator[tuple[str, float]]":
    """Yield what a header lists, in lower case, each with its quality."""
    for item in header.lower().split(","):
        name, *parameters = [part.strip() for part in item.split(";")]
        quality = next((value[2:] for value in parameters if value.startswith("q=")), "1")
        try:
            yield name, float(quality)
        except ValueError:
            yield name, 0.0
