"""Who may do what over the management API: tags of users against requests, and what strangers are told."""

from __future__ import annotations

import base64
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from tests.behaviour.support import since
from tests.management.client import NOT_FOUND, ROOT, Api, part, refused
from tests.support.waiting import WAIT

from fedora_messaging.broker import Broker as EmbeddedBroker

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.admin import Names
    from tests.support.brokers import Broker


@dataclass(frozen=True)
class Row:
    """A request, and the statuses that users get.

    Attributes:
        request: Method and path. In it `V` is a virtual host in which only `guest` has permissions, `Q` a
            queue in `/`, and `NODE` the node.
        statuses: Those of users with the tags management (without any permission), management, policymaker,
            monitoring, and administrator; all but the first have full permissions in `/`.
        old: Those of RabbitMQ 3.10, if they differ.
        body: What to send.
    """

    request: str
    statuses: str
    old: str = ""
    body: Any = None


FULL = {"configure": ".*", "write": ".*", "read": ".*"}
MESSAGE = {"properties": {}, "routing_key": "nope", "payload": "p", "payload_encoding": "string"}
FETCH = {"count": 1, "ackmode": "ack_requeue_true", "encoding": "auto"}
POLICY = {"pattern": "^none$", "definition": {"max-length": 1}}
#: For all who have logged in.
FOR_ALL = "200 200 200 200 200"
FOR_MONITORS = "401 401 401 200 200"
FOR_POLICYMAKERS = "401 401 200 401 200"
FOR_ADMINISTRATORS = "401 401 401 401 200"
IN_ROOT: dict[str, str] = {"statuses": "404 200 200 200 200", "old": "401 200 200 200 200"}
#: Administrators look into virtual hosts in which they have no permission, others do not.
IN_OTHER = {"statuses": "404 404 404 404 200", "old": "401 401 401 401 200"}

READING = [
    Row("GET overview", FOR_ALL),
    Row("GET cluster-name", FOR_ALL),
    Row("GET whoami", FOR_ALL),
    Row("GET extensions", FOR_ALL),
    Row("GET health/checks/alarms", FOR_ALL),
    Row("GET health/checks/virtual-hosts", FOR_ALL),
    Row("GET health/checks/port-listener/1", "503 503 503 503 503"),
    Row("GET queues", FOR_ALL),
    Row("GET exchanges", FOR_ALL),
    Row("GET bindings", FOR_ALL),
    Row("GET policies", FOR_ALL),
    Row("GET operator-policies", FOR_ALL),
    Row("GET vhosts", FOR_ALL),
    Row("GET connections", FOR_ALL),
    Row("GET channels", FOR_ALL),
    Row("GET consumers", FOR_ALL),
    Row("GET vhost-limits", FOR_ALL),
    Row("GET feature-flags", FOR_ALL, old=FOR_ADMINISTRATORS),
    Row("GET deprecated-features", FOR_ALL, old="404 404 404 404 404"),
    Row("GET user-limits", FOR_ADMINISTRATORS, old=FOR_ALL),
    Row("GET nodes", FOR_MONITORS),
    Row("GET nodes/NODE", FOR_MONITORS),
    Row("GET nodes/NODE/memory", FOR_MONITORS),
    Row("GET parameters", FOR_POLICYMAKERS),
    Row("GET global-parameters", FOR_POLICYMAKERS),
    Row("GET definitions", FOR_ADMINISTRATORS),
    Row(f"GET definitions/{ROOT}", FOR_ADMINISTRATORS),
    Row("GET definitions/V", FOR_ADMINISTRATORS),
    Row("GET users", FOR_ADMINISTRATORS),
    Row("GET users/guest", FOR_ADMINISTRATORS),
    Row("GET users/guest/permissions", FOR_ADMINISTRATORS),
    Row("GET users/without-permissions", FOR_ADMINISTRATORS),
    Row("GET permissions", FOR_ADMINISTRATORS),
    Row(f"GET permissions/{ROOT}/guest", FOR_ADMINISTRATORS),
    Row("GET topic-permissions", FOR_ADMINISTRATORS),
    Row(f"GET vhosts/{ROOT}", FOR_ADMINISTRATORS),
    Row("GET vhosts/V", FOR_ADMINISTRATORS),
    Row(f"GET vhosts/{ROOT}/permissions", FOR_ADMINISTRATORS),
    Row(f"GET vhosts/{ROOT}/topic-permissions", FOR_ADMINISTRATORS),
    Row(f"GET queues/{ROOT}", **IN_ROOT),
    Row(f"GET queues/{ROOT}/Q", **IN_ROOT),
    Row(f"GET exchanges/{ROOT}", **IN_ROOT),
    Row(f"GET exchanges/{ROOT}/amq.direct", **IN_ROOT),
    Row(f"GET bindings/{ROOT}", **IN_ROOT),
    Row(f"GET policies/{ROOT}", **IN_ROOT),
    Row(f"GET operator-policies/{ROOT}", **IN_ROOT),
    Row(f"GET vhosts/{ROOT}/connections", **IN_ROOT),
    Row(f"GET vhosts/{ROOT}/channels", **IN_ROOT),
    Row(f"GET consumers/{ROOT}", "404 200 200 200 200", old=FOR_ALL),
    Row(f"GET vhost-limits/{ROOT}", **IN_ROOT),
    Row(f"GET aliveness-test/{ROOT}", **IN_ROOT),
    Row("GET queues/V", **IN_OTHER),
    Row("GET queues/V/nope", "404 404 404 404 404", old="401 401 401 401 404"),
    Row("GET exchanges/V", **IN_OTHER),
    Row("GET exchanges/V/amq.direct", **IN_OTHER),
    Row("GET bindings/V", **IN_OTHER),
    Row("GET policies/V", **IN_OTHER),
    Row("GET vhosts/V/connections", **IN_OTHER),
    Row("GET vhosts/V/channels", **IN_OTHER),
    Row("GET consumers/V", "404 404 404 200 200", old=FOR_ALL),
    Row("GET vhost-limits/V", "404 404 404 200 200", old="401 401 401 200 200"),
    Row("GET aliveness-test/V", "404 404 404 404 401", old="401 401 401 401 401"),
    Row("GET parameters/vhost-limits/V", "401 401 404 401 200", old=FOR_ADMINISTRATORS),
]
CHANGING = [
    Row("PUT vhosts/V", "401 401 401 401 204"),
    Row("PUT vhost-limits/V/max-queues", "401 401 401 401 204", body={"value": 100}),
    Row("PUT users/USER", "401 401 401 401 201", body={"tags": "", "password": "p"}),
    Row("PUT user-limits/USER/max-channels", "401 401 401 401 204", body={"value": 5}),
    Row(f"PUT permissions/{ROOT}/USER", "401 401 401 401 201", body=FULL),
    Row("DELETE users/USER", "401 401 401 401 204"),
    Row("PUT cluster-name", "401 401 401 401 204", body={"name": "fm"}),
    Row(f"PUT operator-policies/{ROOT}/P", "401 401 401 401 201", body=POLICY),
    Row(f"GET operator-policies/{ROOT}/P", FOR_ADMINISTRATORS),
    Row(f"DELETE operator-policies/{ROOT}/P", "401 401 401 401 204"),
    Row("POST definitions", "401 401 401 401 204", body={}),
    Row(f"POST definitions/{ROOT}", "401 401 401 401 204", body={}),
    Row("POST rebalance/queues", "401 401 401 401 204", body={}),
    Row(f"PUT policies/{ROOT}/P", "401 401 201 401 204", body=POLICY),
    Row(f"GET policies/{ROOT}/P", FOR_POLICYMAKERS),
    Row(f"DELETE policies/{ROOT}/P", "401 401 204 401 404"),
    Row("PUT policies/V/P", "401 401 404 401 201", old="401 401 401 401 201", body=POLICY),
    Row("PUT global-parameters/P", "401 401 201 401 204", body={"value": 1}),
    Row("DELETE global-parameters/P", "401 401 204 401 404"),
    Row("PUT queues/V/x", "404 404 404 404 401", old="401 401 401 401 401", body={"durable": True}),
    Row(
        "POST exchanges/V/amq.default/publish",
        "404 404 404 404 401",
        old="401 401 401 401 401",
        body=MESSAGE,
    ),
    Row(
        f"POST exchanges/{ROOT}/amq.default/publish",
        "404 200 200 200 200",
        old="401 200 200 200 200",
        body=MESSAGE,
    ),
    Row(f"POST queues/{ROOT}/Q/get", body=FETCH, **IN_ROOT),
    Row(
        f"POST bindings/{ROOT}/e/amq.direct/q/Q",
        "404 201 201 201 201",
        old="401 201 201 201 201",
        body={"routing_key": "Q"},
    ),
    Row(f"DELETE queues/{ROOT}/Q/contents", "404 204 204 204 204", old="401 204 204 204 204"),
    Row(f"PUT queues/{ROOT}/Q", "404 204 204 204 204", old="401 204 204 204 204", body={"durable": True}),
    Row("DELETE vhosts/V", "401 401 401 401 204"),
]


@pytest.fixture
def crowd(users: Callable[..., Api]) -> list[Api]:
    """One user for each column of the table."""
    return [
        users("management", permissions=None),
        *(users(tag) for tag in ("management", "policymaker", "monitoring", "administrator")),
    ]


def statuses(row: Row, crowd: list[Api], names: dict[str, str]) -> str:
    method, _, path = row.request.partition(" ")
    places = "/".join(part(names[piece]) if piece in names else piece for piece in path.split("/"))
    return " ".join(str(user.ask(method, places, row.body).status_code) for user in crowd)


@pytest.mark.parametrize("table", [READING, CHANGING], ids=["reading", "changing"])
def test_tags_and_permissions_decide(
    api: Api, broker: Broker, queue: str, vhost: str, name: str, crowd: list[Api], table: list[Row]
) -> None:
    node = api.get("overview")["node"]
    cluster = api.get("cluster-name")
    names = {"Q": queue, "V": vhost, "NODE": node, "USER": f"new.{name}", "P": f"p.{name}"}
    try:
        found = {row.request: statuses(row, crowd, names) for row in table}
    finally:
        api.ask("DELETE", f"users/new.{name}")
        for kind in ("policies", "operator-policies"):
            api.ask("DELETE", f"{kind}/{ROOT}/p.{name}")
        api.put("cluster-name", cluster)
    assert found == {
        row.request: since(broker, (4, 0), row.statuses, row.old or row.statuses) for row in table
    }


def test_texts_of_refusals(api: Api, broker: Broker, vhost: str, users: Callable[..., Api]) -> None:
    user, nobody = users("management"), users("own")
    assert nobody.error(401, "GET", "overview") == refused("Not management user")
    assert user.error(401, "GET", "users") == refused("Not administrator user")
    assert user.error(401, "GET", "nodes") == refused("Not monitor user")
    assert user.error(401, "GET", "parameters") == refused("User not authorised to access object")
    hidden = user.error(since(broker, (4, 0), 404, 401), "GET", f"queues/{vhost}")
    old = refused("User not authorised to access virtual host")
    assert hidden == since(broker, (4, 0), {"error": "not_found", "reason": "Not Found"}, old)


def test_deleting_oneself(users: Callable[..., Api]) -> None:
    user = users("administrator")
    user.delete(f"users/{part(user.user)}")
    assert user.ask("GET", "whoami").status_code == 401


# Strangers


def basic(text: str) -> dict[str, str]:
    return {"authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}


def test_who_does_not_log_in_is_asked_to(stranger: Api) -> None:
    answer = stranger.ask("GET", "overview")
    assert (answer.status_code, answer.content) == (401, b"")
    assert answer.headers["www-authenticate"] == 'Basic realm="RabbitMQ Management"'


@pytest.mark.parametrize("login", ["guest:wrong", "nobody:guest", "guest:", ":guest"])
def test_a_wrong_login_is_told_nothing_about_what_is_wrong(stranger: Api, broker: Broker, login: str) -> None:
    answer = stranger.ask("GET", "overview", headers=basic(login))
    reason = since(broker, (4, 0), "Not_Authorized", "Login failed")
    assert answer.status_code == 401
    assert answer.json() == {"error": "not_authorized", "reason": reason}


@pytest.mark.parametrize(
    "header", ["Foo bar", "Basic", "Basic !!!", "Basic Z3Vlc3Q=", "Basic " + "A" * 3, ""]
)
def test_what_is_no_login(stranger: Api, header: str) -> None:
    answer = stranger.ask("GET", "overview", headers={"authorization": header})
    assert (answer.status_code, answer.content) in ((400, b""), (401, b""))


def test_the_scheme_of_a_login_has_no_case(stranger: Api) -> None:
    login = basic("guest:guest")["authorization"].replace("Basic", "bAsIc")
    assert stranger.ask("GET", "whoami", headers={"authorization": login}).status_code == 200


def test_strangers_learn_which_paths_and_methods_there_are(stranger: Api) -> None:
    assert stranger.error(404, "GET", "nope") == NOT_FOUND
    answer = stranger.ask("POST", "overview")
    assert (answer.status_code, answer.content) == (405, b"")
    assert {"GET", "HEAD", "OPTIONS"} == set(answer.headers["allow"].split(", "))


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("overview", "HEAD, GET, OPTIONS"),
        (f"queues/{ROOT}/q", "HEAD, GET, PUT, DELETE, OPTIONS"),
        (f"queues/{ROOT}/q/get", "POST, OPTIONS"),
        (f"bindings/{ROOT}/e/x/q/y", "HEAD, GET, POST, OPTIONS"),
    ],
)
def test_options_need_no_login(stranger: Api, path: str, allowed: str) -> None:
    answer = stranger.ask("OPTIONS", path)
    assert (answer.status_code, answer.content, answer.headers["allow"]) == (200, b"", allowed)


def test_head_is_get_without_a_body(api: Api) -> None:
    head, full = (api.ask(method, "whoami") for method in ("HEAD", "GET"))
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(full.content))


def test_answers_are_not_for_caches_and_scripts(api: Api) -> None:
    headers = api.ask("GET", "whoami").headers
    assert headers["content-type"] == "application/json"
    assert headers["cache-control"] == "no-cache"
    assert "object-src 'self'" in headers["content-security-policy"]


# The embedded broker alone


def test_no_path_tells_strangers_anything(embedded_broker: EmbeddedBroker) -> None:
    url = embedded_broker.management_url
    assert url is not None
    with Api(url, None) as stranger:
        document = stranger.get("openapi.json")
        found = {}
        for path, operations in document["paths"].items():
            for method in operations.keys() & {"get", "put", "post", "delete"}:
                for virtual_host in (ROOT, "nov"):
                    place = path.replace("{vhost}", virtual_host)
                    for piece in ("{queue}", "{exchange}", "{user}", "{node}", "{name}", "{connection}"):
                        place = place.replace(piece, "nope")
                    place = place.replace("{", "").replace("}", "")
                    answer = stranger.ask(method.upper(), place.removeprefix("/"))
                    found[method, place] = (answer.status_code, answer.content)
    open_to_all = {place for place, answer in found.items() if answer != (401, b"")}
    assert len(found) > 150
    assert open_to_all == {
        ("get", "/version"),
        ("post", "/login"),
        ("delete", "/login"),
        ("get", "/health/checks/is-in-service"),
        ("get", "/health/checks/ready-to-serve-clients"),
        ("get", "/health/checks/below-node-connection-limit"),
        ("get", "/health/checks/reached-target-cluster-size"),
    }


def test_passwords_are_not_in_the_log(
    names: Names, users: Callable[..., Api], api: Api, caplog: pytest.LogCaptureFixture, broker: Broker
) -> None:
    caplog.set_level(logging.DEBUG)
    user = f"user.{names()}"
    api.put(f"users/{user}", {"tags": "", "password": "canary-1"})
    hashed = api.get(f"users/{user}")["password_hash"]
    api.ask("PUT", f"users/{user}", {"tags": 5, "password": "canary-2"})
    api.post("definitions", {"users": [{"name": user, "tags": "", "password": "canary-3"}]})
    with Api(str(api.url), (user, "canary-4")) as wrong:
        assert wrong.ask("GET", "whoami").status_code == 401
    api.delete(f"users/{user}")
    assert "canary" not in caplog.text
    assert hashed not in caplog.text
    if broker.kind == "embedded":
        assert "HTTP login of" in caplog.text
        assert "the password is wrong" in caplog.text


def test_errors_do_not_repeat_passwords(api: Api, broker: Broker) -> None:
    for item in ({"password": "canary"}, {"name": "u", "password": "canary", "tags": 5}):
        answer = api.ask("POST", "definitions", {"users": [item]})
        assert answer.status_code in (400, 500)
        if broker.kind == "embedded":
            assert "canary" not in answer.text


def test_who_guesses_passwords_waits() -> None:
    import time

    with EmbeddedBroker(http_port=0) as broker:
        assert broker.management_url is not None
        with Api(broker.management_url, ("guest", "wrong")) as guesser:
            spans = []
            for _ in range(11):
                begin = time.monotonic()
                assert guesser.ask("GET", "whoami").status_code == 401
                spans.append(time.monotonic() - begin)
            assert max(spans[:10]) < 2
            assert 3 <= spans[10] < WAIT
