"""TLS contexts: TLS 1.2 or newer; clients always verify the server's certificate and host name."""

import ssl
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ..exceptions import ConfigurationException
from ..options import TLSOptions

#: OpenSSL's X509_V_ERR_... codes.
_NOT_YET_VALID = 9
_EXPIRED = 10
_HOSTNAME_MISMATCH = 62
_ADDRESS_MISMATCH = 64
#: OpenSSL's X509_V_FLAG_NO_CHECK_TIME, for which the module ssl has no name.
_NO_CHECK_TIME = 0x200000


class ServerTLSOptions(NamedTuple):
    """Files for a TLS listener, all in PEM format.

    Attributes:
        certfile: The server's certificate chain.
        keyfile: The key of its first certificate.
        ca_cert: Authorities, one of which must have signed a client's certificate; with ``None`` clients
            need no certificate.
    """

    certfile: str
    keyfile: str
    ca_cert: str | None = None


def client_context(options: TLSOptions) -> ssl.SSLContext:
    """Make the context for outgoing connections.

    Raises:
        ConfigurationException: A file is missing, unreadable or has the wrong content.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if options.ca_cert is None:
        context.load_default_certs()
    else:
        _trust(context, options.ca_cert)
    if options.certfile is not None and options.keyfile is not None:
        _identify(context, options.certfile, options.keyfile)
    return context


def server_context(options: ServerTLSOptions) -> ssl.SSLContext:
    """Make the context for a listener.

    Raises:
        ConfigurationException: A file is missing, unreadable or has the wrong content.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _identify(context, options.certfile, options.keyfile)
    if options.ca_cert is not None:
        _trust(context, options.ca_cert)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def refresh(context: ssl.SSLContext, options: ServerTLSOptions) -> None:
    """Read the files of a listener again into its context.

    Raises:
        ConfigurationException: A file is missing, unreadable or has the wrong content.
    """
    _identify(context, options.certfile, options.keyfile)
    if options.ca_cert is not None:
        _trust(context, options.ca_cert)


def explain(error: ssl.SSLError, options: TLSOptions, host: str) -> str:
    """Say why the TLS handshake with a server failed, and what the user can do about it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {_explain_verification(error, options, host)}"
    reason = error.reason or ""
    if reason == "WRONG_VERSION_NUMBER":
        return "what listens there does not speak TLS: use its TLS port, or write amqp:// in amqp_url"
    if reason in ("TLSV1_ALERT_PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL"):
        return "no common TLS version: the broker must speak TLS 1.2 or newer"
    if "_ALERT_" in reason:
        return f"the broker ended the TLS handshake: {alert_name(error)}; {certificate_hint(options)}"
    return f"TLS: {alert_name(error)}"


def alert_name(error: ssl.SSLError) -> str:
    """Return the name of the TLS alert, or else OpenSSL's reason for the error."""
    reason = error.reason or "HANDSHAKE_FAILED"
    return (reason.partition("_ALERT_")[2] or reason).lower().replace("_", " ")


def certificate_hint(options: TLSOptions) -> str:
    """Say what to check when a broker may have rejected our certificate."""
    if options.certfile is None:
        return "if it wants a client certificate, set certfile and keyfile in [tls]"
    return f"does it take the client certificate {options.certfile}? Its log may tell"


def authority_ends(ca_cert: str) -> list[float]:
    """Return when the authorities' certificates in a file expire, in seconds since 1970.

    Raises:
        OSError: The file cannot be read or has the wrong content.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cafile=ca_cert)
    return [ssl.cert_time_to_seconds(str(found["notAfter"])) for found in context.get_ca_certs()]


def identity_end(certfile: str, keyfile: str) -> float:
    """Return when our own certificate expires, in seconds since 1970.

    Python's ``ssl`` shows a certificate only to the peer in a handshake. So this function performs a
    handshake between two ends of its own, in memory.

    Raises:
        OSError: A file cannot be read or has the wrong content.
    """
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_verify_locations(cafile=certfile)
    server.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    for context in (server, client):
        context.load_cert_chain(certfile, keyfile, password=_no_password)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    served = server.wrap_bio(to_server, to_client, server_side=True)
    dialled = client.wrap_bio(to_client, to_server)
    for end in (dialled, served, dialled, served):
        with suppress(ssl.SSLWantReadError):
            end.do_handshake()
    return ssl.cert_time_to_seconds(str((served.getpeercert() or {})["notAfter"]))


def _explain_verification(error: ssl.SSLCertVerificationError, options: TLSOptions, host: str) -> str:
    if error.verify_code in (_HOSTNAME_MISMATCH, _ADDRESS_MISMATCH):
        return (
            f"hostname mismatch, the broker's certificate is not valid for "
            f"{options.server_hostname or host!r}: write the name it is for in amqp_url"
        )
    if error.verify_code == _EXPIRED:
        return "the broker's certificate has expired; if it has not, set this machine's clock"
    if error.verify_code == _NOT_YET_VALID:
        return "the broker's certificate is not yet valid; set this machine's clock, or the broker's"
    trusted = f"those in {options.ca_cert}" if options.ca_cert else "those this machine trusts"
    return (
        f"the broker's certificate is not signed by one of {trusted} ({error.verify_message}): "
        "name the file with the certificate of its authority as ca_cert in [tls]"
    )


def _trust(context: ssl.SSLContext, path: str) -> None:
    try:
        context.load_verify_locations(cafile=path)
    except ssl.SSLError as error:
        raise _invalid("ca_cert", path, _bad_certificates(error)) from error
    except OSError as error:
        raise _invalid("ca_cert", path, error.strerror or str(error)) from error


def _identify(context: ssl.SSLContext, certfile: str, keyfile: str) -> None:
    for setting, path in (("certfile", certfile), ("keyfile", keyfile)):
        try:
            with Path(path).open("rb"):
                pass
        except OSError as error:
            raise _invalid(setting, path, error.strerror or str(error)) from error
    try:
        # For load_cert_chain, OpenSSL does not say which of the two files is bad.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=certfile)
    except ssl.SSLError as error:
        # Version 3.9 named "keyfile" in this error, and programs may compare it.
        raise _invalid("keyfile", f"certfile {certfile}", _bad_certificates(error)) from error
    try:
        # Without a password function OpenSSL would prompt on the terminal, and a service would hang.
        context.load_cert_chain(certfile, keyfile, password=_no_password)
    except ssl.SSLError as error:
        why = "it holds no private key in PEM format, or a damaged one"
        if error.reason == "KEY_VALUES_MISMATCH":
            why = f"it is not the key of the first certificate in {certfile}"
        raise _invalid("keyfile", keyfile, why) from error
    except (OSError, ValueError) as error:
        raise _invalid("keyfile", keyfile, str(error)) from error


def _bad_certificates(error: ssl.SSLError) -> str:
    if error.reason == "NO_CERTIFICATE_OR_CRL_FOUND":
        return "it holds no certificate in PEM format"
    return "a certificate in it is damaged or not in PEM format"


def _no_password() -> str:
    raise ValueError("the key is encrypted; give a key without passphrase")


def _invalid(setting: str, path: str, why: str) -> ConfigurationException:
    return ConfigurationException(f'The "{setting}" setting in the "tls" section is invalid ({path}: {why})')
