"""Definitions move between RabbitMQ and the embedded broker, there and back, without loss."""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from typing import TYPE_CHECKING, Any, Final

import httpx
import pika
import pika.exceptions
import pytest
from tests.support.waiting import WAIT

from fedora_messaging.broker import Broker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.rabbitmq import RabbitNode

PROFILES: Final = {3: "3", 4: "4"}
SECTIONS: Final = (
    "users",
    "vhosts",
    "permissions",
    "topic_permissions",
    "parameters",
    "global_parameters",
    "policies",
    "exchanges",
    "queues",
    "bindings",
)


def hash_of(password: str, algorithm: str) -> str:
    """Hash a password as RabbitMQ does."""
    salt = b"salt"
    return base64.b64encode(salt + hashlib.new(algorithm, salt + password.encode()).digest()).decode()


class Site:
    """A broker, seen through its management API.

    Args:
        url: Base URL of the API, with user and password.
        amqp_url: AMQP URL with host and port.
        name: The beginning of the names of everything that the test makes.
    """

    def __init__(self, url: str, amqp_url: str, name: str) -> None:
        self._http = httpx.Client(base_url=f"{url}/api/", timeout=WAIT)
        address = pika.URLParameters(amqp_url)
        self._address = address.host, address.port
        self._name = name

    def take(self, document: dict[str, Any]) -> None:
        """Import definitions."""
        answer = self._http.post("definitions", json=document)
        assert answer.status_code == 204, answer.text

    def give(self) -> dict[str, Any]:
        """Export all definitions."""
        found: dict[str, Any] = self._http.get("definitions").raise_for_status().json()
        return found

    def delete(self) -> None:
        """Delete what the test has made."""
        document = self.give()
        for section, path in (("vhosts", "vhosts"), ("users", "users"), ("global_parameters",) * 2):
            path = path.replace("_", "-")
            for item in document[section]:
                if item["name"].startswith(self._name):
                    self._http.delete(f"{path}/{item['name']}").raise_for_status()

    def lets_in(self, user: str, password: str) -> bool:
        """Whether a password is right."""
        parameters = pika.ConnectionParameters(
            *self._address, self._name, credentials=pika.PlainCredentials(user, password)
        )
        try:
            pika.BlockingConnection(parameters).close()
        except pika.exceptions.ProbableAuthenticationError:
            return False
        return True

    def close(self) -> None:
        """Disconnect."""
        self._http.close()


@pytest.fixture
def name() -> str:
    """The beginning of names that no other test uses."""
    return f"move.{uuid.uuid4().hex}"


@pytest.fixture
def theirs(rabbitmq: RabbitNode, name: str) -> Iterator[Site]:
    """RabbitMQ."""
    site = Site(rabbitmq.management_url, rabbitmq.url, name)
    yield site
    site.delete()
    site.close()


@pytest.fixture
def ours(rabbitmq: RabbitNode, name: str) -> Iterator[Site]:
    """The embedded broker, in the profile of that RabbitMQ."""
    with Broker(http_port=0, profile=PROFILES[rabbitmq.version[0]]) as broker:
        assert broker.management_url is not None
        url = broker.management_url.replace("://", "://guest:guest@")
        site = Site(url, broker.amqp_url, name)
        yield site
        site.close()


def topology(name: str, version: tuple[int, int]) -> dict[str, Any]:
    """Return definitions with one of everything that both can be set up with."""
    is_new = version[0] > 3
    policy: dict[str, Any] = {
        "pattern": "^q",
        "definition": {"max-length": 100, "dead-letter-exchange": "topic"},
        "priority": 3,
        "apply-to": "classic_queues" if is_new else "queues",
    }
    return {
        "users": [
            {
                "name": f"{name}.{algorithm}",
                "password_hash": hash_of(f"secret {algorithm}", algorithm),
                "hashing_algorithm": f"rabbit_password_hashing_{algorithm}",
                "tags": ["monitoring", "own tag"],
                "limits": {"max-connections": 5, "max-channels": 9},
            }
            for algorithm in ("sha256", "sha512", "md5")
        ]
        + [
            {
                "name": f"{name}.none",
                "password_hash": "",
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": [],
                "limits": {},
            }
        ],
        "vhosts": [
            {
                "name": name,
                "description": "for tests",
                "tags": ["a", "b"],
                "default_queue_type": "classic",
                "metadata": {"description": "for tests", "tags": ["a", "b"], "default_queue_type": "classic"},
            }
        ],
        "permissions": [
            {
                "user": f"{name}.{algorithm}",
                "vhost": name,
                "configure": "",
                "write": f"^{algorithm}",
                "read": ".*",
            }
            for algorithm in ("sha256", "sha512", "md5")
        ],
        "topic_permissions": [
            {
                "user": f"{name}.md5",
                "vhost": name,
                "exchange": "amq.topic",
                "write": "^{username}",
                "read": "",
            }
        ],
        "parameters": [
            {
                "component": "operator_policy",
                "vhost": name,
                "name": "ceiling",
                "value": {
                    "pattern": "",
                    "definition": {"max-length": 500},
                    "priority": 0,
                    "apply-to": "queues",
                },
            },
            {
                "component": "vhost-limits",
                "vhost": name,
                "name": "limits",
                "value": {"max-queues": 50, "max-connections": 60},
            },
        ],
        "global_parameters": [{"name": f"{name}.own", "value": {"any": ["thing", 1, True]}}],
        "policies": [
            {"vhost": name, "name": "p", **policy},
            {"vhost": name, "name": "low ż/ó", **policy, "priority": -1},
        ],
        "exchanges": [
            {
                "name": kind,
                "vhost": name,
                "type": kind,
                "durable": kind != "fanout",
                "auto_delete": kind == "fanout",
                "internal": False,
                "arguments": {"alternate-exchange": "amq.fanout"} if kind == "headers" else {},
            }
            for kind in ("direct", "topic", "fanout", "headers")
        ],
        "queues": [
            {
                "name": "q.classic żółw",
                "vhost": name,
                "durable": True,
                "auto_delete": False,
                "arguments": {
                    "x-message-ttl": 60000,
                    "x-max-priority": 5,
                    "x-dead-letter-exchange": "direct",
                    "x-dead-letter-routing-key": "dead/letter",
                    "x-own": {"a": [1, "b", True, 1.5]},
                },
            },
            {
                "name": "q.transient",
                "vhost": name,
                "durable": False,
                "auto_delete": True,
                "arguments": {},
            },
            {
                "name": "q.quorum",
                "vhost": name,
                "durable": True,
                "auto_delete": False,
                "arguments": {"x-queue-type": "quorum", "x-delivery-limit": 7},
            },
            {
                "name": "q.stream",
                "vhost": name,
                "durable": True,
                "auto_delete": False,
                "arguments": {"x-queue-type": "stream", "x-max-age": "1h"},
            },
        ],
        "bindings": [
            {
                "source": source,
                "vhost": name,
                "destination": destination,
                "destination_type": kind,
                "routing_key": key,
                "arguments": arguments,
            }
            for source, destination, kind, key, arguments in (
                ("topic", "q.classic żółw", "queue", "a.#", {}),
                ("topic", "q.classic żółw", "queue", "b.*", {}),
                ("amq.topic", "q.quorum", "queue", "", {}),
                ("headers", "q.stream", "queue", "", {"x-match": "any", "n": 1, "text": "ż"}),
                ("topic", "fanout", "exchange", "#", {}),
                ("fanout", "q.transient", "queue", "k", {}),
            )
        ],
    }


def normal(document: dict[str, Any], name: str, version: tuple[int, int]) -> dict[str, list[Any]]:
    """Return the definitions of the test, without what releases of RabbitMQ say in different words."""
    found: dict[str, list[Any]] = {}
    for section in SECTIONS:
        items = [
            dict(item)
            for item in document[section]
            if (item.get("vhost") == name or item.get("name", "").startswith(name))
            # RabbitMQ lets the user who imports a virtual host into it.
            and item.get("user") != "guest"
        ]
        for item in items:
            _simplify(section, item, version)
        found[section] = sorted(items, key=lambda item: json.dumps(item, sort_keys=True))
    return found


def _simplify(section: str, item: dict[str, Any], version: tuple[int, int]) -> None:
    if section == "queues":
        # The type is among the arguments, or beside them, or goes without saying.
        arguments = dict(item["arguments"])
        kind = item.pop("type", arguments.get("x-queue-type", "classic"))
        item["arguments"] = {**arguments, "x-queue-type": kind}
    elif section == "exchanges":
        item.setdefault("internal", False)  # newer releases never say it
    elif section == "vhosts":
        metadata = item.pop("metadata", {})
        about = {key: metadata.get(key) for key in ("description", "tags", "default_queue_type")}
        for key in (*about, "limits"):
            item.pop(key, None)
        if version[0] > 3:  # older ones export the name only
            item.update(about)
    elif section == "users":
        item["limits"] = dict(item["limits"])


def assert_same(*documents: dict[str, list[Any]]) -> None:
    """Check section by section, so that a failure is legible."""
    first, *rest = documents
    for number, other in enumerate(rest, 1):
        for section in SECTIONS:
            assert other[section] == first[section], f"{section} of document {number}"


def assert_logins(site: Site, name: str) -> None:
    """Check that everybody's password is right, and no other."""
    for algorithm in ("sha256", "sha512", "md5"):
        assert site.lets_in(f"{name}.{algorithm}", f"secret {algorithm}")
        assert not site.lets_in(f"{name}.{algorithm}", "secret")
    assert not site.lets_in(f"{name}.none", "")


def test_from_rabbitmq_and_back(rabbitmq: RabbitNode, theirs: Site, ours: Site, name: str) -> None:
    version = rabbitmq.version
    theirs.take(topology(name, version))
    first = theirs.give()
    ours.take(first)
    assert_logins(ours, name)
    second = ours.give()
    theirs.delete()
    assert normal(theirs.give(), name, version) == {section: [] for section in SECTIONS}
    theirs.take(second)
    assert_logins(theirs, name)
    third = theirs.give()
    documents = [normal(document, name, version) for document in (first, second, third)]
    assert_same(*documents)
    expected = topology(name, version)
    assert {section: len(items) for section, items in documents[0].items()} == {
        section: len(expected[section]) for section in SECTIONS
    }


def test_from_here_and_back(rabbitmq: RabbitNode, theirs: Site, ours: Site, name: str) -> None:
    """What only newer releases can keep of a virtual host is lost in older ones."""
    version = rabbitmq.version
    ours.take(topology(name, version))
    first = ours.give()
    theirs.take(first)
    assert_logins(theirs, name)
    second = theirs.give()
    ours.delete()
    assert normal(ours.give(), name, version) == {section: [] for section in SECTIONS}
    ours.take(second)
    assert_logins(ours, name)
    third = ours.give()
    assert_same(*(normal(document, name, version) for document in (first, second, third)))


def test_virtual_host_moves_alone(rabbitmq: RabbitNode, theirs: Site, ours: Site, name: str) -> None:
    """Into one of another name, without users."""
    version = rabbitmq.version
    theirs.take(topology(name, version))
    alone = theirs._http.get(f"definitions/{name}").raise_for_status().json()
    ours._http.put("vhosts/elsewhere", json={}).raise_for_status()
    assert ours._http.post("definitions/elsewhere", json=alone).status_code == 204
    copy = ours._http.get("definitions/elsewhere").raise_for_status().json()
    sections = ("parameters", "policies", "exchanges", "queues", "bindings")

    def comparable(document: dict[str, Any]) -> dict[str, list[Any]]:
        items = {section: [{**item, "vhost": name} for item in document[section]] for section in sections}
        return normal({**dict.fromkeys(SECTIONS, []), **items}, name, version)

    assert_same(comparable(alone), comparable(copy))
    theirs._http.put(f"vhosts/{name}.back", json={}).raise_for_status()
    assert theirs._http.post(f"definitions/{name}.back", json=copy).status_code == 204
    back = theirs._http.get(f"definitions/{name}.back").raise_for_status().json()
    assert_same(comparable(alone), comparable(back))
