"""TLS contexts: TLS 1.2 or newer, certificates always required of servers, host names always checked."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from ..exceptions import ConfigurationException
from ..options import TLSOptions


@dataclass(frozen=True, slots=True)
class ServerTLSOptions:
    """Files for a TLS listener, all PEM.

    Attributes:
        certfile: The server's certificate chain.
        keyfile: The key of its first certificate.
        ca_cert: Clients must present a certificate signed by one of these; ``None`` asks for none.
    """

    certfile: str
    keyfile: str
    ca_cert: str | None = None


def client_context(options: TLSOptions) -> ssl.SSLContext:
    """Make the context to dial with.

    Raises:
        ConfigurationException: A file is missing, unreadable or not what it should be.
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
    """Make the context to listen with.

    Raises:
        ConfigurationException: A file is missing, unreadable or not what it should be.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _identify(context, options.certfile, options.keyfile)
    if options.ca_cert is not None:
        _trust(context, options.ca_cert)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _trust(context: ssl.SSLContext, path: str) -> None:
    try:
        context.load_verify_locations(cafile=path)
    except (OSError, ssl.SSLError) as error:
        raise _invalid("ca_cert", path, error) from error
    if not context.get_ca_certs() and context.cert_store_stats()["x509"] == 0:
        raise _invalid("ca_cert", path, ValueError("it holds no certificate"))


def _identify(context: ssl.SSLContext, certfile: str, keyfile: str) -> None:
    for setting, path in (("certfile", certfile), ("keyfile", keyfile)):
        try:
            with Path(path).open("rb"):
                pass
        except OSError as error:
            raise _invalid(setting, path, error) from error
    try:
        # A password prompt on a service's terminal would hang it.
        context.load_cert_chain(certfile, keyfile, password=_no_password)
    except (OSError, ssl.SSLError, ValueError) as error:
        raise _invalid("keyfile", keyfile, error) from error


def _no_password() -> str:
    raise ValueError("the key is encrypted; give a key without passphrase")


def _invalid(setting: str, path: str, error: Exception) -> ConfigurationException:
    return ConfigurationException(
        f'The "{setting}" setting in the "tls" section is invalid ({path}: {error})'
    )
