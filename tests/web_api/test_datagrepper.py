"""The part of the HTTP API that Datagrepper's clients use: `/v2/search`, `/v2/id`, `/raw` and `/id`.

What clients send and read is a contract: FMN, packit, fedora-review-service and many scripts were written for
the public archive. Where ours answers in another way (JSONP, HTML, words instead of parts of words), a test
says so.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.web_api.samples import START, build, comment, demo, note, sample

from fedora_messaging.message import Message, load_message

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx
    from tests.web_api.client import Client
    from tests.web_api.conftest import Store

SEARCHES = ["/v2/search", "/raw"]
LOOKUPS = ["/v2/id", "/id"]
COMMENT = "bodhi.update.comment.v1"
NOBODY = "00000000-0000-0000-0000-000000000000"


def asked(client: Client, path: str, /, **parameters: Any) -> dict[str, Any]:
    """Ask, and return what a correct question is answered with."""
    answer = client.get(path, params=parameters)
    assert answer.status_code == 200, answer.text
    assert isinstance(answer.json(), dict)
    return dict(answer.json())


def ids(answer: dict[str, Any]) -> list[str]:
    return [message["id"] if "id" in message else message["msg_id"] for message in answer["raw_messages"]]


def found(client: Client, **parameters: Any) -> list[str]:
    """Return the ids of the messages that a search finds, the oldest first."""
    return ids(asked(client, "/v2/search", order="asc", rows_per_page=100, **parameters))


def ids_of(*messages: Message) -> list[str | None]:
    return [message.id for message in messages]


def check_refused(answer: httpx.Response, *words: str, status: int = 400) -> None:
    """Check that the answer says what is wrong in a sentence, as JSON."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == ["error"]
    for word in words:
        assert word in answer.json()["error"]


# One message


def test_v2_id_returns_the_message_as_this_library_writes_it(client: Client, store: Store) -> None:
    """The contract of `replay` and `reconsume`: load_message() reads what the archive answers."""
    message = sample(COMMENT)
    message.priority = 3
    store([note(), message])
    answer = asked(client, "/v2/id", id=message.id, is_raw="true")
    assert set(answer) == {"body", "headers", "id", "priority", "queue", "topic"}
    loaded = load_message(answer)
    assert type(loaded) is type(message)
    assert loaded == message
    assert (loaded.id, loaded.topic, loaded.priority) == (message.id, message.topic, 3)
    assert loaded._headers["sent-at"] == "2021-06-25T06:00:00+00:00"


def test_headers_of_types_that_json_lacks_come_back(client: Client, store: Store) -> None:
    message = load_message(
        {
            "topic": "a.b",
            "body": {},
            "headers": {"signature": "AP8="},
            "header_types": {"/signature": "bytes"},
            "id": "with-bytes",
        }
    )
    store([message])
    loaded = load_message(asked(client, "/v2/id", id="with-bytes", is_raw="true"))
    assert loaded._headers["signature"] == message._headers["signature"]


def test_the_archives_own_queue_is_not_told(client: Client, store: Store) -> None:
    message = note()
    message.queue = "archive"
    store([message])
    assert asked(client, "/v2/id", id=message.id)["queue"] is None


def test_a_message_without_an_id_is_found_by_the_one_the_archive_gave_it(
    client: Client, store: Store
) -> None:
    message = note("without an id")
    message._properties.message_id = None
    store([message])
    (listed,) = asked(client, "/v2/search")["raw_messages"]
    assert isinstance(listed["id"], str)
    assert load_message(asked(client, "/v2/id", id=listed["id"])).id == listed["id"]


@pytest.mark.parametrize(
    "given", ["2018-20ba8199-b3a5-49a7-ab66-8026c82191ee", "ID:broker-41274:231921:-1:1", "é/ü&?#"]
)
def test_ids_are_any_text(client: Client, store: Store, given: str) -> None:
    """Those of fedmsg had a year, those of bridges have colons, and nobody checks the others."""
    message = note()
    message.id = given
    store([message])
    assert asked(client, "/v2/id", id=given)["id"] == given
    assert asked(client, "/id", id=given)["msg_id"] == given


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"is_raw": "true"},
        {"is_raw": "false"},
        {"is_raw": "true", "size": "extra-large"},
        {"size": "small"},
        {"size": "medium"},
        {"size": "large"},
        {"chrome": "true"},
        {"chrome": "false"},
        {"is_raw": "True"},
    ],
    ids=str,
)
@pytest.mark.parametrize("path", LOOKUPS)
def test_parameters_of_the_html_cards_do_not_change_the_json(
    client: Client, store: Store, path: str, parameters: dict[str, str]
) -> None:
    store([message := sample(COMMENT)])
    plain = asked(client, path, id=message.id)
    assert plain["topic"] == message.topic
    assert asked(client, path, id=message.id, **parameters) == plain


@pytest.mark.parametrize("path", LOOKUPS)
def test_an_unknown_id_is_not_found(client: Client, store: Store, path: str) -> None:
    """A false value such as `null` with status 200 would let `replay` end as if it had worked."""
    store([note()])
    check_refused(client.get(path, params={"id": NOBODY}), NOBODY, status=404)


@pytest.mark.parametrize("path", LOOKUPS)
@pytest.mark.parametrize("query", ["", "?id=", "?is_raw=true", "?msg_id=1"])
def test_a_look_up_needs_an_id(client: Client, store: Store, path: str, query: str) -> None:
    store([note()])
    check_refused(client.get(path + query), "id")


@pytest.mark.parametrize("path", LOOKUPS)
@pytest.mark.parametrize(
    ("name", "value"),
    [("size", "huge"), ("size", ""), ("chrome", "maybe"), ("is_raw", "2"), ("meta", "colour")],
)
def test_wrong_values_in_a_look_up(client: Client, store: Store, path: str, name: str, value: str) -> None:
    store([message := note()])
    check_refused(client.get(path, params={"id": message.id or "", name: value}), name)


@pytest.mark.parametrize("path", LOOKUPS)
def test_a_look_up_with_meta(client: Client, store: Store, path: str) -> None:
    store([message := sample(COMMENT)])
    assert asked(client, path, id=message.id, meta="link")["meta"] == {"link": message.url}


# The messages of a search


def test_v2_search_lists_messages_that_load(client: Client, store: Store) -> None:
    """FMN and scripts read `id`, `topic`, `headers` and `body`; all of it is what `/v2/id` answers."""
    store(messages := demo())
    answer = asked(client, "/v2/search", rows_per_page=100, order="asc")
    assert [load_message(one) for one in answer["raw_messages"]] == messages
    assert answer["raw_messages"] == [asked(client, "/v2/id", id=message.id) for message in messages]


def test_raw_lists_messages_in_the_shape_of_fedmsg(client: Client, store: Store) -> None:
    store([message := sample(COMMENT, at=START + 0.5)])
    (listed,) = asked(client, "/raw")["raw_messages"]
    version = listed.pop("source_version")
    assert isinstance(version, str)
    assert version
    assert listed == {
        "certificate": None,
        "crypto": None,
        "headers": message._headers,
        "i": 0,
        "msg": message.body,
        "msg_id": message.id,
        "signature": None,
        "source_name": "datanommer",
        "timestamp": START + 0.5,
        "topic": "org.fedoraproject.prod.bodhi.update.comment",
        "username": "ttorvald",
    }


def test_raw_tells_times_as_numbers_with_a_point(client: Client, store: Store) -> None:
    """A client in a language with types reads a floating point number here."""
    store([note()])
    assert f'"timestamp":{START}.0' in client.get("/raw").text.replace(" ", "")


def test_id_returns_one_message_of_raw(client: Client, store: Store) -> None:
    store(messages := demo())
    listed = asked(client, "/raw", rows_per_page=100, order="asc")["raw_messages"]
    assert len(listed) == len(messages)
    assert [asked(client, "/id", id=one["msg_id"], is_raw="true") for one in listed] == listed


def test_raw_has_no_user_for_messages_that_nobody_caused(client: Client, store: Store) -> None:
    store([note()])
    assert asked(client, "/raw")["raw_messages"][0]["username"] is None


@pytest.mark.parametrize("path", SEARCHES)
def test_meta_adds_what_the_schema_says_of_a_message(client: Client, store: Store, path: str) -> None:
    store([message := sample(COMMENT)])
    names = [
        "title",
        "subtitle",
        "icon",
        "secondary_icon",
        "link",
        "usernames",
        "packages",
        "objects",
        "date",
    ]
    answer = asked(client, path, meta=names)
    assert answer["arguments"]["meta"] == names
    assert answer["raw_messages"][0]["meta"] == {
        "title": message.topic.removeprefix("org.fedoraproject.prod."),
        "subtitle": message.summary,
        "icon": message.app_icon,
        "secondary_icon": message.agent_avatar,
        "link": "https://bodhi.fedoraproject.org/updates/FEDORA-2026-4c1e9a07bd",
        "usernames": ["ttorvald", "zofka"],
        "packages": ["heronctl"],
        "objects": [],
        "date": "2021-06-25T06:00:00+00:00",
    }


@pytest.mark.parametrize("path", SEARCHES)
def test_meta_has_only_what_was_asked_for(client: Client, store: Store, path: str) -> None:
    store([sample(COMMENT), note()])
    answer = asked(client, path, meta=["link", "packages"])
    assert [set(one["meta"]) for one in answer["raw_messages"]] == [{"link", "packages"}] * 2
    assert all("meta" not in one for one in asked(client, path)["raw_messages"])


def test_meta_of_a_message_that_its_schema_cannot_read(client: Client, store: Store) -> None:
    """The archive keeps invalid messages, whose schema's code fails; the others must still be told."""
    broken = sample(COMMENT)
    broken.body = {"comment": 7}
    store([broken, good := sample("bodhi.buildroot_override.tag.v1")])
    answer = asked(client, "/v2/search", meta=["link", "subtitle"])
    metas = {one["id"]: one["meta"]["link"] for one in answer["raw_messages"]}
    assert metas == {broken.id: None, good.id: good.url}


# The answer around them


@pytest.mark.parametrize("path", SEARCHES)
def test_all_arguments_are_echoed_with_their_defaults(client: Client, store: Store, path: str) -> None:
    store([note()])
    answer = asked(client, path)
    assert set(answer) == {"arguments", "count", "pages", "raw_messages", "total"}
    assert (answer["count"], answer["pages"], answer["total"]) == (1, 1, 1)
    assert answer["arguments"] == {
        "agents": [],
        "categories": [],
        "contains": [],
        "delta": None,
        "end": None,
        "meta": [],
        "not_agents": [],
        "not_categories": [],
        "not_packages": [],
        "not_topics": [],
        "not_users": [],
        "order": "desc",
        "packages": [],
        "page": 1,
        "rows_per_page": 20,
        "start": None,
        "topics": [],
        "users": [],
    }


@pytest.mark.parametrize("path", SEARCHES)
def test_given_arguments_are_echoed(client: Client, path: str) -> None:
    """Parameters are in the singular, and come back in the plural; FMN reads `page` from here."""
    given = {
        "start": "2021-06-25T06:00:00Z",
        "end": START + 60,
        "delta": 5,
        "page": 2,
        "rows_per_page": 7,
        "order": "asc",
        "user": ["a", "b"],
        "package": "c",
        "category": ["d", "e"],
        "topic": "f.g",
        "agent": "h",
        "contains": ["i", "j"],
        "not_user": "k",
        "not_package": ["l", "m"],
        "not_category": "n",
        "not_topic": "o.p",
        "not_agent": "q",
        "meta": "link",
    }
    arguments = asked(client, path, **given)["arguments"]
    assert arguments == {
        "agents": ["h"],
        "categories": ["d", "e"],
        "contains": ["i", "j"],
        "delta": 5.0,
        "end": START + 60.0,
        "meta": ["link"],
        "not_agents": ["q"],
        "not_categories": ["n"],
        "not_packages": ["l", "m"],
        "not_topics": ["o.p"],
        "not_users": ["k"],
        "order": "asc",
        "packages": ["c"],
        "page": 2,
        "rows_per_page": 7,
        "start": float(START),
        "topics": ["f.g"],
        "users": ["a", "b"],
    }
    assert [type(arguments[name]) for name in ("start", "end", "delta")] == [float] * 3


@pytest.mark.parametrize("path", SEARCHES)
def test_a_search_without_a_result(client: Client, store: Store, path: str) -> None:
    store([note()])
    answer = asked(client, path, user="nobody")
    assert (answer["count"], answer["pages"], answer["total"], answer["raw_messages"]) == (0, 0, 0, [])


@pytest.mark.parametrize("path", SEARCHES)
def test_an_empty_archive(client: Client, path: str) -> None:
    answer = asked(client, path)
    assert (answer["count"], answer["pages"], answer["total"], answer["raw_messages"]) == (0, 0, 0, [])


def test_a_message_that_was_stored_twice_is_listed_once(client: Client, store: Store) -> None:
    message = note()
    store([message])
    store([message])
    assert asked(client, "/v2/search")["total"] == 1


@pytest.mark.parametrize("path", [*SEARCHES, *LOOKUPS])
def test_a_slash_at_the_end_makes_no_difference(client: Client, store: Store, path: str) -> None:
    """Half of the scripts ask for `/raw/`. A redirection would cost them a second request, and POSTs more."""
    store([message := note()])
    with_slash = asked(client, f"{path}/", id=message.id)
    assert with_slash == asked(client, path, id=message.id)


# Pages and order


@pytest.mark.parametrize("path", SEARCHES)
def test_the_newest_come_first_unless_the_oldest_are_asked_for(
    client: Client, store: Store, path: str
) -> None:
    """The order is that of sending, not that of storing."""
    early, middle, late = (note(at=START + 60 * minute) for minute in range(3))
    store([middle, late])
    store([early])
    assert ids(asked(client, path)) == ids_of(late, middle, early)
    assert ids(asked(client, path, order="desc")) == ids_of(late, middle, early)
    assert ids(asked(client, path, order="asc")) == ids_of(early, middle, late)


@pytest.mark.parametrize("path", SEARCHES)
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_pages_together_have_each_message_once(client: Client, store: Store, path: str, order: str) -> None:
    """Also with messages of the same second, which a mass rebuild has hundreds of."""
    store([note(at=START + number // 10) for number in range(23)])
    whole = ids(asked(client, path, rows_per_page=100, order=order))
    pages = [asked(client, path, rows_per_page=5, page=page, order=order) for page in range(1, 6)]
    assert [one["count"] for one in pages] == [5, 5, 5, 5, 3]
    assert {(one["total"], one["pages"]) for one in pages} == {(23, 5)}
    assert [one["arguments"]["page"] for one in pages] == [1, 2, 3, 4, 5]
    assert sum((ids(one) for one in pages), []) == whole
    assert len(set(whole)) == 23


@pytest.mark.parametrize("path", SEARCHES)
def test_twenty_rows_are_a_page_unless_told_otherwise(client: Client, store: Store, path: str) -> None:
    store([note(at=START + number) for number in range(21)])
    answer = asked(client, path)
    assert (answer["count"], answer["pages"], answer["total"]) == (20, 2, 21)
    assert asked(client, path, rows_per_page=100)["count"] == 21
    assert asked(client, path, rows_per_page=1)["pages"] == 21


@pytest.mark.parametrize("path", SEARCHES)
def test_a_page_behind_the_last_is_empty(client: Client, store: Store, path: str) -> None:
    """Scripts go on until a page is empty."""
    store([note(), note()])
    answer = asked(client, path, page=2)
    assert (answer["count"], answer["pages"], answer["total"], answer["raw_messages"]) == (0, 1, 2, [])


@pytest.mark.parametrize("path", SEARCHES)
@pytest.mark.parametrize("digits", [18, 19, 30])
def test_a_page_that_no_database_can_count_to(client: Client, store: Store, path: str, digits: int) -> None:
    store([note()])
    check_refused(client.get(path, params={"page": "9" * digits}), "page")


def test_total_and_pages_go_beyond_ten_thousand_messages(client: Client, store: Store) -> None:
    """Clients stop at `pages`: a number that is too low loses the rest of the messages without a word."""
    number = 10_150
    store([note(at=START + second) for second in range(number)])
    answer = asked(client, "/v2/search", rows_per_page=100, page=102, order="asc")
    assert (answer["total"], answer["pages"], answer["count"]) == (number, 102, 50)
    narrowed = asked(client, "/v2/search", rows_per_page=100, category="notes", start=START)
    assert (narrowed["total"], narrowed["pages"]) == (number, 102)


@pytest.mark.parametrize("path", SEARCHES)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("page", "0"),
        ("page", "-1"),
        ("page", "two"),
        ("page", "1.5"),
        ("page", "\uff11"),
        ("page", ""),
        ("rows_per_page", "0"),
        ("rows_per_page", "-5"),
        ("rows_per_page", "101"),
        ("rows_per_page", "1000"),
        ("rows_per_page", "1_0"),
        ("rows_per_page", "many"),
        ("rows_per_page", ""),
        ("order", "up"),
        ("order", ""),
        ("order", "DESC; DROP TABLE messages"),
        ("delta", "-1"),
        ("delta", "an hour"),
        ("delta", "1_0"),
        ("delta", ""),
        ("delta", "nan"),
        ("delta", "inf"),
        ("delta", "1e400"),
        ("start", "yesterday"),
        ("start", ""),
        ("start", "nan"),
        ("start", "2021-02-30"),
        ("start", "1e300"),
        ("end", "-inf"),
        ("end", "25:00"),
        ("end", "999999-01-01"),
        ("meta", "colour"),
        ("meta", ""),
        ("size", "huge"),
        ("chrome", "maybe"),
        ("contains", ""),
        ("contains", "%"),
        ("user", ""),
        ("not_topic", ""),
    ],
)
def test_wrong_values_in_a_search(client: Client, store: Store, path: str, name: str, value: str) -> None:
    """None is taken for its default: the answer would look right and be another one."""
    store([note()])
    check_refused(client.get(path, params={name: value}), name)


@pytest.mark.parametrize("path", SEARCHES)
@pytest.mark.parametrize("name", ["page", "rows_per_page", "order", "start", "end", "delta"])
def test_a_parameter_with_one_value_is_given_once(client: Client, store: Store, path: str, name: str) -> None:
    value = "asc" if name == "order" else "1"
    check_refused(client.get(path, params={name: [value, value]}), name)


# Time


@pytest.fixture
def minutes(store: Store) -> list[Message]:
    """Twenty-one messages, one sent each minute from START on."""
    messages = [note(at=START + 60 * minute) for minute in range(21)]
    store(messages)
    return messages


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The clock of this process is five hours ahead of UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "XYZ-5")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("parameters", "first", "last"),
    [
        ({}, 0, 20),
        ({"start": 300}, 5, 20),
        ({"start": 300, "delta": 120}, 5, 7),
        ({"end": 900}, 5, 15),
        ({"end": 900, "delta": 60}, 14, 15),
        ({"start": 60, "end": 180}, 1, 3),
        ({"start": 60, "end": 180, "delta": 1}, 1, 3),
        ({"start": 60.5, "end": 179.5}, 2, 2),
        ({"start": 120, "end": 120}, 2, 2),
    ],
    ids=str,
)
@pytest.mark.parametrize("path", SEARCHES)
def test_combinations_of_times(
    client: Client, minutes: list[Message], path: str, parameters: dict[str, float], first: int, last: int
) -> None:
    """Both ends belong to the range. An end alone means the ten minutes before it."""
    given = {name: value + (0 if name == "delta" else START) for name, value in parameters.items()}
    answer = asked(client, path, order="asc", rows_per_page=100, **given)
    assert ids(answer) == ids_of(*minutes[first : last + 1])


@pytest.mark.parametrize(
    ("parameters", "start", "end", "delta"),
    [
        ({"start": 300, "delta": 120}, 300, 420, 120),
        ({"end": 900}, 300, 900, 600),
        ({"end": 900, "delta": 60}, 840, 900, 60),
        ({"start": 60, "end": 180}, 60, 180, None),
    ],
    ids=str,
)
def test_derived_times_are_echoed(
    client: Client, parameters: dict[str, float], start: int, end: int, delta: int | None
) -> None:
    given = {name: value + (0 if name == "delta" else START) for name, value in parameters.items()}
    arguments = asked(client, "/v2/search", **given)["arguments"]
    assert (arguments["start"], arguments["end"]) == (START + start, START + end)
    assert arguments["delta"] == delta


@pytest.mark.parametrize("path", SEARCHES)
def test_delta_alone_means_the_last_seconds(client: Client, store: Store, path: str) -> None:
    now = time.time()
    store([note(at=now - 10_000), recent := note(at=now - 1_000)])
    answer = asked(client, path, delta=3600)
    assert ids(answer) == ids_of(recent)
    arguments = answer["arguments"]
    assert arguments["end"] - arguments["start"] == pytest.approx(3600)
    assert now - 1 <= arguments["end"] <= time.time() + 1


@pytest.mark.parametrize("path", SEARCHES)
def test_a_start_alone_lasts_until_now(client: Client, store: Store, path: str) -> None:
    now = time.time()
    store([past := note(at=now - 1_000), note(at=now + 10_000)])
    answer = asked(client, path, start=START)
    assert ids(answer) == ids_of(past)
    assert now - 1 <= answer["arguments"]["end"] <= time.time() + 1


def test_without_times_all_messages_are_searched(client: Client, store: Store) -> None:
    """Fedora's service looks back for a configured while, which surprised its users (its issue 293)."""
    store([old := note(at=0), new := note(at=time.time() + 86_400)])
    assert found(client) == ids_of(old, new)


@pytest.mark.parametrize(
    "written",
    [
        str(START + 120),
        f"{START + 120}.0",
        "1.62460092e9",
        "2021-06-25T06:02:00Z",
        "2021-06-25T06:02:00+00:00",
        "2021-06-25T08:02:00+02:00",
        "2021-06-25T06:02:00.000",
        "2021-06-25 06:02:00",
        "2021-06-25T06:02",
        "20210625T060200Z",
    ],
)
@pytest.mark.usefixtures("elsewhere")
def test_ways_to_write_a_time(client: Client, minutes: list[Message], written: str) -> None:
    """A time without a zone is UTC, wherever the server is."""
    assert found(client, start=written, end=written) == ids_of(minutes[2])
    assert asked(client, "/v2/search", start=written)["arguments"]["start"] == START + 120


def test_days_begin_at_midnight(client: Client, store: Store) -> None:
    day = 86_400
    midnight = START - START % day
    store(
        [
            note(at=midnight - 1),
            first := note(at=midnight),
            last := note(at=midnight + day),
            note(at=midnight + day + 1),
        ]
    )
    assert found(client, start="2021-06-25", end="2021-06-26") == ids_of(first, last)


def test_a_plus_that_was_not_escaped_in_the_address(client: Client, minutes: list[Message]) -> None:
    """`+` means a blank there, and people paste times as they are."""
    answer = client.get("/v2/search?start=2021-06-25T06:02:00+00:00&end=2021-06-25T08:02:00+02:00")
    assert answer.status_code == 200, answer.text
    assert ids(answer.json()) == ids_of(minutes[2])


def test_an_end_before_the_start_finds_nothing(client: Client, minutes: list[Message]) -> None:
    assert found(client, start=START + 180, end=START + 60) == []


# Filters


def test_users(client: Client, store: Store) -> None:
    said = sample(COMMENT)  # by ttorvald, on an update of zofka
    store([said, by_anna := build("a", "anna", START + 1), build("b", "bert", START + 2), note()])
    assert found(client, user="anna") == ids_of(by_anna)
    assert found(client, user="zofka") == ids_of(said)
    assert found(client, user=["anna", "ttorvald"]) == ids_of(said, by_anna)
    assert found(client, user="ann") == found(client, user="ANNA") == found(client, user="a%") == []


def test_packages(client: Client, store: Store) -> None:
    update = sample("bodhi.update.request.stable.v1")  # of mossgrid and mossgrid-tiles
    store([update, kernel := build("kernel", at=START + 1), build("kernel-tools", at=START + 2), note()])
    assert found(client, package="kernel") == ids_of(kernel)
    assert found(client, package="mossgrid-tiles") == ids_of(update)
    assert found(client, package=["mossgrid-tiles", "mossgrid"]) == ids_of(update)
    assert found(client, package=["kernel", "mossgrid"]) == ids_of(update, kernel)
    assert found(client, package="kern") == []


def test_agents(client: Client, store: Store) -> None:
    """The agent is who did it; the users are also those to whom it was done."""
    said = sample(COMMENT)  # by ttorvald, on an update of zofka
    override = sample("bodhi.buildroot_override.tag.v1", START + 1)  # by mkaur
    store([said, override, other := note(at=START + 2)])
    assert found(client, agent="ttorvald") == ids_of(said)
    assert found(client, agent="zofka") == []
    assert found(client, agent=["ttorvald", "mkaur"]) == ids_of(said, override)
    assert found(client, not_agent="ttorvald") == ids_of(override, other)


def test_categories(client: Client, store: Store) -> None:
    bodhi, koji = sample(COMMENT), build("a", at=START + 1)
    pagure = sample("pagure.issue.new", START + 2)  # io.pagure.prod.pagure.…
    anitya = sample("anitya.project.add", START + 3)  # org.release-monitoring.prod.anitya.…
    store([bodhi, koji, pagure, anitya, note(topic="short.topic")])
    assert found(client, category="bodhi") == ids_of(bodhi)
    assert found(client, category="buildsys") == ids_of(koji)
    assert found(client, category=["pagure", "anitya"]) == ids_of(pagure, anitya)
    assert found(client, category="bod") == found(client, category="update") == []


def test_topics(client: Client, store: Store) -> None:
    short, long = note(topic="a.b"), note(topic="a.b.c", at=START + 1)
    other = note(topic="a.x.c", at=START + 2)
    store([short, long, other])
    assert found(client, topic="a.b") == ids_of(short)
    assert found(client, topic=["a.b", "a.x.c"]) == ids_of(short, other)
    assert found(client, topic="a") == found(client, topic="a.%") == []


def test_topics_may_be_patterns_as_in_bindings(client: Client, store: Store) -> None:
    """This is ours: Datagrepper compares whole topics, in which these words do not occur."""
    short, long = note(topic="a.b"), note(topic="a.b.c", at=START + 1)
    other = note(topic="a.x.c", at=START + 2)
    store([short, long, other])
    assert found(client, topic="a.b.#") == ids_of(short, long)
    assert found(client, topic="a.*.c") == ids_of(long, other)
    assert found(client, not_topic="#.c") == ids_of(short)


def test_contains(client: Client, store: Store) -> None:
    """Words must be there one after the other; the case does not matter."""
    first = note("Compose Fedora-25-20161023.n.0 has finished")
    second = note("n.0 is not Fedora-25: 20161023", START + 1)
    store([first, second, note("something else", START + 2)])
    assert found(client, contains="Fedora-25-20161023.n.0") == ids_of(first)
    assert found(client, contains="fedora-25") == ids_of(first, second)
    assert found(client, contains="HAS FINISHED") == ids_of(first)
    assert found(client, contains="finished has") == []


def test_contains_searches_topic_and_summary_too(client: Client, store: Store) -> None:
    store([said := sample(COMMENT), note()])
    assert found(client, contains="bodhi.update.comment") == ids_of(said)
    assert found(client, contains="commented on update heronctl") == ids_of(said)


def test_several_contains_need_one_of_them(client: Client, store: Store) -> None:
    apple, pear = note("an apple"), note("a pear", START + 1)
    store([apple, pear, note("a plum", START + 2)])
    assert found(client, contains=["an apple", "pear"]) == ids_of(apple, pear)
    assert found(client, contains=["nothing", "pear"]) == ids_of(pear)


@pytest.mark.parametrize(
    "text",
    ["-rawhide", '"rawhide', "rawhide*", "rawhide OR", "NOT rawhide", "text:rawhide", "(rawhide", "^rawhide"],
)
def test_contains_has_no_language_of_its_own(client: Client, store: Store, text: str) -> None:
    """What excludes, quotes or joins words in other searches is only text here."""
    store([one := note(f"before {text} after"), note("nothing", START + 1)])
    assert found(client, contains=text) == ids_of(one)


@pytest.mark.parametrize("text", ["Díky moc", "☕ in Silverblue, thanks", "straße", "日本"])
def test_contains_in_other_languages(client: Client, store: Store, text: str) -> None:
    store([one := note(f"before {text} after"), note("nothing", START + 1)])
    assert found(client, contains=text) == ids_of(one)


@pytest.mark.parametrize(
    ("name", "value", "left_out"),
    [
        ("not_user", "anna", ["anna"]),
        ("not_package", "bison", ["bert"]),
        ("not_category", "buildsys", ["anna", "bert"]),
        ("not_topic", "org.fedoraproject.prod.buildsys.build.state.change", ["anna", "bert"]),
        ("not_user", ["anna", "bert"], ["anna", "bert"]),
        ("not_package", ["ant", "bison"], ["anna", "bert"]),
        ("not_user", "nobody", []),
    ],
    ids=str,
)
def test_what_must_not_fit(
    client: Client, store: Store, name: str, value: str | list[str], left_out: list[str]
) -> None:
    messages = {
        "anna": build("ant", "anna"),
        "bert": build("bison", "bert", START + 1),
        "nobody": note(at=START + 2),
    }
    store(list(messages.values()))
    wanted = [message for who, message in messages.items() if who not in left_out]
    assert found(client, **{name: value}) == ids_of(*wanted)


def test_values_of_a_kind_are_alternatives_and_kinds_narrow(client: Client, store: Store) -> None:
    both = build("ant", "anna")
    store(
        [
            both,
            build("ant", "bert", START + 1),
            build("bison", "anna", START + 2),
            other := build("cat", "carl", START + 3),
        ]
    )
    assert found(client, user="anna", package="ant") == ids_of(both)
    assert found(client, user=["anna", "carl"], package=["ant", "cat"]) == ids_of(both, other)
    assert found(client, user=["anna", "carl"], package=["ant", "cat"], category="git") == []


def test_what_must_fit_and_what_must_not(client: Client, store: Store) -> None:
    ant = build("ant", "anna")
    store([ant, build("bison", "anna", START + 1), build("ant", "bert", START + 2)])
    assert found(client, user="anna", not_package="bison") == ids_of(ant)
    assert found(client, user="anna", not_user="anna") == []


#: A search with every filter, each of which lets this comment through.
EVERYTHING: dict[str, Any] = {
    "start": START + 60,
    "end": START + 120,
    "user": ["otto", "nobody"],
    "not_user": "nils",
    "package": ["ant", "bee"],
    "not_package": "nut",
    "agent": ["anna", "neil", "nils"],
    "not_agent": "neil",
    "category": ["bodhi", "beta"],
    "not_category": "beta",
    "topic": ["org.fedoraproject.#", "a.b"],
    "not_topic": "#.removed",
    "contains": ["apple", "plum"],
}


@pytest.mark.parametrize(
    ("name", "different"),
    [
        ("start", {"at": START + 59}),
        ("end", {"at": START + 121}),
        ("user", {"owner": "olga"}),
        ("not_user", {"agent": "nils"}),
        ("package", {"packages": ["bat"]}),
        ("not_package", {"packages": ["ant", "nut"]}),
        ("agent", {"agent": "adam"}),
        ("not_agent", {"agent": "neil"}),
        ("category", {"topic": "org.fedoraproject.prod.gamma.update.comment"}),
        ("not_category", {"topic": "org.fedoraproject.prod.beta.update.comment"}),
        ("topic", {"topic": "io.pagure.prod.bodhi.update.comment"}),
        ("not_topic", {"topic": "org.fedoraproject.prod.bodhi.update.removed"}),
        ("contains", {"text": "a pear"}),
    ],
    ids=list(EVERYTHING),
)
def test_every_filter_at_once(client: Client, store: Store, name: str, different: dict[str, Any]) -> None:
    """The second comment is one that this filter alone leaves out."""
    store([wanted := comment(), other := comment(**different)])
    assert found(client, **EVERYTHING) == ids_of(wanted)
    without = {key: value for key, value in EVERYTHING.items() if key != name}
    assert set(found(client, **without)) == set(ids_of(wanted, other))


def test_filters_count_in_total_and_pages(client: Client, store: Store) -> None:
    store([build("ant", "anna", START + number) for number in range(7)] + [note() for _ in range(9)])
    answer = asked(client, "/raw", user="anna", rows_per_page=3, page=2)
    assert (answer["count"], answer["pages"], answer["total"]) == (3, 3, 7)


@pytest.mark.parametrize("name", ["user", "package", "agent", "category", "topic", "contains", "not_user"])
def test_values_are_data(client: Client, store: Store, name: str) -> None:
    store([note()])
    text = "x' OR '1'='1"
    expected = 1 if name == "not_user" else 0
    assert asked(client, "/v2/search", **{name: text})["total"] == expected


def test_hundreds_of_values(client: Client, store: Store) -> None:
    """A packager's list of packages; databases limit how many values a statement has."""
    store([message := build("package-499"), note()])
    names = [f"package-{number}" for number in range(500)]
    assert found(client, package=names) == ids_of(message)
    assert len(found(client, not_package=names)) == 1


@pytest.mark.parametrize(
    "parameters", [{"users": "x"}, {"topics": "x"}, {"_": "1700000000"}, {"username": "x"}], ids=str
)
def test_unknown_parameters_are_ignored(client: Client, store: Store, parameters: dict[str, str]) -> None:
    """Scripts with jQuery add `_`, and clients send names that never were. `arguments` has what was used."""
    store([note()])
    assert asked(client, "/v2/search", **parameters)["total"] == 1


@pytest.mark.parametrize("value", ["true", "false"])
def test_grouped_is_ignored(client: Client, store: Store, value: str) -> None:
    """Version 1.0 of Datagrepper dropped it, and old clients still send it."""
    store(messages := [build("ant"), build("ant", at=START + 1)])
    assert found(client, grouped=value) == ids_of(*messages)


# Safety


@pytest.mark.parametrize("path", [*SEARCHES, *LOOKUPS])
def test_jsonp_is_refused(client: Client, store: Store, path: str) -> None:
    """With it any page could read the archive of whoever visits it, through their browser."""
    store([message := note("secret")])
    answer = client.get(path, params={"callback": "steal", "id": message.id or ""})
    check_refused(answer, "callback", "JSONP")
    assert "secret" not in answer.text


@pytest.mark.parametrize("path", [*SEARCHES, *LOOKUPS])
def test_other_origins_may_not_read(client: Client, store: Store, path: str) -> None:
    store([message := note()])
    answer = client.get(path, params={"id": message.id or ""}, headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers


SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.mark.parametrize("accept", ["text/html", "*/*", "application/json", "application/javascript", ""])
@pytest.mark.parametrize("path", [*SEARCHES, *LOOKUPS])
def test_the_answer_is_json_whatever_a_browser_asks_for(
    client: Client, store: Store, path: str, accept: str
) -> None:
    """A message is anybody's text: a browser that took it for HTML would run what is in it."""
    message = note(SCRIPT)
    message.id = SCRIPT
    store([message])
    answer = client.get(
        path, params={"id": SCRIPT, "contains": "script", "user": []}, headers={"Accept": accept}
    )
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert SCRIPT in json.dumps(answer.json())


@pytest.mark.parametrize(
    "query",
    [
        {"order": SCRIPT},
        {"page": SCRIPT},
        {"start": SCRIPT},
        {"meta": SCRIPT},
        {"size": SCRIPT},
        {"callback": SCRIPT},
    ],
    ids=lambda query: next(iter(query)),
)
def test_errors_repeat_a_value_only_as_json(client: Client, query: dict[str, str]) -> None:
    answer = client.get("/raw", params=query, headers={"Accept": "text/html"})
    check_refused(answer, next(iter(query)))
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("value", ["x" * 5000, "%00", "%1B%5B31m", "%ED%A0%80", "%E2%80%AE", "%FF"])
def test_errors_show_odd_values_short_and_without_control_characters(client: Client, value: str) -> None:
    answer = client.get(f"/raw?order={value}")
    check_refused(answer, "order")
    error = answer.json()["error"]
    assert len(error) < 600
    assert error.isprintable()


@pytest.mark.parametrize(
    "name", ["user", "contains", "agent", "category", "topic", "not_package", "not_topic"]
)
@pytest.mark.parametrize(
    "value",
    ["a%00b", "%ED%A0%80a", "%FFa", "a" * 60_000, "a%20" * 15_000, "z" + "." * 5_000, "%23." * 500 + "x"],
    ids=["nul", "surrogate", "no UTF-8", "long word", "many words", "many dots", "many hashes"],
)
def test_odd_text_in_filters(client: Client, store: Store, name: str, value: str) -> None:
    """PostgreSQL cannot hold the character NUL, and no database has lone surrogates."""
    store([note()])
    answer = client.get(f"/v2/search?{name}={value}")
    assert answer.status_code == 200, answer.text
    assert answer.json()["total"] == (1 if name.startswith("not_") else 0)


def test_a_null_in_an_id(client: Client, store: Store) -> None:
    store([note()])
    check_refused(client.get("/v2/id", params={"id": "a\x00b"}), status=404)


@pytest.mark.parametrize("path", [*SEARCHES, *LOOKUPS])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_only_reading(client: Client, path: str, method: str) -> None:
    answer = client.request(method, path)
    assert answer.status_code == 405
    assert "GET" in answer.headers["allow"]


@pytest.mark.parametrize("path", [*SEARCHES, *LOOKUPS])
def test_head(client: Client, store: Store, path: str) -> None:
    store([message := note()])
    answer = client.request("HEAD", path, params={"id": message.id or ""})
    assert (answer.status_code, answer.content) == (200, b"")


# What is left out


@pytest.mark.parametrize(
    "path", ["/charts", "/charts/", "/charts/line", "/charts/stackedbar?user=anna&split_on=packages"]
)
def test_charts_are_left_out_and_say_so(client: Client, path: str) -> None:
    """Blogs embed them as images; who follows the address must read why there is none."""
    check_refused(client.get(path), "chart", "/v2/search", status=404)


@pytest.mark.parametrize(
    "path", ["/v1/search", "/v1/id", "/v2", "/v2/", "/v3/search", "/v2/search/x", "/rawx"]
)
def test_there_is_nothing_else(client: Client, path: str) -> None:
    """The old API has no version in its paths."""
    assert client.get(path).status_code == 404
