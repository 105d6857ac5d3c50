"""Configuration beyond version 3.9: lazy loading, retries, extensions, secrets, typed options."""

from __future__ import annotations

import copy
import logging
import os
import pickle
import re
import traceback
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from fedora_messaging import config, options
from fedora_messaging.config import DEFAULTS, LazyConfig
from fedora_messaging.exceptions import ConfigurationException
from fedora_messaging.settings.to_options import (
    binding_options,
    connection_options,
    qos_options,
    queue_options,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: A password that must show up nowhere (P23).
CANARY = "c4n4ry"
QUEUE = {"durable": True, "auto_delete": False, "exclusive": False, "arguments": {}}
CLIENT_PROPERTIES = DEFAULTS["client_properties"]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the machine's configuration nor its environment."""
    monkeypatch.setenv(config.PATH_VARIABLE, str(tmp_path / "none.toml"))
    monkeypatch.delenv(config.URL_VARIABLE, raising=False)


@pytest.fixture
def toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Write the configuration file that the environment names."""

    def write(text: str) -> str:
        path = tmp_path / "config.toml"
        path.write_text(text, encoding="utf-8")
        monkeypatch.setenv(config.PATH_VARIABLE, str(path))
        return str(path)

    return write


@pytest.fixture
def lazy(toml: Callable[[str], str]) -> LazyConfig:
    """Not yet loaded; its file sets ``publish_exchange`` to "lazy"."""
    toml('publish_exchange = "lazy"')
    return LazyConfig()


def refusal(text: str, toml: Callable[[str], str]) -> str:
    toml(text)
    with pytest.raises(ConfigurationException) as caught:
        LazyConfig().load_config()
    return caught.value.message


# Every access loads

LOADED = {**DEFAULTS, "publish_exchange": "lazy"}


@pytest.mark.parametrize(
    ("access", "expected"),
    [
        pytest.param(lambda c: c["publish_exchange"], "lazy", id="c[k]"),
        pytest.param(lambda c: c.get("publish_exchange"), "lazy", id="get"),
        pytest.param(lambda c: c.get("none", 3), 3, id="get default"),
        pytest.param(lambda c: "publish_exchange" in c, True, id="in"),
        pytest.param(lambda c: "none" in c, False, id="not in"),
        pytest.param(len, len(DEFAULTS), id="len"),
        pytest.param(bool, True, id="bool"),
        pytest.param(list, list(DEFAULTS), id="list"),
        pytest.param(sorted, sorted(DEFAULTS), id="sorted"),
        pytest.param(lambda c: list(reversed(c)), list(reversed(DEFAULTS)), id="reversed"),
        pytest.param(lambda c: list(c.keys()), list(DEFAULTS), id="keys"),
        pytest.param(lambda c: list(c.values()), list(LOADED.values()), id="values"),
        pytest.param(lambda c: list(c.items()), list(LOADED.items()), id="items"),
        pytest.param(lambda c: c == LOADED, True, id="c == d"),
        pytest.param(lambda c: LOADED == c, True, id="d == c"),
        pytest.param(lambda c: c != LOADED, False, id="c != d"),
        pytest.param(lambda c: c == {}, False, id="c == {}"),
        pytest.param(lambda c: c.setdefault("publish_exchange", "mine"), "lazy", id="setdefault"),
        pytest.param(lambda c: c.copy(), LOADED, id="copy"),
        pytest.param(copy.copy, LOADED, id="copy.copy"),
        pytest.param(copy.deepcopy, LOADED, id="copy.deepcopy"),
        pytest.param(lambda c: pickle.loads(pickle.dumps(c)), LOADED, id="pickle"),
        pytest.param(dict, LOADED, id="dict"),
        pytest.param(lambda c: {**c}, LOADED, id="{**c}"),
        pytest.param(lambda c: {} | c, LOADED, id="{} | c"),
        pytest.param(lambda c: c | {}, LOADED, id="c | {}"),
        pytest.param(lambda c: c | {"topic_prefix": "p"}, {**LOADED, "topic_prefix": "p"}, id="c | d"),
    ],
)
def test_every_access_loads(access: Callable[[LazyConfig], Any], expected: Any, lazy: LazyConfig) -> None:
    assert access(lazy) == expected


def test_pattern_matching_loads(lazy: LazyConfig) -> None:
    match lazy:
        case {"publish_exchange": exchange}:
            assert exchange == "lazy"
        case _:
            pytest.fail("an unloaded configuration matches as if it were empty")


def set_item(settings: LazyConfig) -> None:
    settings["topic_prefix"] = "mine"


def merge_in_place(settings: LazyConfig) -> None:
    settings |= {"topic_prefix": "mine"}


@pytest.mark.parametrize(
    "change",
    [
        set_item,
        merge_in_place,
        lambda c: c.update(topic_prefix="mine"),
        lambda c: c.update({"topic_prefix": "mine"}),
        lambda c: c.update([("topic_prefix", "mine")]),
    ],
)
def test_a_change_before_the_first_read_survives_it(
    change: Callable[[LazyConfig], object], lazy: LazyConfig
) -> None:
    change(lazy)
    assert lazy["topic_prefix"] == "mine"
    assert lazy["publish_exchange"] == "lazy"
    assert set(lazy) == set(DEFAULTS)


def test_a_deletion_before_the_first_read_survives_it(lazy: LazyConfig) -> None:
    del lazy["topic_prefix"]
    assert "topic_prefix" not in lazy
    assert lazy["publish_exchange"] == "lazy"


@pytest.mark.parametrize(
    "refused",
    [
        lambda c: c.pop("topic_prefix"),
        lambda c: c.pop("topic_prefix", None),
        lambda c: c.popitem(),
    ],
)
def test_keys_cannot_be_popped(refused: Callable[[LazyConfig], Any], lazy: LazyConfig) -> None:
    with pytest.raises(ConfigurationException, match="cannot be removed"):
        refused(lazy)
    assert len(lazy) == len(DEFAULTS)


def test_is_unhashable(lazy: LazyConfig) -> None:
    with pytest.raises(TypeError):
        hash(lazy)


def test_importing_and_showing_do_not_load(lazy: LazyConfig) -> None:
    assert "LazyConfig" in repr(lazy)
    assert not lazy.loaded


# mock.patch.dict, which copies, clears and updates


def test_patch_dict_before_the_first_read(lazy: LazyConfig) -> None:
    with mock.patch.object(config, "conf", lazy):
        with mock.patch.dict(config.conf, {"topic_prefix": "patched"}):
            assert config.conf["topic_prefix"] == "patched"
            assert config.conf["publish_exchange"] == "lazy"
        assert config.conf["topic_prefix"] == ""
        assert config.conf == LOADED


def test_patch_dict_by_name(lazy: LazyConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "conf", lazy)

    @mock.patch.dict("fedora_messaging.config.conf", {"qos": {"prefetch_count": 1}})
    def inside() -> None:
        assert config.conf["qos"] == {"prefetch_count": 1}

    inside()
    assert config.conf == LOADED


def test_patch_dict_that_clears(lazy: LazyConfig) -> None:
    with mock.patch.dict(lazy, {"topic_prefix": "only"}, clear=True):
        assert dict(lazy) == {"topic_prefix": "only"}
    assert lazy == LOADED


def test_patch_dict_undoes_an_unknown_key(lazy: LazyConfig) -> None:
    with mock.patch.dict(lazy, {"unknown": 1}):
        assert lazy["unknown"] == 1
    assert "unknown" not in lazy


# A failed load

ACCESSES: list[Callable[[LazyConfig], Any]] = [
    lambda c: c["topic_prefix"],
    lambda c: c.get("topic_prefix"),
    lambda c: "topic_prefix" in c,
    len,
    list,
    lambda c: c.copy(),
    lambda c: c.update(topic_prefix="x"),
    set_item,
    lambda c: c.setup_logging(),
]


@pytest.mark.parametrize("broken", ["topic_prefix = ", "no_such_key = 1", "qos = 5"])
@pytest.mark.parametrize("access", ACCESSES)
def test_a_failed_load_fails_again_until_it_is_mended(
    broken: str, access: Callable[[LazyConfig], Any], toml: Callable[[str], str]
) -> None:
    toml(broken)
    settings = LazyConfig()
    for _ in range(2):
        with pytest.raises(ConfigurationException):
            access(settings)
        assert not settings.loaded
    toml('topic_prefix = "mended"')
    assert settings["topic_prefix"] == "mended"


def test_a_failed_reload_keeps_what_was_loaded(lazy: LazyConfig, toml: Callable[[str], str]) -> None:
    assert lazy["publish_exchange"] == "lazy"
    path = toml('publish_exchange = "other"\nno_such_key = 1')
    with pytest.raises(ConfigurationException):
        lazy.load_config(path)
    assert lazy == LOADED


def test_a_reload_forgets_the_old_file(toml: Callable[[str], str], tmp_path: Path) -> None:
    (tmp_path / "url").write_text("amqp://from-file")
    settings = LazyConfig().load_config(toml(f'amqp_url_file = "{tmp_path}/url"\ntopic_prefix = "old"'))
    settings["added"] = 1
    settings.load_config(toml('publish_exchange = "lazy"'))
    assert settings == LOADED


def test_a_load_does_not_share_tables_with_the_defaults(toml: Callable[[str], str]) -> None:
    before = copy.deepcopy(DEFAULTS)
    settings = LazyConfig().load_config(toml("[client_properties]\napp = 'mine'\n[monitoring]\nport = 1"))
    settings["bindings"][0]["routing_keys"].append("x")
    settings["exchanges"]["amq.topic"]["arguments"]["x"] = 1
    settings["log_config"]["root"]["level"] = "DEBUG"
    settings["qos"]["prefetch_count"] = 1
    assert before == DEFAULTS


def test_a_file_in_another_encoding_is_a_configuration_error(tmp_path: Path) -> None:
    path = tmp_path / "latin.toml"
    path.write_bytes('topic_prefix = "caf\xe9"'.encode("latin-1"))
    with pytest.raises(ConfigurationException) as caught:
        LazyConfig().load_config(str(path))
    assert str(path) in caught.value.message


@pytest.mark.parametrize("key", ["client_properties", "monitoring", "qos", "tls", "consumer_config"])
@pytest.mark.parametrize("value", ["5", '"text"', "[]", "true"])
def test_tables_must_be_tables(key: str, value: str, toml: Callable[[str], str]) -> None:
    message = refusal(f"{key} = {value}", toml)
    assert f'"{key}"' in message
    assert f"[{key}]" in message


@pytest.mark.parametrize("text", ["bindings = [1]", 'bindings = ["#"]', "bindings = [[]]"])
def test_a_binding_must_be_a_table(text: str, toml: Callable[[str], str]) -> None:
    assert "list or tuple of dictionaries" in refusal(text, toml)


def test_the_default_application_name_survives_other_properties(toml: Callable[[str], str]) -> None:
    settings = LazyConfig().load_config(toml("[client_properties]\ncontact = 'me'"))
    assert settings["client_properties"] == {**CLIENT_PROPERTIES, "contact": "me"}


# amqp_url_file and FEDORA_MESSAGING_AMQP_URL


def test_extensions_are_invisible_until_they_are_used(lazy: LazyConfig) -> None:
    assert "amqp_url_file" not in DEFAULTS
    assert list(lazy) == list(DEFAULTS)


@pytest.mark.parametrize("content", ["amqp://u:p@h/v", "amqp://u:p@h/v\n", "\n  amqp://u:p@h/v \r\n\n"])
def test_the_url_may_come_from_a_file(content: str, toml: Callable[[str], str], tmp_path: Path) -> None:
    (tmp_path / "url").write_text(content)
    settings = LazyConfig().load_config(
        toml(f'amqp_url = "amqp://ignored"\namqp_url_file = "{tmp_path}/url"')
    )
    assert settings["amqp_url"] == "amqp://u:p@h/v"


def test_the_key_of_the_url_file_is_lower_cased_too(toml: Callable[[str], str], tmp_path: Path) -> None:
    (tmp_path / "url").write_text("amqp://h")
    assert LazyConfig().load_config(toml(f'AMQP_URL_FILE = "{tmp_path}/url"'))["amqp_url"] == "amqp://h"


@pytest.mark.parametrize("value", ["5", "[]", "{}", "true"])
def test_the_url_file_must_be_a_path(value: str, toml: Callable[[str], str]) -> None:
    assert '"amqp_url_file"' in refusal(f"amqp_url_file = {value}", toml)


@pytest.mark.parametrize("kind", ["missing", "directory", "binary"])
def test_an_unreadable_url_file_is_a_configuration_error(
    kind: str, toml: Callable[[str], str], tmp_path: Path
) -> None:
    path = tmp_path / "url"
    if kind == "directory":
        path.mkdir()
    elif kind == "binary":
        path.write_bytes(b"amqp://\xff")
    message = refusal(f'amqp_url_file = "{path}"', toml)
    assert '"amqp_url_file"' in message
    assert str(path) in message


@pytest.mark.parametrize("content", ["", " \n"])
def test_an_empty_url_file_does_not_mean_localhost(
    content: str, toml: Callable[[str], str], tmp_path: Path
) -> None:
    (tmp_path / "url").write_text(content)
    assert '"amqp_url_file"' in refusal(f'amqp_url_file = "{tmp_path}/url"', toml)


def test_the_environment_overrides_the_url(
    toml: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(config.URL_VARIABLE, "amqp://from-environment")
    path = toml('amqp_url = "amqp://from-toml"\namqp_url_file = "/nonexistent"')
    assert LazyConfig().load_config(path)["amqp_url"] == "amqp://from-environment"


def test_the_environment_overrides_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(config.URL_VARIABLE, "amqp://from-environment")
    assert LazyConfig()["amqp_url"] == "amqp://from-environment"


def test_an_empty_variable_is_no_url(toml: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(config.URL_VARIABLE, "")
    assert LazyConfig().load_config(toml('amqp_url = "amqp://h"'))["amqp_url"] == "amqp://h"


# Secrets (P23)


def everything_shown(error: BaseException) -> str:
    """What any handler could print: text, repr, arguments and the traceback with all causes."""
    seen: set[int] = set()
    shown = []
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        shown += [str(link), repr(link), repr(link.args)]
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return "\n".join([*shown, *traceback.format_exception(error)])


URLS_WITH_PASSWORD = [
    f"amqp://user:{CANARY}@host",
    f"AMQPS://user:{CANARY}@host:5671/vhost?heartbeat=3",
    f"amqps://:{CANARY}@host",
    f"amqp://user:{CANARY}@[::1]:5672/%2F",
    f"user:{CANARY}@host",
    f"amqp://user:{CANARY}@h@ost",
    f"amqp://user:x@{CANARY}@host",
    f"amqp://user:{CANARY}/x@host",
    f"amqp://user:{CANARY}#x@host",
    f"amqp://user:{CANARY}?x@host",
    f"amqp://user:1?{CANARY}@host",
    f"amqp://user:x://{CANARY}@host",
    f"amqp://user:[{CANARY}]@host",
    f"amqp://user:[{CANARY}@host",
    f"amqp://user:{CANARY}\uff1a@host",
    f"amqp://user:{CANARY}@host:port",
    f"amqp://user:{CANARY}@host:99999",
    f"amqp://user:{CANARY}@host?unknown=1",
    f"amqp://user:{CANARY}@host?heartbeat=x",
    f"nonsense://user:{CANARY}@host",
    f"amqps://host?ssl_options={{'password':'{CANARY}'}}",
    f"amqps://host?ssl_options={{'password':'{CANARY}'",
    f"amqps://host?ssl_options=%7B%27password%27%3A%27{CANARY}%27%7D",
    f"amqps://host?ssl_options='{CANARY}'",
    f"amqp+unix://user:{CANARY}@/run/broker",
]


@pytest.mark.parametrize("url", URLS_WITH_PASSWORD)
def test_p23_showing_the_configuration_hides_the_password(url: str, toml: Callable[[str], str]) -> None:
    settings = LazyConfig().load_config(toml(f"amqp_url = '''{url}'''"))
    assert settings["amqp_url"] == url
    for shown in (repr(settings), str(settings), f"{settings}", repr([settings])):
        assert CANARY not in shown
        assert "publish_exchange" in shown


@pytest.mark.parametrize("url", URLS_WITH_PASSWORD)
def test_p23_options_and_url_errors_hide_the_password(url: str) -> None:
    try:
        connection = connection_options({**DEFAULTS, "amqp_url": url})
    except ConfigurationException as error:
        shown = everything_shown(error)
        assert '"amqp_url" is invalid' in shown
    else:
        shown = f"{connection} {connection!r} {connection.address}"
    assert CANARY not in shown


@pytest.mark.parametrize(
    "mistake",
    [
        "topic_prefix = ",
        "no_such_key = 1",
        "qos = 5",
        "queues = {q = {}}",
        "bindings = [{}]",
        "[client_properties]\nversion = 'x'",
        "[monitoring]\naddress = 'x'",
        "amqp_url_file = '/nonexistent'",
        "amqp_url = 'amqp://twice'",
    ],
)
def test_p23_errors_of_a_file_with_a_password_hide_it(mistake: str, toml: Callable[[str], str]) -> None:
    path = toml(f"amqp_url = 'amqp://user:{CANARY}@host'\n{mistake}")
    with pytest.raises(ConfigurationException) as caught:
        LazyConfig().load_config(path)
    assert CANARY not in everything_shown(caught.value)


@pytest.mark.parametrize("source", ["toml", "file", "environment"])
def test_p23_loading_does_not_log_the_password(
    source: str,
    toml: Callable[[str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    url = f"amqps://user:{CANARY}@host"
    if source == "toml":
        toml(f'amqp_url = "{url}"\n[tls]\ncertfile = "c.pem"\nkeyfile = "k.pem"')
    elif source == "file":
        (tmp_path / "url").write_text(url)
        toml(f'amqp_url_file = "{tmp_path}/url"')
    else:
        monkeypatch.setenv(config.URL_VARIABLE, url)
    settings = LazyConfig().load_config()
    assert connection_options(settings).password == CANARY
    assert caplog.messages
    assert CANARY not in caplog.text


@pytest.mark.parametrize("value", [5, None, b"amqp://h", [], ["amqp://h", 5], {}])
def test_the_url_must_be_text(value: object) -> None:
    with pytest.raises(ConfigurationException, match='"amqp_url"'):
        connection_options({**DEFAULTS, "amqp_url": value or value})


# Typed options


def settings_with(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(DEFAULTS), **changes}


def test_default_connection() -> None:
    assert connection_options(settings_with()) == options.ConnectionOptions(
        client_properties=CLIENT_PROPERTIES
    )


def test_an_explicit_url_wins() -> None:
    settings = settings_with(amqp_url="amqp://other")
    assert connection_options(settings, "amqp://mine").host == "mine"
    assert connection_options(settings, None).host == "other"


def test_a_loaded_configuration_will_do(lazy: LazyConfig) -> None:
    assert connection_options(lazy).client_properties == CLIENT_PROPERTIES


def test_client_properties_are_copied_from_the_configuration() -> None:
    settings = settings_with(client_properties={**CLIENT_PROPERTIES, "app": "mine"})
    given = connection_options(settings).client_properties
    assert given == {**CLIENT_PROPERTIES, "app": "mine"}
    assert given is not settings["client_properties"]


def test_client_properties_of_the_url_replace_the_configured() -> None:
    settings = settings_with(amqp_url="amqp://?client_properties={'app':'url'}")
    assert connection_options(settings).client_properties == {"app": "url"}


FILES = {"ca_cert": "ca.pem", "certfile": "cert.pem", "keyfile": "key.pem"}


@pytest.mark.parametrize("scheme", ["amqps", "AMQPS", "AmqpS", "https"])
def test_tls_is_chosen_whatever_the_case(scheme: str) -> None:
    """Capitals in the scheme do not skip the TLS settings."""
    chosen = connection_options(settings_with(amqp_url=f"{scheme}://host", tls=FILES))
    assert chosen.tls == options.TLSOptions("ca.pem", "cert.pem", "key.pem")
    assert chosen.port == 5671
    assert chosen.external
    assert chosen.address == "amqps://host:5671"


def test_tls_options_in_the_url_use_the_tls_table() -> None:
    chosen = connection_options(settings_with(amqp_url="amqp://host?ssl_options={}", tls=FILES))
    assert chosen.tls == options.TLSOptions("ca.pem", "cert.pem", "key.pem")
    assert chosen.external


@pytest.mark.parametrize("scheme", ["amqp", "AMQP", "http"])
def test_the_tls_table_does_not_make_plain_urls_secure(scheme: str) -> None:
    chosen = connection_options(settings_with(amqp_url=f"{scheme}://host", tls=FILES))
    assert chosen.tls is None
    assert not chosen.external


@pytest.mark.parametrize(
    ("table", "expected", "external"),
    [
        (FILES, options.TLSOptions("ca.pem", "cert.pem", "key.pem"), True),
        ({"certfile": "c", "keyfile": "k"}, options.TLSOptions(None, "c", "k"), True),
        ({"ca_cert": "ca.pem"}, options.TLSOptions("ca.pem"), False),
        ({**FILES, "keyfile": None}, options.TLSOptions("ca.pem"), False),
        ({**FILES, "certfile": None}, options.TLSOptions("ca.pem"), False),
        ({**FILES, "keyfile": ""}, options.TLSOptions("ca.pem"), False),
        ({"certfile": "cert.pem"}, options.TLSOptions(), False),
        ({"keyfile": "key.pem"}, options.TLSOptions(), False),
        ({"ca_cert": ""}, options.TLSOptions(), False),
        ({}, options.TLSOptions(), False),
    ],
)
def test_client_certificates(table: dict[str, Any], expected: options.TLSOptions, external: bool) -> None:
    """Only a certificate with its key logs in; defaults complete a partial table."""
    chosen = connection_options(settings_with(amqp_url="amqps://fedora:@host", tls=table))
    assert chosen.tls == expected
    assert chosen.external is external
    assert (chosen.username, chosen.password) == ("fedora", "")


def test_certificate_login_names_both_files_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    connection_options(settings_with(amqp_url="amqps://host", tls=FILES))
    [record] = caplog.records
    assert record.levelno == logging.INFO
    assert "cert.pem" in record.getMessage()
    assert "key.pem" in record.getMessage()


def test_a_user_without_password_is_a_configuration_error() -> None:
    """The error shows how to write the password."""
    with pytest.raises(ConfigurationException) as caught:
        connection_options(settings_with(amqp_url="amqp://user@host"))
    assert "user:password@" in caught.value.message


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({}, options.QosOptions(10, 0)),
        ({"prefetch_count": 3}, options.QosOptions(3, 0)),
        ({"prefetch_size": 3}, options.QosOptions(10, 3)),
        ({"prefetch_count": 0, "prefetch_size": 0}, options.QosOptions(0, 0)),
        ({"prefetch_count": 65535, "prefetch_size": 2**32 - 1}, options.QosOptions(65535, 2**32 - 1)),
    ],
)
def test_qos(table: dict[str, int], expected: options.QosOptions) -> None:
    """Defaults complete a partial table."""
    assert qos_options(settings_with(qos=table)) == expected


@pytest.mark.parametrize("value", [-1, "10", 1.0, True, None, [1]])
@pytest.mark.parametrize("key", ["prefetch_count", "prefetch_size"])
def test_bad_qos(key: str, value: Any) -> None:
    with pytest.raises(ConfigurationException, match=key):
        qos_options(settings_with(qos={key: value}))


@pytest.mark.parametrize(("key", "value"), [("prefetch_count", 65536), ("prefetch_size", 2**32)])
def test_qos_beyond_the_wire_format(key: str, value: int) -> None:
    with pytest.raises(ConfigurationException, match=key):
        qos_options(settings_with(qos={key: value}))


def test_queue() -> None:
    settings = {**QUEUE, "arguments": {"x-expires": 5}}
    assert queue_options("q", settings, passive=False) == options.QueueOptions(
        name="q",
        durable=True,
        auto_delete=False,
        exclusive=False,
        arguments={"x-expires": 5},
        passive=False,
    )


@pytest.mark.parametrize(
    ("own", "default", "expected"),
    [
        ({}, False, False),
        ({}, True, True),
        ({"passive": True}, False, True),
        ({"passive": False}, True, False),
    ],
)
def test_passive_queue(own: dict[str, bool], default: bool, expected: bool) -> None:
    assert queue_options("q", {**QUEUE, **own}, passive=default).passive is expected


def test_queue_without_arguments() -> None:
    assert queue_options("q", {**QUEUE, "arguments": None}, passive=False).arguments == {}


def test_queue_with_an_unknown_setting() -> None:
    with pytest.raises(TypeError, match="the q queue has unknown settings: colour, size"):
        queue_options("q", {**QUEUE, "size": 1, "colour": "red"}, passive=False)


def test_bindings_one_per_routing_key() -> None:
    bindings: list[dict[str, Any]] = [
        {"queue": "q", "exchange": "e", "routing_keys": ["a", "b"]},
        {"queue": "other", "exchange": "e", "routing_keys": ["c"]},
        {"queue": "q", "exchange": "f", "routing_keys": []},
        {"queue": "q", "exchange": "g", "routing_keys": ("d",), "arguments": {"x-match": "all"}},
    ]
    assert binding_options(bindings, "q") == [
        options.BindingOptions("e", "a"),
        options.BindingOptions("e", "b"),
        options.BindingOptions("g", "d", {"x-match": "all"}),
    ]


def test_a_binding_without_queue_is_the_server_named_queues() -> None:
    bindings = [{"exchange": "e", "routing_keys": ["a"]}]
    assert binding_options(bindings, "") == [options.BindingOptions("e", "a")]
    assert binding_options(bindings, "q") == []


def test_default_bindings_and_queue() -> None:
    [(name, settings)] = DEFAULTS["queues"].items()
    queue = queue_options(name, settings, DEFAULTS["passive_declares"])
    assert queue == options.QueueOptions(auto_delete=True, exclusive=True)
    assert binding_options(DEFAULTS["bindings"], queue.name) == [options.BindingOptions("amq.topic", "#")]


def test_binding_with_an_unknown_setting() -> None:
    with pytest.raises(TypeError, match="unknown settings: routing_key"):
        binding_options([{"exchange": "e", "routing_keys": [], "routing_key": "a"}], "")


def test_the_path_variable_is_read_at_load_time(lazy: LazyConfig, toml: Callable[[str], str]) -> None:
    toml('publish_exchange = "later"')
    assert lazy["publish_exchange"] == "later"
    assert os.environ[config.PATH_VARIABLE]


@pytest.mark.parametrize(
    ("formatter", "expected"),
    [
        ({"format": "%(message)s"}, r"\d{4}-\d\d-\d\d .*hello"),
        ({"format": "{message}", "style": "{"}, r"\d{4}-\d\d-\d\d .*hello"),
        ({"format": "$message", "style": "$"}, r"\d{4}-\d\d-\d\d .*hello"),
        ({"format": "at %(asctime)s %(message)s"}, r"at \d{4}-\d\d-\d\d .*hello"),
    ],
)
def test_log_timestamps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], formatter: dict[str, str], expected: str
) -> None:
    log_config = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"mine": formatter},
        "handlers": {
            "out": {"class": "logging.StreamHandler", "formatter": "mine", "stream": "ext://sys.stdout"}
        },
        "loggers": {"timestamps": {"level": "INFO", "handlers": ["out"], "propagate": False}},
    }
    settings = config.LazyConfig()
    settings["log_config"] = log_config
    settings["log_timestamps"] = True
    settings.setup_logging()
    logging.getLogger("timestamps").info("hello")
    assert re.fullmatch(expected, capsys.readouterr().out.strip())
    # The configuration itself stays as it was written.
    assert settings["log_config"]["formatters"]["mine"] == formatter
