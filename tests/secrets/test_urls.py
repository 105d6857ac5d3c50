"""URLs that are not what their writer meant, and other places where a password is put by mistake (P23)."""

from __future__ import annotations

import copy
from contextlib import suppress
from itertools import product
from pprint import pformat
from typing import TYPE_CHECKING

import pytest
from tests.secrets.canary import ESCAPED, PIECES, QUOTED

from fedora_messaging import config
from fedora_messaging.exceptions import ConfigurationException
from fedora_messaging.settings import amqp_url
from fedora_messaging.settings.to_options import connection_options

if TYPE_CHECKING:
    from pathlib import Path

    from tests.secrets.canary import Outputs
    from tests.tls.pki import Pki

A, B = PIECES
#: The beginning of a password that can be read as a port.
NUMBER = "7391"

SPECIAL = "/?#@:[]%\\ &=+,;<>{}|^`\"'\t\n~!$()*é\u2100\uff0f"

MISTAKES = {
    "port": f"amqp://bird:{QUOTED}@host:99999",
    "port in words": f"amqp://bird:{QUOTED}@host:port/v",
    "negative port": f"amqp://bird:{QUOTED}@host:-1/v",
    "open bracket": f"amqp://bird:{QUOTED}@[::1/v",
    "scheme": f"redis://bird:{QUOTED}@host/v",
    "no scheme": f"bird:{QUOTED}@host/v",
    "scheme without slashes": f"amqp:bird:{QUOTED}@host/v",
    "scheme with one slash": f"amqp:/bird:{QUOTED}@host/v",
    "scheme without colon": f"amqp//bird:{QUOTED}@host/v",
    "space before": f" amqp://bird:{QUOTED}@host/v",
    "space in the scheme": f"amqp ://bird:{QUOTED}@host/v",
    "quotation marks": f'"amqp://bird:{QUOTED}@host/v"',
    "two URLs": f"amqp://bird:{QUOTED}@a/v,amqp://bird:{QUOTED}@b/v",
    "unix": f"amqp+unix://bird:{QUOTED}@",
    "no user": f"amqp://:{QUOTED}@host/v",
    "invalid escape": f"amqp://bird:%ZZ{A}@host:port",
    "invalid UTF-8": f"amqp://bird:%FF%FE{A}@host/v",
    "lone surrogate": f"amqp://bird:{A}%ED%A0%80@host/v",
    "NUL": f"amqp://bird:{A}%00{B}@host/v",
    "escaped": f"amqp://bird:{ESCAPED}@host:x",
    "unknown parameter": f"amqp://bird:{QUOTED}@host/v?credentials=1",
    "parameter given twice": f"amqp://bird:{QUOTED}@host/v?locale=a&locale=b",
    "value": f"amqp://bird:{QUOTED}@host/v?heartbeat=never",
    "unknown parameter with a password": f"amqp://host/v?password={QUOTED}",
    "key's passphrase": f"amqps://host?ssl_options={{'password':'{A}'}}",
    "key's passphrase, escaped": f"amqps://host?ssl_options=%7B%27password%27:%27{QUOTED}%27%7D",
    "key's passphrase, no literal": f"amqps://host?ssl_options={{'password':'{A}'",
    "key's passphrase, no dictionary": f"amqps://host?ssl_options='{A}'",
    "key's passphrase, name escaped": f"amqps://host?ssl%5Foptions={{'password':'{A}'}}",
    "key's passphrase, not escaped": f"amqps://host?ssl_options={{'password':'{A}&{B}'}}",
    "key's passphrase, with a hash": f"amqps://host?ssl_options={{'password':'{A}#{B}'}}",
    "client properties": f"amqp://host?client_properties={{'token':'{A}'}}",
    "client properties, escaped": f"amqp://host?client_properties=%7B%27token%27:%27{QUOTED}%27%7D",
    "client properties, no literal": f"amqp://host?client_properties={{'token':'{A}'",
    "client properties, too long": f"amqp://host?client_properties={{'token':'{A * 1000}'}}",
}


def show(outputs: Outputs, url: str) -> None:
    """Let everything show a URL that can."""
    conf = config.LazyConfig()
    conf.load_config("")
    conf["amqp_url"] = url
    outputs.add(conf, pformat(conf), amqp_url.redact(url), copy.copy(conf))
    try:
        options = connection_options(conf)
    except ConfigurationException as error:
        outputs.add(error)
    else:
        outputs.add(options, options.address, options.tls)
    try:
        amqp_url.parse(url)
    except ValueError as error:
        outputs.add(error)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_p23_mistakes(outputs: Outputs, mistake: str) -> None:
    show(outputs, MISTAKES[mistake])
    outputs.assert_clean()


@pytest.mark.parametrize("special", SPECIAL)
def test_p23_special_characters_not_escaped(outputs: Outputs, special: str) -> None:
    for before, after, scheme in product(("", A), ("", B), ("amqp", "amqps", "AMQP", "http")):
        for rest in ("host", "host/v", "host:5672/%2F?heartbeat=1", "[::1]:5672", "host:x"):
            if before or after:
                show(outputs, f"{scheme}://bird:{before}{special}{after}@{rest}")
    outputs.assert_clean()


@pytest.mark.parametrize("special", "/?#")
def test_p23_special_characters_after_a_number(special: str) -> None:
    """The number looks like a port, the user like a host; such a URL is no good for anything."""
    for rest in ("host", "host/v", "host:5672/%2F", "host/v?heartbeat=1"):
        with pytest.raises(ValueError, match="percent-encoded") as caught:
            amqp_url.parse(f"amqp://bird:{NUMBER}{special}{B}@{rest}")
        assert NUMBER not in str(caught.value)


# The configuration file


def test_p23_files_with_mistakes(outputs: Outputs, tmp_path: Path) -> None:
    url = f"amqp://bird:{QUOTED}@host/v"
    for number, content in enumerate(
        (
            f'amqp_url = "{url}',
            f"amqp_url = {url}",
            f'amqp_url = "{url}" x',
            f'amqp_url = "{url}"\namqp_url = "{url}"',
            f'amqp_url = "{url}\\q"',
            f'amqp_ulr = "{url}"',
            f'amqp_url = ["{url}", 5]',
            f'amqp_url = {{url = "{url}"}}',
            f'tls = "{url}"',
            f'bindings = ["{url}"]',
            f'queues = ["{url}"]',
            f'[client_properties]\nversion = "{url}"',
            f'[monitoring]\naddress = "{url}"',
        )
    ):
        path = tmp_path / f"{number}.toml"
        path.write_text(content, encoding="utf-8")
        conf = config.LazyConfig()
        with pytest.raises(ConfigurationException) as caught:
            connection_options(conf.load_config(str(path)))
        outputs.add(caught.value)
    outputs.assert_clean()


def test_p23_file_that_is_not_utf8(outputs: Outputs, tmp_path: Path) -> None:
    """An error that says where the byte is carries the whole file with it."""
    path = tmp_path / "config.toml"
    path.write_bytes(f'amqp_url = "amqp://bird:{QUOTED}@host/v"  # '.encode() + b"\xe9")
    with pytest.raises(ConfigurationException, match=r"Failed to parse .*config\.toml: ") as caught:
        config.LazyConfig().load_config(str(path))
    outputs.add(caught.value)
    outputs.assert_clean()


def test_p23_url_file_that_is_not_utf8(outputs: Outputs, tmp_path: Path) -> None:
    path, url_file = tmp_path / "config.toml", tmp_path / "url"
    path.write_text(f'amqp_url_file = "{url_file}"')
    url_file.write_bytes(f"amqp://bird:{QUOTED}@host/\xe9".encode("latin-1"))
    with pytest.raises(ConfigurationException, match="amqp_url_file") as caught:
        config.LazyConfig().load_config(str(path))
    outputs.add(caught.value)
    outputs.assert_clean()


@pytest.mark.parametrize("url", [f"amqp://bird:{QUOTED}@host/v", f"bird:{A}@host", f"amqp://bird:{A}\0@host"])
def test_p23_url_for_the_path_of_its_file(outputs: Outputs, tmp_path: Path, url: str) -> None:
    path = tmp_path / "config.toml"
    text = url.replace("\0", "\\u0000")
    path.write_text(f'amqp_url_file = "{text}"')
    with pytest.raises(ConfigurationException, match="amqp_url_file") as caught:
        config.LazyConfig().load_config(str(path))
    outputs.add(caught.value)
    outputs.assert_clean()


@pytest.mark.parametrize("content", ["amqp://bird:{}@host:x\n", "# The broker\namqp://bird:{}@host/v\n"])
def test_p23_mistakes_in_the_url_file(outputs: Outputs, tmp_path: Path, content: str) -> None:
    path, url_file = tmp_path / "config.toml", tmp_path / "url"
    path.write_text(f'amqp_url_file = "{url_file}"')
    url_file.write_text(content.format(QUOTED))
    conf = config.LazyConfig()
    try:
        outputs.add(connection_options(conf.load_config(str(path))))
    except ConfigurationException as error:
        outputs.add(error)
    with suppress(ConfigurationException):
        outputs.add(conf)
    outputs.assert_clean()


@pytest.mark.parametrize("setting", ["certfile", "keyfile", "ca_cert"])
def test_p23_content_for_the_path_of_its_file(outputs: Outputs, pki: Pki, setting: str) -> None:
    """Whoever puts a key where its path belongs does not see it again."""
    from fedora_messaging.transport.tls import client_context

    good = pki.clients["good"]
    content = f"-----BEGIN PRIVATE KEY-----\n{A}\n{B}\n-----END PRIVATE KEY-----\n"
    conf = config.LazyConfig()
    conf.load_config("")
    conf["amqp_url"] = "amqps://host"
    conf["tls"] = {
        "ca_cert": pki.ca_cert,
        "certfile": good.certfile,
        "keyfile": good.keyfile,
        setting: content,
    }
    outputs.add(conf)
    with pytest.raises(ConfigurationException, match=f'The "{setting}" setting') as caught:
        options = connection_options(conf)
        outputs.add(options)
        assert options.tls is not None
        client_context(options.tls)
    outputs.add(caught.value)
    outputs.assert_clean()


def test_p23_url_in_the_environment(
    outputs: Outputs, settings: config.LazyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(config.URL_VARIABLE, f"amqp://bird:{QUOTED}@host:x")
    settings.load_config("")
    outputs.add(settings)
    with pytest.raises(ConfigurationException, match="malformed") as caught:
        connection_options(settings)
    outputs.add(caught.value)
    outputs.assert_clean()
