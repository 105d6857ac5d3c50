"""``replay`` over TLS: whom it trusts is said by the environment, as version 3.9 read it."""

from __future__ import annotations

import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import click
import pytest
from tests.tls.pki import Authority

from fedora_messaging.cli.datagrepper import fetch_message

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BODY = b'{"topic": "archived", "body": {}, "id": "one"}'


class Archive(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("archive") / "own")


@pytest.fixture(scope="module")
def url(ca: Authority) -> Iterator[str]:
    identity = ca.issue("server", "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certfile, identity.keyfile)

    class Server(HTTPServer):
        def handle_error(self, _request: object, _address: object) -> None:
            """A client that does not trust us goes away."""

    server = Server(("127.0.0.1", 0), Archive)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def other(tmp_path: Path) -> str:
    """The certificate of an authority that has not signed the server's."""
    return Authority(tmp_path / "other").ca_cert


def hashed(ca: Authority, directory: Path) -> str:
    """A directory of authorities, as OpenSSL reads it."""
    directory.mkdir()
    (directory / "ca.pem").symlink_to(ca.ca_cert)
    subprocess.run(["openssl", "rehash", str(directory)], check=True)
    return str(directory)


@pytest.mark.parametrize("kind", ["file", "directory"])
@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_the_bundle_of_the_environment_is_trusted(
    ca: Authority, url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, kind: str
) -> None:
    monkeypatch.setenv(variable, ca.ca_cert if kind == "file" else hashed(ca, tmp_path / "hashed"))
    found = fetch_message("one", url)
    assert found is not None
    assert found.id == "one"


def test_the_first_variable_that_is_set_wins(
    ca: Authority, url: str, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    monkeypatch.setenv("CURL_CA_BUNDLE", ca.ca_cert)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "")
    assert fetch_message("one", url) is not None
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", other)
    with pytest.raises(click.ClickException, match="CERTIFICATE_VERIFY_FAILED"):
        fetch_message("one", url)


def test_without_them_it_is_as_httpx_has_it(ca: Authority, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(click.ClickException, match="CERTIFICATE_VERIFY_FAILED"):
        fetch_message("one", url)
    monkeypatch.setenv("SSL_CERT_FILE", ca.ca_cert)
    assert fetch_message("one", url) is not None


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_bundle_that_cannot_be_read_is_named(
    url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "bundle.pem"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    with pytest.raises(click.ClickException, match=r"REQUESTS_CA_BUNDLE names .*bundle\.pem"):
        fetch_message("one", url)
