"""What must not connect does not, at once, and says why (promise P24)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from tests.tls.cases import (
    FACES,
    HANDSHAKE,
    MISTAKES,
    REFUSALS,
    Refusal,
    Told,
    assert_keeps_secrets,
    failure,
    files,
    is_plain,
    untold,
)
from tests.tls.servers import old_server

from fedora_messaging.exceptions import ConfigurationException, ConnectionException

if TYPE_CHECKING:
    from tests.tls.cases import Mistake
    from tests.tls.pki import Pki
    from tests.tls.servers import TlsBroker

    from fedora_messaging.config import LazyConfig

BLOCKING_FACES = [face for face in FACES if face.startswith("api.")]
#: One of each cause.
DISTINCT = (
    "authority of the broker",
    "host name",
    "expired broker",
    "broker of the future",
    "client certified by a stranger",
    "no client certificate",
    "client certificate of nobody",
    "password",
    "broker without TLS",
    "broker with TLS",
)
#: What only one of the brokers lets us tell from the others.
ALSO_DISTINCT = {"embedded": ("client certificate not asked for",), "rabbitmq": ("expired client",)}
OLD_TLS = Refusal(Told(("TLS", "protocol|version"), (r"TLS 1\.2",)))


def told(case: Refusal, broker: TlsBroker) -> Told:
    return case.embedded if broker.kind == "embedded" and case.embedded is not None else case.told


def assert_refused(error: Exception, case: Refusal, port: int, tls: dict[str, str]) -> str:
    """Check all but what is case by case; returns the text."""
    assert isinstance(error, ConnectionException)
    text = str(error)
    assert text == error.reason
    assert text.startswith(HANDSHAKE)
    assert f"{case.address(port)} " in text
    assert_keeps_secrets(text, tls)
    return text


# Refused by us or by the broker


@pytest.mark.parametrize("name", REFUSALS)
def test_p24_refusal(broker: TlsBroker, pki: Pki, settings: LazyConfig, name: str) -> None:
    check_refusal("aio.connect", broker, pki, settings, REFUSALS[name])


@pytest.mark.parametrize("face", BLOCKING_FACES)
@pytest.mark.parametrize("name", REFUSALS)
def test_p24_refusal_of_a_blocking_call(
    embedded_tls: TlsBroker, pki: Pki, settings: LazyConfig, name: str, face: str
) -> None:
    check_refusal(face, embedded_tls, pki, settings, REFUSALS[name])


def check_refusal(face: str, broker: TlsBroker, pki: Pki, settings: LazyConfig, case: Refusal) -> None:
    port, tls = broker.ports[case.server], case.tls(pki)
    text = assert_refused(failure(face, settings, case.url(port), tls), case, port, tls)
    assert not untold(text, told(case, broker).cause, tls), text


@pytest.mark.parametrize("name", REFUSALS)
def test_p24_refusal_says_how_to_mend_it(
    broker: TlsBroker, pki: Pki, settings: LazyConfig, name: str
) -> None:
    case = REFUSALS[name]
    port, tls = broker.ports[case.server], case.tls(pki)
    text = str(failure("aio.connect", settings, case.url(port), tls))
    # The address of a refused connection is no advice.
    assert not untold(text.replace(case.address(port), ""), told(case, broker).remedy, tls), text
    assert is_plain(text)


def test_p24_each_cause_has_its_own_text(broker: TlsBroker, pki: Pki, settings: LazyConfig) -> None:
    names: dict[str, list[str]] = {}
    for name in (*DISTINCT, *(ALSO_DISTINCT[broker.kind])):
        case = REFUSALS[name]
        port, tls = broker.ports[case.server], case.tls(pki)
        text = str(failure("aio.connect", settings, case.url(port), tls))
        for variable in (case.address(port), *tls.values()):
            text = text.replace(variable, "")
        names.setdefault(text, []).append(name)
    assert not [group for group in names.values() if len(group) > 1]


@pytest.mark.parametrize("face", FACES)
def test_p24_old_tls(pki: Pki, settings: LazyConfig, face: str) -> None:
    tls = OLD_TLS.tls(pki)
    with old_server(pki.servers["good"]) as port:
        error = failure(face, settings, OLD_TLS.url(port), tls)
    assert not untold(assert_refused(error, OLD_TLS, port, tls), OLD_TLS.told.cause, tls)


def test_p24_old_tls_says_how_to_mend_it(pki: Pki, settings: LazyConfig) -> None:
    tls = OLD_TLS.tls(pki)
    with old_server(pki.servers["good"]) as port:
        text = str(failure("aio.connect", settings, OLD_TLS.url(port), tls))
    assert not untold(text, OLD_TLS.told.remedy, tls), text
    assert is_plain(text)


@pytest.mark.parametrize("client", ["good", "ghost"])
def test_p24_only_ca_cert_counts_when_it_is_set(
    broker: TlsBroker, pki: Pki, settings: LazyConfig, monkeypatch: pytest.MonkeyPatch, client: str
) -> None:
    """What the platform trusts is no way around it, whoever the client is."""
    monkeypatch.setenv("SSL_CERT_FILE", pki.ca_cert)
    case = Refusal(REFUSALS["authority of the broker"].told, client=client, ca="stranger")
    port, tls = broker.ports[case.server], case.tls(pki)
    text = assert_refused(failure("aio.connect", settings, case.url(port), tls), case, port, tls)
    assert not untold(text, case.told.cause, tls)


# Settings


def assert_named(error: Exception, mistake: Mistake, tls: dict[str, str]) -> str:
    """Check all but what is case by case; returns the text."""
    assert isinstance(error, ConfigurationException)
    assert f'The "{mistake.setting}" setting in the "tls" section is invalid (' in error.message
    assert_keeps_secrets(error.message, tls)
    return error.message


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("name", MISTAKES)
def test_p24_mistake_in_the_settings(pki: Pki, settings: LazyConfig, name: str, face: str) -> None:
    """Found before anything is dialled: nobody listens at that port."""
    mistake = MISTAKES[name]
    tls = mistake.tls(pki)
    text = assert_named(failure(face, settings, "amqps://localhost:1", tls), mistake, tls)
    assert not untold(text, mistake.told.cause, tls)


@pytest.mark.parametrize("name", MISTAKES)
def test_p24_mistake_in_the_settings_says_how_to_mend_it(pki: Pki, settings: LazyConfig, name: str) -> None:
    mistake = MISTAKES[name]
    tls = mistake.tls(pki)
    text = str(failure("aio.connect", settings, "amqps://localhost:1", tls))
    assert not untold(text, mistake.told.remedy, tls), text
    assert is_plain(text)


@pytest.mark.parametrize("face", FACES)
def test_p24_user_without_password(pki: Pki, settings: LazyConfig, face: str) -> None:
    tls = {"ca_cert": pki.ca_cert, **files(pki.clients["good"])}
    error = failure(face, settings, "amqps://app@localhost:1", tls)
    assert isinstance(error, ConfigurationException)
    assert re.search(r'"amqp_url" is invalid: .*user:password@ \(or user:@', error.message)
