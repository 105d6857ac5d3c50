"""Who may call an endpoint."""

from __future__ import annotations

import pytest

from fedora_messaging.web.management.app import ENDPOINTS
from fedora_messaging.web.management.routes import Endpoint


def test_tags_of_methods() -> None:
    endpoint = Endpoint("a", {}, "monitoring", {"PUT": "administrator"})
    assert [endpoint.tag_for(method) for method in ("GET", "PUT")] == ["monitoring", "administrator"]
    assert Endpoint("a", {}).tag_for("GET") == "management"


@pytest.mark.parametrize("profile", ["3", "4"])
def test_no_path_is_there_twice(profile: str) -> None:
    paths = [endpoint.path for endpoint in ENDPOINTS if profile in endpoint.profiles]
    assert len(paths) == len(set(paths))
