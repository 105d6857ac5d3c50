"""A configuration whose values have the wrong type is refused, with key, table, remedy and file."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import pytest

from fedora_messaging.config import LazyConfig
from fedora_messaging.exceptions import ConfigurationException
from fedora_messaging.settings.reference import TYPES
from fedora_messaging.settings.types import Configuration

if TYPE_CHECKING:
    from pathlib import Path

QUEUE = "durable = true\nauto_delete = false\nexclusive = false\n"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "topic_prefix = 5",
            '"topic_prefix" must be text, but is 5; write, for example, '
            'topic_prefix = "org.fedoraproject.prod"',
        ),
        ("publish_exchange = 5", '"publish_exchange" must be text, but is 5'),
        ("publish_priority = 256", '"publish_priority" must be a whole number from 0 to 255, but is 256'),
        ("publish_priority = true", '"publish_priority" must be a whole number from 0 to 255, but is true'),
        ("publish_priority = 1.0", '"publish_priority" must be a whole number from 0 to 255, but is 1.0'),
        ('passive_declares = "no"', '"passive_declares" must be true or false, but is text'),
        (
            "callback = 5",
            '"callback" must be text, but is 5; write, for example, callback = "module:function"',
        ),
        ("log_timestamps = 1", '"log_timestamps" must be true or false, but is 1'),
        ('exchanges = "amq.topic"', '"exchanges" must be a table, but is text; write it as [exchanges]'),
        ("log_config = 2020-01-01", '"log_config" must be a table, but is a date'),
        ("amqp_url = 5", '"amqp_url" must be text or a list of texts that is not empty, but is 5'),
        ("amqp_url = []", "but is an empty list; write, for example, amqp_url = "),
        ('amqp_url = ["amqp://", 5]', "but is another list"),
        ('amqp_url_file = ""', '"amqp_url_file" must be text that is not empty, but is empty text'),
        ("tls = 1", '"tls" must be a table, but is 1; write it as [tls]'),
        ("[tls]\nca_cert = 1", '"ca_cert" in [tls] must be text, but is 1'),
        ("[qos]\nprefetch_count = -1", '"prefetch_count" in [qos] must be a whole number from 0 to 65535, '),
        (
            '[monitoring]\nport = "x"',
            '"port" in [monitoring] must be a whole number from 0 to 65535, but is text',
        ),
        ("[monitoring]\nport = 1\naddress = 1", '"address" in [monitoring] must be text, but is 1'),
        ("[monitoring]\nport = 1\nstuck_after = nan", "must be a number from 1 to 1000000000, but is nan"),
        (f'[queues.q]\n{QUEUE}arguments = "x"', '"arguments" in [queues.q] must be a table, but is text'),
        (
            f"[queues.'a b']\n{QUEUE}arguments = {{}}\npassive = 1",
            '"passive" in [queues."a b"] must be true or false, but is 1',
        ),
        (
            'bindings = [{exchange = "e", routing_keys = []}, {exchange = "e", routing_keys = [5]}]',
            '"routing_keys" in [bindings, number 2] must be a list of texts, but is another list',
        ),
        ("consumer = true", '"consumer" must be a table, but is true; write it as [consumer]'),
        (
            "[consumer]\nconcurency = 2",
            "[consumer] does not know concurency; it knows arguments, concurrency, dead_letter, dedupe, "
            "ordering_key, resubscribe, retry, stop_timeout, timeout, watchdog; did you mean concurrency?",
        ),
        (
            "[consumer.dead_letter]",
            '[consumer.dead_letter] lacks queue; write, for example, queue = "mine.dead"',
        ),
        ("[consumer.retry]\ndelay = inf", "must be a number from 0.001 to 4000000, but is inf"),
        ("[publisher]\nmandatory = 1", '"mandatory" in [publisher] must be true or false, but is 1'),
        ("[outbox]\nmax_messages = 5", '[outbox] needs either "path"'),
        ("[outbox]\nurl = 5", '"url" in [outbox] must be text that is not empty, but is 5'),
    ],
)
def test_value_of_a_wrong_type(text: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationException) as caught:
        LazyConfig().load_config(str(path))
    assert complaint in caught.value.message
    assert caught.value.message.endswith(f"(in {path})")


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("topic_prefx", "topic_prefix"),
        ("Consumers", "consumer"),
        ("publishers", "publisher"),
        ("amqpurl", "amqp_url"),
    ],
)
def test_unknown_key_that_resembles_one(key: str, meant: str, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f"{key} = 1")
    with pytest.raises(ConfigurationException) as caught:
        LazyConfig().load_config(str(path))
    known = list(Configuration.__struct_fields__)
    assert caught.value.message == (
        f"Unknown configuration key {key.lower()!r}! Valid configuration keys are {known}; "
        f"did you mean {meant}?"
    )


def test_no_password_is_told(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    for text in (
        '[amqp_url]\nurl = "amqp://u:canary@h"',
        'amqp_url = ["amqp://u:canary@h", 5]',
        '[outbox]\nurl = ["postgresql://u:canary@h"]',
    ):
        path.write_text(text)
        with pytest.raises(ConfigurationException) as caught:
            LazyConfig().load_config(str(path))
        assert "canary" not in str(caught.value)


def test_examples_are_fit_to_be_used() -> None:
    """What an error proposes is right."""
    import msgspec

    from fedora_messaging.settings.complaints import example

    count = 0
    for kind in TYPES:
        for field in msgspec.structs.fields(kind):
            text = example(field)
            if text is not None:
                count += 1
                assert msgspec.convert(tomllib.loads(text)[field.encode_name], field.type) is not None
    assert count >= 40
