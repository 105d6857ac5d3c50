"""``/api/v1``: messages, topics and schemas for programs."""

from __future__ import annotations

import json
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from tests.support.processes import Processes
from tests.web_api.samples import START, build, comment, demo, note, sample

from fedora_messaging.archive.entry import entry_of
from fedora_messaging.message import loads

if TYPE_CHECKING:
    from pathlib import Path

    import httpx
    from tests.web_api.client import Client
    from tests.web_api.conftest import Store

    from fedora_messaging.archive.archive import Archive

COMMENT: Final = "bodhi.update.comment.v1"
INSTALLED: Final = {one.name for one in entry_points(group="fedora.messages")}


def told(client: Client, path: str, /, **parameters: Any) -> dict[str, Any]:
    answer = client.get(f"/api/v1/{path}", params=parameters)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def found(client: Client, **parameters: Any) -> list[str]:
    """Return the ids of the messages that a search finds, the newest first."""
    return [one["id"] for one in told(client, "messages", **parameters)["messages"]]


def refusal(answer: httpx.Response, status: int = 400) -> str:
    """Return the sentence of a refusal, which is JSON."""
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    return str(answer.json()["error"])


# Messages


def test_a_line_about_a_message(client: Client, store: Store) -> None:
    message = comment(agent="anna", owner="otto", packages=("ant", "bee"))
    store([message])
    (line,) = told(client, "messages")["messages"]
    assert line == {
        "id": message.id,
        "topic": message.topic,
        "sent": START + 60.0,
        "severity": "info",
        "app": "bodhi",
        "agent": "anna",
        "schema": COMMENT,
        "summary": message.summary,
        "users": ["anna", "otto"],
        "packages": ["ant", "bee"],
    }


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 5, 23, 24])
def test_cursors_lead_through_all_messages_once(client: Client, store: Store, order: str, limit: int) -> None:
    """Also through those of one second."""
    store([note(at=START + number // 10) for number in range(23)])
    whole = found(client, limit=500, order=order)
    assert len(set(whole)) == 23
    seen: list[str] = []
    more: dict[str, Any] = {}
    while True:
        page = told(client, "messages", limit=limit, order=order, **more)
        assert len(page["messages"]) <= limit
        seen += [one["id"] for one in page["messages"]]
        if page["cursor"] is None:
            break
        more = {"cursor": page["cursor"]}
    assert seen == whole


def test_the_newest_come_first_and_fifty_are_a_page(client: Client, store: Store) -> None:
    notes = [note(at=START + number) for number in range(51)]
    store(notes)
    assert found(client) == [one.id for one in notes[:0:-1]]
    assert found(client, order="asc") == [one.id for one in notes[:-1]]


def test_filters(client: Client, store: Store) -> None:
    said, built, other = comment(at=START), build("kernel", at=START + 1), note("apple", at=START + 2)
    store([said, built, other])
    for parameters, expected in (
        ({"topic": "#.bodhi.#"}, [said]),
        ({"topic": ["#.bodhi.#", "#.notes.*"]}, [other, said]),
        ({"user": "mkaur"}, [built]),
        ({"package": ["kernel", "ant"]}, [built, said]),
        ({"app": "bodhi"}, [said]),
        ({"severity": "error"}, []),
        ({"severity": "debug"}, [other, built, said]),
        ({"text": "apple"}, [other, said]),
        ({"text": "apple -anna"}, [other]),
        ({"since": START + 1}, [other, built]),
        ({"until": START + 1}, [said]),
        ({"since": "2021-06-25T06:00:01Z", "until": "2021-06-25T06:00:02+00:00"}, [built]),
        ({"topic": "#.bodhi.#", "user": "mkaur"}, []),
    ):
        assert found(client, **parameters) == [one.id for one in expected], parameters


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("limit", "0", "limit must be a whole number from 1 to 500"),
        ("limit", "501", "limit must be a whole number from 1 to 500"),
        ("limit", "five", "limit must be a whole number"),
        ("limit", "", "limit must be a whole number"),
        ("cursor", "-1", "cursor must be a whole number"),
        ("cursor", "9" * 40, "cursor must be a whole number"),
        ("cursor", "\u0661", "cursor must be a whole number"),
        ("order", "newest", "order is desc or asc"),
        ("severity", "high", "severity is one of debug, info, warning, error"),
        ("since", "yesterday", "since is no time"),
        ("until", "1e300", "until is too far away"),
        ("since", "nan", "since is too far away"),
    ],
)
def test_wrong_values(client: Client, name: str, value: str, says: str) -> None:
    assert says in refusal(client.get("/api/v1/messages", params={name: value}))


def test_a_message_in_full(client: Client, store: Store) -> None:
    message = sample(COMMENT)
    store([message])
    one = told(client, "message", id=message.id)
    assert loads(json.dumps(one["message"])) == [message]
    assert one["id"] == one["message"]["id"] == message.id


@pytest.mark.parametrize("id", ["nope", "", "\0", "x" * 5000, "'; DROP TABLE messages; --"])
def test_a_message_that_is_not_there(client: Client, id: str) -> None:
    assert (
        refusal(client.get("/api/v1/message", params={"id": id}), 404) == "There is no message with this id"
    )


# What there is


def test_status_and_topics(client: Client, store: Store, archive: Archive) -> None:
    empty = told(client, "status")["archive"]
    assert (empty["messages"], empty["oldest"], empty["newest"]) == (0, None, None)
    store([note(at=START), note(at=START + 5), build("ant", at=START + 9)])
    status = told(client, "status")["archive"]
    assert (status["messages"], status["oldest"], status["newest"]) == (3, START, START + 9)
    assert status["bytes"] > 0
    assert status["last_event_id"] == f"{archive.epoch:x}-3"
    counts = {one["topic"]: one["messages"] for one in told(client, "topics")["topics"]}
    assert counts == {note().topic: 2, build("ant").topic: 1}


def test_schemas(client: Client) -> None:
    names = {one["name"] for one in told(client, "schemas")["schemas"]}
    assert names >= INSTALLED
    one = told(client, "schema", name=COMMENT)
    assert one["topic"] == "bodhi.update.comment"
    assert one["body_schema"]["type"] == "object"
    assert one["fields"]
    assert "no schema" in refusal(client.get("/api/v1/schema?name=no.such"), 404)
    asyncapi = told(client, "asyncapi.json", name=COMMENT)
    assert [message["name"] for message in asyncapi["components"]["messages"].values()] == [COMMENT]


def test_other_paths(client: Client) -> None:
    assert "openapi.json" in refusal(client.get("/api/v1/nope"), 404)


# The document


def test_generated_requests_are_answered_as_documented(tmp_path: Path, archive: Archive) -> None:
    """By the command, over HTTP; answers have the documented statuses, types and shapes."""
    # It needs newer versions than the lowest ones of some that this library uses.
    schemathesis = pytest.importorskip("schemathesis")
    archive.store([entry_of(message, START) for message in demo()])
    seen: dict[int, int] = {}
    with Processes(tmp_path) as processes:
        command = ("dashboard", "--management-url", "http://127.0.0.1:1", "--port", "0")
        process = processes.fedora_messaging(*command, "--archive", "archive.db")
        url = process.wait_for(r"^Dashboard on (http://127\.0\.0\.1:\d+)/$")[1]
        schema = schemathesis.openapi.from_url(f"{url}/api/v1/openapi.json")
        for result in schema.get_all_operations():

            @settings(
                max_examples=60,
                derandomize=True,
                database=None,
                deadline=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=result.ok().as_strategy())
            def send(case: Any) -> None:
                response = case.call(base_url=url)
                case.validate_response(response)
                seen[response.status_code] = seen.get(response.status_code, 0) + 1

            send()
        ended = process.terminate()
    assert ended.status == 0
    assert "Traceback" not in ended.output
    assert set(seen) <= {200, 400, 404}
    assert seen[200] > 100
