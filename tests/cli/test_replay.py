"""``fedora-messaging replay``: an archived message is published again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import CliRunner

from fedora_messaging import api, cli, config

if TYPE_CHECKING:
    from tests.cli.archives import Archive
    from tests.cli.conftest import Queues


@pytest.mark.parametrize(
    "identity",
    ["2018-canary", "a b", "x&is_raw=false", "x#fragment", "100%41", "é/../\u2028", "../admin?a=b"],
)
def test_replay_asks_for_the_very_id(
    embedded_url: str, settings: config.LazyConfig, archive: Archive, identity: str
) -> None:
    """The command escapes the id, whatever characters it has."""
    settings["amqp_url"] = embedded_url
    try:
        result = CliRunner().invoke(cli.replay, [archive.option, identity])
    finally:
        api.close()
    assert result.exit_code == 0, result.output
    (path,) = archive.paths
    assert urlsplit(path).path == "/v2/id"
    assert parse_qs(urlsplit(path).query) == {"id": [identity], "is_raw": ["true"]}


@pytest.fixture
def embedded_url(request: pytest.FixtureRequest) -> str:
    """Of the embedded broker, for what does not depend on the broker."""
    url: str = request.getfixturevalue("embedded_broker").amqp_url
    return url


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"topic": "t", "body": "text"}, "'text' is not of type 'object'"),
        ({"some": "data"}, "'topic' is a required property"),
        ({"topic": "x" * 300, "body": {}}, "at most 255"),
        ([1], "[1] is not of type 'object'"),
    ],
)
def test_replay_of_what_cannot_be_published(archive: Archive, answer: Any, says: str) -> None:
    """The command prints an error, and no traceback."""
    archive.answer = answer
    try:
        result = CliRunner().invoke(cli.replay, [archive.option, "canary"])
    finally:
        api.close()
    assert isinstance(result.exception, SystemExit)
    assert result.exit_code == 1
    assert "Error: " in result.output
    assert says in result.output


def test_replay_publishes_what_the_archive_has(
    embedded_queues: Queues, settings: config.LazyConfig, archive: Archive
) -> None:
    """With its own topic and id: the archive has the whole topic, so no prefix is put before it."""
    settings["amqp_url"] = embedded_queues.url
    settings["topic_prefix"] = "org.example"
    queue = embedded_queues.make("archived.topic")
    try:
        result = CliRunner().invoke(cli.replay, [archive.option, "ca\x07nary"])
    finally:
        api.close()
    assert result.exit_code == 0, result.output
    assert result.output == "Message with ID ca\\x07nary has been successfully replayed.\n"
    _method, properties, body = embedded_queues.channel.basic_get(queue, auto_ack=True)
    assert (properties.message_id, body) == ("canary", b'{"number": 1}')


def test_replay_of_what_the_archive_does_not_have(archive: Archive) -> None:
    archive.answer = {}
    result = CliRunner().invoke(cli.replay, [archive.option, "canary"])
    assert (result.exit_code, result.output) == (0, "")
