"""What can be wrong with TLS: the setting to connect with, and what the error must tell."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from ssl import PEM_cert_to_DER_cert
from typing import TYPE_CHECKING, Any, Final

from tests.client.support import run
from tests.tls.servers import MUTUAL, PLAIN

from fedora_messaging import aio, api
from fedora_messaging.message import Message

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.tls.pki import Identity, Pki

    from fedora_messaging.config import LazyConfig

#: In every URL that does not lead to a login; never to be seen again.
PASSWORD: Final = "Kanarienvogel5177"
#: How the reason of a refusal begins, a fact of the compatible interface.
HANDSHAKE: Final = "The TCP connection appears to have started, but the TLS or AMQP handshake"
PATIENCE: Final = 30.0

# Where Python and OpenSSL were when they found something is no help to anybody.
_INTERNALS: Final = re.compile(r"_ssl\.c|\[Errno|\[SSL|\[X509|PEM lib")


@dataclass(frozen=True)
class Told:
    """What an error must tell, as regular expressions; `{ca}`, `{cert}` and `{key}` are the files' paths.

    Attributes:
        cause: What is wrong.
        remedy: What the reader can do.
    """

    cause: tuple[str, ...]
    remedy: tuple[str, ...]


@dataclass(frozen=True)
class Refusal:
    """A connection that must not come about.

    Attributes:
        told: What the error must tell; for the embedded broker too, unless `embedded` says otherwise.
        server: Listener to dial.
        host: Name to dial.
        scheme: Of the URL.
        client: Client certificate; none logs in by password.
        ca: "root", "stranger", or None for what the platform trusts.
        embedded: See `told`.
    """

    told: Told
    server: str = "good"
    host: str = "localhost"
    scheme: str = "amqps"
    client: str | None = None
    ca: str | None = "root"
    embedded: Told | None = None

    def url(self, port: int) -> str:
        return f"{self.scheme}://app:{PASSWORD}@{self.host}:{port}"

    def address(self, port: int) -> str:
        """The URL as errors show it."""
        return f"{self.scheme}://{self.host}:{port}"

    def tls(self, pki: Pki) -> dict[str, str]:
        """The table of settings."""
        table = {} if self.client is None else files(pki.clients[self.client])
        if self.ca is not None:
            table["ca_cert"] = pki.root.ca_cert if self.ca == "root" else pki.stranger.ca_cert
        return table


#: Python's asyncio servers hang up without the alert that says why, so nobody can tell.
_CERTIFICATE_NOT_TAKEN: Final = Told(("closed by the peer|hung up",), ("client certificate", "{cert}"))

REFUSALS: Final[dict[str, Refusal]] = {
    "authority of the broker": Refusal(
        Told(("certificate", "issuer|authority|signed"), ("ca_cert", "{ca}")), ca="stranger"
    ),
    "authority of the broker, platform trust": Refusal(
        Told(("certificate", "self-signed|issuer|authority"), ("ca_cert",)), ca=None
    ),
    "broker certified by a stranger": Refusal(
        Told(("certificate", "issuer|authority|signed"), ("ca_cert", "{ca}")), server="stranger"
    ),
    "host name": Refusal(Told(("certificate", "'localhost'"), ("amqp_url",)), server="elsewhere"),
    "host name, address certified": Refusal(
        Told(("certificate", "'localhost'"), ("amqp_url",)), server="address_only"
    ),
    "address, name certified": Refusal(
        Told(("certificate", r"'127\.0\.0\.1'"), ("amqp_url",)), server="name_only", host="127.0.0.1"
    ),
    "expired broker": Refusal(
        Told(("certificate", "expired"), ("broker's certificate", "clock|renew")), "expired"
    ),
    "broker of the future": Refusal(
        Told(("certificate", "not yet valid"), ("broker's certificate", "clock")), "not_yet_valid"
    ),
    "client certified by a stranger": Refusal(
        Told(("unknown.ca|authority",), ("client certificate", "{cert}")),
        MUTUAL,
        client="stranger",
        embedded=_CERTIFICATE_NOT_TAKEN,
    ),
    "client without the intermediate's certificate": Refusal(
        Told(("unknown.ca|authority",), ("client certificate", "{cert}")),
        MUTUAL,
        client="without_chain",
        embedded=_CERTIFICATE_NOT_TAKEN,
    ),
    "expired client": Refusal(
        Told(("certificate.expired",), ("client certificate", "{cert}")),
        MUTUAL,
        client="expired",
        embedded=_CERTIFICATE_NOT_TAKEN,
    ),
    "no client certificate": Refusal(
        Told(("certificate.required",), ("certfile", "keyfile")),
        MUTUAL,
        embedded=Told(("closed by the peer|hung up",), ("certfile", "keyfile")),
    ),
    "client certificate of nobody": Refusal(
        Told(("ACCESS_REFUSED", "EXTERNAL"), ("user", "{cert}")), MUTUAL, client="ghost"
    ),
    "client certificate not asked for": Refusal(
        Told(("ACCESS_REFUSED", "EXTERNAL"), ("client certificate", "{cert}")),
        client="good",
        embedded=Told(("does not offer", "EXTERNAL"), ("client certificate", "{cert}")),
    ),
    "password": Refusal(Told(("ACCESS_REFUSED", "PLAIN"), ("authentication",))),
    "broker without TLS": Refusal(Told(("TLS|SSL",), (r"\bamqp://",)), PLAIN),
    "broker with TLS": Refusal(Told(("handshake",), (r"\bamqps://",)), scheme="amqp"),
}


@dataclass(frozen=True)
class Mistake:
    """Settings that cannot work, whatever the broker.

    Attributes:
        setting: What is blamed.
        told: What the error must tell.
        table: Makes the wrong part of the table of settings.
    """

    setting: str
    told: Told
    table: Callable[[Pki], dict[str, str]] = field(repr=False)

    def tls(self, pki: Pki) -> dict[str, str]:
        """The whole table of settings."""
        return {"ca_cert": pki.ca_cert, **files(pki.clients["good"]), **self.table(pki)}


def files(identity: Identity) -> dict[str, str]:
    """An identity as settings."""
    return {"certfile": identity.certfile, "keyfile": identity.keyfile}


def _broken_pem(kind: bytes) -> bytes:
    return b"-----BEGIN %s-----\nbm90aGluZw==\n-----END %s-----\n" % (kind, kind)


_BROKEN: Final = _broken_pem(b"CERTIFICATE")
_MISSING: Final = ("[Nn]o such file",)

MISTAKES: Final[dict[str, Mistake]] = {
    "missing ca_cert": Mistake(
        "ca_cert", Told(_MISSING, ("{ca}",)), lambda pki: {"ca_cert": pki.missing("a")}
    ),
    "missing certfile": Mistake(
        "certfile", Told(_MISSING, ("{cert}",)), lambda pki: {"certfile": pki.missing("b")}
    ),
    "missing keyfile": Mistake(
        "keyfile", Told(_MISSING, ("{key}",)), lambda pki: {"keyfile": pki.missing("c")}
    ),
    "NUL in the path of ca_cert": Mistake(
        "ca_cert", Told((), ("null|path",)), lambda _pki: {"ca_cert": "a\0b"}
    ),
    "NUL in the path of keyfile": Mistake(
        "keyfile", Told((), ("null|path",)), lambda _pki: {"keyfile": "a\0b"}
    ),
    "directory as ca_cert": Mistake(
        "ca_cert", Told(("directory",), ("{ca}",)), lambda pki: {"ca_cert": str(Path(pki.ca_cert).parent)}
    ),
    "empty ca_cert": Mistake(
        "ca_cert", Told(("no certificate",), ("{ca}", "PEM")), lambda pki: {"ca_cert": pki.file("empty.pem")}
    ),
    "text as ca_cert": Mistake(
        "ca_cert",
        Told(("no certificate",), ("{ca}", "PEM")),
        lambda pki: {"ca_cert": pki.file("text.pem", b"certificates are in the other file\n")},
    ),
    "binary ca_cert": Mistake(
        "ca_cert",
        Told(("no certificate",), ("{ca}", "PEM")),
        lambda pki: {
            "ca_cert": pki.file("ca.der", PEM_cert_to_DER_cert(Path(pki.ca_cert).read_text(encoding="ascii")))
        },
    ),
    "key as ca_cert": Mistake(
        "ca_cert",
        Told(("no certificate",), ("{ca}", "PEM")),
        lambda pki: {"ca_cert": pki.clients["good"].keyfile},
    ),
    "broken ca_cert": Mistake(
        "ca_cert", Told((), ("{ca}", "PEM")), lambda pki: {"ca_cert": pki.file("broken-ca.pem", _BROKEN)}
    ),
    "ca_cert broken at the end": Mistake(
        "ca_cert",
        Told((), ("{ca}", "PEM")),
        lambda pki: {"ca_cert": pki.file("broken-end.pem", pki.ca_cert, _BROKEN)},
    ),
    "ca_cert broken at the beginning": Mistake(
        "ca_cert",
        Told((), ("{ca}", "PEM")),
        lambda pki: {"ca_cert": pki.file("broken-beginning.pem", _BROKEN, pki.ca_cert)},
    ),
    # Compatibility: the error blames the setting keyfile for anything but a missing certfile. It names the
    # file that is wrong nevertheless.
    "empty certfile": Mistake(
        "keyfile", Told((), ("{cert}", "certfile", "PEM")), lambda pki: {"certfile": pki.file("empty.crt")}
    ),
    "key as certfile": Mistake(
        "keyfile",
        Told((), ("{cert}", "certfile", "PEM")),
        lambda pki: {"certfile": pki.file("key.crt", pki.clients["good"].keyfile)},
    ),
    "broken certfile": Mistake(
        "keyfile",
        Told((), ("{cert}", "certfile", "PEM")),
        lambda pki: {"certfile": pki.file("broken.crt", _BROKEN)},
    ),
    "empty keyfile": Mistake(
        "keyfile", Told((), ("{key}", "PEM")), lambda pki: {"keyfile": pki.file("empty.key")}
    ),
    "certificate as keyfile": Mistake(
        "keyfile",
        Told((), ("{key}", "PEM")),
        lambda pki: {"keyfile": pki.file("certificate.key", pki.clients["good"].certfile)},
    ),
    "broken keyfile": Mistake(
        "keyfile",
        Told((), ("{key}", "PEM")),
        lambda pki: {"keyfile": pki.file("broken.key", _broken_pem(b"PRIVATE KEY"))},
    ),
    "key of another certificate": Mistake(
        "keyfile",
        Told(("mismatch|not the key of",), ("{key}", "{cert}")),
        lambda pki: {"keyfile": pki.clients["ghost"].keyfile},
    ),
    "key with a passphrase": Mistake(
        "keyfile",
        Told(("encrypted|passphrase",), ("{key}", "without (a )?passphrase")),
        lambda pki: {"keyfile": pki.encrypted(pki.clients["good"].keyfile)},
    ),
}


def untold(text: str, patterns: tuple[str, ...], tls: dict[str, str]) -> list[str]:
    """Return what a text does not tell, case aside."""
    paths = {
        name: re.escape(tls.get(setting, ""))
        for name, setting in (("ca", "ca_cert"), ("cert", "certfile"), ("key", "keyfile"))
    }
    wanted = [re.sub(r"\{(ca|cert|key)\}", lambda found: paths[found[1]], pattern) for pattern in patterns]
    return [pattern for pattern in wanted if re.search(pattern, text, re.IGNORECASE) is None]


def is_plain(text: str) -> bool:
    """Whether a text is free of where in Python and OpenSSL something was found."""
    return _INTERNALS.search(text) is None


def assert_keeps_secrets(text: str, tls: dict[str, str]) -> None:
    """Neither the password nor anything in the key's file is in a text."""
    assert PASSWORD not in text
    key = Path(tls.get("keyfile", "").replace("\0", ""))
    if key.is_file():
        lines = key.read_text(encoding="utf-8").splitlines()
        assert not [line for line in lines if line and line in text]


# The ways to connect


def _by_aio(url: str) -> None:
    async def main() -> None:
        async with aio.connect(url, timeout=PATIENCE):
            pass

    run(main())


def _by_publish(_url: str) -> None:
    api.publish(Message(topic="tls.test"), timeout=PATIENCE)


def _by_consume(_url: str) -> None:
    api.consume(_ignore)


def _ignore(_message: Message) -> None:
    pass


FACES: Final[dict[str, Callable[[str], None]]] = {
    "aio.connect": _by_aio,
    "api.publish": _by_publish,
    "api.consume": _by_consume,
}


def failure(face: str, settings: LazyConfig, url: str, tls: dict[str, Any]) -> Exception:
    """Connect in vain, and return what was raised.

    That it was not raised for lack of time is seen by what it is and says, not by a clock.
    """
    settings["amqp_url"] = url
    settings["tls"] = tls
    try:
        FACES[face](url)
    except Exception as error:
        return error
    finally:
        api.close()
    raise AssertionError(f"{face} does not fail")
