"""``fedora-messaging dashboard``: where it listens, whom it lets in, and what it says of passwords."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from tests.secrets.canary import QUOTED, leaks
from tests.support.processes import start_broker
from tests.tls.conftest import pki

if TYPE_CHECKING:
    from tests.support.processes import Process, Processes
    from tests.tls.pki import Pki

__all__ = ["pki"]

READY = r"^Dashboard on (https?://\S+)/$"
#: Nobody answers there.
NOWHERE = f"http://bird:{QUOTED}@127.0.0.1:1"


def start(processes: Processes, *options: str, url: str = NOWHERE) -> tuple[Process, str]:
    """Start a dashboard whose URL only the environment has; return it and its address."""
    process = processes.fedora_messaging(
        "dashboard", "--port", "0", *options, FEDORA_MESSAGING_MANAGEMENT_URL=url
    )
    return process, process.wait_for(READY)[1]


def broker_url(processes: Processes) -> str:
    """Start a broker, whose administrator is guest; return the URL of its management API."""
    process, _port = start_broker(processes, "--http-port", "0")
    return process.wait_for(r"^HTTP ready on (\S+)$")[1].replace("://", "://guest:guest@")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), "Missing option '--management-url'"),
        (("--host", "0.0.0.0"), "--tls-cert"),
        (("--host", "::"), "--tls-cert"),
        (("--host", "", "--sign-in"), "--tls-cert"),
        (("--host", "bus.example.org"), "--behind-proxy"),
        (("--host", "0.0.0.0", "--behind-proxy", "--allow-changes"), "--allow-changes is for this machine"),
        (("--tls-cert", "server.crt"), "belong together"),
        (("--tls-key", "server.key"), "belong together"),
        (("--management-url", f"ftp://bird:{QUOTED}@host"), "must look like"),
        (("--management-url", f"http://bird:{QUOTED}@host:port"), "must look like"),
        (("--management-url", f"http://bird:{QUOTED}@h\u2100st"), "must look like"),
        (("--management-url", "http://bird:7391/Kanarie7391@host"), "write signs of the password"),
    ],
)
def test_what_is_refused(processes: Processes, options: tuple[str, ...], told: str) -> None:
    variables = (
        {} if not options or "--management-url" in options else {"FEDORA_MESSAGING_MANAGEMENT_URL": NOWHERE}
    )
    ended = processes.fedora_messaging("dashboard", "--port", "0", *options, **variables).end()
    assert told in ended.usage_error()
    assert not leaks(ended.usage_error())
    assert "7391" not in ended.usage_error()


def test_files_for_tls_that_cannot_be_used(processes: Processes, pki: Pki) -> None:
    good = pki.servers["good"]
    for cert, key in (
        (good.keyfile, good.keyfile),
        ("missing.crt", good.keyfile),
        (good.certfile, "missing.key"),
    ):
        ended = processes.fedora_messaging(
            "dashboard", "--port", "0", "--tls-cert", cert, "--tls-key", key,
            FEDORA_MESSAGING_MANAGEMENT_URL=NOWHERE,
        ).end()  # fmt: skip
        assert ended.status == 1
        assert "The TLS files cannot be used" in ended.one_error()


def test_a_broker_that_is_not_there(processes: Processes) -> None:
    """The dashboard starts; its pages say what is wrong, without the password, as does everything else."""
    process, url = start(processes)
    with httpx.Client(base_url=url, trust_env=False) as client:
        for path in ("/", "/queues", "/queue?name=q", "/live", "/search", "/api/v1/status", "/nope"):
            answer = client.get(path)
            assert not leaks(answer.text + repr(answer.headers)), path
        page = client.get("/queues")
        assert page.status_code == 502
        assert "127.0.0.1:1 does not answer" in page.text
    assert not leaks(Path(f"/proc/{process.pid}/cmdline").read_text())
    assert not leaks(Path(f"/proc/{process.pid}/comm").read_text())
    ended = process.terminate()
    assert ended.status == 0
    assert not leaks(ended.output)
    assert "Traceback" not in ended.output


@pytest.mark.parametrize("options", [(), ("--allowed-host", "Bus.Example.Org")])
def test_names_by_which_it_is_known(processes: Processes, options: tuple[str, ...]) -> None:
    _process, url = start(processes, *options)
    known = bool(options)
    with httpx.Client(base_url=url, trust_env=False) as client:
        for host in ("bus.example.org", "BUS.EXAMPLE.ORG:443", "bus.example.org."):
            assert client.get("/login", headers={"host": host}).status_code == (200 if known else 403)
        for host in ("evil.example", "bus.example.org.evil.example", "0.0.0.0", "bus.example.org@evil", ""):
            assert client.get("/login", headers={"host": host}).status_code == 403


def test_on_another_address_users_sign_in_over_tls(processes: Processes, pki: Pki) -> None:
    good = pki.servers["good"]
    tls = ("--tls-cert", good.certfile, "--tls-key", good.keyfile)
    _process, url = start(processes, "--host", "0.0.0.0", *tls, url=broker_url(processes))
    assert url.startswith("https://0.0.0.0:")
    here = url.replace("0.0.0.0", "localhost")
    context = ssl.create_default_context(cafile=pki.ca_cert)
    with httpx.Client(base_url=here, verify=context, trust_env=False) as client:
        for path in ("/", "/queues", "/live", "/search", "/publish"):
            assert client.get(path).status_code == 303
        for path in ("/events", "/v2/search", "/raw", "/api/v1/messages"):
            assert client.get(path).status_code == 401
        page = client.get("/login")
        assert "secure" in page.headers["set-cookie"].lower()
        form = {"csrf": client.cookies["fm_csrf"], "name": "guest", "password": "guest"}
        answer = client.post("/login", data=form)
        assert answer.status_code == 303
        assert "secure" in answer.headers["set-cookie"].lower()
        assert client.get("/queues").status_code == 200
    with pytest.raises(httpx.HTTPError):
        httpx.get(here.replace("https", "http"), trust_env=False)


@pytest.mark.parametrize("option", ["--sign-in", "--behind-proxy"])
def test_sign_in_on_this_machine(processes: Processes, option: str) -> None:
    _process, url = start(processes, option, "--allow-changes", url=broker_url(processes))
    with httpx.Client(base_url=url, trust_env=False) as client:
        assert client.get("/queues").status_code == 303
        assert client.get("/v2/search").status_code == 401
        # A proxy says for whom it asks; that does not let anybody in.
        claim = {"x-forwarded-for": "127.0.0.1", "x-forwarded-host": "localhost", "remote-user": "guest"}
        assert client.get("/queues", headers=claim).status_code == 303
        page = client.get("/login")
        assert ("secure" in page.headers["set-cookie"].lower()) is (option == "--behind-proxy")
