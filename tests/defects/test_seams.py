"""Names that programs' tests patch or reach for, used as they use them."""

from __future__ import annotations

import datetime
import importlib
import logging
import os
import uuid
from typing import TYPE_CHECKING, Any
from unittest import mock

import click
import pytest
from click.testing import CliRunner
from tests.client.support import queue_settings

import fedora_messaging
from fedora_messaging import api, cli, config, message
from fedora_messaging.config import LazyConfig
from fedora_messaging.exceptions import HaltConsumer
from fedora_messaging.message import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NAMES = {
    "api": (
        "SERIALIZED_MESSAGE_SCHEMA SEVERITIES Message consume dumps loads pre_publish_signal publish"
        " publish_failed_signal publish_signal twisted_consume twisted_publish config exceptions crochet"
        " inspect logging _twisted_service _init_twisted_service _check_callback _twisted_publish_wrapper"
        " _twisted_consume_wrapper _log"
    ),
    "config": (
        "conf DEFAULTS LazyConfig validate_bindings validate_queues validate_client_properties"
        " validate_monitoring CallbackType BindingConfig BaseBinding BindingsType QueueConfig"
        " NamedQueueConfig BaseExchangeConfig ExchangeConfig ExchangeDefinition ClientProperties QOSConfig"
        " TLSConfig ConfigType _default_queue_name _log _fedora_version"
    ),
    "message": (
        "Message DEBUG INFO WARNING ERROR SEVERITIES SERIALIZED_MESSAGE_SCHEMA HeaderType get_class get_name"
        " get_message load_message_classes load_message dumps loads _schema_name_to_class"
        " _class_to_schema_name _schema_name_to_package _registry_loaded _get_class_from_headers"
        " _get_distribution_from_module _log"
    ),
    "exceptions": (
        "BaseException NoFreeChannels PermissionException BadDeclaration ConfigurationException"
        " PublishException PublishReturned PublishTimeout PublishForbidden ConnectionException"
        " ConsumeException ConsumerCanceled Nack Drop HaltConsumer ValidationError"
    ),
    "signals": "pre_publish_signal publish_signal publish_failed_signal",
    "schema_utils": "user_avatar_url libravatar_url",
    "testing": "mock_sends",
    "example": "printer",
    "cli": "cli consume publish record replay reconsume Recorder DEFAULT_DATAGREPPER_URL",
}


@pytest.mark.parametrize("path", [f"{module}.{name}" for module in NAMES for name in NAMES[module].split()])
def test_every_name_is_there(path: str) -> None:
    """Each name is there; those that need Twisted are in test_imports.py."""
    module, _, name = path.partition(".")
    assert hasattr(importlib.import_module(f"fedora_messaging.{module}"), name)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("config._default_queue_name", ""),
        ("config._fedora_version", fedora_messaging.__version__),
        ("message.DEBUG", 10),
        ("message.ERROR", 40),
        ("message.SEVERITIES", (10, 20, 30, 40)),
    ],
)
def test_values(path: str, expected: object) -> None:
    module, _, name = path.partition(".")
    assert getattr(importlib.import_module(f"fedora_messaging.{module}"), name) == expected


@pytest.mark.parametrize("name", ["api", "config", "message", "cli"])
def test_loggers(name: str) -> None:
    module: Any = importlib.import_module(f"fedora_messaging.{name}")
    assert module._log is logging.getLogger(f"fedora_messaging.{name}")


@pytest.mark.parametrize("name", ["cli", "consume", "publish", "record", "replay", "reconsume"])
def test_commands_are_clicks(name: str) -> None:
    """Not the modules that they are in."""
    assert isinstance(getattr(cli, name), click.Command)
    assert isinstance(cli.cli, click.Group)


# config


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> LazyConfig:
    """A configuration that nothing has read."""
    monkeypatch.delenv(config.PATH_VARIABLE, raising=False)
    monkeypatch.delenv(config.URL_VARIABLE, raising=False)
    return LazyConfig()


def test_config_log_and_exists(unread: LazyConfig) -> None:
    """One line, already formatted, for one look at the path."""
    with (
        mock.patch("fedora_messaging.config._log") as log,
        mock.patch("fedora_messaging.config.os.path.exists", return_value=False) as exists,
    ):
        unread.load_config()
    exists.assert_called_once_with("/etc/fedora-messaging/config.toml")
    log.info.assert_called_once_with(
        "The configuration file, /etc/fedora-messaging/config.toml, does not exist."
    )


@pytest.mark.parametrize("autospec", [True, False])
def test_config_open(unread: LazyConfig, autospec: bool) -> None:
    content = mock.mock_open(read_data=b'topic_prefix = "canary"')
    opened = mock.patch("fedora_messaging.config.open", content, create=True)
    with opened, mock.patch("fedora_messaging.config.os.path.exists", return_value=True):
        if autospec:
            assert unread["topic_prefix"] == "canary"
        else:
            assert unread.load_config("/some/where")["topic_prefix"] == "canary"
    path = "/etc/fedora-messaging/config.toml" if autospec else "/some/where"
    content.assert_called_once_with(path, "rb")


def test_config_environment(unread: LazyConfig, tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text('topic_prefix = "canary"')
    with mock.patch.dict(os.environ, {"FEDORA_MESSAGING_CONF": str(tmp_path / "my.toml")}):
        assert unread["topic_prefix"] == "canary"


def test_config_environment_of_the_module(unread: LazyConfig) -> None:
    with (
        mock.patch.dict("fedora_messaging.config.os.environ", {"FEDORA_MESSAGING_CONF": "/my/config.toml"}),
        mock.patch("fedora_messaging.config.os.path.exists", return_value=False) as exists,
    ):
        unread.load_config()
    exists.assert_called_once_with("/my/config.toml")


def test_config_dict_config(unread: LazyConfig) -> None:
    with mock.patch("fedora_messaging.config.logging.config.dictConfig") as dict_config:
        unread.setup_logging()
    dict_config.assert_called_once_with(unread["log_config"])


def test_load_config_of_the_instance(unread: LazyConfig) -> None:
    def load() -> None:
        dict.update(unread, canary=1)
        unread.loaded = True

    unread.load_config = mock.Mock(side_effect=load)  # type: ignore[method-assign]
    assert unread["canary"] == 1
    unread.load_config.assert_called_once_with()
    assert unread["canary"] == 1
    unread.load_config.assert_called_once_with()


@pytest.mark.parametrize("read_before", [True, False])
@pytest.mark.parametrize("clear", [True, False])
def test_patch_dict_of_the_configuration(settings: LazyConfig, read_before: bool, clear: bool) -> None:
    if read_before:
        assert settings["topic_prefix"] == ""
    with mock.patch.dict(config.conf, {"topic_prefix": "canary"}, clear=clear):
        if not clear:
            assert Message(topic="t")._encoded_routing_key == "canary.t"
            assert config.conf["publish_exchange"] == "amq.topic"
        assert config.conf["topic_prefix"] == "canary"
    assert Message(topic="t")._encoded_routing_key == "t"
    assert dict(config.conf) == dict(LazyConfig().load_config("/no/such"))


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("topic_prefix", "org.fedora", lambda: Message(topic="t")._encoded_routing_key == "org.fedora.t"),
        ("publish_priority", 7, lambda: Message().priority == 7),
    ],
)
def test_patched_conf_object(key: str, value: Any, shown: Callable[[], bool]) -> None:
    """It is looked up when it is used; also a plain dictionary will do."""
    assert not shown()
    with mock.patch.object(config, "conf", {**config.DEFAULTS, key: value}):
        assert shown()
    with mock.patch("fedora_messaging.config.conf", {**config.DEFAULTS, key: value}):
        assert shown()


def test_defaults_may_be_patched(unread: LazyConfig) -> None:
    with mock.patch.dict(config.DEFAULTS, {"topic_prefix": "canary"}):
        assert unread["topic_prefix"] == "canary"


# message

WHEN = datetime.datetime(2018, 11, 28, 19, 12, 22, 987654, tzinfo=datetime.UTC)


def test_uuid() -> None:
    canary = uuid.UUID("11111111-2222-4333-8444-555555555555")
    with mock.patch("fedora_messaging.message.uuid.uuid4", return_value=canary):
        assert Message().id == str(canary)
    with mock.patch("fedora_messaging.message.uuid") as module:
        module.uuid4.return_value = "canary"
        assert Message().id == "canary"


def test_datetime() -> None:
    with mock.patch("fedora_messaging.message.datetime.datetime") as replaced:
        replaced.now.return_value = WHEN
        assert Message()._headers["sent-at"] == "2018-11-28T19:12:22+00:00"
    with mock.patch("fedora_messaging.message.datetime") as module:
        module.datetime.now.return_value = WHEN
        assert Message()._headers["sent-at"] == "2018-11-28T19:12:22+00:00"


class Mine(Message):
    """A class that no distribution announces."""

    topic = "mine"
    body_schema = {"type": "object", "required": ["canary"]}


def test_registry_dictionaries() -> None:
    """How tests of applications make a class known."""
    with (
        mock.patch.dict(message._class_to_schema_name, {Mine: "mine.v1"}),
        mock.patch.dict(message._schema_name_to_class, {"mine.v1": Mine}),
        mock.patch.dict(message._schema_name_to_package, {"mine.v1": "mine_messages"}),
    ):
        sent = Mine({"canary": 1})
        assert sent._headers["fedora_messaging_schema"] == "mine.v1"
        assert sent._headers["fedora_messaging_schema_package"] == "mine_messages"
        assert message.get_class("mine.v1") is Mine
        assert message.get_name(Mine) == "mine.v1"
        assert type(message.get_message("t", sent._properties, sent._encoded_body)) is Mine
        assert message.loads(message.dumps(sent)) == [sent]
    with pytest.raises(TypeError):
        message.get_name(Mine)


def test_registry_dictionaries_by_name() -> None:
    @mock.patch.dict("fedora_messaging.message._class_to_schema_name", {Mine: "mine.v1"})
    def inside() -> str:
        return message.get_name(Mine)

    assert inside() == "mine.v1"


def test_dictionaries_are_changed_in_place() -> None:
    before = (
        message._schema_name_to_class,
        message._class_to_schema_name,
        message._schema_name_to_package,
    )
    message.load_message_classes()
    after = (message._schema_name_to_class, message._class_to_schema_name, message._schema_name_to_package)
    assert all(old is new for old, new in zip(before, after, strict=True))


def test_registry_loaded() -> None:
    """A registry that is said to be loaded is not loaded."""
    with (
        mock.patch("fedora_messaging.message._registry_loaded", False),
        mock.patch("fedora_messaging.message.load_message_classes") as load,
    ):
        message.get_class("base.message")
        message.get_name(Message)
    assert load.call_count == 2
    with (
        mock.patch("fedora_messaging.message._registry_loaded", True),
        mock.patch("fedora_messaging.message.load_message_classes") as load,
    ):
        message.get_class("base.message")
    load.assert_not_called()


def test_distribution_from_module() -> None:
    with (
        mock.patch("fedora_messaging.message._get_distribution_from_module", return_value="canary"),
        mock.patch.dict(message._schema_name_to_package),
    ):
        message.load_message_classes()
        assert Message()._headers["fedora_messaging_schema_package"] == "canary"


def test_class_from_headers() -> None:
    assert message._get_class_from_headers({"fedora_messaging_schema": "base.message"}) is Message
    with pytest.raises(KeyError):
        message._get_class_from_headers({})


def test_headers_setter() -> None:
    one = Message()
    one._headers = {"canary": 1}
    assert one._properties.headers == {"canary": 1}


def test_message_log() -> None:
    with mock.patch("fedora_messaging.message._log") as log:
        message.get_class("canary")
    assert log.warning.call_count == 1


# api

SENT = Message(topic="t", body={"a": 1})


def test_publish_wrapper() -> None:
    """The commonest of all: nothing is published, and what would be is known."""
    with mock.patch("fedora_messaging.api._twisted_publish_wrapper") as wrapper:
        api.publish(SENT)
        api.publish(SENT, "e", 5)
        api.publish(SENT, exchange="e", timeout=None)
    assert wrapper.call_args_list == [
        mock.call(SENT, None),
        mock.call(SENT, "e"),
        mock.call(SENT, "e"),
    ]
    assert wrapper.return_value.wait.call_args_list == [
        mock.call(timeout=30),
        mock.call(timeout=5),
        mock.call(timeout=None),
    ]


def test_publish_wrapper_that_fails() -> None:
    error = RuntimeError("canary")
    with mock.patch("fedora_messaging.api._twisted_publish_wrapper") as wrapper:
        wrapper.return_value.wait.side_effect = error
        with pytest.raises(RuntimeError) as caught:
            api.publish(SENT)
    assert caught.value is error
    with mock.patch("fedora_messaging.api._twisted_publish_wrapper", side_effect=error):
        with pytest.raises(RuntimeError):
            api.publish(SENT)


@pytest.mark.parametrize("name", ["crochet", "crochet.setup"])
def test_crochet(name: str) -> None:
    """Tests that keep the I/O thread of version 3.9 from starting."""
    with (
        mock.patch(f"fedora_messaging.api.{name}"),
        mock.patch("fedora_messaging.api._twisted_publish_wrapper") as wrapper,
    ):
        api.publish(SENT)
    assert wrapper.called


def test_consume_wrapper() -> None:
    bindings: Any = {"exchange": "e", "routing_keys": ["k"]}
    queues = {"q": queue_settings()}
    with mock.patch("fedora_messaging.api._twisted_consume_wrapper") as wrapper:
        api.consume(print)
        api.consume(print, bindings, queues)
        api.consume(callback=print, bindings=bindings, queues=queues)
    assert wrapper.call_args_list == [
        mock.call(print, None, None),
        mock.call(print, bindings, queues),
        mock.call(print, bindings, queues),
    ]
    assert wrapper.return_value.wait.call_count == 3


@pytest.mark.parametrize("error", [HaltConsumer(), HaltConsumer(3), ValueError("canary")])
def test_consume_wrapper_that_fails(error: Exception) -> None:
    with mock.patch("fedora_messaging.api._twisted_consume_wrapper") as wrapper:
        wrapper.return_value.wait.side_effect = error
        with pytest.raises(type(error)) as caught:
            api.consume(print)
    assert caught.value is error


def test_check_callback() -> None:
    """It is given the callback, and its result is used."""
    with (
        mock.patch("fedora_messaging.api._check_callback", side_effect=ValueError("canary")) as check,
        pytest.raises(ValueError, match="canary"),
    ):
        api.consume(print, [], {})
    check.assert_called_once_with(print)


def test_functions_are_looked_up_when_they_are_used() -> None:
    """What a program does after `from fedora_messaging import api`."""
    for name in ("publish", "consume", "twisted_publish", "twisted_consume"):
        with mock.patch(f"fedora_messaging.api.{name}") as replaced:
            getattr(api, name)(SENT)
        replaced.assert_called_once_with(SENT)


@pytest.fixture
def twisted_service(settings: LazyConfig) -> Iterator[mock.Mock]:
    """A stand-in for the service of version 3.9."""
    pytest.importorskip("twisted")
    with mock.patch("fedora_messaging.api._twisted_service") as service:
        yield service


def test_service_for_twisted_consume(twisted_service: mock.Mock) -> None:
    bindings: Any = {"exchange": "e", "queue": "q", "routing_keys": ["k"]}
    queues = {"q": queue_settings()}
    assert api.twisted_consume(print, bindings, queues) is twisted_service.factory.consume.return_value
    twisted_service.factory.consume.assert_called_once_with(print, [bindings], queues)


def test_init_service_for_twisted_consume(settings: LazyConfig) -> None:
    pytest.importorskip("twisted")
    with mock.patch("fedora_messaging.api._init_twisted_service") as init:
        api.twisted_consume(print)
    init.return_value.factory.consume.assert_called_once_with(
        print, config.DEFAULTS["bindings"], config.DEFAULTS["queues"]
    )


# cli


@pytest.fixture
def runner(settings: LazyConfig, tmp_path: Path) -> CliRunner:
    """Runs commands in this process."""
    return CliRunner()


def test_cli_publish_by_api(runner: CliRunner, tmp_path: Path) -> None:
    """`api.publish` is looked up when it is used, and called as in version 3.9."""
    (tmp_path / "messages").write_text(message.dumps(SENT))
    with mock.patch("fedora_messaging.api.publish") as publish:
        result = runner.invoke(cli.publish, ["--exchange=e", str(tmp_path / "messages")])
    assert result.exit_code == 0
    publish.assert_called_once_with(SENT, "e")


@pytest.mark.parametrize("name", ["api.publish", "api.twisted_consume", "config.conf.setup_logging"])
def test_modules_by_way_of_the_cli(name: str) -> None:
    """`mock.patch` finds them by this path."""
    with mock.patch(f"fedora_messaging.cli.{name}"):
        pass


def test_cli_setup_logging(runner: CliRunner) -> None:
    with (
        mock.patch.object(LazyConfig, "setup_logging") as setup,
        mock.patch("fedora_messaging.api.publish"),
    ):
        result = runner.invoke(cli.cli, ["publish", "-"], input="")
    assert result.exit_code == 0
    setup.assert_called_once_with()


def test_cli_consume(runner: CliRunner) -> None:
    """`record` calls it with what its options say."""
    with mock.patch("fedora_messaging.cli._consume") as consume:
        result = runner.invoke(
            cli.record,
            ["--exchange=e", "--queue-name=q", "--routing-key=a", "--routing-key=b", "--app-name=n", "-"],
        )
    assert result.exit_code == 0
    assert consume.call_args == mock.call("e", "q", ("a", "b"), mock.ANY, "n")


@pytest.mark.parametrize(
    ("option", "name"),
    [("--callback=m:c", "_callback_from_python_path"), ("--callback-file=f:c", "_callback_from_filesystem")],
)
def test_cli_callback_loaders(runner: CliRunner, option: str, name: str) -> None:
    with (
        mock.patch(f"fedora_messaging.cli.{name}", return_value=print) as load,
        mock.patch("fedora_messaging.cli._consume") as consume,
    ):
        result = runner.invoke(cli.consume, [option])
    assert result.exit_code == 0
    assert load.call_count == consume.call_count == 1


@pytest.mark.parametrize("command", ["replay", "reconsume"])
def test_cli_get_message(runner: CliRunner, command: str) -> None:
    identity = str(uuid.uuid4())
    arguments = (
        [identity] if command == "replay" else ["--callback=fedora_messaging.example:printer", identity]
    )
    with (
        mock.patch("fedora_messaging.cli._get_message") as get,
        mock.patch("fedora_messaging.api.publish"),
    ):
        get.return_value = None
        result = runner.invoke(getattr(cli, command), arguments)
    assert result.exit_code == 0
    assert get.call_count == 1
