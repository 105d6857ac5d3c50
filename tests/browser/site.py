"""A site with a few pages of a test's own."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Final

import fedora_messaging

if TYPE_CHECKING:
    from typing import Self

VENDOR: Final = Path(fedora_messaging.__file__).parent / "web" / "dashboard" / "static" / "vendor"
#: As strict as a page with styles and scripts can be.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_TYPES: Final = {".css": "text/css", ".js": "text/javascript"}


class Site:
    """Serves pages, and files of other projects below `/vendor/`, to a browser.

    Args:
        pages: HTML by path; a path that ends in `.js` or `.css` has a script or a style sheet.
        policy: The Content-Security-Policy of each answer.
    """

    def __init__(self, pages: dict[str, str], policy: str = POLICY) -> None:
        self._pages = pages
        self._policy = policy
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site._answer(self)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                site._answer(self)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _find(self, path: str) -> bytes | None:
        if path.startswith("/vendor/"):
            return (VENDOR / path.removeprefix("/vendor/")).read_bytes()
        page = self._pages.get(path)
        return None if page is None else page.encode()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = self._find(handler.path)
        handler.send_response(404 if body is None else 200)
        handler.send_header(
            "Content-Type", f"{_TYPES.get(Path(handler.path).suffix, 'text/html')}; charset=utf-8"
        )
        handler.send_header("Content-Security-Policy", self._policy)
        handler.end_headers()
        handler.wfile.write(document("<h1>Nothing here</h1>").encode() if body is None else body)


def document(body: str, head: str = "") -> str:
    """Return an HTML document. Its icon is empty, so that the browser asks for none."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Test</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,">{head}</head><body><main>{body}</main></body></html>'
    )
