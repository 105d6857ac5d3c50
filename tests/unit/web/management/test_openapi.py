"""The document that describes the API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fedora_messaging.web.management.app import ENDPOINTS
from fedora_messaging.web.management.openapi import describe
from fedora_messaging.web.management.routes import Endpoint

if TYPE_CHECKING:
    from fedora_messaging.web.management.call import Call


def change(call: Call) -> None:
    """Change it.

    More about that.
    """


def test_an_endpoint() -> None:
    document = describe([Endpoint("a/{x}/b", {"PUT": change}, "policymaker")], "4.3.6")
    assert document["openapi"] == "3.1.0"
    assert "RabbitMQ 4.3.6" in document["info"]["summary"]
    assert document["servers"] == [{"url": "/api"}]
    path = document["paths"]["/a/{x}/b"]
    (parameter,) = path["parameters"]
    assert (parameter["name"], parameter["in"], parameter["required"]) == ("x", "path", True)
    operation = path["put"]
    assert (operation["operationId"], operation["summary"]) == ("put_a_x_b", "Change it.")
    assert operation["description"] == "Needs the tag `policymaker`."
    assert set(operation["responses"]) == {"201", "204", "400", "401", "404", "406", "412", "415", "503"}
    assert "requestBody" in operation
    assert "parameters" not in operation


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    paths = describe(ENDPOINTS, "4.3.6")["paths"]
    methods = ("get", "put", "post", "delete")
    return [
        (path, method, item[method]) for path, item in paths.items() for method in methods if method in item
    ]


def test_all_operations_have_a_name_of_their_own_and_a_summary() -> None:
    found = operations()
    names = [operation["operationId"] for _, _, operation in found]
    assert len(names) == len(set(names)) > 120
    assert all(operation["summary"].endswith(".") for _, _, operation in found)


def test_only_lists_take_queries() -> None:
    assert {"parameters" in operation for _, method, operation in operations() if method != "get"} == {False}
