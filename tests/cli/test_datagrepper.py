"""Messages from the archive: what is asked for and what is made of the answer; whom TLS trusts."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import click
import pytest
from tests.tls.pki import Authority

from fedora_messaging.cli.datagrepper import fetch_message

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.archives import Archive

BODY = b'{"topic": "archived", "body": {}, "id": "one"}'


class TLSArchive(BaseHTTPRequestHandler):
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

    server = Server(("127.0.0.1", 0), TLSArchive)
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


# What is asked for, and what is made of the answer


def failure(message_id: str, url: str) -> str:
    with pytest.raises(click.ClickException) as caught:
        fetch_message(message_id, url)
    assert caught.value.exit_code == 1
    return caught.value.message


@pytest.mark.parametrize("end", ["", "/", "//"])
def test_message_of_the_archive(archive: Archive, end: str) -> None:
    archive.answer = {
        "topic": "org.example.one",
        "body": {"n": 1},
        "id": "one",
        "headers": {"fedora_messaging_schema": "base.message", "sent-at": "2018-01-01T00:00:00+00:00"},
    }
    found = fetch_message("one", f"{archive.url}/sub{end}")
    assert found is not None
    assert (found.topic, found.body, found.id) == ("org.example.one", {"n": 1}, "one")
    (asked,) = archive.paths
    assert urlsplit(asked).path == "/sub/v2/id"
    assert parse_qs(urlsplit(asked).query) == {"id": ["one"], "is_raw": ["true"]}
    assert archive.logins == [None]


@pytest.mark.parametrize("answer", [{}, [], None, ""])
def test_message_that_the_archive_does_not_have(archive: Archive, answer: Any) -> None:
    archive.answer = answer
    assert fetch_message("one", archive.url) is None


def test_login_is_in_a_header_and_not_in_the_url(archive: Archive) -> None:
    url = archive.url.replace("://", "://bird:c%40nary@")
    assert fetch_message("one", url) is not None
    # "bird:c@nary", as RFC 7617 has it.
    assert archive.logins == ["Basic YmlyZDpjQG5hcnk="]
    archive.status = 500
    assert "nary" not in failure("one", url)


def test_archive_that_has_moved(archive: Archive) -> None:
    archive.moved = "/elsewhere"
    found = fetch_message("one", archive.url)
    assert found is not None
    assert archive.paths == ["/v2/id?id=one&is_raw=true", "/elsewhere"]


@pytest.mark.parametrize("status", [400, 403, 404, 500, 503])
def test_status_that_is_no_success(archive: Archive, status: int) -> None:
    archive.status = status
    error = failure("one", archive.url)
    assert error.startswith("Failed to retrieve message from Datagrepper: ")
    assert str(status) in error


@pytest.mark.parametrize(
    "answer",
    [b"", b"<html>", b'{"topic":', b"\xff", b"[" * 200_000],
    ids=lambda answer: answer[:9].decode("latin-1"),
)
def test_answer_that_is_not_json(archive: Archive, answer: bytes) -> None:
    archive.answer = answer
    assert failure("one", archive.url).startswith("Failed to retrieve message from Datagrepper: ")


@pytest.mark.parametrize(
    "answer", [{"topic": "t"}, {"topic": 5, "body": {}}, [1], "text", 5, {"count": 0, "messages": []}]
)
def test_answer_that_is_no_message(archive: Archive, answer: Any) -> None:
    archive.answer = answer
    error = failure("o\x1b[2Jne", archive.url)
    assert error.startswith("What Datagrepper has for o\\x1b[2Jne is no message: ")


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1", "ftp://127.0.0.1", "http://", "http://[", "http://127.0.0.1:port", "\x00"]
)
def test_url_that_is_none(url: str) -> None:
    assert failure("one", url).startswith("Failed to retrieve message from Datagrepper: ")


def test_archive_that_is_not_there() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        error = failure("one", f"http://127.0.0.1:{reserved.getsockname()[1]}")
    assert error == "Failed to retrieve message from Datagrepper: [Errno 111] Connection refused"
