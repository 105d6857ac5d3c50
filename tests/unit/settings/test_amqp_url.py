"""AMQP URLs: every part and parameter, mistakes, and what must not happen (P23, P28)."""

from __future__ import annotations

import re
import sys
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from fedora_messaging.options import ConnectionOptions, TLSOptions
from fedora_messaging.settings import amqp_url

TLS = TLSOptions()


def changed(url: str) -> dict[str, Any]:
    """What a URL sets to something else than the default."""
    parsed, default = amqp_url.parse(url), ConnectionOptions()
    return {name: value for name, value in parsed._asdict().items() if value != getattr(default, name)}


def refusal(url: str) -> str:
    with pytest.raises(ValueError, match=".") as caught:
        amqp_url.parse(url)
    return str(caught.value)


def test_what_is_not_given_has_its_default() -> None:
    parsed = amqp_url.parse("amqp://")
    assert parsed == ConnectionOptions()
    assert (parsed.host, parsed.port, parsed.vhost) == ("localhost", 5672, "/")
    assert (parsed.username, parsed.password, parsed.external) == ("guest", "guest", False)
    assert (parsed.channel_max, parsed.frame_max, parsed.heartbeat) == (65535, 131072, None)
    assert (parsed.locale, parsed.tls, parsed.blocked_connection_timeout) == ("en_US", None, None)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("", {}),
        ("amqp://?connection_attempts=3&retry_delay=5", {}),
        ("amqp://host", {"host": "host"}),
        ("host", {"host": "host"}),
        ("host:1", {"host": "host", "port": 1}),
        ("//host", {"host": "host"}),
        ("AMQP://host", {"host": "host"}),
        ("http://host", {"host": "host"}),
        ("amqps://host", {"host": "host", "port": 5671, "tls": TLS}),
        ("AMQPS://host", {"host": "host", "port": 5671, "tls": TLS}),
        ("https://host", {"host": "host", "port": 5671, "tls": TLS}),
        ("amqps://host:5672", {"host": "host", "tls": TLS}),
        ("amqp://:5673", {"port": 5673}),
        ("amqp://[::1]", {"host": "::1"}),
        ("amqp://[::1]:5673", {"host": "::1", "port": 5673}),
        ("amqp://192.0.2.1:5673/", {"host": "192.0.2.1", "port": 5673}),
        ("amqp://u:p@", {"username": "u", "password": "p"}),
        ("amqp://u:@", {"username": "u", "password": ""}),
        ("amqp://:p@", {"username": "", "password": "p"}),
        ("amqp://u%40d:p%2F%3A%25@h", {"username": "u@d", "password": "p/:%", "host": "h"}),
        ("amqp://u:a@b@h", {"username": "u", "password": "a@b", "host": "h"}),
        ("amqp://u:a:b@h", {"username": "u", "password": "a:b", "host": "h"}),
        ("amqp://u:p+q@h", {"username": "u", "password": "p+q", "host": "h"}),
        ("amqp:///v", {"vhost": "v"}),
        ("amqp:///%2F", {}),
        ("amqp:///%2Fpublic_pubsub", {"vhost": "/public_pubsub"}),
        ("amqp:///a%20b", {"vhost": "a b"}),
        ("amqp:///v/ignored/also", {"vhost": "v"}),
        ("amqp://h/v?heartbeat=1", {"host": "h", "vhost": "v", "heartbeat": 1}),
        ("amqp+unix:///run/broker.sock", {"unix_path": "/run/broker.sock"}),
        ("amqp+unix:///run/a%20b", {"unix_path": "/run/a b"}),
        ("amqp+unix:///run/b?vhost=v", {"unix_path": "/run/b", "vhost": "v"}),
        ("amqp+unix://u:p@/run/b", {"unix_path": "/run/b", "username": "u", "password": "p"}),
    ],
)
def test_parts(url: str, expected: dict[str, Any]) -> None:
    assert changed(url) == expected


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        ("heartbeat=0", {"heartbeat": 0}),
        ("heartbeat=60", {"heartbeat": 60}),
        ("heartbeat=65535", {"heartbeat": 65535}),
        ("connection_attempts=1", {}),
        ("connection_attempts=1000000", {}),
        ("retry_delay=0", {}),
        ("retry_delay=2.5", {}),
        ("blocked_connection_timeout=0", {"blocked_connection_timeout": 0.0}),
        ("blocked_connection_timeout=1.5", {"blocked_connection_timeout": 1.5}),
        ("channel_max=1", {"channel_max": 1}),
        ("channel_max=65535", {}),
        ("frame_max=131072", {}),
        ("frame_max=100000", {"frame_max": 100000}),
        ("frame_max=8192", {"frame_max": 8192}),
        # RabbitMQ 4.1 and newer refuse less than 8192.
        ("frame_max=4096", {"frame_max": 8192}),
        ("locale=de_DE", {"locale": "de_DE"}),
        ("socket_timeout=0.1", {}),
        ("stack_timeout=0.1", {}),
        ("ssl_options={}", {"tls": TLS, "port": 5671}),
        ("ssl_options={'ca_certs':'x','password':None}", {"tls": TLS, "port": 5671}),
        ("client_properties={'app':'x'}", {"client_properties": {"app": "x"}}),
        ("client_properties=%7B%27app%27%3A%27x%27%7D", {"client_properties": {"app": "x"}}),
        ("client_properties={'n':{'a':[1,True,None]}}", {"client_properties": {"n": {"a": [1, True, None]}}}),
        ("tcp_options={'TCP_KEEPIDLE':60}", {}),
        ("vhost=v", {"vhost": "v"}),
    ],
)
def test_parameters(parameter: str, expected: dict[str, Any]) -> None:
    assert changed(f"amqp://?{parameter}") == expected


def test_parameters_together() -> None:
    assert changed("amqp://h?heartbeat=5&channel_max=7&locale=C") == {
        "host": "h",
        "heartbeat": 5,
        "channel_max": 7,
        "locale": "C",
    }


@pytest.mark.parametrize("port", [1, 5672])
def test_ssl_options_keep_an_explicit_port(port: int) -> None:
    parsed = amqp_url.parse(f"amqp://host:{port}?ssl_options={{}}")
    assert (parsed.tls, parsed.port) == (TLS, port)


def test_ssl_options_of_a_secure_url_change_nothing() -> None:
    assert amqp_url.parse("amqps://host?ssl_options={}") == amqp_url.parse("amqps://host")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("heartbeat", "-1"),
        ("heartbeat", "65536"),
        ("heartbeat", "x"),
        ("heartbeat", ""),
        ("heartbeat", "1.5"),
        ("heartbeat", "9" * 5000),
        ("connection_attempts", "0"),
        ("connection_attempts", "x"),
        ("retry_delay", "x"),
        ("retry_delay", "nan"),
        ("blocked_connection_timeout", "-0.1"),
        ("blocked_connection_timeout", "nan"),
        ("blocked_connection_timeout", "x"),
        ("channel_max", "0"),
        ("channel_max", "65536"),
        ("channel_max", "x"),
        ("frame_max", "4095"),
        ("frame_max", "131073"),
        ("frame_max", "x"),
        ("socket_timeout", "0"),
        ("socket_timeout", "-1"),
        ("socket_timeout", "nan"),
        ("stack_timeout", "0"),
        ("stack_timeout", "x"),
        ("ssl_options", ""),
        ("ssl_options", "x"),
        ("ssl_options", "[]"),
        ("client_properties", "1"),
        ("client_properties", "{"),
        ("client_properties", "{[]: 1}"),
        ("tcp_options", "'x'"),
    ],
)
def test_bad_values(name: str, value: str) -> None:
    message = refusal(f"amqp://?{name}={quote(value)}")
    assert message.startswith(f"Invalid {name} value")


@pytest.mark.parametrize(
    "name", ["unknown", "Heartbeat", "credentials", "backpressure_detection", "ssl", "host", ""]
)
def test_unknown_parameters(name: str) -> None:
    assert refusal(f"amqp://?{name}=1").startswith(f"Unknown URL parameter: {name!r}")


@pytest.mark.parametrize("name", ["heartbeat", "locale", "ssl_options", "connection_attempts"])
def test_a_parameter_given_twice(name: str) -> None:
    assert f"{name!r} is given twice" in refusal(f"amqp://?{name}=1&{name}=1")


@pytest.mark.parametrize("scheme", ["ftp", "amqp+tcp", "amqpss", "AMQPX", "amqps+unix"])
def test_unknown_schemes(scheme: str) -> None:
    assert "amqp://" in refusal(f"{scheme}://host")


@pytest.mark.parametrize("url", ["amqp://h:x", "amqp://h:-1", "amqp://h:65536", "amqp://[::1", "amqp://[x]"])
def test_malformed_urls(url: str) -> None:
    assert "malformed" in refusal(url)


@pytest.mark.parametrize("url", ["amqp://user@host", "user@host", "amqps://user@"])
def test_a_user_without_password(url: str) -> None:
    """The error shows both ways to write a password, the empty one too."""
    message = refusal(url)
    assert "user:password@" in message
    assert "user:@" in message


@pytest.mark.parametrize("url", ["amqp+unix://", "amqp+unix://?vhost=v"])
def test_a_unix_url_needs_a_path(url: str) -> None:
    assert "path" in refusal(url)


# P28: parameters are literals with limits, never code


@pytest.mark.parametrize("name", ["ssl_options", "client_properties", "tcp_options"])
@pytest.mark.parametrize(
    "text",
    [
        "__import__('sys').modules.setdefault('p28', 1)",
        "{'a': __import__('sys').modules.setdefault('p28', 1)}",
        "{'a': [x for x in ()]}",
        "dict(a=1)",
        "{**{}}",
        "{'a': f'{1}'}",
        "{'a': 1 if True else 2}",
        "\0",
        "{'a': '\0'}",
        "{" * 2000,
        "-" * 4000 + "1",
        "{'a': " + "(" * 300 + ")" * 300 + "}",
    ],
)
def test_p28_parameters_are_not_evaluated(name: str, text: str) -> None:
    assert refusal(f"amqp://?{name}={quote(text)}").startswith(f"Invalid {name} value")
    assert "p28" not in sys.modules


@pytest.mark.parametrize("name", ["ssl_options", "client_properties", "tcp_options"])
def test_p28_literals_are_bounded(name: str) -> None:
    head, tail = "{'a': '", "'}"
    fits = head + "x" * (4096 - len(head + tail)) + tail
    amqp_url.parse(f"amqp://?{name}={quote(fits)}")
    assert "4096" in refusal(f"amqp://?{name}={quote(fits + ' ')}")


# Anything at all

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
SETTINGS = settings(derandomize=True, deadline=None, max_examples=200)


@SETTINGS
@given(
    st.text(max_size=60)
    | st.from_regex(r"amqps?://[^?]{0,20}\?(heartbeat|ssl_options|client_properties)=.{0,20}")
)
def test_any_text_is_read_or_refused(url: str) -> None:
    try:
        amqp_url.parse(url)
    except ValueError as error:
        assert str(error)
    assert isinstance(amqp_url.redact(url), str)


@SETTINGS
@given(TEXT, TEXT, TEXT)
def test_quoted_parts_come_back(user: str, password: str, vhost: str) -> None:
    assume(vhost)
    url = f"amqp://{quote(user, safe='')}:{quote(password, safe='')}@host/{quote(vhost, safe='')}"
    parsed = amqp_url.parse(url)
    assert (parsed.username, parsed.password, parsed.vhost) == (user, password, vhost)


# P23: passwords are shown to nobody


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqp://host/v?heartbeat=1", "amqp://host/v?heartbeat=1"),
        ("amqp://user:secret@host/v", "amqp://user:***@host/v"),
        ("amqps://user:@host", "amqps://user:***@host"),
        ("amqp://user@host", "amqp://user@host"),
        ("user:secret@host", "user:***@host"),
        ("amqp://user:se@cr@et@host", "amqp://user:***@host"),
        ("amqp://user:se:cr/et@host", "amqp://user:***@host"),
        ("", ""),
    ],
)
def test_p23_redact(url: str, shown: str) -> None:
    assert amqp_url.redact(url) == shown


@SETTINGS
@given(
    st.sampled_from(["amqp://", "AMQPS://", "", "amqp+unix://", "x://"]),
    st.text("c4n4ry/?#@:[]%&=+ .0a\uff1a\u2100\\", max_size=8),
    st.text("c4n4ry/?#@:[]%&=+ .0a\uff1a\u2100\\", max_size=8),
    st.sampled_from(["host", "[::1]", "host:1", "host/v?heartbeat=x", "host?unknown=1", "host:x", ""]),
)
@example("amqp://", "", "/", "host")
@example("amqp://", "", "#", "host")
@example("amqp://", "1?", "", "host")
@example("amqp://", "[", "]", "host")
@example("amqp://", "://", "", "host")
@example("amqp://", "\uff1a", "", "host")
def test_p23_no_password_in_errors(scheme: str, before: str, after: str, rest: str) -> None:
    """A password that was not quoted ends up in the wrong part of the URL, and in no text."""
    assume(scheme or "://" not in f":{before}CANARY{after}")  # what comes before it would be the scheme
    url = f"{scheme}user:{before}CANARY{after}@{rest}"
    assert "CANARY" not in amqp_url.redact(url)
    try:
        parsed = amqp_url.parse(url)
    except ValueError as error:
        assert "canary" not in str(error).lower()
    else:
        # Read as another part than the password, it is shown as that part.
        if re.search("canary", parsed.password, re.IGNORECASE):
            assert "canary" not in f"{parsed!r} {parsed.address}".lower()


@pytest.mark.parametrize(
    "url",
    [
        "amqps://host?ssl_options={'password':'CANARY'}",
        "amqps://host?ssl_options=%7B'password':'CANARY'%7D",
        "amqps://u:p@host?heartbeat=1&ssl_options={'password':'CANARY'}&locale=C",
    ],
)
def test_p23_redact_the_password_of_a_key(url: str) -> None:
    shown = amqp_url.redact(url)
    assert "CANARY" not in shown
    assert "host" in shown
